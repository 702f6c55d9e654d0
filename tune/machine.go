package tune

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"zproxy/numa"
)

// Options is what the recommendations depend on, beside the machine. The zero value is the proxy's own defaults.
type Options struct {
	LoopCPUs    numa.CPUSet // where the loops run; empty: every CPU that is online
	LoopCount   int         // if > 0, only the first that many of them
	BufferBytes int64       // the most that one loop's buffers take; 0: 64 MiB
	ListenPorts []int
	PageBytes   int64 // of the machine; 0: 4096
}

const defaultBufferBytes = 64 << 20

// Machine is what the recommendations depend on.
type Machine struct {
	root fs.FS
	opt  Options

	top       *numa.Topology
	loops     numa.CPUSet
	memBytes  int64
	nics      []nic
	processes processes
}

// Read looks at the machine whose proc and sys are in root.
func Read(root fs.FS, opt Options) (*Machine, error) {
	m := &Machine{root: root, opt: opt}
	if m.opt.BufferBytes == 0 {
		m.opt.BufferBytes = defaultBufferBytes
	}
	if m.opt.PageBytes == 0 {
		m.opt.PageBytes = 4096
	}
	var err error
	if m.top, err = numa.Read(root, numa.CPUSet{}); err != nil {
		return nil, err
	}
	m.memBytes = m.memTotal()
	m.loops = m.top.Online
	if opt.LoopCPUs.Count() > 0 {
		m.loops = opt.LoopCPUs.And(m.top.Online)
	}
	if cpus := m.loops.List(); opt.LoopCount > 0 && opt.LoopCount < len(cpus) {
		m.loops = numa.NewCPUSet(cpus[:opt.LoopCount]...)
	}
	if m.loops.Count() == 0 {
		return nil, fmt.Errorf("loops are to run on the CPUs %s, of which none is online (%s are)", opt.LoopCPUs, m.top.Online)
	}
	if m.nics, err = m.readNICs(); err != nil {
		return nil, err
	}
	m.processes = m.readProcesses()
	return m, nil
}

// read gives a file's text without white space around it.
func (m *Machine) read(name string) (string, error) {
	b, err := fs.ReadFile(m.root, name)
	return strings.TrimSpace(string(b)), err
}

// names lists a directory; one that is not there is empty.
func (m *Machine) names(dir string) ([]string, error) {
	entries, err := fs.ReadDir(m.root, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// memTotal is the memory of all nodes in bytes; 0 when it cannot be read.
func (m *Machine) memTotal() int64 {
	text, err := m.read("proc/meminfo")
	if err != nil {
		return 0
	}
	var kib int64
	for line := range strings.Lines(text) {
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// squeezed says whether, since the start, the kernel has given up a round of receiving before it had taken all packets.
func (m *Machine) squeezed() bool {
	text, err := m.read("proc/net/softnet_stat")
	if err != nil {
		return false
	}
	var taken, squeezed uint64
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		t, _ := strconv.ParseUint(fields[0], 16, 64)
		s, _ := strconv.ParseUint(fields[2], 16, 64)
		taken, squeezed = taken+t, squeezed+s
	}
	return squeezed >= squeezesAllowed && squeezed > taken/packetsPerSqueeze
}

// A round that is cut short took 300 packets or more, by default. So this is where about 1 % of the packets came in
// such rounds; a handful of them is not worth a change.
const (
	squeezesAllowed   = 100
	packetsPerSqueeze = 30_000
)

// processes is what a look at all processes gives.
type processes struct {
	limitsOf   string            // whose limits: "zproxy, process 17" or "this shell"
	limits     map[string]string // hard limits by name, in the kernel's words
	irqbalance bool
}

// readProcesses looks for running proxies, whose limits count rather than those of the shell that asks. A process that
// ends meanwhile is not there.
func (m *Machine) readProcesses() processes {
	p := processes{limitsOf: "this shell", limits: m.readLimits("self")}
	pids, err := m.names("proc")
	if err != nil {
		return p
	}
	for _, pid := range pids {
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		name, err := m.read("proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		switch name {
		case "irqbalance":
			p.irqbalance = true
		case "zproxy":
			line, _ := m.read("proc/" + pid + "/cmdline")
			if args := strings.Split(line, "\x00"); len(args) > 1 && args[1] == "run" {
				if l := m.readLimits(pid); len(l) > 0 {
					p.limitsOf, p.limits = "zproxy, process "+pid, l
				}
			}
		}
	}
	return p
}

// readLimits takes lines such as "Max open files    1024    524288    files".
func (m *Machine) readLimits(pid string) map[string]string {
	text, err := m.read("proc/" + pid + "/limits")
	if err != nil {
		return nil
	}
	limits := map[string]string{}
	for line := range strings.Lines(text) {
		for _, name := range []string{limitFiles, limitLocked} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				if words := strings.Fields(rest); len(words) >= 2 {
					limits[name] = words[1]
				}
			}
		}
	}
	return limits
}

const (
	limitFiles  = "Max open files"
	limitLocked = "Max locked memory"
)

// limit is a rule's find for a resource limit.
func limit(name string, want int64, remedy string) func(*Machine, *Rule) []Finding {
	return func(m *Machine, r *Rule) []Finding {
		now, ok := m.processes.limits[name]
		f := Finding{Rule: r, Setting: r.Name, Now: now, Want: strconv.FormatInt(want, 10)}
		n, err := strconv.ParseInt(now, 10, 64)
		switch {
		case !ok:
			f.State = Absent
		case now == "unlimited" || err == nil && n >= want:
			f.Want = now
		default:
			f.State, f.Remedy = ByHand, remedy+" (now is that of "+m.processes.limitsOf+")"
		}
		return []Finding{f}
	}
}
