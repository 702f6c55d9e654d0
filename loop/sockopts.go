package loop

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SockOpts are options of a listener's connections or of those to a Remote.
// Zero leaves the kernel's default everywhere.
type SockOpts struct {
	NoDelay        bool
	KeepAliveSec   int    // TCP keep-alive after so much silence, and as interval
	SndBuf, RcvBuf int    // bytes; set, the kernel no longer tunes them
	Congestion     string // algorithm by name: "cubic", "bbr"; "": see unpace
	DeferAcceptSec int    // listeners: wake for data, not for the handshake
	FastOpen       int    // listeners: length of the queue; Remote: > 0 is on
	Backlog        int    // listeners; 0: the most the kernel allows

	File *FileAccess // unix listeners: who may connect; nil: whom the umask lets
}

// FileAccess is who may open the file of a unix socket.
type FileAccess struct {
	Mode     uint32 // 0: as the umask has it
	UID, GID int    // below 0: those of the process
}

func (o *SockOpts) check() error {
	for _, x := range [...]struct {
		name      string
		value, hi int
	}{
		{"keep-alive", o.KeepAliveSec, 32767}, {"send buffer", o.SndBuf, 1 << 30}, {"receive buffer", o.RcvBuf, 1 << 30},
		{"defer accept", o.DeferAcceptSec, 32767}, {"fast open", o.FastOpen, 1 << 20}, {"backlog", o.Backlog, 1 << 20},
	} {
		if x.value < 0 || x.value > x.hi {
			return fmt.Errorf("socket option %s: %d is not in 0 ... %d", x.name, x.value, x.hi)
		}
	}
	if len(o.Congestion) >= 16 { // TCP_CA_NAME_MAX
		return fmt.Errorf("socket option congestion: %q is no algorithm", o.Congestion)
	}
	return nil
}

// apply sets what a TCP connection from or to addr has. On a listener its
// connections inherit all of it, so that accept costs no further system call.
func (o *SockOpts) apply(fd int, addr netip.Addr) error {
	set := func(what string, level, opt, value int) error {
		if err := unix.SetsockoptInt(fd, level, opt, value); err != nil {
			return fmt.Errorf("socket option %s %d: %w", what, value, err)
		}
		return nil
	}
	if o.NoDelay {
		if err := set("TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return err
		}
	}
	if o.KeepAliveSec > 0 {
		for _, x := range [...]struct {
			what       string
			level, opt int
			value      int
		}{
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, o.KeepAliveSec},
			{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, o.KeepAliveSec},
		} {
			if err := set(x.what, x.level, x.opt, x.value); err != nil {
				return err
			}
		}
	}
	if o.Congestion != "" {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, o.Congestion); err != nil {
			return fmt.Errorf("socket option TCP_CONGESTION %q (see sysctl net.ipv4.tcp_available_congestion_control): %w", o.Congestion, err)
		}
	} else if addr.IsLoopback() {
		unpace(fd)
	}
	return o.applyBuffers(fd)
}

// applyListener sets what a TCP listener on addr has, and its connections inherit.
func (o *SockOpts) applyListener(fd int, addr netip.Addr) error {
	if err := o.apply(fd, addr); err != nil {
		return err
	}
	if o.DeferAcceptSec > 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, o.DeferAcceptSec); err != nil {
			return fmt.Errorf("TCP_DEFER_ACCEPT: %w", err)
		}
	}
	if o.FastOpen > 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, o.FastOpen); err != nil {
			return fmt.Errorf("TCP_FASTOPEN: %w", err)
		}
	}
	return nil
}

// unpace gives a socket on the loopback interface another congestion control
// than bbr, which paces: to a peer on the same machine there is no bottleneck to
// measure, and a timer for every segment costs more than sending it. reno is in
// every kernel and allowed to everybody. A socket that can't have it works, too.
func unpace(fd int) {
	var name [16]byte // TCP_CA_NAME_MAX
	n := uint32(len(name))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno == 0 && string(name[:3]) == "bbr" {
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
	}
}

// applyBuffers sets the sizes of the kernel's buffers, which unix sockets have
// too.
func (o *SockOpts) applyBuffers(fd int) error {
	if o.SndBuf > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, o.SndBuf); err != nil {
			return fmt.Errorf("socket option SO_SNDBUF %d: %w", o.SndBuf, err)
		}
	}
	if o.RcvBuf > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, o.RcvBuf); err != nil {
			return fmt.Errorf("socket option SO_RCVBUF %d: %w", o.RcvBuf, err)
		}
	}
	return nil
}

// interfaceIndex is the number behind the zone of a link-local address.
func interfaceIndex(zone string) (uint32, error) {
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index), nil
	}
	n, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("no network interface %q", zone)
	}
	return uint32(n), nil
}
