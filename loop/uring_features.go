package loop

import (
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Features is what a build, on this kernel and in this process, can do with
// io_uring.
type Features struct {
	Usable bool     // everything the backend needs is there
	Reason string   // why it is not usable, and what to do; "" when it is
	Kernel string   // release, "6.12.0"
	Names  []string // what was found, in the words of the kernel's interface
}

// String says what was found, or why that is not enough.
func (f Features) String() string {
	if !f.Usable {
		return f.Reason
	}
	return strings.Join(f.Names, " ")
}

// Probe finds out, once per process, what io_uring can do. It tries on rings
// of its own and leaves nothing behind.
func Probe() Features { return probeOnce() }

var probeOnce = sync.OnceValue(func() Features { return probeUring(kernelRelease()) })

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "(unknown release)"
	}
	return unix.ByteSliceToString(u.Release[:])
}
