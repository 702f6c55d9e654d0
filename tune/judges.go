package tune

import (
	"fmt"
	"strconv"
	"strings"

	"zproxy/numa"
)

// portRange widens and never narrows. The first port must not be below the first that needs no privilege.
func portRange(m *Machine, now string) (string, bool) {
	v, err := numbers(now, 2)
	if err != nil {
		return now, true
	}
	first := int64(firstPort)
	if text, err := m.read(sysctlFile("net.ipv4.ip_unprivileged_port_start")); err == nil {
		if start, err := strconv.ParseInt(text, 10, 64); err == nil {
			first = max(first, start+start%2)
		}
	}
	right := v[0] <= first && v[1] >= lastPort
	return joined([]int64{min(v[0], first), max(v[1], lastPort)}), right
}

// reservedPorts adds to what is reserved, in the kernel's format "8080,9000-9010".
func reservedPorts(m *Machine, now string) (string, bool) {
	reserved, err := numa.ParseCPUList(now) // ports are written as CPU lists are
	if err != nil {
		return now, true
	}
	want := now
	for _, port := range m.opt.ListenPorts {
		if port < firstPort || reserved.Has(port) {
			continue
		}
		if want != "" {
			want += ","
		}
		want += strconv.Itoa(port)
	}
	return want, want == now
}

// tcpMemory leaves some room below, since the memory that is left over differs a little from boot to boot.
func tcpMemory(m *Machine, now string) (string, bool) {
	v, err := numbers(now, 3)
	if err != nil || m.memBytes == 0 {
		return now, true
	}
	pages := m.memBytes / m.opt.PageBytes
	want := []int64{pages / 8, pages / 16 * 3, pages / 4}
	return joined(want), v[1] >= pages/6 && v[2] >= pages/5
}

func whenSqueezed(usual, raised int64) judge {
	return func(m *Machine, now string) (string, bool) {
		if m.squeezed() {
			return atLeast(raised)(m, now)
		}
		return atLeast(usual)(m, now)
	}
}

func ioUring(m *Machine, now string) (string, bool) {
	if now == "1" {
		if group, err := m.read(sysctlFile("kernel.io_uring_group")); err == nil && group != "-1" {
			return "0", true
		}
	}
	return "0", now == "0"
}

func numaBalancing(m *Machine, now string) (string, bool) {
	if len(m.top.Nodes) < 2 {
		return now, true
	}
	return "0", now == "0"
}

const hugePageBytes = 2 << 20

func hugePages(m *Machine, r *Rule) []Finding {
	const pool = "hugepages/hugepages-2048kB/nr_hugepages"
	var all []Finding
	for _, node := range m.top.Nodes {
		loops := node.CPUs.And(m.loops).Count()
		want := int64(loops) * ((m.opt.BufferBytes + hugePageBytes - 1) / hugePageBytes)
		want = min(want, int64(node.MemTotalBytes/8/hugePageBytes))
		if want == 0 {
			continue
		}
		file := fmt.Sprintf("sys/devices/system/node/node%d/%s", node.ID, pool)
		if _, err := m.read(file); err != nil && len(m.top.Nodes) == 1 {
			file = "sys/kernel/mm/" + pool
		}
		all = append(all, m.judge(r, fmt.Sprintf("node%d nr_hugepages (2 MiB)", node.ID), file, atLeast(want)))
	}
	if len(all) == 0 {
		return []Finding{{Rule: r, Setting: r.Name, State: Absent}}
	}
	return all
}

func irqBalance(m *Machine, r *Rule) []Finding {
	f := Finding{Rule: r, Setting: r.Name, Now: "not running", Want: "not running"}
	if m.processes.irqbalance {
		f.Now, f.State, f.Remedy = "running", ByHand, "systemctl disable --now irqbalance"
		if len(m.nics) == 0 {
			f.State = Advice
		}
	}
	return []Finding{f}
}

func governors(m *Machine, r *Rule) []Finding {
	const dir = "sys/devices/system/cpu/cpufreq"
	policies, err := m.names(dir)
	var all []Finding
	for _, p := range policies {
		if !strings.HasPrefix(p, "policy") {
			continue
		}
		f := m.judge(r, p+" scaling_governor", dir+"/"+p+"/scaling_governor", exactly("performance"))
		if has, err := m.read(dir + "/" + p + "/scaling_available_governors"); f.State == Wrong && err == nil && !strings.Contains(has, "performance") {
			f.State, f.Remedy = Advice, "the driver has no performance governor: look for one in the firmware's settings"
		}
		all = append(all, f)
	}
	if err != nil || len(all) == 0 {
		return []Finding{{Rule: r, Setting: r.Name, State: Absent}}
	}
	return all
}

func isolated(m *Machine, r *Rule) []Finding {
	f := Finding{Rule: r, Setting: r.Name}
	text, err := m.read("sys/devices/system/cpu/isolated")
	set, errList := numa.ParseCPUList(text)
	switch {
	case err != nil || errList != nil:
		f.State = Absent
	case set.Count() == 0:
		f.Now, f.Want = "none", "none"
	case set.String() == m.loops.String():
		f.Now, f.Want = text, text
	default:
		f.Now, f.Want, f.State = text, "none, or "+m.loops.String(), ByHand
		f.Remedy = fmt.Sprintf("`loops: %q` in the configuration (and -c to say so here), or another isolcpus= on the kernel's command line", text)
	}
	return []Finding{f}
}
