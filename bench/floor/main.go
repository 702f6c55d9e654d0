// Command floor is what a proxy costs that does nothing: it carries bytes
// between a client and an origin and looks at none of them. No proxy that
// handles message for message over TCP can use fewer socket calls, so its CPU
// time per request is the mark the others are compared with.
//
// One thread, epoll, raw system calls, one read buffer for all connections.
// Every client has its own connection to the origin, opened when it comes and
// closed when either side closes.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "accept clients on `IP:PORT`")
	origin := flag.String("origin", "127.0.0.1:9000", "forward to `IP:PORT` or unix:/path")
	buffer := flag.Int("buffer", 64, "read at most this many `KiB` at once")
	flag.Parse()
	if flag.NArg() > 0 || *buffer < 1 {
		flag.Usage()
		os.Exit(2)
	}
	// Nothing is allocated once it runs, so nothing needs collecting.
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	if err := run(*listen, *origin, *buffer<<10); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(listen, origin string, bufferBytes int) error {
	f := &forwarder{bufferBytes: bufferBytes, buffer: make([]byte, bufferBytes)}
	var err error
	if f.origin, err = sockaddr(origin); err != nil {
		return err
	}
	if f.listener, err = listenOn(listen); err != nil {
		return fmt.Errorf("listening on %s: %w", listen, err)
	}
	if f.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(f.listener)}
	if err := unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, f.listener, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return f.loop()
}

func sockaddr(addr string) (unix.Sockaddr, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return &unix.SockaddrUnix{Name: path}, nil
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().Is4() {
		return nil, fmt.Errorf("%q is neither IPv4:PORT nor unix:/path", addr)
	}
	return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, nil
}

// listenOn lets the net package do the socket and keeps a descriptor of it.
func listenOn(addr string) (int, error) {
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return -1, err
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return -1, err
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetNonblock(fd, true)
}
