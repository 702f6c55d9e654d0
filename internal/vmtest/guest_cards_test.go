package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Network cards: they have queues and interrupts for "zproxy tune" to steer,
// and no address, so nothing is ever sent over them.

const (
	interrupts = "/proc/irq"
	classNet   = "/sys/class/net"
)

// startCards loads the cards' drivers and brings them up; a card that is down
// is of no interest to tune.
func startCards(p *plan) error {
	// An interface that is up would ask for routers.
	if err := os.WriteFile(sysctls+"net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil {
		return err
	}
	for _, name := range p.Modules {
		if err := loadModule(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for i := range p.Machine.Cards {
		name, err := interfaceOf(i)
		if err == nil {
			err = bringUp(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if filepath.Ext(name) != ".ko" {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), "", flags)
}

// interfaceOf is the name of the interface that card i is, which is the only
// one below its bridge.
func interfaceOf(i int) (string, error) {
	links, err := filepath.Glob(classNet + "/*")
	if err != nil {
		return "", err
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err == nil && strings.Contains(to, fmt.Sprintf("/pci0000:%02x/", busOf(i))) {
			return filepath.Base(link), nil
		}
	}
	return "", fmt.Errorf("card %d is not there: %v", i, links)
}

// interfaces are the directories of all of them, which are links, so that a
// walk begins behind the link.
func interfaces(t *testing.T) []string {
	t.Helper()
	links, err := filepath.Glob(classNet + "/*")
	if err != nil || len(links) == 0 {
		t.Fatalf("%s: %v", classNet, err)
	}
	for i := range links {
		links[i] += "/"
	}
	return links
}

func mustInterface(t *testing.T, i int) string {
	t.Helper()
	name, err := interfaceOf(i)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// check: card i is on its node, has its queues, and comes up.
func (c *card) check(t *testing.T, m *machine, i int) {
	t.Helper()
	name := mustInterface(t, i)
	dir := filepath.Join(classNet, name)
	device, err := filepath.EvalSymlinks(dir + "/device")
	if err != nil {
		t.Fatal(err)
	}
	if c.Driver == "virtio_net" { // which is for a device on top of the PCI one
		device = filepath.Dir(device)
	}
	if got := read(t, device+"/numa_node"); got != strconv.Itoa(c.Node) {
		t.Errorf("%s (%s) is on node %s, want %d", name, c.Driver, got, c.Node)
	}
	for _, kind := range []string{"rx", "tx"} {
		queues, _ := filepath.Glob(dir + "/queues/" + kind + "-*")
		if want := drivers[c.Driver].queues(m.cpus()); len(queues) != want {
			t.Errorf("%s (%s) has %d %s queues, want %d", name, c.Driver, len(queues), kind, want)
		}
	}
	for deadline := time.Now().Add(patience); read(t, dir+"/operstate") == "down"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s (%s) does not come up", name, c.Driver)
		}
	}
}

// settings are what card i needs: each queue's interrupts on one of the CPUs
// that serve the card, its packets to be sent from its share of them, and to be
// spread over that share by RPS where there are fewer queues than CPUs.
func (c *card) settings(t *testing.T, m *machine, i int) []setting {
	t.Helper()
	name := mustInterface(t, i)
	queues := drivers[c.Driver].queues(m.cpus())
	var all []setting
	for q := range queues {
		cpu := c.Serves[q%len(c.Serves)]
		for _, action := range c.interruptsOf(t, name, q) {
			irq := interruptOf(t, action)
			all = append(all, setting{
				file:   fmt.Sprintf("%s/%d/smp_affinity_list", interrupts, irq),
				spoilt: list(m.cpusBut(cpu)),
				want:   strconv.Itoa(cpu),
				called: fmt.Sprintf("%s IRQ %d (%s)", name, irq, action),
			})
		}
	}
	for q := range queues {
		share := []int{c.Serves[q%len(c.Serves)]}
		for next := q + queues; next < len(c.Serves); next += queues {
			share = append(share, c.Serves[next])
		}
		receive := share
		if queues >= len(c.Serves) {
			receive = nil // off
		}
		all = append(all, m.steering(name, fmt.Sprintf("rx-%d", q), "rps_cpus", receive))
		if queues > 1 { // the kernel does not say where there is no choice
			all = append(all, m.steering(name, fmt.Sprintf("tx-%d", q), "xps_cpus", share))
		}
	}
	return all
}

func (m *machine) steering(name, queue, file string, cpus []int) setting {
	return setting{
		file:   filepath.Join(classNet, name, "queues", queue, file),
		spoilt: mask(m.cpusBut(cpus...)),
		want:   mask(cpus),
		called: name + " " + queue + " " + file,
	}
}

// ofCard says whether it is about a card, and does not persist in a file.
func (s *setting) ofCard() bool {
	return strings.HasPrefix(s.file, interrupts+"/") || strings.HasPrefix(s.file, classNet+"/")
}

// interruptsOf are the driver's names for the interrupts of queue q.
func (c *card) interruptsOf(t *testing.T, name string, q int) []string {
	t.Helper()
	if c.Driver == "vmxnet3" {
		return []string{fmt.Sprintf("%s-rxtx-%d", name, q)}
	}
	device, err := filepath.EvalSymlinks(filepath.Join(classNet, name, "device"))
	if err != nil {
		t.Fatal(err)
	}
	virtio := filepath.Base(device)
	return []string{fmt.Sprintf("%s-input.%d", virtio, q), fmt.Sprintf("%s-output.%d", virtio, q)}
}

func interruptOf(t *testing.T, action string) int {
	t.Helper()
	files, err := filepath.Glob("/sys/kernel/irq/*/actions")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if read(t, file) == action {
			irq, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			return irq
		}
	}
	t.Fatalf("no interrupt is %q", action)
	return 0
}

// cpusBut are all CPUs but some.
func (m *machine) cpusBut(some ...int) []int {
	var rest []int
	for cpu := range m.cpus() {
		if !slices.Contains(some, cpu) {
			rest = append(rest, cpu)
		}
	}
	return rest
}

// mask prints numbers below 32 as the kernel does for machines with so few CPUs.
func mask(cpus []int) string {
	bits := uint64(0)
	for _, cpu := range cpus {
		bits |= 1 << cpu
	}
	return strconv.FormatUint(bits, 16)
}

// runUnit does what systemd does at a start.
func runUnit(t *testing.T, unit string) {
	t.Helper()
	_, rest, found := strings.Cut(read(t, unit), "\nExecStart=")
	command, _, _ := strings.Cut(rest, "\n")
	words := strings.Fields(command)
	if !found || len(words) == 0 {
		t.Fatalf("%s starts nothing:\n%s", unit, read(t, unit))
	}
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%q: %v\n%s", command, err, out)
	}
}
