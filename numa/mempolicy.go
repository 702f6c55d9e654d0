package numa

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mbind sets where the pages of n bytes at p come from when they are first
// touched.
func mbind(p unsafe.Pointer, n int, mode uintptr, node int) error {
	nodes := NewCPUSet(node)
	// The kernel reads one bit less than it is told.
	_, _, errno := unix.Syscall6(unix.SYS_MBIND, uintptr(p), uintptr(n), mode,
		uintptr(unsafe.Pointer(&nodes.words[0])), uintptr(len(nodes.words)*64+1), 0)
	switch errno {
	case 0:
		return nil
	case unix.EPERM:
		return errors.New("mbind is forbidden here (a container's system call filter; CAP_SYS_NICE lifts Docker's)")
	case unix.ENOSYS:
		return errors.New("this kernel has no mbind")
	case unix.EINVAL:
		return fmt.Errorf("node %d has no memory or is outside the cgroup's cpuset.mems", node)
	}
	return fmt.Errorf("mbind: %w", errno)
}
