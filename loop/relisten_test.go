package loop

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// optionsOf is what SockOpts are about of a socket, as the kernel has it.
func optionsOf(t *testing.T, fd int) string {
	t.Helper()
	text := ""
	for _, x := range [...]struct {
		what       string
		level, opt int
	}{
		{"nodelay", unix.IPPROTO_TCP, unix.TCP_NODELAY}, {"keepalive", unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		{"defer", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT}, {"fastopen", unix.IPPROTO_TCP, unix.TCP_FASTOPEN},
		{"rcvbuf", unix.SOL_SOCKET, unix.SO_RCVBUF}, {"sndbuf", unix.SOL_SOCKET, unix.SO_SNDBUF}, {"lock", unix.SOL_SOCKET, unix.SO_BUF_LOCK},
	} {
		v, err := unix.GetsockoptInt(fd, x.level, x.opt)
		if err != nil {
			t.Fatalf("%s: %v", x.what, err)
		}
		text += fmt.Sprintf("%s %d ", x.what, v)
	}
	name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	if err != nil {
		t.Fatal(err)
	}
	return text + name
}

// A listening socket comes to have options as if it had been opened with them, and those that
// connect from then on get them.
func TestRenewSocketOptions(t *testing.T) {
	plain := SockOpts{}
	set := SockOpts{NoDelay: true, KeepAliveSec: 7, RcvBuf: 20000, SndBuf: 30000, Congestion: "reno", DeferAcceptSec: 3, FastOpen: 9, Backlog: 5}
	open := func(o SockOpts) (int, string) {
		fds, err := OpenListeners("127.0.0.1:0", 1, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[0]) })
		return fds[0], optionsOf(t, fds[0])
	}
	_, wantPlain := open(plain)
	_, wantSet := open(set)
	if wantPlain == wantSet {
		t.Fatalf("both are %s", wantSet)
	}
	fd, _ := open(plain)
	for _, c := range []struct {
		o    SockOpts
		want string
	}{{set, wantSet}, {plain, wantPlain}, {set, wantSet}} {
		if err := c.o.Try("127.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
		if err := c.o.Renew(fd); err != nil {
			t.Fatal(err)
		}
		if got := optionsOf(t, fd); got != c.want {
			t.Errorf("has   %s\nwants %s", got, c.want)
		}
	}
	local, err := LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", local.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "x") // the accept is deferred until there is something
	accepted := -1
	for deadline := time.Now().Add(testTimeout); accepted < 0 && time.Now().Before(deadline); {
		if accepted, _, err = unix.Accept(fd); err != nil {
			accepted = -1
		}
	}
	if accepted < 0 {
		t.Fatal(err)
	}
	defer unix.Close(accepted)
	if v, err := unix.GetsockoptInt(accepted, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || v != 2*set.RcvBuf {
		t.Errorf("the connection's receive buffer is %d, %v", v, err)
	}
	none := SockOpts{Congestion: "nosuch"}
	if err := none.Try("127.0.0.1:1"); err == nil {
		t.Error("an algorithm that there is not")
	}
}

func TestRenewUnixOptions(t *testing.T) {
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	fds, err := OpenListeners(addr, 2, nil, SockOpts{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	o := SockOpts{RcvBuf: 20000, NoDelay: true}
	if err := o.Try(addr); err != nil {
		t.Fatal(err)
	}
	if err := o.Renew(fds[1]); err != nil {
		t.Fatal(err)
	}
	if v, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || v != 40000 {
		t.Errorf("%d, %v", v, err)
	}
}
