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
	Cards   []card
	// Tests are the packages whose tests run there, with what a test binary is
	// told besides. TestGuest runs where there are none.
	Tests map[string][]string
}

type node struct {
	MemMiB int // 0: a node without memory
	CPUs   []int
}

// card is a network card with nothing at the other end but the other cards.
type card struct {
	Node   int
	Driver string // one of drivers
	// Serves are the CPUs that "zproxy tune" is to give its queues, in turn.
	Serves []int
}

// driver is one of the guest's kernel.
type driver struct {
	device  string   // what qemu calls the card
	modules []string // in the order to load them in
	// queues is how many a guest with that many CPUs gets. qemu gives a virtio
	// card more than one only when it reaches the host's network.
	queues func(cpus int) int
}

var drivers = map[string]driver{
	"vmxnet3":    {"vmxnet3", []string{"drivers/net/vmxnet3/vmxnet3"}, func(cpus int) int { return cpus }},
	"virtio_net": {"virtio-net-pci", []string{"net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"}, func(int) int { return 1 }},
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
		// More queues than CPUs, and fewer.
		Cards: []card{{0, "vmxnet3", []int{0, 1}}, {1, "virtio_net", []int{2, 3}}},
	},
	{
		Name:      "four_nodes",
		Nodes:     []node{{320, []int{0}}, {320, []int{1}}, {320, []int{2}}, {320, []int{3}}},
		Distances: [][]int{{10, 31, 12, 21}, {31, 10, 21, 12}, {12, 21, 10, 31}, {21, 12, 31, 10}},
		HugeNode:  2,
		Offline:   2,
		// Two nodes have none and take part in the card that is nearer.
		Cards: []card{{0, "vmxnet3", []int{0, 2}}, {3, "virtio_net", []int{3, 1}}},
	},
	{
		// CPUs take turns over the nodes, as many firmwares number them.
		Name:      "node_without_memory",
		Nodes:     []node{{512, []int{0, 3}}, {0, []int{1}}, {512, []int{2}}},
		Distances: [][]int{{10, 31, 21}, {31, 10, 12}, {21, 12, 10}},
		HugeNode:  2,
		Offline:   3,
		// Every node takes part in the only card, the nearest first.
		Cards: []card{{1, "vmxnet3", []int{1, 2, 0, 3}}},
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
	args := []string{"-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max"}
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
	for i := range m.Cards {
		args = append(args, m.Cards[i].qemuArgs(i)...)
	}
	return append(args, "-m", strconv.Itoa(total)+"M")
}

// busOf is the number of the bus at the bridge that card i has for itself.
func busOf(i int) int { return 32 * (i + 1) }

// qemuArgs put card i of a machine where a server has one: in a slot, which is
// a port of a bridge, which is on a node. A hub connects the cards; nothing
// leads out of it.
func (c *card) qemuArgs(i int) []string {
	return []string{
		"-netdev", fmt.Sprintf("hubport,hubid=0,id=net%d", i),
		"-device", fmt.Sprintf("pxb-pcie,bus=pcie.0,id=bridge%d,bus_nr=%d,numa_node=%d", i, busOf(i), c.Node),
		"-device", fmt.Sprintf("pcie-root-port,bus=bridge%d,id=slot%d,chassis=%d", i, i, i+1),
		"-device", fmt.Sprintf("%s,bus=slot%d,netdev=net%d,romfile=", drivers[c.Driver].device, i, i),
	}
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
