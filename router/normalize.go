package router

import "bytes"

// Classes of a byte inside a request path, for the scan that most paths pass without being rewritten.
const (
	plain  = iota // stands for itself wherever it is
	dot           // may begin a dot segment
	encode        // not allowed in a path by RFC 3986 3.3, or an escape: needs rewriting
	refuse        // never part of a path: controls, space, and the delimiters ? and #
)

var pathClass = func() (t [256]byte) {
	for c := range t {
		switch {
		case c <= 0x20 || c == 0x7f || c == '?' || c == '#':
			t[c] = refuse
		case c == '.':
			t[c] = dot
		case c == '/' || isUnreserved(byte(c)) || isReservedInPath(byte(c)):
			t[c] = plain
		default:
			t[c] = encode
		}
	}
	return t
}()

// RFC 3986 2.3: the characters whose escaped and plain forms are the same resource.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// RFC 3986 3.3: sub-delims, ":" and "@" are allowed in a path segment and differ from their escaped forms.
func isReservedInPath(c byte) bool {
	switch c {
	case '!', '$', '&', '\'', '(', ')', '*', '+', ',', ';', '=', ':', '@':
		return true
	}
	return false
}

// NormalizedBound is the longest result Normalize can give for a path of n bytes. A dst of that capacity is never
// outgrown.
func NormalizedBound(n int) int { return 3 * n }

// Normalize gives the one spelling of path that routes are matched against: escaped unreserved characters are
// decoded, every other escape is kept with upper-case digits, bytes that RFC 3986 does not allow in a path are
// escaped, and dot segments are resolved (RFC 3986 6.2.2). An escaped slash stays escaped and empty segments stay.
//
// path is the path component without query. When nothing has to change, norm is path itself and changed is false;
// otherwise norm is written into dst's storage, which must not overlap path.
//
// ok is false for a path that has no single meaning: a malformed escape, an escaped NUL, a byte that cannot be part
// of a path, a dot segment that leaves the root, or one that only some readers would see (behind an escaped slash or
// backslash, before a ";" parameter, or after an empty segment). Such a request deserves a 400.
//
// Normalizing twice changes nothing, and no reader that decodes, merges slashes, takes backslashes for slashes or
// drops ";" parameters finds a dot segment in norm.
func Normalize(path, dst []byte) (norm []byte, changed, ok bool) {
	if len(path) == 0 || path[0] != '/' {
		return nil, false, false
	}
	for i, c := range path {
		switch pathClass[c] {
		case plain:
		case dot:
			if path[i-1] == '/' {
				return rewrite(path, dst[:0])
			}
		default:
			return rewrite(path, dst[:0])
		}
	}
	return path, false, true
}

// rewrite is Normalize for the paths that may need it: one pass, segment by segment, resolving as it goes.
func rewrite(path, out []byte) (norm []byte, changed, ok bool) {
	for i := 0; i < len(path); {
		start := len(out) // of the "/" before the segment
		if out, i, ok = appendSegment(append(out, '/'), path, i+1); !ok {
			return nil, false, false
		}
		last := i == len(path)
		segment := out[start+1:]
		switch {
		case len(segment) == 1 && segment[0] == '.':
			out = out[:start]
		case len(segment) == 2 && segment[0] == '.' && segment[1] == '.':
			parent := bytes.LastIndexByte(out[:start], '/')
			if parent < 0 || !isOneSegment(out[parent+1:start]) {
				return nil, false, false
			}
			out = out[:parent]
		default:
			if hidesDotSegment(segment) {
				return nil, false, false
			}
			continue
		}
		if last { // RFC 3986 5.2.4: "/a/." and "/a/b/.." both are the directory "/a/"
			out = append(out, '/')
		}
	}
	if bytes.Equal(out, path) {
		return path, false, true
	}
	return out, true, true
}

// appendSegment appends path[i:] up to the next slash, in the spelling of Normalize, and returns where it stopped.
func appendSegment(out, path []byte, i int) (_ []byte, next int, ok bool) {
	for ; i < len(path) && path[i] != '/'; i++ {
		c := path[i]
		switch {
		case pathClass[c] == refuse:
			return out, i, false
		case c == '%':
			if i+2 >= len(path) {
				return out, i, false
			}
			hi, lo := unhex(path[i+1]), unhex(path[i+2])
			if hi > 15 || lo > 15 || hi|lo == 0 { // an escaped NUL ends the path for readers written in C
				return out, i, false
			}
			i += 2
			if c = hi<<4 | lo; isUnreserved(c) {
				out = append(out, c)
			} else {
				out = appendEscape(out, c)
			}
		case pathClass[c] == encode:
			out = appendEscape(out, c)
		default:
			out = append(out, c)
		}
	}
	return out, i, true
}

func appendEscape(out []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(out, '%', digits[c>>4], digits[c&15])
}

// unhex gives the value of a hexadecimal digit, or 255.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// hidesDotSegment tells whether a segment (already in the spelling of Normalize) holds a "." or ".." for a reader
// that takes an escaped slash or backslash for a separator or drops what follows a ";".
func hidesDotSegment(segment []byte) bool {
	for len(segment) > 0 {
		name, rest := firstName(segment)
		if len(name) == 1 && name[0] == '.' || len(name) == 2 && name[0] == '.' && name[1] == '.' {
			return true
		}
		segment = rest
	}
	return false
}

// isOneSegment tells whether every reader takes the segment for exactly one step down, so that a ".." behind it
// takes every reader back to the same place.
func isOneSegment(segment []byte) bool {
	name, rest := firstName(segment)
	return len(name) > 0 && rest == nil
}

// firstName splits a segment at its first escaped slash or backslash; rest is nil when there is none. The name ends
// before any ";" parameter.
func firstName(segment []byte) (name, rest []byte) {
	end := -1
	for i, c := range segment {
		switch {
		case c == ';' && end < 0:
			end = i
		case c == '%' && segment[i+1] == '3' && segment[i+2] == 'B' && end < 0:
			end = i
		case c == '%' && (segment[i+1] == '2' && segment[i+2] == 'F' || segment[i+1] == '5' && segment[i+2] == 'C'):
			if end < 0 {
				end = i
			}
			return segment[:end], segment[i+3:]
		}
	}
	if end < 0 {
		end = len(segment)
	}
	return segment[:end], nil
}
