package proxy

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"zproxy/loop"
)

// Whoever sends something that is refused and then closes its side for writing
// gets its answer all the same.
func TestRefusalReachesHalfClosedClient(t *testing.T) {
	onBackends(t, func(t *testing.T, io_ loop.IO) {
		s := newStepped(t, io_, "", nil)
		b := make([]byte, 4096)
		s.read(s.origin, b)
		unix.Write(s.origin, []byte(okResponse))
		s.read(s.client, b)
		// Both are there when the worker looks next.
		unix.Write(s.client, []byte("GET /\r\n\r\n"))
		unix.Shutdown(s.client, unix.SHUT_WR)
		if got := string(b[:s.read(s.client, b)]); !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("got %q, want a 400", got)
		}
	})
}
