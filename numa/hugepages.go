package numa

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// moving says whether this kernel moves huge mappings.
type moving uint8

const (
	movingUnknown moving = iota
	movingWorks
	movingFails
)

// errNoneFree is the kernel's ENOMEM for a mapping of huge pages.
var errNoneFree = errors.New("none are free")

var errCannotMove = errors.New("this kernel cannot move them into place (needs Linux 5.16)")

// growHuge puts reserved 2 MiB pages at the next n bytes. The pages are mapped
// elsewhere, bound, made present and only then moved into place:
//
//   - A mapping laid over the reservation that fails may leave a hole there on
//     some kernels, into which another thread's mapping could fall.
//   - The kernel promises huge pages without regard to nodes and cgroup limits
//     and sends SIGBUS at the first touch when it cannot keep the promise.
//     Populating gives an error instead.
//
// The report says why when it fails.
func (a *Arena) growHuge(n int) bool {
	err := a.mapHuge(n)
	switch {
	case err == nil:
		a.report.NoHuge = ""
	case err == errNoneFree && a.report.NoHuge != "":
		// Explained before. Finding the reason again at every step would cost
		// the loop twenty times what the step itself does.
	case err == errNoneFree:
		a.report.NoHuge = explainNoneFree(os.DirFS("/"))
	default:
		a.report.NoHuge = err.Error()
	}
	return err == nil
}

func (a *Arena) mapHuge(n int) error {
	if n%HugePageBytes != 0 {
		return errors.New("the last step is not a multiple of 2 MiB")
	}
	if a.moving == movingFails {
		return errCannotMove
	}
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|unix.MAP_HUGE_2MB)
	if err == unix.ENOMEM {
		return errNoneFree
	}
	if err != nil {
		return fmt.Errorf("this kernel gives none (%w)", err)
	}
	if err = a.populateHuge(p, n); err == nil {
		p, err = a.tryMove(p, n)
	}
	if err == nil {
		_, err = unix.MremapPtr(p, uintptr(n), unsafe.Add(a.base, a.committed), uintptr(n),
			unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED)
	}
	if err != nil {
		return errors.Join(err, unix.MunmapPtr(p, uintptr(n)))
	}
	return nil
}

// populateHuge makes n bytes of huge pages present on the arena's node.
func (a *Arena) populateHuge(p unsafe.Pointer, n int) error {
	if a.node >= 0 {
		// Bound, not preferred: small pages near are better than huge ones far.
		a.bound(mbind(p, n, unix.MPOL_BIND, a.node))
	}
	err := unix.Madvise(unsafe.Slice((*byte)(p), n), unix.MADV_POPULATE_WRITE)
	switch {
	case err == nil:
		return nil
	case err == unix.EINVAL:
		return errors.New("this kernel cannot populate them safely (needs Linux 5.16)")
	case a.report.Bound && err == unix.EFAULT: // instead of SIGBUS
		return fmt.Errorf("node %d has too few free ones", a.node)
	}
	return fmt.Errorf("the cgroup's hugetlb.2MB.max or cpuset.mems may be too low (%w)", err)
}

// tryMove finds out, once, whether huge mappings can be moved, and gives the
// place of the pages afterwards. Kernels that can populate but not move them
// (5.14, 5.15) first clear the target and then refuse; so the first move goes
// where a hole does no harm.
func (a *Arena) tryMove(p unsafe.Pointer, n int) (unsafe.Pointer, error) {
	if a.moving == movingWorks {
		return p, nil
	}
	q, err := reserveAligned(n)
	if err != nil {
		return p, err
	}
	if _, err := unix.MremapPtr(p, uintptr(n), q, uintptr(n), unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED); err != nil {
		// Whether q is still ours cannot be known: leave it, it is addresses
		// only and happens once.
		a.moving = movingFails
		return p, errCannotMove
	}
	a.moving = movingWorks
	return q, nil
}

// explainNoneFree says why there are no free huge pages.
func explainNoneFree(root fs.FS) string {
	total, free, err := readHugePages(root, "sys/kernel/mm/hugepages/hugepages-2048kB")
	switch {
	case err != nil:
		return err.Error()
	case total == 0:
		return "vm.nr_hugepages is 0"
	}
	return fmt.Sprintf("too few are free (%d of %d)", free, total)
}

// transparentHugePages says whether the kernel makes pages of 2 MiB where it
// is asked to. The files look like "always [madvise] never"; kernels since 6.8
// have one per size besides, which may be "inherit".
func transparentHugePages(root fs.FS) bool {
	const dir = "sys/kernel/mm/transparent_hugepage"
	text, err := readText(root, dir+"/hugepages-2048kB/enabled")
	if err != nil || strings.Contains(text, "[inherit]") {
		text, err = readText(root, dir+"/enabled")
	}
	return err == nil && !strings.Contains(text, "[never]")
}

// transparentForbidden says whether this process was started with
// PR_SET_THP_DISABLE.
func transparentForbidden() bool {
	n, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0)
	return err == nil && n != 0
}
