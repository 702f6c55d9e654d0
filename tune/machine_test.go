package tune

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// server is the fake root of a machine of two nodes with four CPUs each, fresh from the installer: a PCI card with
// eight queues in a slot on node 0, a virtio card with two on node 1, and interfaces without hardware.
func server() map[string]string {
	files := map[string]string{
		"sys/devices/system/cpu/online":   "0-7",
		"sys/devices/system/cpu/isolated": "",
		"sys/devices/system/node/online":  "0-1",
		"proc/meminfo":                    "MemTotal:       33554432 kB\nMemFree: 1 kB",
		"proc/net/softnet_stat":           "00100000 00000000 00000003 00000000\n00100000 00000000 00000000 00000000",
		"proc/self/limits":                limitsText("1024", "524288", "8388608", "8388608"),
		"proc/sys/kernel/random/boot_id":  "11111111-1111-1111-1111-111111111111",

		"proc/sys/net/core/somaxconn":                  "4096",
		"proc/sys/net/core/rmem_max":                   "212992",
		"proc/sys/net/core/wmem_max":                   "212992",
		"proc/sys/net/core/netdev_max_backlog":         "1000",
		"proc/sys/net/core/netdev_budget":              "300",
		"proc/sys/net/core/netdev_budget_usecs":        "2000",
		"proc/sys/net/core/busy_poll":                  "0",
		"proc/sys/net/core/busy_read":                  "50",
		"proc/sys/net/ipv4/tcp_max_syn_backlog":        "2048",
		"proc/sys/net/ipv4/tcp_syncookies":             "1",
		"proc/sys/net/ipv4/ip_local_port_range":        "32768\t60999",
		"proc/sys/net/ipv4/ip_local_reserved_ports":    "",
		"proc/sys/net/ipv4/ip_unprivileged_port_start": "1024",
		"proc/sys/net/ipv4/tcp_tw_reuse":               "2",
		"proc/sys/net/ipv4/tcp_timestamps":             "1",
		"proc/sys/net/ipv4/tcp_slow_start_after_idle":  "1",
		"proc/sys/net/ipv4/tcp_congestion_control":     "reno",
		"proc/sys/net/ipv4/tcp_rmem":                   "4096\t131072\t6291456",
		"proc/sys/net/ipv4/tcp_wmem":                   "4096\t16384\t33554432",
		"proc/sys/net/ipv4/tcp_mem":                    "389000\t518000\t778000",
		"proc/sys/fs/nr_open":                          "1048576",
		"proc/sys/fs/file-max":                         "9223372036854775807",
		"proc/sys/fs/aio-max-nr":                       "65536",
		"proc/sys/kernel/io_uring_disabled":            "2",
		"proc/sys/kernel/io_uring_group":               "-1",
		"proc/sys/kernel/numa_balancing":               "1",
		"sys/kernel/mm/transparent_hugepage/enabled":   "[always] madvise never",
		"sys/kernel/mm/transparent_hugepage/defrag":    "always defer defer+madvise [madvise] never",
		"proc/1/comm":                                          "systemd",
		"proc/77/comm":                                         "irqbalance",
		"proc/99/comm":                                         "zproxy",
		"proc/99/cmdline":                                      "/usr/bin/zproxy\x00tune\x00",
		"proc/99/limits":                                       limitsText("7", "7", "7", "7"),
		"sys/class/net/eth1/operstate":                         "down",
		"sys/class/net/eth1/queues/rx-0/rps_cpus":              "0",
		"sys/devices/pci0/0000:3a:00.0/msi_irqs/38":            "msi",
		"sys/devices/pci0/0000:3a:00.0/numa_node":              "0",
		"sys/devices/pci0/0000:3a:00.0/0000:3b:00.0/numa_node": "0",
		"sys/devices/pci1/0000:af:00.0/numa_node":              "1",
		"sys/devices/pci1/0000:af:00.0/virtio5/feature":        "1",
		"sys/kernel/irq/9/actions":                             "acpi",
		"sys/kernel/irq/10/actions":                            "",
		"sys/kernel/irq/38/actions":                            "PCIe PME,aerdrv,pciehp",
		"proc/irq/38/smp_affinity_list":                        "0-7",
	}
	for node := range 2 {
		dir := fmt.Sprintf("sys/devices/system/node/node%d/", node)
		files[dir+"cpulist"] = []string{"0-3", "4-7"}[node]
		files[dir+"distance"] = []string{"10 21", "21 10"}[node]
		files[dir+"meminfo"] = fmt.Sprintf("Node %d MemTotal:       16777216 kB", node)
		files[dir+"hugepages/hugepages-2048kB/nr_hugepages"] = "0"
		files[dir+"hugepages/hugepages-2048kB/free_hugepages"] = "0"
	}
	for cpu := range 8 {
		dir := fmt.Sprintf("sys/devices/system/cpu/cpufreq/policy%d/", cpu)
		files[dir+"scaling_governor"] = "schedutil"
		files[dir+"scaling_available_governors"] = "performance schedutil"
	}
	for q := range 8 {
		irq := 40 + q
		files[fmt.Sprintf("sys/devices/pci0/0000:3a:00.0/0000:3b:00.0/msi_irqs/%d", irq)] = "msix"
		files[fmt.Sprintf("sys/kernel/irq/%d/actions", irq)] = fmt.Sprintf("mlx5_comp%d@pci:0000:3b:00.0", q)
		files[fmt.Sprintf("proc/irq/%d/smp_affinity_list", irq)] = "0-7"
		files[fmt.Sprintf("sys/class/net/eth0/queues/rx-%d/rps_cpus", q)] = "00000000"
		files[fmt.Sprintf("sys/class/net/eth0/queues/tx-%d/xps_cpus", q)] = "00000000"
	}
	files["sys/devices/pci0/0000:3a:00.0/0000:3b:00.0/msi_irqs/39"] = "msix"
	files["sys/kernel/irq/39/actions"] = "mlx5_async0@pci:0000:3b:00.0"
	files["proc/irq/39/smp_affinity_list"] = "0-7"
	for i, name := range []string{"config", "input.0", "output.0", "input.1", "output.1"} {
		files[fmt.Sprintf("sys/kernel/irq/%d/actions", 60+i)] = "virtio5-" + name
		files[fmt.Sprintf("proc/irq/%d/smp_affinity_list", 60+i)] = "0-7"
	}
	for q := range 2 {
		files[fmt.Sprintf("sys/class/net/eth2/queues/rx-%d/rps_cpus", q)] = "ff"
		files[fmt.Sprintf("sys/class/net/eth2/queues/tx-%d/xps_cpus", q)] = "50"
	}
	return files
}

