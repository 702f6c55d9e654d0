package numa

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Placement says where an arena's touched memory really is.
type Placement struct {
	ResidentBytes int         // all kinds
	THPBytes      int         // of these, in transparent huge pages
	HugeBytes     int         // of these, in reserved 2 MiB pages
	NodeBytes     map[int]int // by node; empty when the kernel has no NUMA
}

// Placement asks the kernel. That takes a fraction of a millisecond and
// allocates: it is for a status page, not for a loop's own thread. Any
// goroutine may call it until Close.
func (a *Arena) Placement() (Placement, error) {
	low := uint64(uintptr(a.base))
	p := Placement{NodeBytes: map[int]int{}}
	in := func(address uint64) bool { return address >= low && address-low < uint64(a.max) }
	if err := readMaps("/proc/self/smaps", func(r io.Reader) error { return p.addSmaps(r, in) }); err != nil {
		return p, err
	}
	err := readMaps("/proc/self/numa_maps", func(r io.Reader) error { return p.addNumaMaps(r, in) })
	if os.IsNotExist(err) {
		err = nil
	}
	return p, err
}

func readMaps(name string, add func(io.Reader) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := add(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// addSmaps adds up mappings that begin at an address for which in is true. A
// mapping is a line "low-high perms ..." followed by lines "Name: value kB".
func (p *Placement) addSmaps(r io.Reader, in func(uint64) bool) error {
	ours := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		if low, _, isRange := strings.Cut(name, "-"); isRange {
			if address, err := strconv.ParseUint(low, 16, 64); err == nil {
				ours = in(address)
				continue
			}
		}
		if !ok || !ours {
			continue
		}
		text, isSize := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		if !isSize {
			continue
		}
		kib, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a size", lines.Text())
		}
		switch name {
		case "Rss":
			p.ResidentBytes += kib << 10
		case "AnonHugePages":
			p.THPBytes += kib << 10
		case "Private_Hugetlb", "Shared_Hugetlb": // not part of Rss
			p.ResidentBytes += kib << 10
			p.HugeBytes += kib << 10
		}
	}
	return lines.Err()
}

// addNumaMaps adds up lines "address policy ... N0=5 N1=2 kernelpagesize_kB=4":
// N counts pages of that size.
func (p *Placement) addNumaMaps(r io.Reader, in func(uint64) bool) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		address, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			return fmt.Errorf("%q is not an address", fields[0])
		}
		if !in(address) {
			continue
		}
		pages, pageKiB := map[int]int{}, 0
		for _, f := range fields[2:] {
			name, value, _ := strings.Cut(f, "=")
			n, err := strconv.Atoi(value)
			if err != nil {
				continue // a flag, or a file's name
			}
			if name == "kernelpagesize_kB" {
				pageKiB = n
			} else if node, err := strconv.Atoi(strings.TrimPrefix(name, "N")); err == nil && name[0] == 'N' {
				pages[node] = n
			}
		}
		for node, n := range pages {
			p.NodeBytes[node] += n * pageKiB << 10
		}
	}
	return lines.Err()
}
