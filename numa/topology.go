package numa

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// localDistance is what the ACPI tables call the distance of a node to itself.
const localDistance = 10

// Node is one memory node: a socket, or a part of one.
type Node struct {
	ID             int
	CPUs           CPUSet // online ones; empty for a node that is only memory
	Distances      []int  // to Topology.Nodes[i]; 10 is local
	MemTotalBytes  uint64 // 0 for a node without memory
	HugePagesTotal int    // reserved 2 MiB pages
	HugePagesFree  int
}

// Topology is what the machine has and what this process may use of it.
type Topology struct {
	Nodes   []Node // online ones, by ID; at least one
	Online  CPUSet
	Allowed CPUSet // online, in the affinity mask and in the cgroup's cpuset
}

// Detect reads the topology of this machine. The affinity mask is that of the
// calling thread, so call it before pinning anything.
func Detect() (*Topology, error) {
	affinity, err := Affinity()
	if err != nil {
		return nil, err
	}
	return Read(os.DirFS("/"), affinity)
}

// Read reads the topology from root, which holds sys and proc. An empty
// affinity restricts nothing. Kernels without NUMA, where sys has no nodes,
// give one node with everything. It fails when no CPU may be used and when a
// file that is there cannot be understood.
func Read(root fs.FS, affinity CPUSet) (*Topology, error) {
	t := &Topology{}
	var err error
	if t.Online, err = readOnline(root, affinity); err != nil {
		return nil, err
	}
	if t.Nodes, err = readNodes(root, t.Online); err != nil {
		return nil, err
	}
	t.Allowed = t.Online
	if affinity.Count() > 0 {
		t.Allowed = t.Allowed.And(affinity)
	}
	cpuset, where, err := readCpuset(root)
	if err != nil {
		return nil, err
	}
	if where != "" {
		t.Allowed = t.Allowed.And(cpuset)
	}
	if t.Allowed.Count() == 0 {
		return nil, fmt.Errorf("no CPU may be used: online are %q, the affinity mask is %q, the cgroup's cpuset (%s) is %q",
			t.Online, affinity, where, cpuset)
	}
	return t, nil
}

// readOnline falls back to the affinity mask: containers may hide sys.
func readOnline(root fs.FS, affinity CPUSet) (CPUSet, error) {
	online, err := readList(root, "sys/devices/system/cpu/online")
	if errors.Is(err, fs.ErrNotExist) && affinity.Count() > 0 {
		return affinity, nil
	}
	return online, err
}

func readNodes(root fs.FS, online CPUSet) ([]Node, error) {
	const dir = "sys/devices/system/node"
	ids, err := readList(root, dir+"/online")
	if errors.Is(err, fs.ErrNotExist) || err == nil && ids.Count() == 0 {
		n, err := readSingleNode(root, online)
		return []Node{n}, err
	}
	if err != nil {
		return nil, err
	}
	var nodes []Node
	for _, id := range ids.List() {
		n, err := readNode(root, dir+"/node"+strconv.Itoa(id), id, online, ids.Count())
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func readNode(root fs.FS, dir string, id int, online CPUSet, nodes int) (Node, error) {
	n := Node{ID: id}
	cpus, err := readList(root, dir+"/cpulist")
	if err != nil {
		return n, err
	}
	n.CPUs = cpus.And(online)
	text, err := readText(root, dir+"/distance")
	if err != nil {
		return n, err
	}
	for word := range strings.FieldsSeq(text) {
		d, err := strconv.Atoi(word)
		if err != nil || d < 0 {
			return n, fmt.Errorf("%s/distance: %q is not a distance", dir, word)
		}
		n.Distances = append(n.Distances, d)
	}
	// The kernel prints one number per online node, in the order of their
	// IDs, which may have gaps.
	if len(n.Distances) != nodes {
		return n, fmt.Errorf("%s/distance: %q has %d numbers for %d nodes", dir, text, len(n.Distances), nodes)
	}
	if n.MemTotalBytes, err = readMemTotal(root, dir+"/meminfo"); err != nil {
		return n, err
	}
	n.HugePagesTotal, n.HugePagesFree, err = readHugePages(root, dir+"/hugepages/hugepages-2048kB")
	return n, err
}

// readSingleNode describes a machine whose kernel knows nothing of nodes.
func readSingleNode(root fs.FS, online CPUSet) (Node, error) {
	n := Node{CPUs: online, Distances: []int{localDistance}}
	var err error
	if n.MemTotalBytes, err = readMemTotal(root, "proc/meminfo"); err != nil {
		return n, err
	}
	n.HugePagesTotal, n.HugePagesFree, err = readHugePages(root, "sys/kernel/mm/hugepages/hugepages-2048kB")
	return n, err
}

// readMemTotal takes "MemTotal: 16318408 kB", which the per-node files have
// "Node 0" before. A file that is not there counts as no memory.
func readMemTotal(root fs.FS, name string) (uint64, error) {
	text, err := readText(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(text, "MemTotal:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("%s: no MemTotal", name)
	}
	kib, err := strconv.ParseUint(fields[0], 10, 50)
	if err != nil {
		return 0, fmt.Errorf("%s: MemTotal %q is not a number", name, fields[0])
	}
	return kib << 10, nil
}

// readHugePages counts 2 MiB pages; a kernel or node without them has 0.
func readHugePages(root fs.FS, dir string) (total, free int, err error) {
	if total, err = readCount(root, dir+"/nr_hugepages"); err != nil {
		return 0, 0, err
	}
	free, err = readCount(root, dir+"/free_hugepages")
	return total, free, err
}

func readCount(root fs.FS, name string) (int, error) {
	text, err := readText(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: %q is not a count", name, text)
	}
	return n, nil
}

func readList(root fs.FS, name string) (CPUSet, error) {
	text, err := readText(root, name)
	if err != nil {
		return CPUSet{}, err
	}
	s, err := ParseCPUList(text)
	if err != nil {
		return CPUSet{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func readText(root fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(root, name)
	return strings.TrimSpace(string(b)), err
}

// NodeOf is the ID of cpu's node: 0 on single-node machines, and the first
// node for a CPU that no node claims.
func (t *Topology) NodeOf(cpu int) int {
	for i := range t.Nodes {
		if t.Nodes[i].CPUs.Has(cpu) {
			return t.Nodes[i].ID
		}
	}
	return t.Nodes[0].ID
}

// Nearest gives the IDs of the other nodes, the nearest first, equal ones by
// ID; none for a node that is not there.
func (t *Topology) Nearest(node int) []int {
	from := t.index(node)
	if from < 0 {
		return nil
	}
	var order []int
	for i := range t.Nodes {
		if i != from {
			order = append(order, i)
		}
	}
	distances := t.Nodes[from].Distances
	slices.SortStableFunc(order, func(a, b int) int { return distances[a] - distances[b] })
	for k, i := range order {
		order[k] = t.Nodes[i].ID
	}
	return order
}

func (t *Topology) index(node int) int {
	return slices.IndexFunc(t.Nodes, func(n Node) bool { return n.ID == node })
}

// memoryNode is the node to take memory from for CPUs of node: itself, or the
// nearest that has any when it has none. False when there is no choice.
func (t *Topology) memoryNode(node int) (int, bool) {
	if len(t.Nodes) < 2 || t.index(node) < 0 {
		return 0, false
	}
	for _, id := range append([]int{node}, t.Nearest(node)...) {
		if t.Nodes[t.index(id)].MemTotalBytes > 0 {
			return id, true
		}
	}
	return 0, false
}
