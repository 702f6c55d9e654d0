package numa

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// dumped counts the pages of [begin, begin+n) that a core dump has, by /proc/self/smaps.
func dumped(t *testing.T, begin uintptr, n int) (pages int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var low, high uintptr
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if flags, ok := strings.CutPrefix(sc.Text(), "VmFlags:"); ok {
			if both := min(high, begin+uintptr(n)); both > max(low, begin) && !strings.Contains(flags+" ", " dd ") {
				pages += int(both-max(low, begin)) / os.Getpagesize()
			}
			continue
		}
		var from, to uintptr
		if n, _ := fmt.Sscanf(sc.Text(), "%x-%x ", &from, &to); n == 2 {
			low, high = from, to
		}
	}
	return pages
}

// Buffers, after they have been given back and taken again as well, and what is marked
// are in no core dump.
func TestKeepFromDumps(t *testing.T) {
	a, err := NewArena(ArenaConfig{MaxBytes: 8 << 20, StepBytes: 2 << 20, Node: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for range 2 {
		for a.Grow() {
		}
		if n := dumped(t, uintptr(unsafe.Pointer(&a.Bytes()[0])), a.Committed()); n != 0 || a.Committed() == 0 {
			t.Errorf("%d of %d bytes are dumped", n*os.Getpagesize(), a.Committed())
		}
		for a.Shrink() {
		}
	}
	p := new([1 << 18]byte)
	if n := dumped(t, uintptr(unsafe.Pointer(p)), len(p)); n == 0 {
		t.Fatal("nothing of the heap is dumped anyway")
	}
	KeepFromDumps(p)
	if n := dumped(t, uintptr(unsafe.Pointer(p)), len(p)); n > 2 {
		t.Errorf("%d pages are dumped", n)
	}
	KeepFromDumps(new(byte)) // no whole page
}
