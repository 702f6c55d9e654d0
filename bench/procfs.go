package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// member is a process as it was when it was seen.
type member struct {
	pid   int
	start string // field 22 of /proc/PID/stat: tells a reused PID
}

// stat returns the fields of /proc/PID/stat from the third (state) on; the
// second, the command's name, may contain anything.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return nil
	}
	return f
}

func (m member) alive() bool {
	f := stat(m.pid)
	return f != nil && f[19] == m.start && f[0] != "Z"
}

// tree lists a process and its descendants.
func tree(root int) []member {
	parents := map[int]int{}
	starts := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if f := stat(pid); f != nil {
			parents[pid], _ = strconv.Atoi(f[1])
			starts[pid] = f[19]
		}
	}
	var out []member
	for pid := range parents {
		for p := pid; p > 1; p = parents[p] {
			if p == root {
				out = append(out, member{pid, starts[pid]})
				break
			}
		}
	}
	return out
}

// cpuUse is CPU time since a process started, in ns.
type cpuUse struct {
	total  uint64  // by the scheduler's own accounting, all threads
	user   float64 // by ticks, scaled by the kernel: only its share of both is used
	system float64
}

// cpuOf sums over processes and their threads.
func cpuOf(members []member) (cpuUse, error) {
	var u cpuUse
	for _, m := range members {
		threads, err := m.threads()
		if err != nil {
			return u, err
		}
		for _, th := range threads {
			u.total += th.ran
		}
		if f := stat(m.pid); f != nil {
			user, _ := strconv.ParseFloat(f[11], 64)
			system, _ := strconv.ParseFloat(f[12], 64)
			u.user += user
			u.system += system
		}
	}
	return u, nil
}

// scheduled is what the scheduler says of a thread, in ns since it began.
type scheduled struct {
	ran    uint64
	waited uint64 // it could have run, but something else did
}

// threads of a process, by the name of the file that tells about them.
func (m member) threads() (map[string]scheduled, error) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.pid))
	if len(files) == 0 {
		return nil, fmt.Errorf("process %d has no schedstat: it ended, or the kernel lacks CONFIG_SCHED_INFO", m.pid)
	}
	out := map[string]scheduled{}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread ended between listing and reading
		}
		var th scheduled
		if _, err := fmt.Sscan(string(b), &th.ran, &th.waited); err != nil {
			return nil, fmt.Errorf("%s: %q is not CPU time", name, b)
		}
		out[name] = th
	}
	return out, nil
}

// kept returns how long the thread that ran most between two looks had to wait
// for a CPU that something else had, in ns. Other threads may wait for that
// one; that holds nobody up.
func kept(before, after map[string]scheduled) uint64 {
	var ran, waited uint64
	for name, now := range after {
		if then := before[name]; now.ran-then.ran > ran {
			ran, waited = now.ran-then.ran, now.waited-then.waited
		}
	}
	return waited
}

// besides returns how long threads ran between two looks, in ns, but for those n
// that ran most.
func besides(n int, before, after map[string]scheduled) (ns uint64) {
	var ran []uint64
	for name, now := range after {
		ran = append(ran, now.ran-before[name].ran)
	}
	slices.Sort(ran)
	for _, r := range ran[:max(0, len(ran)-n)] {
		ns += r
	}
	return ns
}

// memoryOf sums /proc/PID/smaps_rollup, in bytes. Pages of several processes
// count in parts in pss; hugetlb pages, which the kernel leaves out of both,
// are added.
func memoryOf(members []member) (rss, pss uint64, err error) {
	for _, m := range members {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", m.pid))
		if err != nil {
			return 0, 0, err
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			fields := strings.Fields(s.Text())
			if len(fields) != 3 {
				continue
			}
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			switch fields[0] {
			case "Rss:":
				rss += kib << 10
			case "Pss:":
				pss += kib << 10
			case "Private_Hugetlb:", "Shared_Hugetlb:":
				rss += kib << 10
				pss += kib << 10
			}
		}
		f.Close()
	}
	return rss, pss, nil
}

// listeners counts the sockets that listen on addr, an IPv4 address and port.
func listeners(addr string) (n int, err error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	ip := to.Addr().As4() // a number of 32 bits in the order of the machine, as the kernel shows it
	want := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), to.Port())
	for line := range strings.Lines(string(table)) {
		const local, state, listens = 1, 3, "0A"
		if f := strings.Fields(line); len(f) > state && f[local] == want && f[state] == listens {
			n++
		}
	}
	return n, nil
}
