package vmtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the kernel's settings are before "zproxy tune" and what they are to be
// after it, each in the kernel's own file.

const (
	sysctls = "/proc/sys/"
	thp     = "/sys/kernel/mm/transparent_hugepage"
)

// setting is one that apply is to change in a guest.
type setting struct {
	file   string
	spoilt string // written before, since some kernels begin with what is wanted
	want   string
	called string // by tune; "": to be told from the file
}

// name is what tune calls it.
func (s *setting) name() string {
	if s.called != "" {
		return s.called
	}
	if rest, ok := strings.CutPrefix(s.file, sysctls); ok {
		return strings.ReplaceAll(rest, "/", ".")
	}
	if rest, ok := strings.CutPrefix(s.file, nodeDir+"/"); ok {
		node, _, _ := strings.Cut(rest, "/")
		return node + " nr_hugepages (2 MiB)"
	}
	return filepath.Base(thp) + "/" + filepath.Base(s.file)
}

// settings are what a guest of m needs: every rule of docs/tuning.md that its
// kernel has a file for, but net.core.netdev_budget_usecs, which cannot be less
// than two ticks: 8000.
func settings(t *testing.T, m *machine) []setting {
	t.Helper()
	var all []setting
	for _, s := range [][3]string{
		{"net/core/somaxconn", "100", "65535"},
		{"net/ipv4/tcp_max_syn_backlog", "128", "65535"},
		{"net/ipv4/tcp_syncookies", "2", "1"},
		{"net/ipv4/ip_local_port_range", "20001 30000", "16384 65535"},
		{"net/ipv4/ip_local_reserved_ports", "17000-17002", "17000-17002,20080"},
		{"net/ipv4/tcp_tw_reuse", "2", "1"},
		{"net/ipv4/tcp_timestamps", "0", "1"},
		{"net/ipv4/tcp_migrate_req", "0", "1"},
		{"net/ipv4/tcp_slow_start_after_idle", "1", "0"},
		{"net/ipv4/tcp_congestion_control", "reno", "cubic"},
		{"net/ipv4/tcp_rmem", "4096 100000 1000000", "4096 100000 16777216"},
		{"net/ipv4/tcp_wmem", "4096 16384 1000000", "4096 16384 16777216"},
		{"net/core/rmem_max", "212992", "16777216"},
		{"net/core/wmem_max", "212992", "16777216"},
		{"net/ipv4/tcp_mem", "1000 2000 3000", tcpMemory(t)},
		{"net/core/netdev_max_backlog", "1000", "10000"},
		{"net/core/netdev_budget", "100", "300"},
		{"net/core/busy_poll", "50", "0"},
		{"net/core/busy_read", "50", "0"},
		{"fs/nr_open", "65536", "1048576"},
		{"fs/file-max", "100000", "2097152"},
		{"fs/aio-max-nr", "65536", "1048576"},
		{"kernel/io_uring_disabled", "2", "0"},
		{"kernel/numa_balancing", "1", "0"},
	} {
		all = append(all, setting{file: sysctls + s[0], spoilt: s[1], want: s[2]})
	}
	all = append(all, setting{file: thp + "/enabled", spoilt: "always", want: "madvise"},
		setting{file: thp + "/defrag", spoilt: "always", want: "defer"})
	for i, n := range m.Nodes {
		if n.MemMiB > 0 {
			all = append(all, setting{file: hugePool(i), spoilt: "1", want: strconv.Itoa(hugeWanted(t, i, len(n.CPUs)))})
		}
	}
	for i := range m.Cards {
		all = append(all, m.Cards[i].settings(t, m, i)...)
	}
	return all
}

func hugePool(node int) string {
	return nodeDir + "/node" + strconv.Itoa(node) + "/hugepages/hugepages-2048kB/nr_hugepages"
}

