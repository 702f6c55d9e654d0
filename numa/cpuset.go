package numa

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// maxCPUs bounds the numbers accepted in a CPU or node list, far above any
// Linux (NR_CPUS is at most 8192), so that a typing error cannot ask for
// gigabytes.
const maxCPUs = 1 << 16

// CPUSet is a set of CPU numbers (or node numbers). The zero value is empty.
// Its methods never change it.
type CPUSet struct {
	words []uint64 // bit n%64 of words[n/64]; no trailing zero words
}

// NewCPUSet is the set of the given CPUs, each from 0 to 65535; others are
// left out.
func NewCPUSet(cpus ...int) CPUSet {
	var s CPUSet
	for _, c := range cpus {
		s.add(c)
	}
	return s
}

// ParseCPUList reads the kernel's list format: "0-3,8,10-11", also with a
// stride as in "0-15:2/4" (the first 2 of every 4). Empty is the empty set.
func ParseCPUList(list string) (CPUSet, error) {
	var s CPUSet
	list = strings.TrimSpace(list)
	if list == "" {
		return s, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		if err := s.addRange(strings.TrimSpace(part)); err != nil {
			return CPUSet{}, fmt.Errorf("CPU list %q: %w", list, err)
		}
	}
	return s, nil
}

// addRange adds "a", "a-b" or "a-b:used/group".
func (s *CPUSet) addRange(part string) error {
	span, stride, strided := strings.Cut(part, ":")
	low, high, ranged := strings.Cut(span, "-")
	a, err := parseCPU(low)
	if err != nil {
		return err
	}
	b := a
	if ranged {
		if b, err = parseCPU(high); err != nil {
			return err
		}
	}
	if b < a {
		return fmt.Errorf("%q runs backwards", part)
	}
	used, group := 1, 1
	if strided {
		u, g, ok := strings.Cut(stride, "/")
		if !ok || !ranged {
			return fmt.Errorf("%q is not of the form first-last:used/group", part)
		}
		if used, err = parseCPU(u); err != nil {
			return err
		}
		if group, err = parseCPU(g); err != nil {
			return err
		}
		if used == 0 || group < used {
			return fmt.Errorf("%q is not of the form first-last:used/group", part)
		}
	}
	for c := a; c <= b; c++ {
		if (c-a)%group < used {
			s.add(c)
		}
	}
	return nil
}

func parseCPU(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n >= maxCPUs {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", text, maxCPUs-1)
	}
	return int(n), nil
}

func (s *CPUSet) add(cpu int) {
	if cpu < 0 || cpu >= maxCPUs {
		return
	}
	for len(s.words) <= cpu/64 {
		s.words = append(s.words, 0)
	}
	s.words[cpu/64] |= 1 << (cpu % 64)
}

// fromWords makes a set of a bit mask; words is not kept.
func fromWords(words []uint64) CPUSet {
	n := len(words)
	for n > 0 && words[n-1] == 0 {
		n--
	}
	return CPUSet{append([]uint64(nil), words[:n]...)}
}

// Has says whether cpu is in the set.
func (s CPUSet) Has(cpu int) bool {
	return cpu >= 0 && cpu/64 < len(s.words) && s.words[cpu/64]>>(cpu%64)&1 != 0
}

// Count is the number of CPUs in the set.
func (s CPUSet) Count() int {
	n := 0
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// List gives the CPUs in ascending order.
func (s CPUSet) List() []int {
	out := make([]int, 0, s.Count())
	for i, w := range s.words {
		for ; w != 0; w &= w - 1 {
			out = append(out, i*64+bits.TrailingZeros64(w))
		}
	}
	return out
}

// And gives the CPUs that are in both sets.
func (s CPUSet) And(t CPUSet) CPUSet {
	words := make([]uint64, min(len(s.words), len(t.words)))
	for i := range words {
		words[i] = s.words[i] & t.words[i]
	}
	return fromWords(words)
}

// String gives the shortest list in the kernel's format, "0-3,8"; "" when the
// set is empty.
func (s CPUSet) String() string {
	var out []byte
	list := s.List()
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if len(out) > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, int64(list[i]), 10)
		if j > i {
			out = append(out, '-')
			out = strconv.AppendInt(out, int64(list[j]), 10)
		}
		i = j + 1
	}
	return string(out)
}
