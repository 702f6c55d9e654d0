package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// origin answers what a proxy forwards, in the turns of the generator's own
// thread. An origin that is another process on the generator's CPU would hold
// the generator up, and be held up by it, and both would count as the proxy's.
type origin struct {
	listener int
	watch    func(fd int) error
	answer   []byte
	conns    map[int]*served
	buffer   [64 << 10]byte
}

// served is a connection of the proxy's.
type served struct {
	matched int // bytes of endOfHead that have come
}

// endOfHead ends a request: all of them are GETs.
const endOfHead = "\r\n\r\n"

// maxAnswer is what surely goes into an empty socket buffer.
const maxAnswer = 8 << 10

// backlog is more connections than proxies open at once here.
const backlog = 4096

// listenAt opens the origin's side; watch adds a descriptor to the generator's.
func listenAt(addr netip.AddrPort, size int, watch func(fd int) error) (*origin, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	o := &origin{listener: fd, watch: watch, conns: map[int]*served{},
		answer: fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, bytes.Repeat([]byte("x"), size))}
	err = errors.Join(
		// Connections of the run before may still be in TIME_WAIT.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}),
		unix.Listen(fd, backlog), watch(fd))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	return o, nil
}

func (o *origin) close() {
	for fd := range o.conns {
		unix.Close(fd)
	}
	unix.Close(o.listener)
}

// ready acts on a descriptor that can be read.
func (o *origin) ready(fd int) {
	if fd == o.listener {
		o.accept()
	} else if c := o.conns[fd]; c != nil && !o.serve(fd, c) {
		unix.Close(fd)
		delete(o.conns, fd)
	}
}

func (o *origin) accept() {
	for {
		fd, _, err := unix.Accept4(o.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if o.watch(fd) != nil {
			unix.Close(fd)
			continue
		}
		o.conns[fd] = &served{}
	}
}

// serve answers the requests that have come whole; false when the connection is
// of no more use.
func (o *origin) serve(fd int, c *served) bool {
	n, err := unix.Read(fd, o.buffer[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	for range c.heads(o.buffer[:n]) {
		// An answer is far smaller than an empty socket buffer.
		if n, err := unix.Write(fd, o.answer); err != nil || n < len(o.answer) {
			return false
		}
	}
	return true
}

// heads is how many requests end in b.
func (c *served) heads(b []byte) (n int) {
	for _, x := range b {
		switch {
		case x == endOfHead[c.matched]:
			c.matched++
		case x == endOfHead[0]:
			c.matched = 1
		default:
			c.matched = 0
		}
		if c.matched == len(endOfHead) {
			c.matched = 0
			n++
		}
	}
	return n
}
