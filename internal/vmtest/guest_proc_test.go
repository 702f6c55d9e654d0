package vmtest

import (
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What the kernel says about a proxy, in /proc.

// thread is one of a process's threads.
type thread struct {
	id      int
	name    string
	allowed string // CPUs, as the kernel lists them
	lastCPU int
}

func (z *proxy) dir() string { return fmt.Sprintf("/proc/%d", z.cmd.Process.Pid) }

func (z *proxy) threads(t *testing.T) []thread {
	t.Helper()
	dirs, err := filepath.Glob(z.dir() + "/task/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%s: %v", z.dir(), err)
	}
	var out []thread
	for _, dir := range dirs {
		var th thread
		th.id, _ = strconv.Atoi(filepath.Base(dir))
		for line := range strings.Lines(read(t, dir+"/status")) {
			name, value, _ := strings.Cut(line, ":")
			switch name {
			case "Name":
				th.name = strings.TrimSpace(value)
			case "Cpus_allowed_list":
				th.allowed = strings.TrimSpace(value)
			}
		}
		// The fields after the name in parentheses are those from the third on.
		_, rest, _ := strings.Cut(read(t, dir+"/stat"), ") ")
		fields := strings.Fields(rest)
		th.lastCPU, err = strconv.Atoi(fields[39-3])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, th)
	}
	return out
}

// checkThreads: every loop has one thread that may run on its CPU alone, and
// did; no other thread is tied to a CPU.
func (z *proxy) checkThreads(t *testing.T) {
	t.Helper()
	loops := map[string]int{}
	for _, l := range z.status(t).Loops {
		loops[strconv.Itoa(l.CPU)] = l.Index
	}
	all := len(loops)
	for _, th := range z.threads(t) {
		if strings.ContainsAny(th.allowed, ",-") {
			continue
		}
		if _, ok := loops[th.allowed]; !ok {
			t.Errorf("thread %+v is tied to a CPU and is no loop", th)
		}
		delete(loops, th.allowed)
		if strconv.Itoa(th.lastCPU) != th.allowed {
			t.Errorf("thread %+v ran elsewhere", th)
		}
	}
	if len(loops) > 0 {
		t.Errorf("%d of %d loops have no thread on their CPU: %v", len(loops), all, loops)
	}
}

// mapping is one line of numa_maps.
type mapping struct {
	address uint64
	policy  string // "prefer:1", "default"
	file    string
	pages   map[int]int // by node
}

func (z *proxy) mappings(t *testing.T) []mapping {
	t.Helper()
	var out []mapping
	for line := range strings.Lines(read(t, z.dir()+"/numa_maps")) {
		fields := strings.Fields(line)
		mp := mapping{policy: fields[1], pages: map[int]int{}}
		var err error
		if mp.address, err = strconv.ParseUint(fields[0], 16, 64); err != nil {
			t.Fatal(err)
		}
		for _, f := range fields[2:] {
			name, value, _ := strings.Cut(f, "=")
			n, err := strconv.Atoi(value)
			switch {
			case name == "file":
				mp.file = value
			case err == nil && name[0] == 'N':
				if node, err := strconv.Atoi(name[1:]); err == nil {
					mp.pages[node] = n
				}
			}
		}
		out = append(out, mp)
	}
	return out
}

// onLoopNodes says how many loops should have their memory on which node.
func (z *proxy) onLoopNodes(t *testing.T, m *machine) map[int]int {
	t.Helper()
	nodes := map[int]int{}
	for _, l := range z.status(t).Loops {
		nodes[m.memoryOf(l.Node)]++
	}
	return nodes
}

// checkBuffers: the memory with a policy, which is the buffers', is on the
// node it should be on, and every node has as many loops' as it should.
func (z *proxy) checkBuffers(t *testing.T, m *machine) {
	t.Helper()
	arenas := map[int]int{}
	var last uint64 // where the last arena began
	for _, mp := range z.mappings(t) {
		_, number, bound := strings.Cut(mp.policy, ":")
		if !bound {
			continue
		}
		node, err := strconv.Atoi(number)
		if err != nil {
			t.Errorf("policy %q", mp.policy)
		}
		for on, n := range mp.pages {
			if on != node {
				t.Errorf("%d pages of %+v are on node %d", n, mp, on)
			}
		}
		// An arena is several mappings where its steps differ.
		if mp.pages[node] > 0 && mp.address-last >= maxPerLoop {
			arenas[node]++
			last = mp.address
		}
	}
	if want := z.onLoopNodes(t, m); !maps.Equal(arenas, want) {
		t.Errorf("loops' buffers by node: %v, want %v\n%s", arenas, want, read(t, z.dir()+"/numa_maps"))
	}
}

// ringMappings is how often a loop maps its ring: the queues, the entries to
// submit, and the first page of the queues once more, for what the kernel says.
const ringMappings = 3

// checkRings: each loop's ring is on the loop's node.
func (z *proxy) checkRings(t *testing.T, m *machine) {
	t.Helper()
	rings := map[int]int{}
	for _, mp := range z.mappings(t) {
		if !strings.Contains(mp.file, "[io_uring]") {
			continue
		}
		if len(mp.pages) != 1 {
			t.Errorf("a ring's pages by node: %v", mp.pages)
		}
		for node := range mp.pages {
			rings[node]++
		}
	}
	want := z.onLoopNodes(t, m)
	for node := range want {
		want[node] *= ringMappings
	}
	if !maps.Equal(rings, want) {
		t.Errorf("mappings of rings by node: %v, want %v\n%s", rings, want, read(t, z.dir()+"/numa_maps"))
	}
}
