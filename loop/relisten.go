package loop

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// What a listening socket has of SockOpts can change while it listens: connections that are
// accepted from then on inherit it, those that are there keep what they have.

// Give sets owner, group and mode of the socket file at path. What a leaves open stays.
func (a *FileAccess) Give(path string) error { return a.give(path) }

// Try says why sockets that listen on addr could not have these options.
func (o *SockOpts) Try(addr string) error {
	if err := o.check(); err != nil {
		return err
	}
	fd, err := freshSocket(addr)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return o.renew(fd)
}

// Renew has a listening socket have these options, in place of those that it has.
func (o *SockOpts) Renew(fd int) error {
	if err := o.renew(fd); err != nil {
		return err
	}
	if err := unix.Listen(fd, backlog(o)); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// freshSocket is one as the kernel makes it, of the family of addr.
func freshSocket(addr string) (int, error) {
	family := unix.AF_UNIX
	if !strings.HasPrefix(addr, "unix:") {
		ap, err := resolveListen(addr)
		if err != nil {
			return -1, err
		}
		if family = unix.AF_INET6; ap.Addr().Is4() {
			family = unix.AF_INET
		}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	return fd, nil
}

// renew sets what o has, and puts back to the kernel's default what o has not.
func (o *SockOpts) renew(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("SO_DOMAIN: %w", err)
	}
	fresh, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fresh)
	if err := freeBuffers(fd, fresh); err != nil {
		return err
	}
	if domain == unix.AF_UNIX {
		return o.applyBuffers(fd)
	}
	for _, x := range [...]struct {
		what              string
		level, opt, value int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 0},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0},
		{"TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, o.DeferAcceptSec},
		{"TCP_FASTOPEN", unix.IPPROTO_TCP, unix.TCP_FASTOPEN, o.FastOpen},
	} {
		if err := unix.SetsockoptInt(fd, x.level, x.opt, x.value); err != nil {
			return fmt.Errorf("%s: %w", x.what, err)
		}
	}
	if o.Congestion == "" {
		name, err := unix.GetsockoptString(fresh, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		if err == nil {
			err = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, strings.TrimRight(name, "\x00"))
		}
		if err != nil {
			return fmt.Errorf("TCP_CONGESTION: %w", err)
		}
	}
	local, err := LocalAddr(fd)
	if err != nil {
		return err
	}
	return o.apply(fd, local.Addr())
}

// freeBuffers has the kernel tune the buffers of fd again, from the sizes that a fresh socket
// has (SO_BUF_LOCK, Linux 5.14).
func freeBuffers(fd, fresh int) error {
	for _, opt := range [...]int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		is, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
		if err != nil {
			return fmt.Errorf("buffer size: %w", err)
		}
		size, err := unix.GetsockoptInt(fresh, unix.SOL_SOCKET, opt)
		if err != nil {
			return fmt.Errorf("buffer size: %w", err)
		}
		if is == size {
			continue
		}
		// The kernel doubles what it is given.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size/2); err != nil {
			return fmt.Errorf("buffer size: %w", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0); err != nil {
		return fmt.Errorf("SO_BUF_LOCK, with which buffers are the kernel's to tune again (Linux 5.14): %w", err)
	}
	return nil
}
