package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Environment is where results come from.
type Environment struct {
	Host     string            `json:"host"`
	Kernel   string            `json:"kernel"`
	CPU      string            `json:"cpu"`
	CPUs     int               `json:"cpus"`
	Nodes    int               `json:"numa_nodes"`
	Memory   string            `json:"memory"`
	System   string            `json:"system"`
	Go       string            `json:"go"`
	Revision string            `json:"revision"`
	Sysctls  map[string]string `json:"sysctls"`
	Versions map[string]string `json:"versions"`
	Terms    string            `json:"terms,omitempty"` // that all contenders have alike
	Peers    string            `json:"peers,omitempty"` // which nginx and HAProxy
}

// Settings repeats what matters of the command line.
type Settings struct {
	Rounds   int    `json:"rounds"`
	Duration string `json:"duration"`
	ProxyCPU int    `json:"proxy_cpu"`
	LoadCPU  int    `json:"load_cpu"`
	Idle     int    `json:"idle_connections"`
}

func (b *bench) describe() Settings {
	return Settings{b.set.rounds, b.set.duration.String(), b.set.proxyCPU, b.set.loadCPU, b.set.idle}
}

func (b *bench) environment() Environment {
	e := Environment{CPUs: runtime.NumCPU(), Go: runtime.Version(), Versions: b.programs.versions, Terms: b.terms, Peers: b.set.peers, Sysctls: map[string]string{}}
	e.Host, _ = os.Hostname()
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		e.Kernel = unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	e.CPU = valueOf("/proc/cpuinfo", "model name", ":")
	e.Memory = valueOf("/proc/meminfo", "MemTotal", ":")
	e.System = strings.Trim(valueOf("/etc/os-release", "PRETTY_NAME", "="), `"`)
	nodes, _ := filepath.Glob("/sys/devices/system/node/node[0-9]*")
	e.Nodes = max(1, len(nodes))
	for _, name := range []string{"net.ipv4.tcp_congestion_control", "net.core.default_qdisc", "net.core.somaxconn", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
		"kernel.io_uring_disabled", "vm.nr_hugepages"} {
		if v, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); err == nil {
			e.Sysctls[name] = strings.Join(strings.Fields(string(v)), " ")
		}
	}
	if v, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err == nil {
		e.Sysctls["transparent_hugepage"] = strings.TrimSpace(string(v))
	}
	e.Revision = revision(b.root)
	return e
}

// revision names the commit that was built, and says if there is more than that.
func revision(root string) string {
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	r := git("rev-parse", "--short=12", "HEAD")
	if r != "" && git("status", "--porcelain", "--untracked-files=no") != "" {
		r += " with changes"
	}
	return r
}

// valueOf finds `key sep value` in a file of lines.
func valueOf(file, key, sep string) string {
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(line, sep)
		if ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
