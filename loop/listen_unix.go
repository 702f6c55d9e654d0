package loop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func openUnixListeners(path string, n int, o *SockOpts) ([]int, error) {
	var sa [112]byte
	size, err := putUnix(&sa, path)
	if err != nil {
		return nil, err
	}
	if path[0] != '@' {
		unlock, err := lockFolder(path)
		if err != nil {
			return nil, err
		}
		defer unlock()
		if err := removeStale(path, sa[:size]); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	fds := []int{fd}
	if err := o.applyBuffers(fd); err != nil {
		return fds, err
	}
	_, _, e := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(size))
	if e != 0 {
		return fds, fmt.Errorf("bind: %w", e)
	}
	// Before listen nobody can connect.
	if o.File != nil && path[0] != '@' {
		if err := o.File.give(path); err != nil {
			return fds, err
		}
	}
	if err := unix.Listen(fd, backlog(o)); err != nil {
		return fds, fmt.Errorf("listen: %w", err)
	}
	return dupTo(fds, n)
}

// give sets owner, group and mode of the socket file at path. It goes by a
// descriptor of the file: whoever may write in the folder could put a link there.
func (a *FileAccess) give(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("socket %s: it was replaced (%v)", path, err)
	}
	if a.UID >= 0 || a.GID >= 0 {
		if err := unix.Fchownat(fd, "", a.UID, a.GID, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("owner %d, group %d of socket %s: %w: root may give files away, others only to a group they are in", a.UID, a.GID, path, err)
		}
	}
	if a.Mode == 0 {
		return nil
	}
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), a.Mode); err != nil {
		return fmt.Errorf("mode %#o of socket %s: %w", a.Mode, path, err)
	}
	return nil
}

// lockFolder lets one process at a time look who listens at path and take its
// place: of two, the slower would remove the socket of the other. Somebody else
// has it: EADDRINUSE.
func lockFolder(path string) (unlock func(), err error) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.EACCES {
		return func() {}, nil // a folder that may be used and not be read
	}
	if err != nil {
		return nil, fmt.Errorf("folder of %s: %w", path, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		if err == unix.EWOULDBLOCK {
			err = unix.EADDRINUSE
		}
		return nil, fmt.Errorf("folder of %s: %w", path, err)
	}
	return func() { unix.Close(fd) }, nil
}

// removeStale removes the socket at path if nobody listens on it any more.
// Whatever else is there stays.
func removeStale(path string, sa []byte) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: it is not removed", path)
	}
	switch errno := tryUnix(sa); errno {
	case unix.ECONNREFUSED:
		return os.Remove(path)
	case unix.ENOENT:
		return nil
	case 0, unix.EAGAIN, unix.EINPROGRESS:
		return unix.EADDRINUSE
	default:
		return fmt.Errorf("socket %s cannot be tried: %w", path, errno)
	}
}

// tryUnix connects to a unix socket and lets it be.
func tryUnix(sa []byte) unix.Errno {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.(unix.Errno)
	}
	defer unix.Close(fd)
	return connectFD(int32(fd), sa)
}

// SocketFile is the file of a unix socket that this process has made.
type SocketFile struct {
	path     string
	dev, ino uint64
	made     syscall.Timespec
}

// Path is where the file is.
func (f SocketFile) Path() string { return f.path }

// SocketFileOf looks at the file at path, right after it was made.
func SocketFileOf(path string) (SocketFile, error) {
	f := SocketFile{path: path}
	st, err := os.Lstat(path)
	if err != nil {
		return f, err
	}
	sys := st.Sys().(*syscall.Stat_t)
	f.dev, f.ino, f.made = sys.Dev, sys.Ino, sys.Mtim // an inode's number may be given out again
	return f, nil
}

// Remove removes the file, unless it is another one by now, or a successor
// listens on it.
func (f SocketFile) Remove() error {
	var sa [112]byte
	size, err := putUnix(&sa, f.path)
	if err != nil {
		return err
	}
	unlock, err := lockFolder(f.path)
	if err != nil {
		return err
	}
	defer unlock()
	for range releaseTries {
		now, err := SocketFileOf(f.path)
		if errors.Is(err, os.ErrNotExist) || err == nil && now != f {
			return nil
		}
		if err != nil {
			return err
		}
		if tryUnix(sa[:size]) == unix.ECONNREFUSED {
			return os.Remove(f.path)
		}
		time.Sleep(releaseStep)
	}
	return nil
}

// A ring that is closed lets go of its sockets a moment later.
const (
	releaseTries = 20
	releaseStep  = 10 * time.Millisecond
)
