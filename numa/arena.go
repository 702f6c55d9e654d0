package numa

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HugePageBytes is the size of the huge pages that arenas use.
const HugePageBytes = 2 << 20

// HugeMode says what to do about huge pages.
type HugeMode uint8

const (
	HugeAuto   HugeMode = iota // reserved 2 MiB pages if there are any, else transparent ones, else 4 KiB
	HugeAlways                 // reserved 2 MiB pages or nothing
	HugeNever                  // 4 KiB pages, also where the kernel would use transparent ones unasked
)

// String is the word that the configuration uses.
func (m HugeMode) String() string {
	switch m {
	case HugeAuto:
		return "auto"
	case HugeAlways:
		return "always"
	}
	return "never"
}

// ArenaConfig says what an arena may become.
type ArenaConfig struct {
	MaxBytes  int // limit; rounded up to whole 4 KiB pages
	StepBytes int // taken and given back at a time; rounded up to whole pages, to 2 MiB ones unless Huge is HugeNever
	Node      int // whose memory to take, -1 for no preference
	Huge      HugeMode
}

// Arena is a contiguous range of addresses, aligned to 2 MiB, of which a
// growing part from the start on is memory. It is used by one loop; nothing
// locks.
//
// The first step of small pages is never huge, the later ones are where the
// kernel does that: one touched byte of a huge page costs 2 MiB of resident
// memory, and a proxy that needs no second step is a small one. Once the
// second step is there the first is advised as well, and the kernel joins its
// pages in the background.
//
// Small pages are placed by whoever touches them first, so let it be the
// pinned thread; the policy set on the range covers the cases where that is
// not enough. Huge pages are touched by Grow.
type Arena struct {
	base      unsafe.Pointer
	max       int // bytes
	step      int // bytes
	huge      HugeMode
	transp    bool // the kernel makes transparent huge pages where advised
	moving    moving
	node      int // to bind to, -1: none
	steps     []stepKind
	committed int // bytes
	report    ArenaReport
}

// stepKind is what a committed step consists of.
type stepKind uint8

const (
	stepSmall   stepKind = iota // 4 KiB pages
	stepAdvised                 // the kernel was asked for transparent huge pages
	stepHuge                    // reserved 2 MiB pages
)

