package tune

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"zproxy/numa"
)

// nic is a network card, real or virtual hardware, that is up.
type nic struct {
	name     string
	node     int // -1 when the machine does not say
	rxQueues int
	txQueues int
	irqs     []queueIRQ
}

// queueIRQ is the interrupt of one queue, or of a pair of a receive and a transmit queue.
type queueIRQ struct {
	irq, queue int
	action     string // the driver's name for it
}

const classNet = "sys/class/net"

// readNICs finds the cards: what has a device behind it. Bridges, bonds, VLANs, veth and loopback have none.
func (m *Machine) readNICs() ([]nic, error) {
	names, err := m.names(classNet)
	if err != nil {
		return nil, err
	}
	actions, err := m.irqActions()
	if err != nil {
		return nil, err
	}
	var nics []nic
	for _, name := range names {
		dir := path.Join(classNet, name)
		if _, err := fs.Stat(m.root, dir+"/device"); err != nil {
			continue
		}
		if state, err := m.read(dir + "/operstate"); err == nil && state == "down" {
			continue
		}
		n := nic{name: name, node: -1}
		queues, err := m.names(dir + "/queues")
		if err != nil {
			return nil, err
		}
		for _, q := range queues {
			switch {
			case strings.HasPrefix(q, "rx-"):
				n.rxQueues++
			case strings.HasPrefix(q, "tx-"):
				n.txQueues++
			}
		}
		m.readDevice(&n, actions)
		nics = append(nics, n)
	}
	return nics, nil
}

// readDevice finds the node and the interrupts of the device behind n. With virtio they belong to the device above it;
// above one that has them itself is the slot, whose interrupts are of its own.
func (m *Machine) readDevice(n *nic, actions map[int]string) {
	device := m.device(n.name)
	own := map[int]bool{}
	for _, dir := range []string{device, path.Dir(device)} {
		text, errNode := m.read(dir + "/numa_node")
		if node, err := strconv.Atoi(text); err == nil {
			n.node = node
		}
		irqs, _ := m.names(dir + "/msi_irqs")
		for _, text := range irqs {
			if irq, err := strconv.Atoi(text); err == nil {
				own[irq] = true
			}
		}
		if errNode == nil || len(irqs) > 0 {
			break
		}
	}
	for irq, action := range actions {
		if !own[irq] && !strings.HasPrefix(action, path.Base(device)+"-") && !mentions(action, n.name) {
			continue
		}
		if queue, ok := queueOf(action, n.name); ok {
			n.irqs = append(n.irqs, queueIRQ{irq, queue, action})
		}
	}
	slices.SortFunc(n.irqs, func(a, b queueIRQ) int { return a.irq - b.irq })
}

// device is the directory of the hardware behind a network interface.
func (m *Machine) device(name string) string {
	dir := path.Join(classNet, name)
	if to, err := fs.ReadLink(m.root, dir); err == nil {
		dir = path.Join(classNet, to)
	}
	to, err := fs.ReadLink(m.root, dir+"/device")
	if err != nil {
		return dir + "/device"
	}
	return path.Join(dir, to)
}

// irqActions gives the drivers' names of all interrupts that have one.
func (m *Machine) irqActions() (map[int]string, error) {
	const dir = "sys/kernel/irq"
	names, err := m.names(dir)
	if err != nil {
		return nil, err
	}
	actions := map[int]string{}
	for _, name := range names {
		irq, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		text, err := m.read(dir + "/" + name + "/actions")
		if errors.Is(err, fs.ErrNotExist) || text == "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		actions[irq] = text
	}
	return actions, nil
}

// mentions says whether name stands in text as a word of its own: eth1 is not in eth10-rx-0.
func mentions(text, name string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return false
		}
		i += at
		at = i + len(name)
		if (i == 0 || !wordByte(text[i-1])) && (at == len(text) || !wordByte(text[at])) {
			return true
		}
	}
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

var (
	otherIRQ  = regexp.MustCompile(`(?i)(config|async|ctrl|control|mgmnt|mgmt|misc|event|admin|aeq|fdir|ptp|pages|cmd)`)
	lastDigit = regexp.MustCompile(`(\d+)$`)
)

// queueOf takes the number of the queue from a driver's name for its interrupt: eth0-TxRx-3, virtio0-input.3,
// mlx5_comp3@pci:0000:3b:00.0. Interrupts that carry no packets are not queues. A card with one interrupt gives it the
// name of the interface.
func queueOf(action, nic string) (queue int, ok bool) {
	action, _, _ = strings.Cut(action, "@")
	if action == nic {
		return 0, true
	}
	if otherIRQ.MatchString(strings.ReplaceAll(action, nic, "")) {
		return 0, false
	}
	digits := lastDigit.FindString(action)
	if digits == "" {
		return 0, true
	}
	queue, err := strconv.Atoi(digits)
	return queue, err == nil
}

// cpusFor lists the loops' CPUs that serve a card, those of its node first. A node without a card of its own gets a
// share of the nearest ones': steering gives a connection to the loop of the CPU its packets arrive on, and a loop on
// whose CPU none arrive would have no work.
func (m *Machine) cpusFor(n *nic) []int {
	if n.node < 0 {
		return m.loops.List()
	}
	var cpus []int
	for _, id := range append([]int{n.node}, m.top.Nearest(n.node)...) {
		for i := range m.top.Nodes {
			if node := &m.top.Nodes[i]; node.ID == id && m.takesPart(node, n) {
				cpus = append(cpus, node.CPUs.And(m.loops).List()...)
			}
		}
	}
	if len(cpus) == 0 {
		return m.loops.List()
	}
	return cpus
}

