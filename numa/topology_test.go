package numa

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// machine is a file tree given as "path: text".
func machine(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	return m
}

// with gives a copy of files with changes; the text "-" removes a file.
func with(files, changes map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range files {
		out[k] = v
	}
	for k, v := range changes {
		out[k] = v
		if v == "-" {
			delete(out, k)
		}
	}
	return out
}

const node = "sys/devices/system/node/node"

var oneNode = map[string]string{
	"sys/devices/system/cpu/online":  "0-3",
	"sys/devices/system/node/online": "0",
	node + "0/cpulist":               "0-3",
	node + "0/distance":              "10",
	node + "0/meminfo":               "Node 0 MemTotal:       16318408 kB\nNode 0 MemFree:        100 kB",
}

var twoSockets = map[string]string{
	"sys/devices/system/cpu/online":                      "0-7",
	"sys/devices/system/node/online":                     "0-1",
	node + "0/cpulist":                                   "0-3",
	node + "0/distance":                                  "10 21",
	node + "0/meminfo":                                   "Node 0 MemTotal: 1024 kB",
	node + "0/hugepages/hugepages-2048kB/nr_hugepages":   "8",
	node + "0/hugepages/hugepages-2048kB/free_hugepages": "3",
	node + "1/cpulist":                                   "4-7",
	node + "1/distance":                                  "21 10",
	node + "1/meminfo":                                   "Node 1 MemTotal: 2048 kB",
}

// Four nodes with gaps in their numbers; 8 has no memory and 9 no CPUs.
var fourNodes = map[string]string{
	"sys/devices/system/cpu/online":  "0-5",
	"sys/devices/system/node/online": "0,4,8-9",
	node + "0/cpulist":               "0-1",
	node + "0/distance":              "10 20 40 30",
	node + "0/meminfo":               "Node 0 MemTotal: 4 kB",
	node + "4/cpulist":               "2-3",
	node + "4/distance":              "20 10 40 40",
	node + "4/meminfo":               "Node 4 MemTotal: 4 kB",
	node + "8/cpulist":               "4-5",
	node + "8/distance":              "40 30 10 20",
	node + "8/meminfo":               "Node 8 MemTotal: 0 kB",
	node + "9/cpulist":               "",
	node + "9/distance":              "30 40 20 10",
	node + "9/meminfo":               "Node 9 MemTotal: 4 kB",
}

// describe puts what a test compares into one line.
func describe(t *Topology) string {
	var b strings.Builder
	fmt.Fprintf(&b, "online %s allowed %s", t.Online, t.Allowed)
	for _, n := range t.Nodes {
		fmt.Fprintf(&b, "; node %d cpus [%s] %v %dK huge %d/%d", n.ID, n.CPUs, n.Distances, n.MemTotalBytes>>10, n.HugePagesFree, n.HugePagesTotal)
	}
	return b.String()
}

