package numa

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const mebi = 1 << 20

func newArena(t *testing.T, c ArenaConfig) *Arena {
	t.Helper()
	a, err := NewArena(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func placement(t *testing.T, a *Arena) Placement {
	t.Helper()
	p, err := a.Placement()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i]++
	}
}

// reserveHugePages has the kernel reserve n pages beside those that other processes hold, and puts vm.nr_hugepages back
// afterwards.
func reserveHugePages(t *testing.T, n int) {
	t.Helper()
	const name = "/proc/sys/vm/nr_hugepages"
	before, err := os.ReadFile(name)
	if err != nil {
		t.Skipf("needs a kernel with hugetlbfs: %v", err)
	}
	const pages = "sys/kernel/mm/hugepages/hugepages-2048kB"
	total, free, err := readHugePages(os.DirFS("/"), pages)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strconv.Itoa(n+total-free)), 0); err != nil {
		t.Skipf("needs root, to set vm.nr_hugepages (sudo go test ./numa): %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(name, before, 0); err != nil {
			t.Error(err)
		}
	})
	if _, free, err = readHugePages(os.DirFS("/"), pages); err != nil {
		t.Fatal(err)
	}
	if free < n {
		t.Skipf("needs %d free huge pages in a row of memory, %d could be had: free some memory", n, free)
	}
}

