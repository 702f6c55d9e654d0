package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Remote is where Dial connects to: an address, prepared once in the form the
// kernel reads, and the options of the socket. It is immutable and lives on
// the heap, so that an operation in flight may point into it.
type Remote struct {
	text   string
	family int
	sa     [112]byte // a struct sockaddr_in, _in6 or _un
	saLen  uint32
	peer   netip.AddrPort // invalid for unix sockets
	opts   SockOpts
}

// NewRemote prepares addr: "192.0.2.1:80", "[2001:db8::1]:80", "unix:/path",
// or "unix:@name" for an abstract socket. Names are not resolved.
func NewRemote(addr string, o SockOpts) (*Remote, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &Remote{text: addr, opts: o}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		r.family = unix.AF_UNIX
		n, err := putUnix(&r.sa, path)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", addr, err)
		}
		r.saLen = n
		return r, nil
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: want IP:port, [IPv6]:port or unix:/path: %w", addr, err)
	}
	if ap.Port() == 0 {
		return nil, fmt.Errorf("address %q: port 0 cannot be connected to", addr)
	}
	r.peer = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	r.family, r.saLen, err = putInet(&r.sa, r.peer)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	return r, nil
}

// String is the address as it was given.
func (r *Remote) String() string { return r.text }

// sockaddr is what connect(2) reads; it does not move.
func (r *Remote) sockaddr() []byte { return r.sa[:r.saLen] }

// open makes the socket of a connection to r, non-blocking and with r's
// options. An option that fails fails the socket: it was asked for.
func (r *Remote) open() (int, unix.Errno) {
	fd, err := unix.Socket(r.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	if r.family != unix.AF_UNIX {
		if err := r.opts.apply(fd, r.peer.Addr()); err != nil {
			unix.Close(fd)
			return -1, errnoOf(err)
		}
		if r.opts.FastOpen > 0 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1); err != nil {
				unix.Close(fd)
				return -1, errnoOf(err)
			}
		}
	} else if err := r.opts.applyBuffers(fd); err != nil {
		unix.Close(fd)
		return -1, errnoOf(err)
	}
	return fd, 0
}

// errnoOf is the errno of a system call's error.
func errnoOf(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}

func putInet(dst *[112]byte, ap netip.AddrPort) (family int, n uint32, err error) {
	port := ap.Port()
	if ap.Addr().Is4() {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(dst))
		sa.Family = unix.AF_INET
		sa.Addr = ap.Addr().As4()
		sa.Port = port<<8 | port>>8
		return unix.AF_INET, unix.SizeofSockaddrInet4, nil
	}
	sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(dst))
	sa.Family = unix.AF_INET6
	sa.Addr = ap.Addr().As16()
	sa.Port = port<<8 | port>>8
	if zone := ap.Addr().Zone(); zone != "" {
		if sa.Scope_id, err = interfaceIndex(zone); err != nil {
			return 0, 0, err
		}
	}
	return unix.AF_INET6, unix.SizeofSockaddrInet6, nil
}

// putUnix writes a struct sockaddr_un; "@name" is the abstract socket of that
// name, which is not terminated by a zero byte but by its length.
func putUnix(dst *[112]byte, path string) (uint32, error) {
	const offset = 2 // of sun_path
	limit := unix.SizeofSockaddrUnix - offset - 1
	switch {
	case path == "" || path == "@":
		return 0, errors.New("a unix socket needs a path")
	case len(path) > limit:
		return 0, fmt.Errorf("the path of a unix socket has at most %d bytes", limit)
	case strings.IndexByte(path, 0) >= 0:
		return 0, errors.New("the path of a unix socket has no zero byte")
	}
	(*unix.RawSockaddrUnix)(unsafe.Pointer(dst)).Family = unix.AF_UNIX
	copy(dst[offset:], path)
	if path[0] == '@' {
		dst[offset] = 0
		return uint32(offset + len(path)), nil
	}
	return uint32(offset + len(path) + 1), nil
}

// inetAddr reads a struct sockaddr the kernel wrote; not valid for other
// families than the internet's.
func inetAddr(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), in.Port<<8|in.Port>>8)
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), in.Port<<8|in.Port>>8)
	}
	return netip.AddrPort{}
}

// kernelPeer asks for the remote address of fd.
func kernelPeer(fd int32) netip.AddrPort {
	var sa unix.RawSockaddrAny
	n := uint32(unix.SizeofSockaddrAny)
	_, _, e := unix.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return netip.AddrPort{}
	}
	return inetAddr(&sa)
}

// kernelLocal asks for the address at this end of fd.
func kernelLocal(fd int32) netip.AddrPort {
	var sa unix.RawSockaddrAny
	n := uint32(unix.SizeofSockaddrAny)
	_, _, e := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return netip.AddrPort{}
	}
	return inetAddr(&sa)
}
