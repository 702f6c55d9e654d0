package server

import (
	"fmt"

	"zproxy/config"
	"zproxy/numa"
)

// place says where one loop runs.
type place struct{ cpu, node int }

// places chooses the CPUs of the loops: those of the affinity mask, a number
// of them, or the ones listed.
func places(l config.Loops, t *numa.Topology) ([]place, error) {
	cpus := t.Allowed.List()
	switch {
	case l.CPUs != "":
		set, err := numa.ParseCPUList(l.CPUs)
		if err != nil {
			return nil, fmt.Errorf("loops: %w", err)
		}
		for _, cpu := range set.List() {
			if !t.Allowed.Has(cpu) {
				return nil, fmt.Errorf("loops: CPU %d is not among those this process may use (%s); change the list, or the affinity mask or cpuset the process is started with", cpu, t.Allowed)
			}
		}
		cpus = set.List()
	case l.N > len(cpus):
		return nil, fmt.Errorf("loops: %d asked for, but the process may use %d CPUs (%s)", l.N, len(cpus), t.Allowed)
	case l.N > 0:
		cpus = cpus[:l.N]
	}
	var ps []place
	for _, cpu := range cpus {
		ps = append(ps, place{cpu, t.NodeOf(cpu)})
	}
	return ps, nil
}

// nearest lists for each loop the others, those of its node first, then those
// of nearer nodes.
func nearest(ps []place, t *numa.Topology) [][]int {
	near := make([][]int, len(ps))
	for i, p := range ps {
		nodes := append([]int{p.node}, t.Nearest(p.node)...)
		for _, node := range nodes {
			for step := 1; step < len(ps); step++ {
				if j := (i + step) % len(ps); ps[j].node == node {
					near[i] = append(near[i], j)
				}
			}
		}
	}
	return near
}
