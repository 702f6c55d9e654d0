package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that cannot block go past the scheduler (RawSyscall): telling
// it costs as much as a short call itself.

// closeFD closes a socket.
func closeFD(fd int32) {
	unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// abortFD closes a TCP connection with RST.
func abortFD(fd int32) {
	linger := unix.Linger{Onoff: 1, Linger: 0}
	unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
	closeFD(fd)
}

// endFD is a backend's close: orderly, or with RST if c was aborted.
func endFD(c *conn) {
	if c.has(flagAbort) {
		abortFD(c.fd)
		return
	}
	closeFD(c.fd)
}

// shutdownFD ends the sending direction.
func shutdownFD(fd int32) {
	unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}

// unackedFD is what waits in fd's send buffer, unreadFD what waits in the other
// one; 0 for what is no socket.
func unackedFD(fd int32) int { return queuedFD(fd, unix.SIOCOUTQ) }
func unreadFD(fd int32) int  { return queuedFD(fd, unix.SIOCINQ) }

func queuedFD(fd int32, which uintptr) int {
	var n int32
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), which, uintptr(unsafe.Pointer(&n))); e != 0 {
		return 0
	}
	return int(n)
}

// brokenFD: both directions are shut after a reset, which is an error until it
// is told.
func brokenFD(fd int32) bool {
	p, now := unix.PollFd{Fd: fd}, unix.Timespec{}
	_, _, e := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return e == 0 && p.Revents&(unix.POLLERR|unix.POLLHUP) == unix.POLLERR|unix.POLLHUP
}

// lowatFD is SO_RCVLOWAT. Sockets that know no such thing wake as ever.
func lowatFD(fd int32, n int) {
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, n)
}

// unixFD says that fd is a unix socket.
func unixFD(fd int32) bool {
	domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX
}

// socketError takes the error that is pending on fd.
func socketError(fd int32) unix.Errno {
	var value, size int32 = 0, 4
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return e
	}
	return unix.Errno(value)
}

// connectFD starts to connect; EINPROGRESS is ordinary.
func connectFD(fd int32, sa []byte) unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa[0])), uintptr(len(sa)))
	return e
}

// recvFD receives into one buffer.
func recvFD(fd int32, b []byte) (int, unix.Errno) {
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	return int(n), e
}

// readvFD receives into several.
func readvFD(fd int32, iov []unix.Iovec) (int, unix.Errno) {
	n, _, e := unix.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	return int(n), e
}

// sendFlags: the last bytes before a shutdown wait for it in the kernel, so
// that they and the FIN are one segment.
func sendFlags(c *conn) uintptr {
	if c.has(flagShutWanted) {
		return unix.MSG_NOSIGNAL | unix.MSG_MORE
	}
	return unix.MSG_NOSIGNAL
}

// sendFD sends one buffer.
func sendFD(fd int32, v *unix.Iovec, flags uintptr) (int, unix.Errno) {
	n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), flags, 0, 0)
	return int(n), e
}

// sendmsgFD sends several.
func sendmsgFD(fd int32, m *unix.Msghdr, flags uintptr) (int, unix.Errno) {
	n, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), flags)
	return int(n), e
}

// acceptFD accepts one connection, non-blocking, and its address.
func acceptFD(fd int32, sa *unix.RawSockaddrAny, size *uint32) (int32, unix.Errno) {
	*size = unix.SizeofSockaddrAny
	n, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(sa)), uintptr(unsafe.Pointer(size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int32(n), e
}

// epollCtl changes what ep watches.
func epollCtl(ep int, op int, fd int32, ev *unix.EpollEvent) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(ev)), 0, 0)
	return e
}

// shutdownBoth ends both directions.
func shutdownBoth(fd int32) {
	unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_RDWR, 0)
}

func addrOf(p unsafe.Pointer) uint64 { return uint64(uintptr(p)) }