func limitsText(files, filesHard, locked, lockedHard string) string {
	return fmt.Sprintf("Limit                     Soft Limit           Hard Limit           Units\n"+
		"Max open files            %-20s %-20s files\nMax locked memory         %-20s %-20s bytes", files, filesHard, locked, lockedHard)
}

var links = map[string]string{
	"sys/class/net/eth0/device": "../../../devices/pci0/0000:3a:00.0/0000:3b:00.0",
	"sys/class/net/eth1/device": "../../../devices/pci0/0000:3a:00.0/0000:3b:00.0",
	"sys/class/net/eth2/device": "../../../devices/pci1/0000:af:00.0/virtio5",
}

// judged checks a fake root that is in memory only.
func judged(t *testing.T, files map[string]string, opt Options) []Finding {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text + "\n"), Mode: 0o644}
	}
	for link, to := range links {
		root[link] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
	}
	m, err := Read(root, opt)
	if err != nil {
		t.Fatal(err)
	}
	return m.Check()
}

// lay puts a fake root on disk, with the links that sysfs has.
func lay(t *testing.T, files map[string]string) *Target {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range links {
		if _, err := os.Stat(filepath.Dir(filepath.Join(root, link))); err != nil {
			continue
		}
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	target, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func check(t *testing.T, target *Target, opt Options) []Finding {
	t.Helper()
	m, err := target.Read(opt)
	if err != nil {
		t.Fatal(err)
	}
	return m.Check()
}

func get(t *testing.T, findings []Finding, setting string) Finding {
	t.Helper()
	for _, f := range findings {
		if f.Setting == setting {
			return f
		}
	}
	t.Fatalf("nothing about %s", setting)
	return Finding{}
}

// contents is every value below the root, and everything else there is.
func contents(t *testing.T, target *Target) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(target.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all[name], err = target.value(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCheck(t *testing.T) {
	findings := judged(t, server(), Options{ListenPorts: []int{80, 20080}})
	for _, want := range []struct {
		setting   string
		state     State
		now, want string
	}{
		{"net.core.somaxconn", Wrong, "4096", "65535"},
		{"net.ipv4.tcp_max_syn_backlog", Wrong, "2048", "65535"},
		{"net.ipv4.tcp_syncookies", Right, "1", "1"},
		{"net.ipv4.ip_local_port_range", Wrong, "32768 60999", "16384 65535"},
		{"net.ipv4.ip_local_reserved_ports", Wrong, "", "20080"},
		{"net.ipv4.tcp_tw_reuse", Wrong, "2", "1"},
		{"net.ipv4.tcp_timestamps", Right, "1", "1"},
		{"net.ipv4.tcp_migrate_req", Absent, "", ""},
		{"net.ipv4.tcp_slow_start_after_idle", Wrong, "1", "0"},
		{"net.ipv4.tcp_congestion_control", Wrong, "reno", "cubic"},
		{"net.ipv4.tcp_rmem", Wrong, "4096 131072 6291456", "4096 131072 16777216"},
		{"net.ipv4.tcp_wmem", Right, "4096 16384 33554432", "4096 16384 33554432"},
		{"net.core.rmem_max", Wrong, "212992", "16777216"},
		{"net.ipv4.tcp_mem", Wrong, "389000 518000 778000", "1048576 1572864 2097152"},
		{"net.core.netdev_max_backlog", Wrong, "1000", "10000"},
		{"net.core.netdev_budget", Right, "300", "300"},
		{"net.core.busy_poll", Right, "0", "0"},
		{"net.core.busy_read", Wrong, "50", "0"},
		{"open files (RLIMIT_NOFILE)", ByHand, "524288", "1048576"},
		{"fs.nr_open", Right, "1048576", "1048576"},
		{"fs.file-max", Right, "9223372036854775807", "9223372036854775807"},
		{"fs.aio-max-nr", Wrong, "65536", "1048576"},
		{"locked memory (RLIMIT_MEMLOCK)", Right, "8388608", "8388608"},
		{"kernel.io_uring_disabled", Wrong, "2", "0"},
		{"node0 nr_hugepages (2 MiB)", Wrong, "0", "128"},
		{"node1 nr_hugepages (2 MiB)", Wrong, "0", "128"},
		{"transparent_hugepage/enabled", Wrong, "always", "madvise"},
		{"transparent_hugepage/defrag", Wrong, "madvise", "defer"},
		{"kernel.numa_balancing", Wrong, "1", "0"},
		{"irqbalance", ByHand, "running", "not running"},
		// Eight queues on a node of four CPUs; the other node has a card of its own.
		{"eth0 IRQ 40 (mlx5_comp0@pci:0000:3b:00.0)", Wrong, "0-7", "0"},
		{"eth0 IRQ 43 (mlx5_comp3@pci:0000:3b:00.0)", Wrong, "0-7", "3"},
		{"eth0 IRQ 44 (mlx5_comp4@pci:0000:3b:00.0)", Wrong, "0-7", "0"},
		{"eth0 receive queues", Right, "8", "8"},
		{"eth0 rx-5 rps_cpus", Right, "00000000", "00000000"},
		{"eth0 tx-5 xps_cpus", Wrong, "00000000", "2"},
		// Two queues for the four CPUs of node 1.
		{"eth2 IRQ 61 (virtio5-input.0)", Wrong, "0-7", "4"},
		{"eth2 IRQ 64 (virtio5-output.1)", Wrong, "0-7", "5"},
		{"eth2 receive queues", Advice, "2", "4"},
		{"eth2 rx-0 rps_cpus", Wrong, "ff", "50"},
		{"eth2 rx-1 rps_cpus", Wrong, "ff", "a0"},
		{"eth2 tx-0 xps_cpus", Right, "50", "50"},
		{"eth2 tx-1 xps_cpus", Wrong, "50", "a0"},
		{"policy7 scaling_governor", Wrong, "schedutil", "performance"},
		{"isolated CPUs", Right, "none", "none"},
	} {
		f := get(t, findings, want.setting)
		if f.State != want.state || f.Now != want.now || f.Want != want.want {
			t.Errorf("%s: %v, now %q, want %q; expected %v, %q, %q", want.setting, f.State, f.Now, f.Want, want.state, want.now, want.want)
		}
		if (f.State == ByHand || f.State == Advice) && f.Remedy == "" {
			t.Errorf("%s: doesn't say what to do", want.setting)
		}
	}
	for _, f := range findings {
		for _, no := range []string{"lo ", "eth1 ", "async", "config", "acpi", "PCIe"} {
			if strings.Contains(f.Setting, no) {
				t.Errorf("%s is not to be judged", f.Setting)
			}
		}
	}
	if AllRight(findings) {
		t.Error("this should not be all right")
	}
}

// What one file more or less changes.
func TestCheckCases(t *testing.T) {
	const sys = "proc/sys/"
	for _, c := range []struct {
		about     string
		change    map[string]string // "-": removed
		opt       Options
		setting   string
		state     State
		now, want string
	}{
		{"more than enough stays", map[string]string{sys + "net/core/somaxconn": "100000"}, Options{}, "net.core.somaxconn", Right, "100000", "100000"},
		{"a wide range is not narrowed", map[string]string{sys + "net/ipv4/ip_local_port_range": "2000 60999"}, Options{}, "net.ipv4.ip_local_port_range", Wrong, "2000 60999", "2000 65535"},
		{"nor is a full one", map[string]string{sys + "net/ipv4/ip_local_port_range": "1024 65535"}, Options{}, "net.ipv4.ip_local_port_range", Right, "1024 65535", "1024 65535"},
		{"unprivileged ports begin late", map[string]string{sys + "net/ipv4/ip_unprivileged_port_start": "20001"}, Options{}, "net.ipv4.ip_local_port_range", Wrong, "32768 60999", "20002 65535"},
		{"ports are added to reserved ones", map[string]string{sys + "net/ipv4/ip_local_reserved_ports": "20000-20010,30000"}, Options{ListenPorts: []int{20005, 40000, 50000}}, "net.ipv4.ip_local_reserved_ports", Wrong, "20000-20010,30000", "20000-20010,30000,40000,50000"},
		{"ports are reserved already", map[string]string{sys + "net/ipv4/ip_local_reserved_ports": "20000-20010"}, Options{ListenPorts: []int{20005, 443}}, "net.ipv4.ip_local_reserved_ports", Right, "20000-20010", "20000-20010"},
		{"bbr is fine as well", map[string]string{sys + "net/ipv4/tcp_congestion_control": "bbr"}, Options{}, "net.ipv4.tcp_congestion_control", Right, "bbr", "bbr"},
		{"an unknown format is left alone", map[string]string{sys + "net/ipv4/tcp_rmem": "lots"}, Options{}, "net.ipv4.tcp_rmem", Right, "lots", "lots"},
		{"rounds are cut short", map[string]string{"proc/net/softnet_stat": "00100000 00000000 00000400 0"}, Options{}, "net.core.netdev_budget", Wrong, "300", "600"},
		{"rounds are cut short, but few of them", map[string]string{"proc/net/softnet_stat": "40000000 00000000 00000400 0"}, Options{}, "net.core.netdev_budget", Right, "300", "300"},
		{"io_uring for a group", map[string]string{sys + "kernel/io_uring_disabled": "1", sys + "kernel/io_uring_group": "997"}, Options{}, "kernel.io_uring_disabled", Right, "1", "1"},
		{"io_uring for root", map[string]string{sys + "kernel/io_uring_disabled": "1"}, Options{}, "kernel.io_uring_disabled", Wrong, "1", "0"},
		{"a kernel without the switch", map[string]string{sys + "kernel/io_uring_disabled": "-"}, Options{}, "kernel.io_uring_disabled", Absent, "", ""},
		{"a running proxy's limits count", map[string]string{"proc/99/cmdline": "zproxy\x00run\x00", "proc/99/limits": limitsText("1", "2000000", "1", "unlimited")}, Options{}, "open files (RLIMIT_NOFILE)", Right, "2000000", "2000000"},
		{"no limit", map[string]string{"proc/self/limits": limitsText("1", "1", "1", "unlimited")}, Options{}, "locked memory (RLIMIT_MEMLOCK)", Right, "unlimited", "unlimited"},
		{"a small limit", map[string]string{"proc/self/limits": limitsText("1", "1", "1", "65536")}, Options{}, "locked memory (RLIMIT_MEMLOCK)", ByHand, "65536", "8388608"},
		{"fewer loops need fewer pages", nil, Options{LoopCount: 5, BufferBytes: 3 << 20}, "node1 nr_hugepages (2 MiB)", Wrong, "0", "2"},
		{"never more than an eighth", nil, Options{BufferBytes: 1 << 40}, "node0 nr_hugepages (2 MiB)", Wrong, "0", "1024"},
		{"one node has nothing to balance", map[string]string{"sys/devices/system/node/online": "0", "sys/devices/system/node/node0/distance": "10", "sys/devices/system/node/node0/cpulist": "0-7"}, Options{}, "kernel.numa_balancing", Right, "1", "1"},
		{"no interrupts are moved", map[string]string{"proc/77/comm": "cron"}, Options{}, "irqbalance", Right, "not running", "not running"},
		{"no performance governor", map[string]string{"sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors": "powersave"}, Options{}, "policy0 scaling_governor", Advice, "schedutil", "performance"},
		{"isolated and unused", map[string]string{"sys/devices/system/cpu/isolated": "2-7"}, Options{}, "isolated CPUs", ByHand, "2-7", "none, or 0-7"},
		{"isolated for the loops", map[string]string{"sys/devices/system/cpu/isolated": "0-5"}, Options{LoopCount: 6}, "isolated CPUs", Right, "0-5", "0-5"},
		{"interrupts go to loops only", nil, Options{LoopCount: 2}, "eth0 IRQ 42 (mlx5_comp2@pci:0000:3b:00.0)", Wrong, "0-7", "0"},
		{"a node without a card takes part", map[string]string{"sys/class/net/eth2/operstate": "down"}, Options{}, "eth0 IRQ 44 (mlx5_comp4@pci:0000:3b:00.0)", Wrong, "0-7", "4"},
		{"a card that is nowhere", map[string]string{"sys/devices/pci0/0000:3a:00.0/numa_node": "-1", "sys/devices/pci0/0000:3a:00.0/0000:3b:00.0/numa_node": "-1"}, Options{}, "eth0 IRQ 46 (mlx5_comp6@pci:0000:3b:00.0)", Wrong, "0-7", "6"},
		{"already on its CPU", map[string]string{"proc/irq/41/smp_affinity_list": "1"}, Options{}, "eth0 IRQ 41 (mlx5_comp1@pci:0000:3b:00.0)", Right, "1", "1"},
	} {
		files := server()
		maps.Copy(files, c.change)
		maps.DeleteFunc(files, func(_, text string) bool { return text == "-" })
		f := get(t, judged(t, files, c.opt), c.setting)
		if f.State != c.state || f.Now != c.now || f.Want != c.want {
			t.Errorf("%s: %v, now %q, want %q; expected %v, %q, %q", c.about, f.State, f.Now, f.Want, c.state, c.now, c.want)
		}
	}
}

// A container or a small virtual machine has little of all this; what is not there is no fault.
func TestBareMachine(t *testing.T) {
	bare := fstest.MapFS{
		"sys/devices/system/cpu/online": &fstest.MapFile{Data: []byte("0\n")},
		"proc/meminfo":                  &fstest.MapFile{Data: []byte("MemTotal: 1048576 kB\n")},
	}
	m, err := Read(bare, Options{})
	if err != nil {
		t.Fatal(err)
	}
	findings := m.Check()
	for _, f := range findings {
		if f.State != Absent && f.Rule.Name != "irqbalance" {
			t.Errorf("%s: %v, now %q", f.Setting, f.State, f.Now)
		}
	}
	if len(findings) != len(table) || !AllRight(findings) {
		t.Errorf("%d findings of %d rules", len(findings), len(table))
	}
}

func TestReadOnlyAndUnreadable(t *testing.T) {
	target := lay(t, server())
	root := target.root.Name()
	if err := os.Chmod(filepath.Join(root, "proc/sys/net/core/rmem_max"), 0o444); err != nil {
		t.Fatal(err)
	}
	unreadable := filepath.Join(root, "proc/sys/net/core/wmem_max")
	if err := os.Remove(unreadable); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(unreadable, 0o755); err != nil {
		t.Fatal(err)
	}
	findings := check(t, target, Options{})
	for _, name := range []string{"net.core.rmem_max", "net.core.wmem_max"} {
		if f := get(t, findings, name); f.State != ByHand || f.Remedy == "" {
			t.Errorf("%s: %v, %q", name, f.State, f.Remedy)
		}
	}
}

func TestNoCPUForTheLoops(t *testing.T) {
	m, err := lay(t, server()).Read(Options{LoopCPUs: mustList(t, "8-9")})
	if err == nil || !strings.Contains(err.Error(), "0-7") {
		t.Errorf("%v, %v", m, err)
	}
}
