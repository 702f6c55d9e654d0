//go:build giouring

package loop

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSetupReason(t *testing.T) {
	tests := []struct {
		err    error
		sysctl string
		want   string
	}{
		{unix.ENOSYS, "0", "has no io_uring"},
		{unix.EPERM, "2", "kernel.io_uring_disabled=2: `sysctl -w kernel.io_uring_disabled=0`"},
		{unix.EPERM, "1", "kernel.io_uring_group"},
		{unix.EPERM, "0", "seccomp"},
		{unix.EPERM, "", "seccomp"},
		{unix.EACCES, "", "security module"},
		{unix.ENOMEM, "0", "RLIMIT_MEMLOCK (`ulimit -l`, now 65536 bytes)"},
		{unix.EINVAL, "0", "Linux 5.10.0 is too old"},
		{unix.EMFILE, "0", "ulimit -n"},
		{unix.EFAULT, "0", "bad address"},
	}
	for _, tt := range tests {
		got := setupReason(tt.err, "5.10.0", tt.sysctl, 65536)
		if !strings.Contains(got, tt.want) {
			t.Errorf("%v with sysctl %q: %q lacks %q", tt.err, tt.sysctl, got, tt.want)
		}
	}
}

// denySyscall makes a system call of the calling thread, which must be locked
// and is never used again, fail with errno.
func denySyscall(nr uint32, errno unix.Errno) error {
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
	)
	prog := []unix.SockFilter{
		{Code: load, K: 0}, // the call's number
		{Code: jeq, K: nr, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(prog)
	if e != 0 {
		return e
	}
	return nil
}

func TestProbeDenied(t *testing.T) {
	tests := []struct {
		name  string
		nr    uint32
		errno unix.Errno
		want  string
	}{
		{"setup EPERM", unix.SYS_IO_URING_SETUP, unix.EPERM, "allow io_uring_setup, io_uring_enter and io_uring_register"},
		{"setup ENOSYS", unix.SYS_IO_URING_SETUP, unix.ENOSYS, "ENOSYS"},
		{"register EPERM", unix.SYS_IO_URING_REGISTER, unix.EPERM, "cannot be listed"},
		{"enter EPERM", unix.SYS_IO_URING_ENTER, unix.EPERM, "multishot receive does not work"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f Features
			failed := make(chan error)
			go func() {
				// Not unlocked: the thread ends with the goroutine.
				runtime.LockOSThread()
				err := denySyscall(tt.nr, tt.errno)
				if err == nil {
					f = probeUring("x")
				}
				failed <- err
			}()
			if err := <-failed; err != nil {
				t.Fatalf("a seccomp filter cannot be installed: %v", err)
			}
			if f.Usable || !strings.Contains(f.Reason, tt.want) {
				t.Errorf("usable %v, reason %q, want one with %q", f.Usable, f.Reason, tt.want)
			}
			if s := f.String(); !strings.Contains(s, f.Reason) {
				t.Errorf("%q lacks the reason", s)
			}
		})
	}
}

func TestProbeLeavesNothing(t *testing.T) {
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	probeUring("") // whatever is opened once
	before := count()
	var f Features
	for range 3 {
		f = probeUring("6.1.0")
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors open after probing, %d before", after, before)
	}
	if f.Usable == (f.Reason != "") {
		t.Errorf("usable %v, reason %q", f.Usable, f.Reason)
	}
	if !f.Usable {
		return
	}
	for _, want := range []string{"defer_taskrun", "buffer_ring", "multishot_recv", "multishot_accept"} {
		if !slices.Contains(f.Names, want) {
			t.Errorf("usable without %s: %s", want, f)
		}
	}
	t.Log(f)
}
