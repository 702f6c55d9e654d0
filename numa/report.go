package numa

import (
	"fmt"
	"strings"
)

// ArenaReport says what an arena consists of. What the kernel did about
// advice, and which node pages came from, is known only once they were
// touched: see Placement.
type ArenaReport struct {
	LimitBytes int // what the arena may become
	HugeBytes  int // in reserved 2 MiB pages, present
	THPBytes   int // in small pages that the kernel joins to huge ones
	SmallBytes int // in small pages that stay small
	Node       int // whose memory; -1: no preference
	Bound      bool
	NoHuge     string // why the last step has no reserved 2 MiB pages, "" when it has or none were asked for
	NoBind     string // why there is no memory policy, "" when there is one
}

// Report describes the arena as it is now.
func (a *Arena) Report() ArenaReport {
	r := a.report
	for i, kind := range a.steps {
		n := min(a.step, a.committed-i*a.step)
		switch kind {
		case stepHuge:
			r.HugeBytes += n
		case stepAdvised:
			r.THPBytes += n
		case stepSmall:
			r.SmallBytes += n
		}
	}
	return r
}

// String is for the start-up line: "2 MiB of at most 64 MiB: 2 MiB in 4 KiB
// pages (no reserved 2 MiB pages: vm.nr_hugepages is 0), node 0 by first touch
// (one node)".
func (r ArenaReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of at most %s: ", mib(r.HugeBytes+r.THPBytes+r.SmallBytes), mib(r.LimitBytes))
	var parts []string
	if r.HugeBytes > 0 {
		parts = append(parts, mib(r.HugeBytes)+" in reserved 2 MiB pages")
	}
	if r.THPBytes > 0 {
		parts = append(parts, mib(r.THPBytes)+" in transparent huge pages as the kernel finds them")
	}
	if r.SmallBytes > 0 {
		parts = append(parts, mib(r.SmallBytes)+" in 4 KiB pages")
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing taken yet")
	}
	b.WriteString(strings.Join(parts, ", "))
	if r.NoHuge != "" {
		fmt.Fprintf(&b, " (no reserved 2 MiB pages: %s)", r.NoHuge)
	}
	switch {
	case r.Bound:
		fmt.Fprintf(&b, ", bound to node %d", r.Node)
	case r.Node >= 0 && r.NoBind != "":
		fmt.Fprintf(&b, ", node %d by first touch (%s)", r.Node, r.NoBind)
	case r.Node >= 0:
		fmt.Fprintf(&b, ", node %d", r.Node)
	default:
		b.WriteString(", on any node")
	}
	return b.String()
}

// mib prints bytes in MiB, or in KiB when they are not a whole number of those.
func mib(bytes int) string {
	if bytes%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}
