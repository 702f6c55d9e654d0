package main

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	acceptBatch = 64
	eventBatch  = 256
)

// leg is one socket of a pair.
type leg struct {
	fd      int32 // -1: closed
	peer    int32
	ended   bool   // the end of what it sends is near: read up to it
	pending []byte // what the kernel did not take yet; its sender is not read meanwhile
	backing []byte // the buffer pending lies in, given back afterwards
}

type forwarder struct {
	listener, epoll int
	origin          unix.Sockaddr
	bufferBytes     int
	buffer          []byte   // what the next read goes into
	spare           [][]byte // other buffers that are not in use
	legs            []leg    // by descriptor
	events          [eventBatch]unix.EpollEvent
}

func (f *forwarder) loop() error {
	for {
		n, errno := f.wait(0)
		if n == 0 && errno == 0 {
			n, errno = f.wait(-1)
		}
		if errno != 0 && errno != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", errno)
		}
		for i := range n {
			ev := &f.events[i]
			if int(ev.Fd) == f.listener {
				f.accept()
				continue
			}
			f.handle(ev.Fd, ev.Events)
		}
	}
}

// wait collects events. Only a wait that may block tells the Go scheduler.
func (f *forwarder) wait(timeoutMs int) (int, unix.Errno) {
	var r uintptr
	var errno unix.Errno
	p := uintptr(unsafe.Pointer(&f.events[0]))
	if timeoutMs == 0 {
		r, _, errno = syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(f.epoll), p, eventBatch, 0, 0, 0)
	} else {
		r, _, errno = syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(f.epoll), p, eventBatch, uintptr(timeoutMs), 0, 0)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

func (f *forwarder) accept() {
	for range acceptBatch {
		client, _, err := unix.Accept4(f.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		origin, err := f.connect()
		if err != nil {
			unix.Close(client)
			continue
		}
		unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		f.add(client, origin)
		f.add(origin, client)
	}
}

func (f *forwarder) connect() (int, error) {
	family := unix.AF_INET
	if _, ok := f.origin.(*unix.SockaddrUnix); ok {
		family = unix.AF_UNIX
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if family == unix.AF_INET {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err := unix.Connect(fd, f.origin); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (f *forwarder) add(fd, peer int) {
	for len(f.legs) <= fd {
		f.legs = append(f.legs, leg{fd: -1})
	}
	f.legs[fd] = leg{fd: int32(fd), peer: int32(peer)}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd)}
	unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

// handle acts on one edge. A descriptor closed earlier in the same batch, even
// one opened again since, only costs a read that finds nothing.
func (f *forwarder) handle(fd int32, events uint32) {
	l := &f.legs[fd]
	if l.fd < 0 {
		return
	}
	if events&unix.EPOLLOUT != 0 && len(l.pending) > 0 {
		f.flush(l)
		if l.fd < 0 {
			return
		}
	}
	l.ended = events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if events&unix.EPOLLIN != 0 || l.ended {
		f.forward(l)
	}
}

// forward reads until the socket is drained or its peer takes no more. A short
// read means drained, unless the end of the stream is known to follow.
func (f *forwarder) forward(l *leg) {
	to := &f.legs[l.peer]
	for len(to.pending) == 0 {
		n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(l.fd), uintptr(unsafe.Pointer(&f.buffer[0])), uintptr(f.bufferBytes))
		switch {
		case errno == unix.EAGAIN:
			return
		case errno != 0 || n == 0:
			f.close(l, to)
			return
		}
		if !f.write(to, f.buffer[:n]) {
			f.close(l, to)
			return
		}
		if int(n) < f.bufferBytes && !l.ended {
			return
		}
	}
}

// write hands b to the kernel. What it does not take stays where it is: the
// buffer goes with the leg, and another one takes its place.
func (f *forwarder) write(to *leg, b []byte) bool {
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(to.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 && errno != unix.EAGAIN {
		return false
	}
	if errno != 0 {
		n = 0
	}
	if int(n) == len(b) {
		return true
	}
	to.pending, to.backing = b[n:], f.buffer
	if k := len(f.spare); k > 0 {
		f.buffer, f.spare = f.spare[k-1], f.spare[:k-1]
	} else {
		f.buffer = make([]byte, f.bufferBytes)
	}
	return true
}

// flush sends what is pending; when it is out, the sender is read again.
func (f *forwarder) flush(l *leg) {
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(l.fd), uintptr(unsafe.Pointer(&l.pending[0])), uintptr(len(l.pending)))
	from := &f.legs[l.peer]
	if errno != 0 {
		if errno != unix.EAGAIN {
			f.close(l, from)
		}
		return
	}
	if l.pending = l.pending[n:]; len(l.pending) > 0 {
		return
	}
	f.spare = append(f.spare, l.backing)
	l.pending, l.backing = nil, nil
	f.forward(from)
}

func (f *forwarder) close(a, b *leg) {
	for _, l := range [...]*leg{a, b} {
		unix.Close(int(l.fd))
		if l.backing != nil {
			f.spare = append(f.spare, l.backing)
		}
		*l = leg{fd: -1}
	}
}
