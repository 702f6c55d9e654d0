package numa

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MapWords returns n zero words outside of Go's heap: the garbage collector
// neither scans them nor counts them as live memory, by which it would leave
// as much garbage beside them. Pages become memory when they are first
// written. The words are there until UnmapWords.
func MapWords(n int) ([]atomic.Int64, error) {
	if n <= 0 {
		return nil, fmt.Errorf("%d words: there must be some", n)
	}
	bytes := roundUp(n*8, os.Getpagesize())
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of memory: %w (is ulimit -v set?)", bytes, err)
	}
	pages := unsafe.Slice((*byte)(p), bytes)
	// A huge page would be resident as a whole for one word. Where the kernel has none the advice fails.
	_ = unix.Madvise(pages, unix.MADV_NOHUGEPAGE)
	keepFromDumps(pages)
	return unsafe.Slice((*atomic.Int64)(p), n), nil
}

// UnmapWords gives words that MapWords returned back to the kernel. Nobody may
// touch them any more.
func UnmapWords(words []atomic.Int64) error {
	return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(words)), uintptr(roundUp(len(words)*8, os.Getpagesize())))
}