func TestReadTopology(t *testing.T) {
	const twoSocketNodes = "; node 0 cpus [0-3] [10 21] 1024K huge 3/8; node 1 cpus [4-7] [21 10] 2048K huge 0/0"
	for _, c := range []struct {
		name     string
		files    map[string]string
		affinity CPUSet
		want     string
	}{
		{"one node", oneNode, NewCPUSet(0, 1, 2, 3),
			"online 0-3 allowed 0-3; node 0 cpus [0-3] [10] 16318408K huge 0/0"},
		{"no affinity known", oneNode, CPUSet{},
			"online 0-3 allowed 0-3; node 0 cpus [0-3] [10] 16318408K huge 0/0"},
		{"affinity mask wider than the machine", oneNode, NewCPUSet(1, 2, 77),
			"online 0-3 allowed 1-2; node 0 cpus [0-3] [10] 16318408K huge 0/0"},
		{"two sockets", twoSockets, CPUSet{}, "online 0-7 allowed 0-7" + twoSocketNodes},
		{"affinity takes one socket", twoSockets, NewCPUSet(4, 5, 6, 7), "online 0-7 allowed 4-7" + twoSocketNodes},
		{"offline CPUs", with(twoSockets, map[string]string{"sys/devices/system/cpu/online": "0-1,3-4,7"}), CPUSet{},
			"online 0-1,3-4,7 allowed 0-1,3-4,7; node 0 cpus [0-1,3] [10 21] 1024K huge 3/8; node 1 cpus [4,7] [21 10] 2048K huge 0/0"},
		{"gaps, no memory, no CPUs", fourNodes, CPUSet{},
			"online 0-5 allowed 0-5; node 0 cpus [0-1] [10 20 40 30] 4K huge 0/0; node 4 cpus [2-3] [20 10 40 40] 4K huge 0/0" +
				"; node 8 cpus [4-5] [40 30 10 20] 0K huge 0/0; node 9 cpus [] [30 40 20 10] 4K huge 0/0"},
		{"kernel without NUMA", map[string]string{
			"sys/devices/system/cpu/online": "0-1",
			"proc/meminfo":                  "MemTotal:        2048 kB\nMemFree: 1 kB",
			"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages":    "4",
			"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages":  "2",
			"sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "1",
		}, CPUSet{}, "online 0-1 allowed 0-1; node 0 cpus [0-1] [10] 2048K huge 2/4"},
		{"no sys at all", map[string]string{}, NewCPUSet(0, 5),
			"online 0,5 allowed 0,5; node 0 cpus [0,5] [10] 0K huge 0/0"},
	} {
		top, err := Read(machine(c.files), c.affinity)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := describe(top); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestReadCgroupCpuset(t *testing.T) {
	const mount2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
	const mountHybrid = "33 25 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup rw\n" +
		"40 25 0:36 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n" +
		"41 25 0:37 / /sys/fs/cgroup/cpuset rw shared:11 - cgroup cgroup rw,cpuset"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", nil, "0-7"},
		{"version 2", map[string]string{
			"proc/self/cgroup":    "0::/system.slice/zproxy.service",
			"proc/self/mountinfo": mount2,
			"sys/fs/cgroup/system.slice/zproxy.service/cpuset.cpus.effective": "2-3",
			"sys/fs/cgroup/system.slice/cpuset.cpus.effective":                "0-5",
			"sys/fs/cgroup/cpuset.cpus.effective":                             "0-7",
		}, "2-3"},
		{"version 2, controller not enabled below", map[string]string{
			"proc/self/cgroup":    "0::/system.slice/zproxy.service",
			"proc/self/mountinfo": mount2,
			"sys/fs/cgroup/system.slice/cpuset.cpus.effective": "1-5",
			"sys/fs/cgroup/cpuset.cpus.effective":              "0-7",
		}, "1-5"},
		{"version 2, root only", map[string]string{
			"proc/self/cgroup":                    "0::/",
			"proc/self/mountinfo":                 mount2,
			"sys/fs/cgroup/cpuset.cpus.effective": "0-6",
		}, "0-6"},
		{"version 2, no cpuset anywhere", map[string]string{
			"proc/self/cgroup":    "0::/a/b",
			"proc/self/mountinfo": mount2,
		}, "0-7"},
		{"version 2, empty file does not lock everybody out", map[string]string{
			"proc/self/cgroup":                        "0::/a/b",
			"proc/self/mountinfo":                     mount2,
			"sys/fs/cgroup/a/b/cpuset.cpus.effective": "",
			"sys/fs/cgroup/a/cpuset.cpus.effective":   "4",
		}, "4"},
		{"version 2, unusual mount point", map[string]string{
			"proc/self/cgroup":                    "0::/x",
			"proc/self/mountinfo":                 "30 23 0:26 / /cg rw - cgroup2 none rw",
			"cg/x/cpuset.cpus.effective":          "7",
			"sys/fs/cgroup/cpuset.cpus.effective": "0",
		}, "7"},
		{"version 2, container given a part of the tree", map[string]string{
			"proc/self/cgroup":                          "0::/docker/abc/inner",
			"proc/self/mountinfo":                       "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw",
			"sys/fs/cgroup/inner/cpuset.cpus.effective": "3",
			"sys/fs/cgroup/cpuset.cpus.effective":       "2-3",
		}, "3"},
		{"version 2, own group not visible", map[string]string{
			"proc/self/cgroup":                    "0::/../../outside",
			"proc/self/mountinfo":                 mount2,
			"sys/fs/cgroup/cpuset.cpus.effective": "5",
		}, "5"},
		{"version 2, no mountinfo", map[string]string{
			"proc/self/cgroup":                      "0::/g",
			"sys/fs/cgroup/g/cpuset.cpus.effective": "6",
		}, "6"},
		{"version 1", map[string]string{
			"proc/self/cgroup":    "9:cpu,cpuacct:/\n3:cpuset:/docker/abc\n1:name=systemd:/",
			"proc/self/mountinfo": mountHybrid,
			"sys/fs/cgroup/cpuset/docker/abc/cpuset.effective_cpus": "4-5",
			"sys/fs/cgroup/cpuset/cpuset.effective_cpus":            "0-7",
		}, "4-5"},
		{"version 1 shared with another controller", map[string]string{
			"proc/self/cgroup":    "3:cpu,cpuset:/a",
			"proc/self/mountinfo": "41 25 0:37 / /sys/fs/cgroup/cpu,cpuset rw - cgroup cgroup rw,cpu,cpuset",
			"sys/fs/cgroup/cpu,cpuset/a/cpuset.effective_cpus": "1",
		}, "1"},
		{"both mounted, version 1 has the cpuset", map[string]string{
			"proc/self/cgroup":                              "3:cpuset:/a\n0::/b",
			"proc/self/mountinfo":                           mountHybrid,
			"sys/fs/cgroup/cpuset/a/cpuset.effective_cpus":  "1-2",
			"sys/fs/cgroup/unified/b/cpuset.cpus.effective": "6",
		}, "1-2"},
		{"cgroup wider than what is online", map[string]string{
			"proc/self/cgroup":                    "0::/",
			"sys/fs/cgroup/cpuset.cpus.effective": "6-63",
		}, "6-7"},
	} {
		top, err := Read(machine(with(twoSockets, c.files)), CPUSet{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := top.Allowed.String(); got != c.want {
			t.Errorf("%s: allowed %q, want %q", c.name, got, c.want)
		}
	}
}

func TestReadTopologyErrors(t *testing.T) {
	for _, c := range []struct {
		name     string
		changes  map[string]string
		affinity CPUSet
		want     string
	}{
		{"nothing allowed", nil, NewCPUSet(9), `no CPU may be used: online are "0-7", the affinity mask is "9"`},
		{"cgroup and affinity disagree", map[string]string{
			"proc/self/cgroup":                    "0::/",
			"sys/fs/cgroup/cpuset.cpus.effective": "0-1",
		}, NewCPUSet(4), `the cgroup's cpuset (sys/fs/cgroup/cpuset.cpus.effective) is "0-1"`},
		{"no CPUs known", map[string]string{"sys/devices/system/cpu/online": "-"}, CPUSet{}, "cpu/online"},
		{"online is junk", map[string]string{"sys/devices/system/cpu/online": "all"}, CPUSet{}, "sys/devices/system/cpu/online"},
		{"nodes are junk", map[string]string{"sys/devices/system/node/online": "0-x"}, CPUSet{}, "sys/devices/system/node/online"},
		{"node without CPU list", map[string]string{node + "1/cpulist": "-"}, CPUSet{}, "node1/cpulist"},
		{"node without distances", map[string]string{node + "1/distance": "-"}, CPUSet{}, "node1/distance"},
		{"too few distances", map[string]string{node + "1/distance": "21"}, CPUSet{}, "1 numbers for 2 nodes"},
		{"distance is junk", map[string]string{node + "0/distance": "10 far"}, CPUSet{}, `"far" is not a distance`},
		{"no MemTotal", map[string]string{node + "0/meminfo": "Node 0 MemFree: 3 kB"}, CPUSet{}, "no MemTotal"},
		{"MemTotal is junk", map[string]string{node + "0/meminfo": "Node 0 MemTotal: much kB"}, CPUSet{}, `"much" is not a number`},
		{"huge pages are junk", map[string]string{node + "0/hugepages/hugepages-2048kB/free_hugepages": "-1"}, CPUSet{}, "not a count"},
		{"cpuset is junk", map[string]string{
			"proc/self/cgroup":                    "0::/",
			"sys/fs/cgroup/cpuset.cpus.effective": "most",
		}, CPUSet{}, "cgroup cpuset: sys/fs/cgroup/cpuset.cpus.effective"},
	} {
		top, err := Read(machine(with(twoSockets, c.changes)), c.affinity)
		if err == nil {
			t.Errorf("%s: read as %s", c.name, describe(top))
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q does not say %q", c.name, err, c.want)
		}
	}
}

func TestNodeOfAndNearest(t *testing.T) {
	top, err := Read(machine(fourNodes), CPUSet{})
	if err != nil {
		t.Fatal(err)
	}
	for cpu, want := range map[int]int{0: 0, 1: 0, 2: 4, 3: 4, 4: 8, 5: 8, 6: 0, -1: 0} {
		if got := top.NodeOf(cpu); got != want {
			t.Errorf("CPU %d is on node %d, want %d", cpu, got, want)
		}
	}
	for id, want := range map[int][]int{0: {4, 9, 8}, 4: {0, 8, 9}, 8: {9, 4, 0}, 9: {8, 0, 4}, 3: nil} {
		if got := top.Nearest(id); !slices.Equal(got, want) {
			t.Errorf("nearest to %d: %v, want %v", id, got, want)
		}
	}
	for id, want := range map[int]int{0: 0, 4: 4, 8: 9, 9: 9} {
		if got, ok := top.memoryNode(id); !ok || got != want {
			t.Errorf("memory for node %d from %d (%v), want %d", id, got, ok, want)
		}
	}
	if _, ok := top.memoryNode(7); ok {
		t.Error("a node that is not there has memory")
	}
	single, err := Read(machine(oneNode), CPUSet{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := single.memoryNode(0); ok || single.NodeOf(3) != 0 || single.Nearest(0) != nil {
		t.Error("one node leaves no choice")
	}
}

func TestDetect(t *testing.T) {
	top, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	affinity, err := Affinity()
	if err != nil {
		t.Fatal(err)
	}
	if top.Allowed.Count() == 0 || top.Allowed.And(top.Online).And(affinity).String() != top.Allowed.String() {
		t.Errorf("%s with affinity %s", describe(top), affinity)
	}
	for _, n := range top.Nodes {
		for i, d := range n.Distances {
			if own := top.Nodes[i].ID == n.ID; own != (d == localDistance) {
				t.Errorf("node %d: distances %v", n.ID, n.Distances)
			}
		}
	}
}
