package proxy

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"zproxy/loop"
)

// noDescriptors takes all descriptors there are. The result gives them back.
func noDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	var held []int
	restore = func() {
		unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
		for _, fd := range held {
			unix.Close(fd)
		}
	}
	few := old
	few.Cur = min(old.Cur, 256)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err == unix.EMFILE {
			return restore
		}
		if err != nil {
			restore()
			t.Fatal(err)
		}
		held = append(held, fd)
	}
}

// That this process has no descriptor left is no fault of the origin: the
// request is answered 503, and the next one is tried as if nothing had been.
func TestNoSocketForTheOrigin(t *testing.T) {
	onBackends(t, func(t *testing.T, io_ loop.IO) {
		s := newStepped(t, io_, "", nil)
		b := make([]byte, 4096)
		s.read(s.origin, b)
		unix.Write(s.origin, []byte(okResponse))
		s.read(s.client, b)
		unix.Shutdown(s.origin, unix.SHUT_RDWR)
		for s.w.leases.Len() > 0 {
			s.turn()
		}
		restore := noDescriptors(t)
		unix.Write(s.client, []byte(getRequest))
		n := s.read(s.client, b)
		restore()
		if !strings.HasPrefix(string(b[:n]), "HTTP/1.1 503 ") {
			t.Errorf("without a descriptor the client got %.60q, want a 503", b[:n])
		}
		if got := s.w.m.RefusedByReason[codeNoSocket]; got != 1 {
			t.Errorf("%d requests refused for want of a socket, want 1", got)
		}
		e := s.w.clusters[0].Shared.Endpoints()[0]
		if e.Failing() || e.Failures() != 0 || e.Open() != 0 {
			t.Errorf("the endpoint is failing: %v, %d failures, %d connections", e.Failing(), e.Failures(), e.Open())
		}
		unix.Write(s.client, []byte(getRequest))
		for range 50 {
			s.turn()
		}
		if m := s.w.m; m.UpstreamConnects != 3 || m.UpstreamConnectErrors != 1 || e.Open() != 1 {
			t.Errorf("%d connects, %d failed, %d open; want 3, 1, 1", m.UpstreamConnects, m.UpstreamConnectErrors, e.Open())
		}
	})
}
