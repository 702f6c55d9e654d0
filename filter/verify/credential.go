package verify

import (
	"bytes"

	"zproxy/proto"
)

// Source is where a request has its credentials: one field, cookie or parameter of the query. Names are compared as
// their RFCs have it: fields in any letter case, the others exactly.
type Source struct {
	Header string // lower case
	Scheme string // in front of the credentials in the field, lower case (RFC 9110 11.4); "": none
	Cookie string
	Query  string
}

// Find gives the credentials of a request, borrowed. several: there is more than one of them, which is as good as
// none, since who reads behind the proxy may choose another one.
func (s *Source) Find(h *proto.Head) (found []byte, several bool) {
	switch {
	case s.Header != "":
		return s.field(h)
	case s.Cookie != "":
		return s.cookie(h)
	}
	return s.parameter(h)
}

func isNamed(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// IsNamed says that a field is the source's.
func (s *Source) IsNamed(name []byte) bool { return s.Header != "" && isNamed(name, s.Header) }

func (s *Source) field(h *proto.Head) (found []byte, several bool) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if !isNamed(h.Bytes(f.Name), s.Header) {
			continue
		}
		if found != nil {
			return nil, true
		}
		found = h.Bytes(f.Value)
	}
	if found == nil || s.Scheme == "" {
		return found, false
	}
	return AfterScheme(found, s.Scheme), false
}

// AfterScheme gives what stands behind the name of a scheme, nil if it is another one (RFC 9110 11.4: in any letter
// case, and one or more spaces behind it).
func AfterScheme(value []byte, scheme string) []byte {
	n := len(scheme)
	if len(value) <= n || value[n] != ' ' || !isNamed(value[:n], scheme) {
		return nil
	}
	return bytes.TrimLeft(value[n:], " ")
}

// cookie looks through all Cookie fields: HTTP/2 may send them in several (RFC 9113 8.2.3).
func (s *Source) cookie(h *proto.Head) (found []byte, several bool) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != proto.TokenCookie {
			continue
		}
		for rest := h.Bytes(f.Value); len(rest) > 0; {
			pair := rest
			if end := bytes.IndexByte(rest, ';'); end >= 0 {
				pair, rest = rest[:end], rest[end+1:]
			} else {
				rest = nil
			}
			pair = bytes.TrimLeft(pair, " \t")
			n := len(s.Cookie)
			if len(pair) <= n || pair[n] != '=' || string(pair[:n]) != s.Cookie {
				continue
			}
			if found != nil {
				return nil, true
			}
			found = bytes.TrimRight(pair[n+1:], " \t")
		}
	}
	if len(found) > 1 && found[0] == '"' && found[len(found)-1] == '"' {
		found = found[1 : len(found)-1]
	}
	return found, false
}

// parameter looks for name=value between "&". Neither is decoded: credentials that have to be encoded are not found.
func (s *Source) parameter(h *proto.Head) (found []byte, several bool) {
	for rest := h.Bytes(h.Query); len(rest) > 0; {
		pair := rest
		if end := bytes.IndexByte(rest, '&'); end >= 0 {
			pair, rest = rest[:end], rest[end+1:]
		} else {
			rest = nil
		}
		n := len(s.Query)
		if len(pair) <= n || pair[n] != '=' || string(pair[:n]) != s.Query {
			continue
		}
		if found != nil {
			return nil, true
		}
		found = pair[n+1:]
	}
	return found, false
}

// FindAny is Find for the first source that has credentials. The others are not looked at.
func FindAny(sources []Source, h *proto.Head) (found []byte, several bool) {
	for i := range sources {
		if found, several = sources[i].Find(h); several || len(found) > 0 {
			break
		}
	}
	return found, several
}
