package numa

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KeepFromDumps has the pages that lie wholly within *p left out of core dumps. It is
// for what is never freed, or the memory's next owner would miss it in them.
func KeepFromDumps[T any](p *T) {
	page := os.Getpagesize()
	from := roundUp(int(uintptr(unsafe.Pointer(p))), page) - int(uintptr(unsafe.Pointer(p)))
	n := (int(unsafe.Sizeof(*p)) - from) / page * page
	if n > 0 {
		keepFromDumps(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(p), from)), n))
	}
}

// keepFromDumps is for whole pages. Where it fails there is no harm done: dumps are
// forbidden as a whole where keys are held (core_dumps).
func keepFromDumps(pages []byte) { _ = unix.Madvise(pages, unix.MADV_DONTDUMP) }
