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

// probeUring tries, on a ring of its own, what the backend does.
func probeUring(kernel string) Features {
	f := Features{Kernel: kernel}
	// A ring with a single issuer belongs to the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g, err := newRing(8)
	if err != nil {
		f.Reason = setupReason(err, kernel, ioUringSysctl(), memlockLimit())
		return f
	}
	defer g.close()
	f.Names = append(f.Names, "single_issuer", "defer_taskrun")
	for _, step := range []func(*ring, *Features) error{
		tryFeatures, tryBufferRing, tryRecv, tryAccept,
	} {
		if err := step(g, &f); err != nil {
			f.Reason = fmt.Sprintf("%v (Linux %s; 6.1 or later is needed)", err, kernel)
			return f
		}
	}
	g.registerFD()
	if g.regIndex >= 0 {
		f.Names = append(f.Names, "registered_fd")
	}
	f.Usable = true
	return f
}

// tryFeatures wants the ring features and operations the backend relies on,
// and notes those it could do without.
func tryFeatures(g *ring, f *Features) error {
	if missing := ringFeatures &^ g.params.features; missing != 0 {
		return fmt.Errorf("ring features %#x are missing", missing)
	}
	missing, err := g.missingOps(uringOps)
	if err != nil {
		return fmt.Errorf("the operations of io_uring cannot be listed: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("the io_uring operations %s are missing", strings.Join(missing, ", "))
	}
	if g.params.features&featRecvSendBundle != 0 {
		f.Names = append(f.Names, "bundles")
	}
	if g.params.features&featMinTimeout != 0 {
		f.Names = append(f.Names, "min_timeout")
	}
	return nil
}

// setupReason turns the errno of io_uring_setup into what the administrator
// can do about it. sysctl is the value of kernel.io_uring_disabled, "" when
// there is none; memlock in bytes.
func setupReason(err error, kernel, sysctl string, memlock uint64) string {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Sprintf("Linux %s has no io_uring, or a seccomp filter hides it (ENOSYS)", kernel)
	case errors.Is(err, unix.EPERM) && sysctl == "2":
		return "io_uring disabled by sysctl kernel.io_uring_disabled=2: `sysctl -w kernel.io_uring_disabled=0` enables it"
	case errors.Is(err, unix.EPERM) && sysctl == "1":
		return "io_uring restricted by sysctl kernel.io_uring_disabled=1: join the group of kernel.io_uring_group, or set it to 0"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "io_uring_setup is not permitted: a seccomp filter (container runtime) or security module denies it; allow io_uring_setup, io_uring_enter and io_uring_register"
	case errors.Is(err, unix.ENOMEM):
		return fmt.Sprintf("no memory for a ring: raise RLIMIT_MEMLOCK (`ulimit -l`, now %d bytes) or the memory limit of the cgroup", memlock)
	case errors.Is(err, unix.EINVAL):
		return fmt.Sprintf("Linux %s is too old: SINGLE_ISSUER and DEFER_TASKRUN rings need 6.1", kernel)
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

const probeGroup = 0

func tryBufferRing(g *ring, f *Features) error {
	b, err := g.newPbufRing(4, probeGroup)
	if err != nil {
		return fmt.Errorf("provided-buffer rings do not work: %w", err)
	}
	b.free()
	f.Names = append(f.Names, "buffer_ring")
	if g.hasIncrementalBuffers() {
		f.Names = append(f.Names, "incremental_buffers")
	}
	return nil
}

// tryRecv wants two receives into a buffer ring out of one submission.
func tryRecv(g *ring, f *Features) error {
	b, err := g.newPbufRing(4, probeGroup)
	if err != nil {
		return err
	}
	defer b.free()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if err := recvTwo(g, b, fds); err != nil {
		return fmt.Errorf("multishot receive does not work: %w", err)
	}
	f.Names = append(f.Names, "multishot_recv")
	if recvLimited(g, b, fds) {
		f.Names = append(f.Names, featRecvLimit)
	}
	return nil
}

// featRecvLimit: a multishot receive ends after a given number of bytes, so that one
// connection cannot keep the loop from the others.
const featRecvLimit = "recv_limit"

func recvTwo(g *ring, b *pbufRing, fds [2]int) error {
	mem := make([]byte, 192) // stays reachable until the operation has ended
	defer runtime.KeepAlive(mem)
	// One more than is needed: kernels that do not know how much a unix socket
	// holds look for more, and end the receive when they find no buffer for it.
	for rest := mem; len(rest) > 0; rest = rest[64:] {
		b.put(rest[:64:64])
	}
	b.publish()
	u := packUserData(urRecv, 1, 1)
	prepRecvMultishot(g.sqe(), int32(fds[0]), b.group, 0, u)
	for _, want := range []byte("ab") {
		if _, err := unix.Write(fds[1], []byte{want}); err != nil {
			return err
		}
		c, err := g.one()
		if err != nil {
			return err
		}
		bid := c.Flags >> cqeBufferShift
		if c.Res != 1 || c.Flags&(cqeBuffer|cqeMore) != cqeBuffer|cqeMore || bid > 2 || mem[64*bid] != want {
			return fmt.Errorf("result %d, flags %#x", c.Res, c.Flags)
		}
	}
	// What is left in the ring must not be written to once mem is gone.
	return errors.Join(g.cancelled(u), b.reset())
}

// recvLimited wants a multishot receive to end with the one that reaches its
// limit. Before Linux 6.17 a limit is refused as invalid.
func recvLimited(g *ring, b *pbufRing, fds [2]int) bool {
	mem := make([]byte, 64)
	defer runtime.KeepAlive(mem)
	for range 2 {
		b.put(mem)
	}
	b.publish()
	u := packUserData(urRecv, 2, 1)
	prepRecvMultishot(g.sqe(), int32(fds[0]), b.group, 4, u)
	for _, goesOn := range []bool{true, false} {
		if _, err := unix.Write(fds[1], []byte("ab")); err != nil {
			return false
		}
		c, err := g.one()
		if err != nil || c.Res != 2 {
			return false
		}
		if more := c.Flags&cqeMore != 0; more != goesOn {
			if more {
				_ = g.cancelled(u)
			}
			return false
		}
	}
	return true
}

// tryAccept wants two connections out of one submission.
func tryAccept(g *ring, f *Features) error {
	ls, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ls)
	// An empty path: the kernel picks an abstract name, no file is made.
	if err := unix.Bind(ls, &unix.SockaddrUnix{}); err != nil {
		return err
	}
	if err := acceptTwo(g, ls); err != nil {
		return fmt.Errorf("multishot accept does not work: %w", err)
	}
	f.Names = append(f.Names, "multishot_accept")
	return nil
}

func acceptTwo(g *ring, ls int) error {
	if err := unix.Listen(ls, 2); err != nil {
		return err
	}
	name, err := unix.Getsockname(ls)
	if err != nil {
		return err
	}
	u := packUserData(urAccept, 1, 1)
	prepAccept(g.sqe(), int32(ls), u)
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
	return g.cancelled(u)
}

// cancelled cancels the operation known as u and waits for its end.
func (g *ring) cancelled(u userData) error {
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
		if err := g.submitWait(int64(left), 0, false); err != nil && err != unix.EINTR {
			return cqe{}, err
		}
	}
}