// NewArena reserves addresses; memory comes with Grow. With HugeAlways the
// first step is taken at once, and the error says how to get pages when there
// are none.
func NewArena(c ArenaConfig) (*Arena, error) {
	if c.MaxBytes <= 0 || c.StepBytes <= 0 {
		return nil, fmt.Errorf("arena of %d bytes in steps of %d: both must be positive", c.MaxBytes, c.StepBytes)
	}
	unit := os.Getpagesize()
	a := &Arena{max: roundUp(c.MaxBytes, unit), huge: c.Huge, node: -1}
	if c.Huge != HugeNever {
		unit = HugePageBytes
		a.transp = transparentHugePages(os.DirFS("/")) && !transparentForbidden()
	}
	if c.Huge == HugeAlways && a.max%HugePageBytes != 0 {
		return nil, fmt.Errorf("arena of %d bytes: with huge pages always it must be a multiple of 2 MiB", c.MaxBytes)
	}
	a.step = min(roundUp(c.StepBytes, unit), a.max)
	a.report = ArenaReport{LimitBytes: a.max, Node: c.Node}
	a.chooseNode(c.Node)
	base, err := reserveAligned(a.max)
	if err != nil {
		return nil, err
	}
	a.base = base
	if c.Huge == HugeAlways && !a.Grow() {
		err := fmt.Errorf("no reserved 2 MiB pages for the buffers: %s; a loop takes %d at a time and %d at most: %s, or do not insist on huge pages",
			a.report.NoHuge, a.step/HugePageBytes, a.max/HugePageBytes, howToReserve(a.node))
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func howToReserve(node int) string {
	if node < 0 {
		return "raise vm.nr_hugepages by that much per loop (sysctl -w vm.nr_hugepages=N)"
	}
	return fmt.Sprintf("raise /sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages by that much per loop", node)
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// chooseNode finds the node to bind to. Where there is one node, or nothing is
// known of them, there is nothing to choose.
func (a *Arena) chooseNode(node int) {
	if node < 0 {
		a.report.NoBind = "no node was asked for"
		return
	}
	t, err := Detect()
	if err != nil {
		a.report.NoBind = err.Error()
		return
	}
	from, ok := t.memoryNode(node)
	if !ok {
		a.report.NoBind = "one node"
		if len(t.Nodes) > 1 {
			a.report.NoBind = "no such node"
		}
		return
	}
	a.node = from
	a.report.Node = from
}

// reserveAligned takes n bytes of addresses, rounded up to 2 MiB and aligned
// to that, and no memory: what cannot be touched is counted against no limit
// but that of addresses.
func reserveAligned(n int) (unsafe.Pointer, error) {
	n = roundUp(n, HugePageBytes)
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n+HugePageBytes), unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of addresses for the buffers: %w (is ulimit -v set?)", n, err)
	}
	head := roundUp(int(uintptr(p)), HugePageBytes) - int(uintptr(p))
	q := unsafe.Add(p, head)
	if head > 0 {
		err = unix.MunmapPtr(p, uintptr(head))
	}
	return q, errors.Join(err, unix.MunmapPtr(unsafe.Add(q, n), uintptr(HugePageBytes-head)))
}

// Bytes is the whole range. Only [0:Committed()) may be touched; touching more
// ends the process.
func (a *Arena) Bytes() []byte { return unsafe.Slice((*byte)(a.base), a.max) }

// Committed is how much of the range is memory, in bytes.
func (a *Arena) Committed() int { return a.committed }

// Grow takes one more step from the kernel, the last one possibly shorter;
// false at the limit and when there is no memory. A step that was granted can
// be touched without fear: huge pages are really there by then, not promised.
func (a *Arena) Grow() bool {
	n := min(a.step, a.max-a.committed)
	if n == 0 {
		return false
	}
	kind := stepHuge
	if a.huge == HugeNever || !a.growHuge(n) {
		if a.huge == HugeAlways || !a.growSmall(n) {
			return false
		}
		kind = stepSmall
		if a.advise(a.committed, n, len(a.steps) > 0) {
			kind = stepAdvised
		}
	}
	if len(a.steps) == 1 && a.steps[0] == stepSmall && a.advise(0, a.committed, true) {
		a.steps[0] = stepAdvised
	}
	keepFromDumps(unsafe.Slice((*byte)(unsafe.Add(a.base, a.committed)), n)) // what passes is its peers'
	a.steps = append(a.steps, kind)
	a.committed += n
	return true
}

// Shrink gives the last step back to the kernel; false when there is none.
func (a *Arena) Shrink() bool {
	k := len(a.steps) - 1
	if k < 0 {
		return false
	}
	start := k * a.step
	// Mapping the reservation over it, instead of only giving the pages back,
	// also forgets the policy and the advice, and undoes the accounting.
	_, err := unix.MmapPtr(-1, 0, unsafe.Add(a.base, start), uintptr(a.committed-start), unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
	if err != nil {
		return false
	}
	a.steps = a.steps[:k]
	a.committed = start
	if k == 1 && a.steps[0] == stepAdvised {
		a.advise(0, start, false) // small again, if the kernel has not joined its pages yet
		a.steps[0] = stepSmall
	}
	return true
}

// growSmall makes the next n bytes writable. Unlike a mapping laid over the
// reservation, a change of protection that fails leaves everything as it was.
func (a *Arena) growSmall(n int) bool {
	p := unsafe.Add(a.base, a.committed)
	if err := unix.Mprotect(unsafe.Slice((*byte)(p), n), unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return false
	}
	if a.node >= 0 {
		// Preferred, not bound: when the node is full, memory far away is
		// better than the out-of-memory killer.
		a.bound(mbind(p, n, unix.MPOL_PREFERRED, a.node))
	}
	return true
}

func (a *Arena) bound(err error) {
	a.report.Bound = err == nil
	a.report.NoBind = ""
	if err != nil {
		a.report.NoBind = err.Error()
	}
}

// advise asks for transparent huge pages, or for none; true when the kernel
// will make them. Where they are made unasked, only the advice against them
// keeps pages small.
func (a *Arena) advise(start, n int, huge bool) bool {
	advice := unix.MADV_NOHUGEPAGE
	if huge && a.transp {
		advice = unix.MADV_HUGEPAGE
	}
	// It fails where the kernel was built without them, and then pages are small.
	err := unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(a.base, start)), n), advice)
	return err == nil && advice == unix.MADV_HUGEPAGE
}

// Close gives all addresses back. Nothing of Bytes may be touched any more.
func (a *Arena) Close() error {
	if a.base == nil {
		return nil
	}
	err := unix.MunmapPtr(a.base, uintptr(roundUp(a.max, HugePageBytes)))
	a.base, a.max, a.committed, a.steps = nil, 0, 0, nil
	return err
}
