package router

import (
	"math/bits"

	"zproxy/proto"
)

// Bits of a method mask: one for each proto.Method (that of MethodOther stands for every method no route names), then
// one for each extension method that some route names.
const (
	firstExtension   = uint32(proto.MethodCount)
	MaxExtensions    = 32 - proto.MethodCount // extension methods one table can name
	allMethods       = ^uint32(0)
	getBit, headBit  = uint32(1) << proto.GET, uint32(1) << proto.HEAD
	otherBit         = uint32(1) << proto.MethodOther
	maxMethodNameLen = 32
)

// MethodSet is a set of request methods, those of the Router it came from. The zero value is empty.
type MethodSet struct {
	mask       uint32
	extensions *[]string // the Router's, by bit minus firstExtension
}

// Empty tells whether the set has no method at all.
func (s MethodSet) Empty() bool { return s.mask == 0 }

// Has tells whether the set has m; for MethodOther, whether it has methods that no route names.
func (s MethodSet) Has(m proto.Method) bool { return s.mask>>m&1 != 0 }

// AppendAllow appends the set as the value of an Allow field (RFC 9110 10.2.1), "GET, HEAD".
func (s MethodSet) AppendAllow(dst []byte) []byte {
	first := true
	for mask := s.mask &^ otherBit; mask != 0; mask &= mask - 1 {
		bit := uint32(bits.TrailingZeros32(mask))
		name := proto.Method(bit).String()
		if bit >= firstExtension {
			if s.extensions == nil || int(bit-firstExtension) >= len(*s.extensions) {
				break
			}
			name = (*s.extensions)[bit-firstExtension]
		}
		if !first {
			dst = append(dst, ", "...)
		}
		dst, first = append(dst, name...), false
	}
	return dst
}

// methodBit gives the mask bit of a request's method.
func methodBit(m proto.Method, name []byte, extensions []string) uint32 {
	if m != proto.MethodOther {
		return 1 << m
	}
	for i, extension := range extensions {
		if string(name) == extension { // methods are case-sensitive (RFC 9110 9.1)
			return 1 << (firstExtension + uint32(i))
		}
	}
	return otherBit
}

// isToken tells whether s is a token (RFC 9110 5.6.2), which a method has to be.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
		case c == '!' || c >= '#' && c <= '\'' || c == '*' || c == '+' || c == '-' || c == '.' || c == '^' ||
			c == '_' || c == '`' || c == '|' || c == '~':
		default:
			return false
		}
	}
	return s != ""
}
