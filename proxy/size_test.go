package proxy

import (
	"testing"
	"unsafe"

	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
)

// What thousands of connections and streams wait in is small: a stream that
// waits for the answer of an HTTP/1 origin has one of each, beside the origin's
// connection, which package loop holds to its size.
func TestSizesOfWhatWaits(t *testing.T) {
	for _, s := range []struct {
		name      string
		size, max uintptr
	}{
		{"client", unsafe.Sizeof(client{}), 72},
		{"origin", unsafe.Sizeof(origin{}), 40}, // and its lease: 16
		{"exchange", unsafe.Sizeof(exchange{}), 192},
		{"stream", unsafe.Sizeof(h2conn.Stream{}), 56},
		{"stream of the session", unsafe.Sizeof(http2.Stream{}), 56},
	} {
		if s.size > s.max {
			t.Errorf("%s: %d bytes, want at most %d", s.name, s.size, s.max)
		}
	}
}
