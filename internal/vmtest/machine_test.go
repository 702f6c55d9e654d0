package vmtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// machine is what qemu is asked for, and what the guest should then find.
type machine struct {
	Name  string
	Nodes []node
	// Distances[i][j] is what node j is from node i; 10 is local.
	Distances [][]int
	// HugeNode is the only node on which huge pages are reserved.
	HugeNode int
	// Offline is the CPU that is taken away.
	Offline int
	// Tests are the packages whose tests run there, with what a test binary is
	// told besides. TestGuest runs where there are none.
	Tests map[string][]string
}

type node struct {
	MemMiB int // 0: a node without memory
	CPUs   []int
}

// machines are the ones that tests run on. With more than two nodes the nearest
// is not the one with the next number, so that a proxy which only counts is
// found out.
var machines = []machine{
	{
		Name:      "unit_tests",
		Nodes:     []node{{512, []int{0, 1}}, {512, []int{2, 3}}},
		Distances: [][]int{{10, 21}, {21, 10}},
		Tests: map[string][]string{
			"numa": nil,
			// The simulated network is the same everywhere.
			"loop": {"-test.skip", "^TestContract$/^sim$|^TestSim"},
		},
	},
	{
		Name:      "two_nodes",
		Nodes:     []node{{512, []int{0, 1}}, {512, []int{2, 3}}},
		Distances: [][]int{{10, 21}, {21, 10}},
		HugeNode:  1,
		Offline:   3,
	},
	{
		Name:      "four_nodes",
		Nodes:     []node{{320, []int{0}}, {320, []int{1}}, {320, []int{2}}, {320, []int{3}}},
		Distances: [][]int{{10, 31, 12, 21}, {31, 10, 21, 12}, {12, 21, 10, 31}, {21, 12, 31, 10}},
		HugeNode:  2,
		Offline:   2,
	},
	{
		// CPUs take turns over the nodes, as many firmwares number them.
		Name:      "node_without_memory",
		Nodes:     []node{{512, []int{0, 3}}, {0, []int{1}}, {512, []int{2}}},
		Distances: [][]int{{10, 31, 21}, {31, 10, 12}, {21, 12, 10}},
		HugeNode:  2,
		Offline:   3,
	},
}

// cpus is how many there are; they are numbered from 0.
func (m *machine) cpus() int {
	n := 0
	for i := range m.Nodes {
		n += len(m.Nodes[i].CPUs)
	}
	return n
}

// nodeOf is the node of cpu.
func (m *machine) nodeOf(cpu int) int {
	return slices.IndexFunc(m.Nodes, func(n node) bool { return slices.Contains(n.CPUs, cpu) })
}

// memoryOf is the node that memory for CPUs of node comes from: itself or the
// nearest that has some.
func (m *machine) memoryOf(node int) int {
	best := -1
	for i := range m.Nodes {
		if m.Nodes[i].MemMiB > 0 && (best < 0 || m.Distances[node][i] < m.Distances[node][best]) {
			best = i
		}
	}
	return best
}

// qemuArgs describe the machine to qemu.
func (m *machine) qemuArgs() []string {
	total := 0
	// Settings that tune turns on and off are patched into the kernel's code. With
	// a thread for each CPU, qemu may run what another CPU has replaced already,
	// and the guest dies of a breakpoint that nobody has set (version 7.2).
	threads := "single"
	if m.Tests != nil {
		threads = "multi"
	}
	args := []string{"-accel", "tcg,thread=" + threads, "-cpu", "max"}
	// qemu wants the CPUs of a socket on one node; where they take turns, every
	// CPU is a socket.
	sockets, inTurns := len(m.Nodes), false
	for i := range m.Nodes {
		c := m.Nodes[i].CPUs
		inTurns = inTurns || c[len(c)-1]-c[0] >= len(c)
	}
	if inTurns {
		sockets = m.cpus()
	}
	args = append(args, "-smp", fmt.Sprintf("%d,sockets=%d,cores=%d,threads=1", m.cpus(), sockets, m.cpus()/sockets))
	for i, n := range m.Nodes {
		option := "node,nodeid=" + strconv.Itoa(i)
		if n.MemMiB > 0 {
			total += n.MemMiB
			args = append(args, "-object", fmt.Sprintf("memory-backend-ram,id=memory%d,size=%dM", i, n.MemMiB))
			option += fmt.Sprintf(",memdev=memory%d", i)
		}
		for _, cpu := range n.CPUs {
			option += ",cpus=" + strconv.Itoa(cpu)
		}
		args = append(args, "-numa", option)
	}
	for i, row := range m.Distances {
		for j, d := range row {
			if i != j {
				args = append(args, "-numa", fmt.Sprintf("dist,src=%d,dst=%d,val=%d", i, j, d))
			}
		}
	}
	return append(args, "-m", strconv.Itoa(total)+"M")
}

// list prints numbers as the kernel does: "0-2,5".
func list(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		part := strconv.Itoa(numbers[i])
		if j > i {
			part += "-" + strconv.Itoa(numbers[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
