package forward

import (
	"time"

	"zproxy/filter"
	"zproxy/proto"
	"zproxy/variables"
)

// Fields lists fields that the proxy adds to a head. A list is lent until the next one is
// made.
type Fields struct {
	list   []proto.Extra
	text   []byte // values of the list
	date   [29]byte
	dateAt int64           // the second of date
	change *filter.Changes // of the list for the next response, nil: none
	own    []proto.Extra
	values variables.Values
	addr   []byte // one of values
}

// NewFields has room for lists as they usually are.
func NewFields() Fields {
	return Fields{list: make([]proto.Extra, 0, 16), text: make([]byte, 0, 512)}
}

// Change has the list for the next response changed by c.
func (fs *Fields) Change(c *filter.Changes) { fs.change = c }

// changed makes the changes to list.
func (fs *Fields) changed(list []proto.Extra) []proto.Extra {
	if fs.change != nil {
		list, fs.change = fs.change.Apply(list), nil
	}
	return list
}

// Own lists what is added to a response of the proxy's own, which describes its content itself: extra, if it has a
// name, and what filters make of it. The list is lent like the others, and leaves them as they are.
func (fs *Fields) Own(extra proto.Extra) []proto.Extra {
	fs.own = fs.own[:0]
	if extra.Name != "" {
		fs.own = append(fs.own, extra)
	}
	if fs.change == nil {
		return fs.own
	}
	fs.own = fs.changed(fs.own)
	kept := fs.own[:0]
	for _, f := range fs.own {
		if f.Token != proto.TokenContentType && f.Token != proto.TokenDate {
			kept = append(kept, f)
		}
	}
	return kept
}

func (fs *Fields) reset() { fs.text, fs.list = fs.text[:0], fs.list[:0] }

func (fs *Fields) add(t proto.Token, value string) {
	from := len(fs.text)
	fs.text = append(fs.text, value...)
	fs.close(t, from)
}

// addNamed is add for a name that has no token.
func (fs *Fields) addNamed(name, value string) {
	from := len(fs.text)
	fs.text = append(fs.text, value...)
	fs.list = append(fs.list, proto.Extra{Name: name, Value: fs.text[from:]})
}

// close adds a field with what stands in text behind from. When text grows the value
// stays where it is.
func (fs *Fields) close(t proto.Token, from int) { fs.lend(t, fs.text[from:]) }

func (fs *Fields) lend(t proto.Token, value []byte) {
	fs.list = append(fs.list, proto.NewExtra(t, value))
}

// comma separates what is to come from what stands in text behind from.
func (fs *Fields) comma(from int) {
	if len(fs.text) > from {
		fs.text = append(fs.text, ", "...)
	}
}

// gather moves the values of all fields t that are still to be forwarded into
// text, separated by commas.
func (fs *Fields) gather(h *proto.Head, t proto.Token) {
	from := len(fs.text)
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != t || f.Flags&proto.FlagDrop != 0 {
			continue
		}
		f.Flags |= proto.FlagDrop
		if f.Value.Len > 0 {
			fs.comma(from)
			fs.text = append(fs.text, h.Bytes(f.Value)...)
		}
	}
}

// versionOf is the index in the values of Via of the version that h was received by.
func versionOf(h *proto.Head) int {
	switch {
	case h.H2:
		return 2
	case h.Minor == 0:
		return 0
	}
	return 1
}

// Date is the Date field of a second (RFC 9110 6.6.1), given the milliseconds of the wall
// clock.
func (fs *Fields) Date(ms int64) proto.Extra {
	if sec := ms / 1000; sec != fs.dateAt {
		fs.dateAt = sec
		time.Unix(sec, 0).UTC().AppendFormat(fs.date[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return proto.NewExtra(proto.TokenDate, fs.date[:])
}
