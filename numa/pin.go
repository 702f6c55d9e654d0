package numa

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pin ties the calling goroutine to its thread and the thread to cpu, and
// verifies that the kernel did so. When it fails the goroutine is not tied.
// A goroutine that ends while tied takes its thread with it, so no other work
// ever runs on a thread with the wrong mask.
func Pin(cpu int) error {
	if cpu < 0 || cpu >= maxCPUs {
		return fmt.Errorf("pin to CPU %d: not a CPU number", cpu)
	}
	runtime.LockOSThread()
	if err := setAffinity(cpu); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return nil
}

func setAffinity(cpu int) error {
	want := NewCPUSet(cpu)
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0,
		uintptr(len(want.words)*8), uintptr(unsafe.Pointer(&want.words[0])))
	if errno == unix.EINVAL {
		return errors.New("the CPU is offline or outside the cgroup's cpuset")
	}
	if errno != 0 {
		return fmt.Errorf("sched_setaffinity: %w", errno)
	}
	got, err := Affinity()
	if err != nil {
		return err
	}
	if !got.Has(cpu) || got.Count() != 1 {
		return fmt.Errorf("the kernel left the thread on CPUs %q", got)
	}
	return nil
}

// Affinity is the set of CPUs that the calling thread may run on.
func Affinity() (CPUSet, error) {
	// The kernel refuses a mask shorter than its own with EINVAL and does not
	// say how long that is.
	for n := 16; n <= maxCPUs/64; n *= 2 {
		words := make([]uint64, n)
		_, _, errno := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, 0,
			uintptr(n*8), uintptr(unsafe.Pointer(&words[0])))
		if errno == 0 {
			return fromWords(words), nil
		}
		if errno != unix.EINVAL {
			return CPUSet{}, fmt.Errorf("sched_getaffinity: %w", errno)
		}
	}
	return CPUSet{}, errors.New("sched_getaffinity: the kernel's CPU mask is longer than any known")
}
