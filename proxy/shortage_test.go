package proxy

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"zproxy/buf"
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
		for s.w.origins.Len() > 0 {
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

// A step of shortage is not left where it began, but when clearly less is in use: the
// marks do not change with every block.
func TestPressureIsLeftLater(t *testing.T) {
	s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	mm := &s.w.memory
	var held []buf.View
	take := func(n int) {
		for len(held) < n {
			v, ok := mm.pool.Get()
			if !ok {
				t.Fatalf("no block after %d", len(held))
			}
			held = append(held, v)
		}
		for ; len(held) > n; held = held[:len(held)-1] {
			mm.pool.Release(held[len(held)-1])
		}
		mm.setMarks()
	}
	const step = 256 / pressures
	for _, row := range []struct{ blocks, pressure int }{
		{step - 1, 0}, {step, 1}, {step - 1, 1}, {step + 1, 1}, {step * 3 / 4, 1}, {step*3/4 - 1, 0}, {step - 1, 0},
		{3 * step, 3}, {3*step - step/4, 3}, {3*step - step/4 - 1, 2}, {3*step - 1, 2}, {0, 0},
	} {
		if take(row.blocks); mm.pressure != row.pressure {
			t.Errorf("with %d of 256 blocks in use the pressure is %d, want %d", row.blocks, mm.pressure, row.pressure)
		}
	}
}
