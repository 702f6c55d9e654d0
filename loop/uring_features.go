package loop

import (
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Features is what this kernel, and this process on it, can do with io_uring.
type Features struct {
	Kernel     string // release, as uname tells it
	CompiledIn bool   // false: the rest was not looked at
	Usable     bool   // everything the io_uring backend needs is there
	Reason     string // why it is not usable, and what to do; "" when it is

	// Needed. The last three were tried, not only asked for.
	DeferTaskrun    bool // SINGLE_ISSUER and DEFER_TASKRUN rings, Linux 6.1
	BufferRing      bool // provided-buffer rings, Linux 5.19
	MultishotAccept bool // Linux 5.19
	MultishotRecv   bool // Linux 6.0

	// Not needed, reported.
	RegisteredFD      bool // enter by registered ring descriptor, Linux 5.18
	Bundles           bool // several buffers per send or receive, Linux 6.10
	IncrementalBuffer bool // buffers used up piece by piece, Linux 6.12
	MinTimeout        bool // wait for a batch, Linux 6.12
}

// String is one line for start-up messages.
func (f Features) String() string {
	var b strings.Builder
	b.WriteString("Linux ")
	b.WriteString(f.Kernel)
	if !f.Usable {
		b.WriteString(": not usable: ")
		b.WriteString(f.Reason)
		return b.String()
	}
	b.WriteString(": usable:")
	for _, x := range []struct {
		has  bool
		name string
	}{
		{f.DeferTaskrun, "defer_taskrun"}, {f.BufferRing, "buffer_ring"},
		{f.MultishotAccept, "multishot_accept"}, {f.MultishotRecv, "multishot_recv"},
		{f.RegisteredFD, "registered_fd"}, {f.Bundles, "bundles"},
		{f.IncrementalBuffer, "incremental_buffers"}, {f.MinTimeout, "min_timeout"},
	} {
		b.WriteByte(' ')
		if !x.has {
			b.WriteByte('-')
		}
		b.WriteString(x.name)
	}
	return b.String()
}

// Probe finds out, once per process, what can be done with io_uring. It uses
// rings of its own and leaves nothing behind.
func Probe() Features { return probeOnce() }

var probeOnce = sync.OnceValue(func() Features {
	f := Features{Kernel: kernelRelease()}
	probeUring(&f)
	return f
})

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "(unknown release)"
	}
	return unix.ByteSliceToString(u.Release[:])
}
