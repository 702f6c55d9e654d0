package filter

import (
	"bytes"
	"strings"

	"zproxy/proto"
)

// Name is the name of a field in a configuration. Letter case makes no difference, and "_" is "-": CGI and what is
// modelled on it make the same variable of both (RFC 3875 section 4.1.18), so that a field that a client spells
// otherwise does not stand beside the one that the proxy sets.
type Name struct {
	text  string // as it is written
	lower string // with "-" for "_"
	token proto.Token
}

// NewName is the name of a field, spelled as HTTP/1 is to write it.
func NewName(text string) Name {
	return Name{text: text, lower: strings.ReplaceAll(strings.ToLower(text), "_", "-"), token: proto.LookupToken(text)}
}

func (n *Name) String() string { return n.text }

// Names says that n is the name of f.
func (n *Name) Names(h *proto.Head, f *proto.Field) bool {
	if f.Token != proto.TokenOther {
		return f.Token == n.token
	}
	return int(f.Name.Len) == len(n.lower) && proto.SameName(h.Bytes(f.Name), n.lower)
}

// Get lends the first value that h has under n, of those that are not dropped.
func (n *Name) Get(h *proto.Head) ([]byte, bool) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Flags&proto.FlagDrop == 0 && n.Names(h, f) {
			return h.Bytes(f.Value), true
		}
	}
	return nil, false
}

// Changes are what becomes of the fields of a head: those that go no further are marked in the head itself, those
// that are added are kept here until it is written. Control characters in a value become spaces, so that no value
// can begin a line.
type Changes struct {
	added   []proto.Extra
	removed []*Name // that what the proxy adds by itself must not have either
	text    []byte  // values of added
}

// NewChanges has room for changes as they usually are.
func NewChanges() *Changes {
	return &Changes{added: make([]proto.Extra, 0, 8), removed: make([]*Name, 0, 8), text: make([]byte, 0, 512)}
}

// Reset forgets all changes.
func (c *Changes) Reset() {
	clear(c.added)
	clear(c.removed)
	c.added, c.removed, c.text = c.added[:0], c.removed[:0], c.text[:0]
}

// Any says that there are changes.
func (c *Changes) Any() bool { return len(c.added)+len(c.removed) > 0 }

// Remove drops all fields n of h, which may be nil, and of those that were added.
func (c *Changes) Remove(h *proto.Head, n *Name) {
	if h != nil {
		for i := range h.Fields {
			if f := &h.Fields[i]; n.Names(h, f) {
				f.Flags |= proto.FlagDrop
			}
		}
	}
	c.added = without(c.added, n)
	c.removed = append(c.removed, n)
}

// Set is Remove, and Add of one field instead.
func (c *Changes) Set(h *proto.Head, n *Name, value []byte) {
	c.Remove(h, n)
	c.Add(n, value)
}

// Add adds a field, if value is not empty. value is copied.
func (c *Changes) Add(n *Name, value []byte) {
	c.Close(n, append(c.Open(), value...))
}

// Open lends the text that a value is to be appended to, for Close.
func (c *Changes) Open() []byte { return c.text }

// Close adds a field whose value is what text has beyond what Open has lent; an empty one is not added. When the text
// grows, values before stay where they are.
func (c *Changes) Close(n *Name, text []byte) {
	value := text[len(c.text):len(text):len(text)]
	c.text = text
	for i := proto.ValueEnd(value, 0); i < len(value); i = proto.ValueEnd(value, i) {
		value[i] = ' '
	}
	if value = bytes.Trim(value, " \t"); len(value) == 0 { // RFC 9113 section 8.2.1: none begins or ends so
		return
	}
	c.added = append(c.added, proto.Extra{Name: n.text, Value: value, Token: n.token})
}

// Lend adds a field with a value that is checked, and stays as it is as long as the chain is there.
func (c *Changes) Lend(n *Name, value []byte) {
	c.added = append(c.added, proto.Extra{Name: n.text, Value: value, Token: n.token})
}

// Rename has the fields from of h go on as to. Those that have that name already are dropped.
func (c *Changes) Rename(h *proto.Head, from, to *Name) {
	if h == nil {
		return
	}
	if _, there := from.Get(h); !there {
		return
	}
	c.Remove(h, to)
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Flags&proto.FlagDrop == 0 && from.Names(h, f) {
			c.Add(to, h.Bytes(f.Value))
		}
	}
	c.Remove(h, from)
}

// Mark drops the fields of h that were removed before h was there.
func (c *Changes) Mark(h *proto.Head) {
	for _, n := range c.removed {
		for i := range h.Fields {
			if f := &h.Fields[i]; n.Names(h, f) {
				f.Flags |= proto.FlagDrop
			}
		}
	}
}

// Apply makes the changes to list, which are the fields that the proxy adds by itself: what a filter removes is
// removed there as well, what a filter adds comes last.
func (c *Changes) Apply(list []proto.Extra) []proto.Extra {
	for _, n := range c.removed {
		list = without(list, n)
	}
	return append(list, c.added...)
}

// without takes the fields n out of list, in place.
func without(list []proto.Extra, n *Name) []proto.Extra {
	kept := list[:0]
	for i := range list {
		if !(len(list[i].Name) == len(n.lower) && proto.SameName(list[i].Name, n.lower)) {
			kept = append(kept, list[i])
		}
	}
	return kept
}