// withHugePages tries f with n reserved pages. A proxy that starts beside the test takes of them as well: what fails for
// that does not fail every time.
func withHugePages(t *testing.T, n int, f func() error) {
	t.Helper()
	var err error
	for range 100 {
		reserveHugePages(t, n)
		if err = f(); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(err)
}

func TestArenaGrowsAndShrinksInSteps(t *testing.T) {
	a := newArena(t, ArenaConfig{MaxBytes: 5*mebi + 1, StepBytes: 2 * mebi, Node: -1, Huge: HugeAuto})
	if got, want := len(a.Bytes()), 5*mebi+os.Getpagesize(); got != want {
		t.Fatalf("%d bytes, want %d", got, want)
	}
	if a.Committed() != 0 {
		t.Fatalf("%d committed before the first Grow", a.Committed())
	}
	for i, want := range []int{2 * mebi, 4 * mebi, 5*mebi + os.Getpagesize()} {
		if !a.Grow() || a.Committed() != want {
			t.Fatalf("step %d: %d committed, want %d", i, a.Committed(), want)
		}
		touch(a.Bytes()[:want])
	}
	if a.Grow() {
		t.Fatal("grew beyond the limit")
	}
	for _, want := range []int{4 * mebi, 2 * mebi, 0} {
		if !a.Shrink() || a.Committed() != want {
			t.Fatalf("%d committed, want %d", a.Committed(), want)
		}
		if got := placement(t, a).ResidentBytes; got > want {
			t.Fatalf("%d bytes resident with %d committed: nothing was given back", got, want)
		}
	}
	if a.Shrink() {
		t.Fatal("shrank below nothing")
	}
	if !a.Grow() || a.Bytes()[0] != 0 {
		t.Fatal("a step that was given back must come back zeroed")
	}
}

// One page touched must cost one page as long as one step is enough: that is
// what keeps an idle proxy small, also where the kernel makes transparent huge
// pages unasked.
func TestArenaFirstStepStaysSmall(t *testing.T) {
	a := newArena(t, ArenaConfig{MaxBytes: 8 * mebi, StepBytes: 4 * mebi, Node: -1, Huge: HugeAuto})
	a.Grow()
	if got := placement(t, a).ResidentBytes; got > 0 && a.Report().HugeBytes == 0 {
		t.Fatalf("%d bytes resident before anything was touched", got)
	}
	if a.Report().HugeBytes > 0 {
		t.Skip("this machine has free reserved huge pages: set vm.nr_hugepages to 0 for this test")
	}
	a.Bytes()[0] = 1
	a.Bytes()[2*mebi] = 1
	if got, want := placement(t, a).ResidentBytes, 2*os.Getpagesize(); got != want {
		t.Fatalf("two pages touched, %d bytes resident, want %d", got, want)
	}
}

func TestArenaSecondStepIsTransparentlyHuge(t *testing.T) {
	if !transparentHugePages(os.DirFS("/")) || transparentForbidden() {
		t.Skip("needs transparent huge pages: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
	}
	a := newArena(t, ArenaConfig{MaxBytes: 8 * mebi, StepBytes: 4 * mebi, Node: -1, Huge: HugeAuto})
	a.Grow()
	if r := a.Report(); r.SmallBytes != 4*mebi {
		if r.HugeBytes > 0 {
			t.Skip("this machine has free reserved huge pages: set vm.nr_hugepages to 0 for this test")
		}
		t.Fatalf("first step: %+v", r)
	}
	a.Grow()
	if r := a.Report(); r.THPBytes != 8*mebi || r.SmallBytes != 0 {
		t.Fatalf("with the second step both are advised: %+v", r)
	}
	a.Bytes()[4*mebi] = 1
	if got := placement(t, a).THPBytes; got != 2*mebi {
		t.Fatalf("one page touched, %d bytes in transparent huge pages, want 2 MiB", got)
	}
	a.Shrink()
	if r := a.Report(); r.SmallBytes != 4*mebi || r.THPBytes != 0 {
		t.Fatalf("with one step left it is small again: %+v", r)
	}
	a.Bytes()[0] = 1
	if got := placement(t, a); got.ResidentBytes != os.Getpagesize() {
		t.Fatalf("one page touched after shrinking: %+v", got)
	}
}

func TestArenaNeverHuge(t *testing.T) {
	reserveHugePages(t, 8)
	a := newArena(t, ArenaConfig{MaxBytes: 8 * mebi, StepBytes: 4 * mebi, Node: -1, Huge: HugeNever})
	a.Grow()
	a.Grow()
	touch(a.Bytes())
	want := ArenaReport{LimitBytes: 8 * mebi, SmallBytes: 8 * mebi, Node: -1, NoBind: "no node was asked for"}
	if r := a.Report(); r != want {
		t.Fatalf("got %+v, want %+v", r, want)
	}
	if p := placement(t, a); p.THPBytes != 0 || p.HugeBytes != 0 || p.ResidentBytes != 8*mebi {
		t.Fatalf("%+v", p)
	}
}

func TestArenaTakesReservedHugePages(t *testing.T) {
	for _, mode := range []HugeMode{HugeAuto, HugeAlways} {
		t.Run(mode.String(), func(t *testing.T) {
			withHugePages(t, 4, func() error {
				a, err := NewArena(ArenaConfig{MaxBytes: 8 * mebi, StepBytes: 4 * mebi, Node: -1, Huge: mode})
				if err != nil {
					return err
				}
				defer a.Close()
				for a.Grow() {
				}
				touch(a.Bytes()[:a.Committed()])
				want := ArenaReport{LimitBytes: 8 * mebi, HugeBytes: 8 * mebi, Node: -1, NoBind: "no node was asked for"}
				if r := a.Report(); r != want {
					return fmt.Errorf("got %+v, want %+v", r, want)
				}
				if p := placement(t, a); p.HugeBytes != 8*mebi || p.ResidentBytes != 8*mebi {
					return fmt.Errorf("%+v", p)
				}
				for a.Shrink() {
				}
				_, free, err := readHugePages(os.DirFS("/"), "sys/kernel/mm/hugepages/hugepages-2048kB")
				if err != nil || free != 4 {
					return fmt.Errorf("%d of 4 huge pages free after shrinking (%v)", free, err)
				}
				return nil
			})
		})
	}
}

// Two pages for a step of two and one left over: the second step must not end
// in SIGBUS, with auto it is small, with always there is none.
func TestArenaRunsOutOfHugePages(t *testing.T) {
	withHugePages(t, 3, func() error {
		a := newArena(t, ArenaConfig{MaxBytes: 8 * mebi, StepBytes: 4 * mebi, Node: -1, Huge: HugeAuto})
		defer a.Close()
		if !a.Grow() || !a.Grow() {
			return errors.New("auto must fall back")
		}
		touch(a.Bytes())
		r := a.Report()
		if r.HugeBytes != 4*mebi || r.THPBytes+r.SmallBytes != 4*mebi || !strings.HasPrefix(r.NoHuge, "too few are free (1 of ") {
			return fmt.Errorf("%+v", r)
		}
		for a.Shrink() {
		}
		if !a.Grow() || a.Report().NoHuge != "" {
			return fmt.Errorf("a reason that is past is still reported: %+v", a.Report())
		}
		a.Shrink()
		b, err := NewArena(ArenaConfig{MaxBytes: 8 * mebi, StepBytes: 4 * mebi, Node: -1, Huge: HugeAlways})
		if err != nil {
			return err
		}
		defer b.Close()
		if b.Committed() != 4*mebi {
			return fmt.Errorf("always takes its first step at once, %d committed", b.Committed())
		}
		if b.Grow() {
			return errors.New("always must not fall back")
		}
		touch(b.Bytes()[:b.Committed()])
		return nil
	})
}

// Overcommitted huge pages exist on paper until they are touched. Whatever the
// kernel answers here, what Grow granted can be touched.
func TestArenaSurplusHugePages(t *testing.T) {
	reserveHugePages(t, 0)
	const name = "/proc/sys/vm/nr_overcommit_hugepages"
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(name, before, 0)
	a := newArena(t, ArenaConfig{MaxBytes: 8 * mebi, StepBytes: 2 * mebi, Node: -1, Huge: HugeAuto})
	for a.Grow() {
		touch(a.Bytes()[:a.Committed()])
	}
	if r := a.Report(); r.HugeBytes > 4*mebi || a.Committed() != 8*mebi {
		t.Fatalf("%+v", r)
	}
}

func TestArenaAlwaysWithoutHugePagesSaysWhatToDo(t *testing.T) {
	reserveHugePages(t, 0)
	// A page that another process holds stays, and is counted, until it lets go:
	// which may be while the arena is made.
	var err error
	reason := "?"
	for now := explainNoneFree(os.DirFS("/")); reason != now; now = explainNoneFree(os.DirFS("/")) {
		reason = now
		if _, err = NewArena(ArenaConfig{MaxBytes: 64 * mebi, StepBytes: 4 * mebi, Node: -1, Huge: HugeAlways}); err == nil {
			t.Fatal("no error")
		}
	}
	if !strings.Contains(err.Error(), reason) {
		t.Errorf("%q does not say that %s", err, reason)
	}
	for _, want := range []string{"takes 2 at a time and 32 at most", "sysctl -w vm.nr_hugepages"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	_, err = NewArena(ArenaConfig{MaxBytes: 3 * mebi, StepBytes: 2 * mebi, Node: -1, Huge: HugeAlways})
	if err == nil || !strings.Contains(err.Error(), "multiple of 2 MiB") {
		t.Errorf("an odd limit: %v", err)
	}
}

func TestArenaConfigIsChecked(t *testing.T) {
	for _, c := range []ArenaConfig{{MaxBytes: 0, StepBytes: 1}, {MaxBytes: 1, StepBytes: 0}, {MaxBytes: -1, StepBytes: 1}} {
		if _, err := NewArena(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	if _, err := NewArena(ArenaConfig{MaxBytes: 1 << 60, StepBytes: 1 << 20, Node: -1}); err == nil || !strings.Contains(err.Error(), "ulimit -v") {
		t.Errorf("an arena larger than the address space: %v", err)
	}
}

// What lies beyond the committed part must fault, or a stray write goes
// unnoticed until it meets somebody's bytes.
func TestArenaBeyondCommittedIsInaccessible(t *testing.T) {
	a := newArena(t, ArenaConfig{MaxBytes: 4 * mebi, StepBytes: 2 * mebi, Node: -1, Huge: HugeAuto})
	a.Grow()
	// The kernel reads from the address, and says EFAULT where we would die.
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if _, err := unix.Write(pipe[1], a.Bytes()[2*mebi-1:2*mebi]); err != nil {
		t.Errorf("last committed byte: %v", err)
	}
	if _, err := unix.Write(pipe[1], a.Bytes()[2*mebi:2*mebi+1]); err != unix.EFAULT {
		t.Errorf("first byte beyond: %v, want EFAULT", err)
	}
}

func TestArenaBoundToNode(t *testing.T) {
	top, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range top.Nodes {
		a := newArena(t, ArenaConfig{MaxBytes: 4 * mebi, StepBytes: 2 * mebi, Node: n.ID, Huge: HugeAuto})
		a.Grow()
		r := a.Report()
		if len(top.Nodes) == 1 {
			if r.Bound || r.NoBind != "one node" || r.Node != n.ID {
				t.Errorf("one node: %+v", r)
			}
			continue
		}
		touch(a.Bytes()[:a.Committed()])
		from, _ := top.memoryNode(n.ID)
		if !r.Bound || r.Node != from {
			t.Errorf("node %d: %+v", n.ID, r)
		}
		if p := placement(t, a); p.NodeBytes[from] < 2*mebi {
			t.Errorf("node %d: %+v", n.ID, p)
		}
	}
}

func skipIfForbidden(t *testing.T, a *Arena) {
	t.Helper()
	if why := a.Report().NoBind; strings.Contains(why, "mbind") {
		t.Skipf("needs mbind (in a container: CAP_SYS_NICE): %s", why)
	}
}

// The system call itself also works where there is nothing to choose.
func TestMbind(t *testing.T) {
	a := newArena(t, ArenaConfig{MaxBytes: 2 * mebi, StepBytes: 2 * mebi, Node: -1, Huge: HugeNever})
	a.node = 0
	a.Grow()
	skipIfForbidden(t, a)
	if r := a.Report(); !r.Bound || r.NoBind != "" {
		t.Fatalf("%+v", r)
	}
	maps, err := os.ReadFile("/proc/self/numa_maps")
	if err != nil {
		t.Skipf("needs a kernel with NUMA: %v", err)
	}
	if !strings.Contains(string(maps), " prefer:0") {
		t.Errorf("no mapping prefers node 0:\n%s", maps)
	}
	if err := mbind(a.base, 2*mebi, unix.MPOL_BIND, 999); err == nil || !strings.Contains(err.Error(), "node 999") {
		t.Errorf("a node that is not there: %v", err)
	}
	a.node = 999
	a.Shrink()
	if !a.Grow() {
		t.Fatal("a refused policy must not keep memory away")
	}
	touch(a.Bytes())
	if r := a.Report(); r.Bound || !strings.Contains(r.NoBind, "node 999") {
		t.Errorf("%+v", r)
	}
}

func TestArenaBoundHugePages(t *testing.T) {
	top, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	withHugePages(t, 2*len(top.Nodes), func() error { // the kernel shares them out evenly
		a, err := NewArena(ArenaConfig{MaxBytes: 4 * mebi, StepBytes: 4 * mebi, Node: -1, Huge: HugeAlways})
		if err != nil {
			return err
		}
		defer a.Close()
		a.Shrink()
		a.node = 0
		if !a.Grow() {
			return fmt.Errorf("%+v", a.Report())
		}
		touch(a.Bytes())
		skipIfForbidden(t, a)
		if r := a.Report(); !r.Bound || r.NoBind != "" {
			return fmt.Errorf("%+v", r)
		}
		if p := placement(t, a); p.NodeBytes[0] != 4*mebi {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
}

func TestArenaReportString(t *testing.T) {
	for _, c := range []struct {
		r    ArenaReport
		want string
	}{
		{ArenaReport{LimitBytes: 64 * mebi, Node: -1},
			"0 MiB of at most 64 MiB: nothing taken yet, on any node"},
		{ArenaReport{LimitBytes: 64 * mebi, SmallBytes: 2 * mebi, Node: 0, NoHuge: "vm.nr_hugepages is 0", NoBind: "one node"},
			"2 MiB of at most 64 MiB: 2 MiB in 4 KiB pages (no reserved 2 MiB pages: vm.nr_hugepages is 0), node 0 by first touch (one node)"},
		{ArenaReport{LimitBytes: 64 * mebi, HugeBytes: 4 * mebi, THPBytes: 2 * mebi, SmallBytes: 4096, Node: 1, Bound: true},
			"6148 KiB of at most 64 MiB: 4 MiB in reserved 2 MiB pages, 2 MiB in transparent huge pages as the kernel finds them, 4 KiB in 4 KiB pages, bound to node 1"},
		{ArenaReport{LimitBytes: 2 * mebi, Node: 1}, "0 MiB of at most 2 MiB: nothing taken yet, node 1"},
	} {
		if got := c.r.String(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestPin(t *testing.T) {
	before, err := Affinity()
	if err != nil {
		t.Fatal(err)
	}
	for _, cpu := range before.List() {
		done := make(chan error)
		go func() { // ends tied, and takes its thread with it
			err := Pin(cpu)
			if err == nil {
				if got, _ := Affinity(); got.String() != strconv.Itoa(cpu) {
					t.Errorf("pinned to %d, runs on %s", cpu, got)
				}
			}
			done <- err
		}()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, cpu := range []int{-1, 60000, maxCPUs} {
		if err := Pin(cpu); err == nil || !strings.Contains(err.Error(), "pin to CPU "+strconv.Itoa(cpu)) {
			t.Errorf("CPU %d: %v", cpu, err)
		}
	}
	// A goroutine that ends tied takes its thread with it, so the thread tells
	// whether a refused Pin left it tied. (On the main thread, which never
	// ends, this shows nothing.)
	tid := make(chan int)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if Pin(60000) == nil {
			t.Error("CPU 60000 was accepted")
		}
		tid <- unix.Gettid()
	}()
	task := "/proc/self/task/" + strconv.Itoa(<-tid)
	time.Sleep(20 * time.Millisecond)
	if _, err := os.Stat(task); err != nil {
		t.Errorf("a refused Pin left its goroutine tied: %v", err)
	}
	if after, _ := Affinity(); after.String() != before.String() {
		t.Errorf("the test's own thread went from %s to %s", before, after)
	}
}
