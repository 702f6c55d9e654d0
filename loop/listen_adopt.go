package loop

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// AdoptListeners is OpenListeners for sockets that another process has opened for addr, and may
// still accept on. given are all of them, in the order in which they were opened, which is that
// of the group; they are the caller's also with an error. The result begins with given, and is
// longer where there are more loops than sockets. Where there are fewer loops, all that is given
// has to be accepted on nevertheless: the kernel may have queued connections there.
func AdoptListeners(addr string, given []int, n int, cpus []int, o SockOpts) (fds []int, err error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	fds, err = adoptListeners(addr, slices.Clone(given), n, cpus, &o)
	if err != nil {
		for _, fd := range fds[len(given):] {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	return fds, nil
}

func adoptListeners(addr string, fds []int, n int, cpus []int, o *SockOpts) ([]int, error) {
	path, isUnix := strings.CutPrefix(addr, "unix:")
	for _, fd := range fds {
		if err := adoptSocket(fd, isUnix, o); err != nil {
			return fds, err
		}
	}
	if isUnix && o.File != nil && path[0] != '@' && !o.File.has(path) {
		if err := o.File.give(path); err != nil {
			return fds, err
		}
	}
	if shared, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_REUSEPORT); err != nil {
		return fds, fmt.Errorf("SO_REUSEPORT: %w", err)
	} else if isUnix || shared == 0 { // one socket for all loops
		return dupTo(fds, n)
	}
	local, err := LocalAddr(fds[0])
	if err != nil {
		return fds, err
	}
	for len(fds) < n {
		fd, err := bindTCP(local, o, true)
		if fd >= 0 {
			fds = append(fds, fd)
		}
		if err == nil {
			err = unix.Listen(fd, backlog(o))
		}
		if err != nil {
			return fds, err
		}
	}
	return fds, steer(fds, n, cpus)
}

// adoptSocket gives a socket the options of those that this process opens.
func adoptSocket(fd int, isUnix bool, o *SockOpts) error {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening == 0 {
		return fmt.Errorf("descriptor %d is no listening socket (%v)", fd, err)
	}
	if err := unix.Listen(fd, backlog(o)); err != nil { // the length of its queue may have changed
		return fmt.Errorf("listen: %w", err)
	}
	if isUnix {
		return o.applyBuffers(fd)
	}
	local, err := LocalAddr(fd)
	if err != nil {
		return err
	}
	return o.applyListener(fd, local.Addr())
}

// has says that the socket file at path has this owner, group and mode.
func (a *FileAccess) has(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil &&
		(a.UID < 0 || uint32(a.UID) == st.Uid) && (a.GID < 0 || uint32(a.GID) == st.Gid) && (a.Mode == 0 || a.Mode == st.Mode&0o7777)
}

// dupTo gives one more descriptor of the same socket to each of n loops that has none.
func dupTo(fds []int, n int) ([]int, error) {
	for len(fds) < n {
		dup, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fds, fmt.Errorf("dup: %w", err)
		}
		fds = append(fds, dup)
	}
	return fds, nil
}

// SteerAgain has the group of fds, which were opened or adopted for n loops on cpus, steer to
// them, whatever another process that has the sockets too has made of it.
func SteerAgain(fds []int, n int, cpus []int) error {
	if shared, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_REUSEPORT); err != nil || shared == 0 {
		return err
	}
	return steer(fds, n, cpus)
}

// steer attaches the program for n loops to the group of fds. Sockets beyond those of the loops
// get no new connections.
func steer(fds []int, n int, cpus []int) error {
	if len(fds) < 2 {
		return nil
	}
	return attachSteering(fds[0], steeringProgram(n, cpus, arphrdLoopback))
}
