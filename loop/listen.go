package loop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OpenListeners opens addr for n loops and gives one descriptor per loop, in
// their order. addr is "192.0.2.1:80", "[::]:80" (IPv4 too), ":80" (the same),
// "host:80" for a host with one address, "unix:/path" or "unix:@name".
//
// For TCP these are n sockets with SO_REUSEPORT and a program that steers each
// new connection to a loop (see steering.go); cpus[i] is the CPU of loop i,
// and may be nil. A unix socket is one socket under n descriptors.
//
// It is an error when somebody else, or an earlier call, has the address: with
// SO_REUSEPORT alone the kernel would let two servers share it. What a dead
// process left of a unix socket is removed.
func OpenListeners(addr string, n int, cpus []int, o SockOpts) ([]int, error) {
	if n < 1 {
		return nil, fmt.Errorf("listen on %q: %d loops", addr, n)
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	var fds []int
	var err error
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		fds, err = openUnixListeners(path, n, &o)
	} else {
		fds, err = openTCPListeners(addr, n, cpus, &o)
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("listen on %q: %w", addr, explainListen(err))
	}
	return fds, nil
}

// explainListen adds what can be done about it.
func explainListen(err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w: another process, or another listener of this one, has it", err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine does not have that address", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE; unix sockets need a writable directory", err)
	}
	return err
}

func openTCPListeners(addr string, n int, cpus []int, o *SockOpts) ([]int, error) {
	ap, err := resolveListen(addr)
	if err != nil {
		return nil, err
	}
	if ap.Port() != 0 {
		// Alone first: this fails when anybody listens there, which bind with
		// SO_REUSEPORT does not.
		probe, err := bindTCP(ap, o, false)
		if probe >= 0 {
			unix.Close(probe)
		}
		if err != nil {
			return nil, err
		}
	}
	var fds []int
	for i := range n {
		fd, err := bindTCP(ap, o, true)
		if fd >= 0 {
			fds = append(fds, fd)
		}
		if err != nil {
			return fds, err
		}
		if i == 0 && ap.Port() == 0 {
			local, err := LocalAddr(fd)
			if err != nil {
				return fds, err
			}
			ap = netip.AddrPortFrom(ap.Addr(), local.Port())
		}
	}
	if err := steer(fds, n, cpus); err != nil {
		return fds, err
	}
	// The order of listen is the order of the group, which the program's
	// results refer to.
	for _, fd := range fds {
		if err := unix.Listen(fd, backlog(o)); err != nil {
			return fds, fmt.Errorf("listen: %w", err)
		}
	}
	return fds, nil
}

// backlog is what listen(2) is given; the kernel cuts it to net.core.somaxconn.
func backlog(o *SockOpts) int {
	if o.Backlog > 0 {
		return o.Backlog
	}
	return 1 << 16
}

// resolveListen also takes names, for localhost.
func resolveListen(addr string) (netip.AddrPort, error) {
	if strings.HasPrefix(addr, ":") {
		addr = "[::]" + addr
	}
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return ap, nil
	}
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// bindTCP makes a bound socket with all options of its future connections. The
// descriptor is the caller's even with an error, unless it is below 0.
func bindTCP(ap netip.AddrPort, o *SockOpts, reusePort bool) (int, error) {
	var sa [112]byte
	family, size, err := putInet(&sa, ap)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fd, fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	if reusePort {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fd, fmt.Errorf("SO_REUSEPORT: %w", err)
		}
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return fd, fmt.Errorf("IPV6_V6ONLY: %w", err)
		}
	}
	if err := o.applyListener(fd, ap.Addr()); err != nil {
		return fd, err
	}
	_, _, e := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(size))
	if e != 0 {
		return fd, fmt.Errorf("bind: %w", e)
	}
	return fd, nil
}

// LocalAddr is the address fd is bound to; an error for other sockets than
// those of the internet.
func LocalAddr(fd int) (netip.AddrPort, error) {
	var sa unix.RawSockaddrAny
	n := uint32(unix.SizeofSockaddrAny)
	_, _, e := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", e)
	}
	ap := inetAddr(&sa)
	if !ap.IsValid() {
		return ap, errors.New("getsockname: not an internet socket")
	}
	return ap, nil
}