// hugeWanted is what the loops of a node may take, at most an eighth of its memory.
func hugeWanted(t *testing.T, node, loops int) int {
	t.Helper()
	text := read(t, nodeDir+"/node"+strconv.Itoa(node)+"/meminfo")
	return min(loops*maxPerLoop, kib(t, text, "MemTotal:")<<10/8) / (2 << 20)
}

// tcpMemory is 1/8, 3/16 and 1/4 of the memory in pages.
func tcpMemory(t *testing.T) string {
	t.Helper()
	pages := kib(t, read(t, "/proc/meminfo"), "MemTotal:") / (os.Getpagesize() >> 10)
	return strings.Join([]string{strconv.Itoa(pages / 8), strconv.Itoa(pages / 16 * 3), strconv.Itoa(pages / 4)}, " ")
}

func kib(t *testing.T, text, name string) int {
	t.Helper()
	_, rest, _ := strings.Cut(text, name)
	n, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	if err != nil {
		t.Fatalf("%s: %v in %q", name, err, text)
	}
	return n
}

// spoil writes values that apply is to change, and sees them taken.
func spoil(t *testing.T, all []setting) {
	t.Helper()
	for _, s := range all {
		write(t, s.file, s.spoilt+"\n")
		if got := value(read(t, s.file)); got != s.spoilt {
			t.Fatalf("%s: %q could not be set, it is %q", s.file, s.spoilt, got)
		}
	}
}

// value is the word in brackets where a file lists what is possible, else the
// words one space apart.
func value(text string) string {
	if _, rest, ok := strings.Cut(text, "["); ok {
		word, _, _ := strings.Cut(rest, "]")
		return word
	}
	return strings.Join(strings.Fields(text), " ")
}

// snapshot reads everything that could have been changed: all sysctls that can
// be written, whether or not tune knows them, the settings of huge pages, and
// those of all interrupts and network interfaces.
func snapshot(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, dir := range append([]string{sysctls, thp, nodeDir, interrupts}, interfaces(t)...) {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !d.Type().IsRegular() || counts(name) {
				return err
			}
			info, err := d.Info()
			if err != nil || info.Mode()&0o200 == 0 || info.Mode()&0o400 == 0 {
				return err
			}
			if text, err := os.ReadFile(name); err == nil {
				out[name] = value(string(text))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// counts says whether a file that can be written tells how things stand, too,
// or is smp_affinity, which says the same as smp_affinity_list.
func counts(name string) bool {
	return strings.HasPrefix(name, sysctls+"kernel/random/") ||
		slices.Contains([]string{"ns_last_pid", "stat_refresh", "smp_affinity"}, filepath.Base(name))
}

// differences names what is not the same in two snapshots.
func differences(before, after map[string]string) map[string]string {
	out := map[string]string{}
	for name, was := range before {
		if now, ok := after[name]; !ok || now != was {
			out[name] = was + " -> " + now
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			out[name] = "new"
		}
	}
	return out
}

// sumsOf are the files that show a sum of the nodes' pools, and change with them.
var sumsOf = []string{sysctls + "vm/nr_hugepages", sysctls + "vm/nr_hugepages_mempolicy"}

// checkApplied: every setting has the value that was promised, and nothing else
// has changed.
func checkApplied(t *testing.T, before map[string]string, all []setting) {
	t.Helper()
	now := snapshot(t)
	changed := differences(before, now)
	for _, name := range sumsOf {
		delete(changed, name)
	}
	for _, s := range all {
		if got := now[s.file]; got != s.want {
			t.Errorf("%s is %q, want %q", s.file, got, s.want)
		}
		delete(changed, s.file)
	}
	if len(changed) > 0 {
		t.Errorf("these were changed, too: %v", changed)
	}
}

// checkSame: nothing at all has changed.
func checkSame(t *testing.T, before map[string]string) {
	t.Helper()
	if changed := differences(before, snapshot(t)); len(changed) > 0 {
		t.Errorf("not as it was: %v", changed)
	}
}
