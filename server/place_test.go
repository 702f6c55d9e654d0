package server

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"zproxy/config"
	"zproxy/numa"
)

// twoNodes is a machine of two nodes with two CPUs each.
func twoNodes(t *testing.T) *numa.Topology {
	t.Helper()
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	top, err := numa.Read(fstest.MapFS{
		"sys/devices/system/cpu/online":             file("0-3"),
		"sys/devices/system/node/online":            file("0-1"),
		"sys/devices/system/node/node0/cpulist":     file("0-1"),
		"sys/devices/system/node/node0/distance":    file("10 21"),
		"sys/devices/system/node/node0/meminfo":     file("Node 0 MemTotal: 1000 kB"),
		"sys/devices/system/node/node1/cpulist":     file("2-3"),
		"sys/devices/system/node/node1/distance":    file("21 10"),
		"sys/devices/system/node/node1/meminfo":     file("Node 1 MemTotal: 1000 kB"),
		"sys/devices/system/node/has_memory":        file("0-1"),
		"sys/devices/system/node/has_cpu":           file("0-1"),
		"sys/devices/system/node/has_normal_memory": file("0-1"),
	}, numa.NewCPUSet(0, 1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func TestPlaces(t *testing.T) {
	top := twoNodes(t)
	for _, tc := range []struct {
		loops config.Loops
		want  []place
		err   string
	}{
		{config.Loops{Auto: true}, []place{{0, 0}, {1, 0}, {2, 1}, {3, 1}}, ""},
		{config.Loops{N: 2}, []place{{0, 0}, {1, 0}}, ""},
		{config.Loops{CPUs: "1,3"}, []place{{1, 0}, {3, 1}}, ""},
		{config.Loops{N: 5}, nil, "5 asked for"},
		{config.Loops{CPUs: "1,9"}, nil, "CPU 9 is not among"},
	} {
		got, err := places(tc.loops, top)
		if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%+v: error %v, want %q", tc.loops, err, tc.err)
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%+v: %v, want %v", tc.loops, got, tc.want)
		}
	}
}

// Neighbours of the same node come first, and every loop has all the others.
func TestNearest(t *testing.T) {
	top := twoNodes(t)
	ps, err := places(config.Loops{Auto: true}, top)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]int{{1, 2, 3}, {0, 2, 3}, {3, 0, 1}, {2, 0, 1}}
	if got := nearest(ps, top); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
