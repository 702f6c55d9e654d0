package http1

import (
	"testing"

	"zproxy/proto"
)

// Scanning eight bytes at a time finds what a loop over bytes finds: every
// byte at every offset, among neighbours that could lend or borrow a bit.
func TestScanFindsEveryByteEverywhere(t *testing.T) {
	for _, fill := range []byte{' ', 'a', '~', '9', ';', 0x80, 0xff, 0xba} {
		for _, next := range []byte{fill, ':', ' ', '\t', 0x7f, 0x80, 0x1f, 0} {
			for c := 0; c < 256; c++ {
				for at := range 20 {
					b := make([]byte, 21)
					for i := range b {
						b[i] = fill
					}
					b[at], b[at+1] = byte(c), next
					for from := 0; from <= at; from += 3 {
						colon, control := from, from
						for colon < len(b) && b[colon] != ':' {
							colon++
						}
						for control < len(b) && (b[control] >= ' ' && b[control] != 0x7f || b[control] == '\t') {
							control++
						}
						if got := colonIndex(b, from); got != colon {
							t.Fatalf("colonIndex(%q, %d) = %d, want %d", b, from, got, colon)
						}
						if got := proto.ValueEnd(b, from); got != control {
							t.Fatalf("proto.ValueEnd(%q, %d) = %d, want %d", b, from, got, control)
						}
						if from+8 > len(b) {
							continue
						}
						if x := load64(b[from:]); proto.Controls(x) == 0 != (firstControl(b[from:from+8]) == 8) || proto.PlainASCII(x) && proto.Controls(x) != 0 {
							t.Fatalf("%q: controls %#x, plain %v", b[from:from+8], proto.Controls(x), proto.PlainASCII(x))
						}
					}
				}
			}
		}
	}
}

func firstControl(b []byte) int {
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			return i
		}
	}
	return len(b)
}
