package limit

import (
	"encoding/binary"
	"strings"

	"zproxy/filter"
	"zproxy/filter/rate"
)

// A Key says which requests are counted together: those of which all parts are the same.
type Key struct {
	parts []part
	bits4 int // of IPv4 addresses, and of others
	bits6 int
	known bool // a part is what another filter has found out
}

type part struct {
	kind  partKind
	field filter.Name // partField
}

type partKind uint8

const (
	partAddress partKind = iota
	partRoute
	partField
	partUser
)

// NewKey takes parts as the configuration has them. An address counts by its network.
func NewKey(parts []string, bits4, bits6 int) Key {
	k := Key{bits4: bits4, bits6: bits6}
	for _, text := range parts {
		p := part{kind: partUser}
		if name, ok := strings.CutPrefix(text, "header."); ok {
			p = part{kind: partField, field: filter.NewName(name)}
		} else if text == "address" {
			p = part{kind: partAddress}
		} else if text == "route" {
			p = part{kind: partRoute}
		}
		k.known = k.known || p.kind == partUser
		k.parts = append(k.parts, p)
	}
	return k
}

// Class is where a filter with the key stands in a chain.
func (k *Key) Class() filter.Class {
	if k.known {
		return filter.ClassRateKnown
	}
	return filter.ClassRate
}

// appendTo adds the key of q to dst. False: something of it is missing.
func (k *Key) appendTo(dst []byte, q *filter.Request) (key []byte, whole bool) {
	whole = true
	for i := range k.parts {
		there := true
		switch p := &k.parts[i]; p.kind {
		case partAddress:
			there = q.Client.IsValid()
			dst = rate.AppendAddress(dst, q.Client, k.bits4, k.bits6)
		case partRoute:
			dst = binary.BigEndian.AppendUint32(dst, uint32(q.Route))
		case partField:
			dst, there = appendField(dst, q, &p.field)
		case partUser:
			if len(q.User) > 0 {
				dst = rate.AppendText(dst, q.User)
			} else {
				dst, there = rate.AppendNone(dst), false
			}
		}
		whole = whole && there
	}
	return dst, whole
}

// appendField adds the value of the field n. Fields that other filters have dropped count as well: it is
// about what the client has sent.
func appendField(dst []byte, q *filter.Request, n *filter.Name) ([]byte, bool) {
	var value []byte
	found := 0
	for i := range q.Head.Fields {
		if f := &q.Head.Fields[i]; n.Names(q.Head, f) {
			value = q.Head.Bytes(f.Value)
			found++
		}
	}
	switch {
	case found == 0 || found == 1 && len(value) == 0:
		return rate.AppendNone(dst), false
	case found > 1:
		return rate.AppendRepeated(dst), true
	}
	return rate.AppendText(dst, value), true
}
