package tune

import (
	"slices"
	"testing"

	"zproxy/numa"
)

func mustList(t *testing.T, list string) numa.CPUSet {
	t.Helper()
	set, err := numa.ParseCPUList(list)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestQueueOf(t *testing.T) {
	for _, c := range []struct {
		action, nic string
		queue       int
		ok          bool
	}{
		{"eth0-TxRx-3", "eth0", 3, true},
		{"i40e-enp3s0f1-TxRx-12", "enp3s0f1", 12, true},
		{"eth0-Tx-Rx-5", "eth0", 5, true},
		{"mlx5_comp7@pci:0000:3b:00.0", "eth0", 7, true},
		{"mlx5_async0@pci:0000:3b:00.0", "eth0", 0, false},
		{"ena-mgmnt@pci:0000:00:05.0", "eth0", 0, false},
		{"virtio2-input.1", "eth0", 1, true},
		{"virtio2-config", "eth0", 0, false},
		{"enp3s0f1", "enp3s0f1", 0, true}, // one interrupt for all: the digit is not a queue's
		{"eth0-rx", "eth0", 0, true},
		{"misc0-rx-2", "misc0", 2, true}, // only the rest of the name says what it is
		{"iwlwifi:default_queue", "wlan0", 0, true},
	} {
		if queue, ok := queueOf(c.action, c.nic); queue != c.queue || ok != c.ok {
			t.Errorf("%s of %s: %d, %v", c.action, c.nic, queue, ok)
		}
	}
}

func TestMentions(t *testing.T) {
	for _, c := range []struct {
		text, name string
		want       bool
	}{
		{"eth1-rx-0", "eth1", true},
		{"eth10-rx-0", "eth1", false},
		{"eth10-eth1", "eth1", true},
		{"veth1", "eth1", false},
		{"i40e-eth1-TxRx-0", "eth1", true},
		{"", "eth1", false},
	} {
		if got := mentions(c.text, c.name); got != c.want {
			t.Errorf("%s in %s: %v", c.name, c.text, got)
		}
	}
}

func TestMasks(t *testing.T) {
	for _, c := range []struct{ list, mask string }{
		{"", "0"},
		{"0-1", "3"},
		{"4,6", "50"},
		{"31-32", "1,80000000"},
		{"64", "1,00000000,00000000"},
	} {
		set := mustList(t, c.list)
		if got := formatMask(set); got != c.mask {
			t.Errorf("%q: %s, want %s", c.list, got, c.mask)
		}
		back, err := parseMask("00000000," + c.mask)
		if err != nil || back.String() != set.String() {
			t.Errorf("%s: %q, %v", c.mask, back, err)
		}
	}
	for _, bad := range []string{"", "x", "1,,1", "123456789"} {
		if set, err := parseMask(bad); err == nil {
			t.Errorf("%q gave %q", bad, set)
		}
	}
}

// A node without a card takes part in the card that is nearest to it, or in several that are equally near; a node with
// one in no other.
func TestCPUsFor(t *testing.T) {
	top := &numa.Topology{}
	for id, distances := range [][]int{{10, 31, 12, 21}, {31, 10, 12, 21}, {12, 12, 10, 31}, {21, 20, 31, 10}} {
		top.Nodes = append(top.Nodes, numa.Node{ID: id, CPUs: numa.NewCPUSet(id, 4+id), Distances: distances})
	}
	all := mustList(t, "0-7")
	for _, c := range []struct {
		cards []int // their nodes
		loops string
		want  [][]int // by card
	}{
		{[]int{0, 1}, "0-7", [][]int{{0, 4, 2, 6}, {1, 5, 2, 6, 3, 7}}}, // 2 is as near to both, 3 nearer to 1
		{[]int{0, 0, 1}, "0-7", [][]int{{0, 4, 2, 6}, {0, 4, 2, 6}, {1, 5, 2, 6, 3, 7}}},
		{[]int{2}, "0-7", [][]int{{2, 6, 0, 4, 1, 5, 3, 7}}},
		{[]int{2, -1}, "0-7", [][]int{{2, 6, 0, 4, 1, 5, 3, 7}, all.List()}},
		{[]int{2, 9}, "0-7", [][]int{{2, 6, 0, 4, 1, 5, 3, 7}, all.List()}},
		{[]int{0, 1, 2, 3}, "0-7", [][]int{{0, 4}, {1, 5}, {2, 6}, {3, 7}}},
		{[]int{0, 3}, "1-2", [][]int{{2}, {1}}},
		{[]int{0, 3}, "3,7", [][]int{{3, 7}, {3, 7}}}, // no loop is where the first card is: any serves it
	} {
		m := &Machine{top: top, loops: mustList(t, c.loops)}
		for _, node := range c.cards {
			m.nics = append(m.nics, nic{node: node})
		}
		for i, want := range c.want {
			if got := m.cpusFor(&m.nics[i]); !slices.Equal(got, want) {
				t.Errorf("loops on %s, cards on %v: CPUs %v for card %d, want %v", c.loops, c.cards, got, i, want)
			}
		}
	}
}

// Whatever the numbers are, every CPU has a queue and no CPU more of them than another plus one.
func TestShare(t *testing.T) {
	for cpus := 1; cpus <= 9; cpus++ {
		for queues := 1; queues <= 9; queues++ {
			var list []int
			for i := range cpus {
				list = append(list, 10+i)
			}
			times := map[int]int{}
			for q := range queues {
				mine := share(list, q, queues).List()
				if len(mine) == 0 {
					t.Errorf("%d queues, %d CPUs: queue %d has none", queues, cpus, q)
				}
				for _, cpu := range mine {
					times[cpu]++
				}
			}
			for _, cpu := range list {
				if low := max(1, queues/cpus); times[cpu] < low || times[cpu] > low+1 {
					t.Errorf("%d queues, %d CPUs: CPU %d has %d queues", queues, cpus, cpu, times[cpu])
				}
			}
		}
	}
}