// takesPart says whether node is served by n: no other card is nearer to it.
func (m *Machine) takesPart(node *numa.Node, n *nic) bool {
	far := m.distance(node, n.node)
	return !slices.ContainsFunc(m.nics, func(other nic) bool { return m.distance(node, other.node) < far })
}

// distance is 0 from a node to itself, and longer than all others to one that is not there.
func (m *Machine) distance(from *numa.Node, to int) int {
	i := slices.IndexFunc(m.top.Nodes, func(n numa.Node) bool { return n.ID == to })
	switch {
	case from.ID == to:
		return 0
	case i < 0:
		return math.MaxInt
	}
	return from.Distances[i]
}

// share is the part of cpus that one of n queues serves: a CPU of its own for each queue, or every n-th CPU.
func share(cpus []int, queue, n int) numa.CPUSet {
	if n >= len(cpus) {
		return numa.NewCPUSet(cpus[queue%len(cpus)])
	}
	var mine []int
	for i := queue; i < len(cpus); i += n {
		mine = append(mine, cpus[i])
	}
	return numa.NewCPUSet(mine...)
}

// eachNIC is a rule's find that asks f about every card; without cards the rule is Absent.
func eachNIC(f func(m *Machine, r *Rule, n *nic) []Finding) func(*Machine, *Rule) []Finding {
	return func(m *Machine, r *Rule) []Finding {
		var all []Finding
		for i := range m.nics {
			all = append(all, f(m, r, &m.nics[i])...)
		}
		if len(all) == 0 {
			return []Finding{{Rule: r, Setting: r.Name, State: Absent}}
		}
		return all
	}
}

func irqAffinity(m *Machine, r *Rule, n *nic) []Finding {
	cpus := m.cpusFor(n)
	var all []Finding
	for _, q := range n.irqs {
		want := numa.NewCPUSet(cpus[q.queue%len(cpus)])
		all = append(all, m.judge(r, fmt.Sprintf("%s IRQ %d (%s)", n.name, q.irq, q.action),
			fmt.Sprintf("proc/irq/%d/smp_affinity_list", q.irq),
			func(_ *Machine, now string) (string, bool) {
				set, err := numa.ParseCPUList(now)
				return want.String(), err == nil && set.String() == want.String()
			}))
	}
	return all
}

func receiveQueues(m *Machine, r *Rule, n *nic) []Finding {
	cpus := m.cpusFor(n)
	if n.rxQueues == 0 {
		return nil
	}
	f := Finding{Rule: r, Setting: n.name + " receive queues", Now: strconv.Itoa(n.rxQueues), Want: strconv.Itoa(n.rxQueues)}
	if n.rxQueues < len(cpus) {
		f.State, f.Want = Advice, strconv.Itoa(len(cpus))
		f.Remedy = fmt.Sprintf("ethtool -L %s combined %d, if `ethtool -l %s` says the card can; without, RPS below spreads the packets", n.name, len(cpus), n.name)
	}
	return []Finding{f}
}

func receiveSteering(m *Machine, r *Rule, n *nic) []Finding {
	cpus := m.cpusFor(n)
	var all []Finding
	for q := range n.rxQueues {
		var want numa.CPUSet // empty: off
		if n.rxQueues < len(cpus) {
			want = share(cpus, q, n.rxQueues)
		}
		all = append(all, m.judge(r, fmt.Sprintf("%s rx-%d rps_cpus", n.name, q),
			fmt.Sprintf("%s/%s/queues/rx-%d/rps_cpus", classNet, n.name, q), maskOf(want)))
	}
	return all
}

func transmitSteering(m *Machine, r *Rule, n *nic) []Finding {
	if n.txQueues < 2 {
		return nil // no choice to make; the kernel refuses to say
	}
	cpus := m.cpusFor(n)
	var all []Finding
	for q := range n.txQueues {
		all = append(all, m.judge(r, fmt.Sprintf("%s tx-%d xps_cpus", n.name, q),
			fmt.Sprintf("%s/%s/queues/tx-%d/xps_cpus", classNet, n.name, q), maskOf(share(cpus, q, n.txQueues))))
	}
	return all
}

// maskOf accepts the kernel's bitmap of want, however many words it is written in.
func maskOf(want numa.CPUSet) judge {
	return func(_ *Machine, now string) (string, bool) {
		set, err := parseMask(now)
		return formatMask(want), err == nil && set.String() == want.String()
	}
}

// parseMask reads "ff,00000003": hexadecimal words of 32 CPUs, the highest first.
func parseMask(text string) (numa.CPUSet, error) {
	words := strings.Split(text, ",")
	slices.Reverse(words)
	var cpus []int
	for i, word := range words {
		bits, err := strconv.ParseUint(word, 16, 32)
		if err != nil {
			return numa.CPUSet{}, fmt.Errorf("CPU mask %q: %q is not a word of it", text, word)
		}
		for b := range 32 {
			if bits>>b&1 != 0 {
				cpus = append(cpus, i*32+b)
			}
		}
	}
	return numa.NewCPUSet(cpus...), nil
}

func formatMask(set numa.CPUSet) string {
	words := []uint32{0}
	for _, cpu := range set.List() {
		for len(words) <= cpu/32 {
			words = append(words, 0)
		}
		words[cpu/32] |= 1 << (cpu % 32)
	}
	slices.Reverse(words)
	text := strconv.FormatUint(uint64(words[0]), 16)
	for _, w := range words[1:] {
		text += fmt.Sprintf(",%08x", w)
	}
	return text
}
