//go:build giouring

package loop

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a probe may wait for something that takes microseconds when it works.
const probeWaitNs = int64(2 * time.Second)

// probeUring fills f by trying, on a ring of its own, what the backend does.
func probeUring(f *Features) {
	f.CompiledIn = true
	// A ring with a single issuer belongs to the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g, err := newRing(8)
	if err != nil {
		f.Reason = setupReason(err, f.Kernel, ioUringSysctl(), memlockLimit())
		return
	}
	defer g.close()
	f.DeferTaskrun = true
	f.Bundles = g.params.features&featRecvSendBundle != 0
	f.MinTimeout = g.params.features&featMinTimeout != 0
	if missing := ringFeatures &^ g.params.features; missing != 0 {
		f.Reason = fmt.Sprintf("kernel %s lacks ring features %#x: Linux 6.1 or later is needed", f.Kernel, missing)
		return
	}
	missing, err := g.missingOps(uringOps)
	if err != nil {
		f.Reason = fmt.Sprintf("the operations of kernel %s cannot be listed: %v", f.Kernel, err)
		return
	}
	if len(missing) > 0 {
		f.Reason = fmt.Sprintf("kernel %s lacks the io_uring operations %s", f.Kernel, strings.Join(missing, ", "))
		return
	}
	if f.Reason = tryBufferRing(g, f); f.Reason != "" {
		return
	}
	if err := tryAccept(g); err != nil {
		f.Reason = fmt.Sprintf("multishot accept does not work on kernel %s: %v", f.Kernel, err)
		return
	}
	f.MultishotAccept = true
	g.registerFD()
	f.RegisteredFD = g.regIndex >= 0
	f.Usable = true
}

// setupReason turns the errno of io_uring_setup into what the administrator
// can do about it. sysctl is the value of kernel.io_uring_disabled, "" when
// there is none; memlock in bytes.
func setupReason(err error, kernel, sysctl string, memlock uint64) string {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Sprintf("kernel %s has no io_uring, or a seccomp filter hides it (ENOSYS)", kernel)
	case errors.Is(err, unix.EPERM) && sysctl == "2":
		return "io_uring disabled by sysctl kernel.io_uring_disabled=2: `sysctl -w kernel.io_uring_disabled=0` enables it"
	case errors.Is(err, unix.EPERM) && sysctl == "1":
		return "io_uring restricted by sysctl kernel.io_uring_disabled=1: join the group of kernel.io_uring_group, or set it to 0"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "io_uring_setup is not permitted: a seccomp filter (container runtime) or security module denies it; allow io_uring_setup, io_uring_enter and io_uring_register"
	case errors.Is(err, unix.ENOMEM):
		return fmt.Sprintf("no memory for a ring: raise RLIMIT_MEMLOCK (`ulimit -l`, now %d bytes) or the memory limit of the cgroup", memlock)
	case errors.Is(err, unix.EINVAL):
		return fmt.Sprintf("kernel %s is too old: SINGLE_ISSUER and DEFER_TASKRUN rings need Linux 6.1", kernel)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "no file descriptor left for a ring: raise RLIMIT_NOFILE (`ulimit -n`)"
	}
	return fmt.Sprintf("io_uring_setup: %v", err)
}

func ioUringSysctl() string {
	b, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func memlockLimit() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return 0
	}
	return l.Cur
}

// tryBufferRing registers a buffer ring and receives into it. It returns a
// reason when that does not work.
func tryBufferRing(g *ring, f *Features) string {
	b, err := g.newPbufRing(4, 0)
	if err != nil {
		return fmt.Sprintf("provided-buffer rings do not work on kernel %s: %v", f.Kernel, err)
	}
	defer b.free()
	f.BufferRing = true
	if err := tryRecv(g, b); err != nil {
		return fmt.Sprintf("multishot receive does not work on kernel %s: %v", f.Kernel, err)
	}
	f.MultishotRecv = true
	f.IncrementalBuffer = g.hasIncrementalBuffers()
	return ""
}

// tryRecv wants two receives out of one submission.
func tryRecv(g *ring, b *pbufRing) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[1])
	mem := make([]byte, 128) // stays reachable until the ring is unregistered
	defer runtime.KeepAlive(mem)
	b.put(mem[:64:64])
	b.put(mem[64:])
	b.publish()
	prepRecv(g.sqe(), int32(fds[0]), b.group, false, packUserData(urRecv, 1, 1))
	for _, want := range []string{"a", "b"} {
		if _, err := unix.Write(fds[1], []byte(want)); err != nil {
			unix.Close(fds[0])
			return err
		}
		c, err := g.one()
		if err != nil {
			unix.Close(fds[0])
			return err
		}
		bid := c.Flags >> cqeBufferShift
		if c.Res != 1 || c.Flags&(cqeBuffer|cqeMore) != cqeBuffer|cqeMore || bid > 1 || string(mem[64*bid:64*bid+1]) != want {
			unix.Close(fds[0])
			return fmt.Errorf("result %d, flags %#x", c.Res, c.Flags)
		}
	}
	return g.endMultishot(int32(fds[0]), packUserData(urRecv, 1, 1))
}

// tryAccept wants two connections out of one submission.
func tryAccept(g *ring) error {
	ls, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// An empty path: the kernel picks an abstract name, no file is made.
	if err := unix.Bind(ls, &unix.SockaddrUnix{}); err != nil {
		unix.Close(ls)
		return err
	}
	if err := acceptTwo(g, ls); err != nil {
		unix.Close(ls)
		return err
	}
	return g.endMultishot(int32(ls), packUserData(urAccept, 1, 1))
}

func acceptTwo(g *ring, ls int) error {
	if err := unix.Listen(ls, 2); err != nil {
		return err
	}
	name, err := unix.Getsockname(ls)
	if err != nil {
		return err
	}
	prepAccept(g.sqe(), int32(ls), packUserData(urAccept, 1, 1))
	for range 2 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, name); err != nil {
			return err
		}
		c, err := g.one()
		if err != nil {
			return err
		}
		if c.Res < 0 {
			return unix.Errno(-c.Res)
		}
		unix.Close(int(c.Res))
		if c.Flags&cqeMore == 0 {
			return errors.New("it ends after one connection")
		}
	}
	return nil
}

// endMultishot cancels the operation known as u and closes fd.
func (g *ring) endMultishot(fd int32, u userData) error {
	defer unix.Close(int(fd))
	prepCancel(g.sqe(), u)
	c, err := g.one()
	if err != nil {
		return err
	}
	if c.UserData != uint64(u) || c.Res != -int32(unix.ECANCELED) || c.Flags&cqeMore != 0 {
		return fmt.Errorf("cancelling it: operation %#x, result %d, flags %#x", c.UserData, c.Res, c.Flags)
	}
	return nil
}

// one waits for one completion and takes it.
func (g *ring) one() (cqe, error) {
	for deadline := time.Now().Add(time.Duration(probeWaitNs)); ; {
		if batch := g.completions(); len(batch) > 0 {
			c := *batch[0]
			g.seen(1)
			return c, nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return cqe{}, unix.ETIMEDOUT
		}
		if err := g.submitWait(int64(left)); err != nil && err != unix.EINTR {
			return cqe{}, err
		}
	}
}
