package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asCommand makes this test program the command, for the scripts that call it.
const asCommand = "ZPROXY_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// smallMachine is a directory that stands for / of a machine with two things wrong.
func smallMachine(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"sys/devices/system/cpu/online":         "0-1",
		"sys/devices/system/cpu/isolated":       "",
		"proc/meminfo":                          "MemTotal: 1048576 kB",
		"proc/sys/net/core/somaxconn":           "4096",
		"proc/sys/net/ipv4/tcp_migrate_req":     "0",
		"proc/sys/net/ipv4/tcp_timestamps":      "1",
		"proc/sys/net/core/netdev_budget":       "300",
		"proc/sys/net/core/netdev_max_backlog":  "20000",
		"proc/sys/net/ipv4/tcp_syncookies":      "1",
		"proc/sys/kernel/random/boot_id":        "b",
		"proc/sys/net/ipv4/ip_local_port_range": "10000 65535",
		"proc/sys/net/ipv4/tcp_rmem":            "1 2 33554432",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// tuneCommand answers the question of apply with answer.
func tuneCommand(answer string, args ...string) (status int, out string) {
	var o bytes.Buffer
	status = cmdTune(args, strings.NewReader(answer), &o, &o)
	return status, o.String()
}

func TestTune(t *testing.T) {
	root := smallMachine(t)
	somaxconn := func() string {
		b, err := os.ReadFile(filepath.Join(root, "proc/sys/net/core/somaxconn"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	dir := t.TempDir()
	for _, step := range []struct {
		args      []string
		answer    string
		status    int
		want      []string
		somaxconn string
	}{
		{[]string{"--root", root}, "", 1, []string{"WRONG", "net.core.somaxconn", "4096", "65535", "listen(2) silently cuts", "2 wrong"}, "4096"},
		{[]string{"check", "--root", root, "--sources"}, "", 1, []string{"[kernel: networking/ip-sysctl.rst"}, "4096"},
		{[]string{"check", "--root", root, "--only", "packets"}, "", 0, []string{"ok", "net.core.netdev_budget", "0 wrong"}, "4096"},
		{[]string{"apply", "--root", root}, "", 1, []string{"net.core.somaxconn: 4096 -> 65535", "Change these now?", "Nothing was changed"}, "4096"},
		{[]string{"apply", "--root", root}, "no\n", 1, []string{"Nothing was changed"}, "4096"},
		{[]string{"apply", "--root", root, "--only", "net.core"}, "y\n", 0, []string{"net.core.somaxconn: 4096 -> 65535"}, "65535"},
		{[]string{"check", "--root", root}, "", 1, []string{"net.ipv4.tcp_migrate_req", "1 wrong"}, "65535"},
		{[]string{"apply", "--root", root, "--yes", "--persist", dir}, "", 0, []string{"net.ipv4.tcp_migrate_req: 0 -> 1", "90-zproxy.conf: written"}, "65535"},
		{[]string{"check", "--root", root}, "", 0, []string{"the same", "0 wrong"}, "65535"},
		{[]string{"apply", "--root", root, "--yes"}, "", 0, []string{"nothing to change"}, "65535"},
		{[]string{"revert", "--root", root}, "", 0, []string{"net.core.somaxconn: 65535 -> 4096", "90-zproxy.conf: removed"}, "4096"},
		{[]string{"revert", "--root", root}, "", 0, []string{"nothing to revert"}, "4096"},
	} {
		status, out := tuneCommand(step.answer, step.args...)
		if status != step.status {
			t.Errorf("%q: status %d, want %d\n%s", step.args, status, step.status, out)
		}
		for _, want := range step.want {
			if !strings.Contains(out, want) {
				t.Errorf("%q: no %q in\n%s", step.args, want, out)
			}
		}
		if got := somaxconn(); got != step.somaxconn {
			t.Errorf("after %q somaxconn is %s", step.args, got)
		}
	}
}

func TestTuneUsage(t *testing.T) {
	root := smallMachine(t)
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"tighten"}, 2, `unknown command "tighten"`},
		{[]string{"check", "--yes"}, 2, "not defined: -yes"},
		{[]string{"revert", "-c", "x"}, 2, "not defined: -c"},
		{[]string{"revert", "--only", "nic"}, 2, "zproxy tune revert"},
		{[]string{"apply", "now"}, 2, "zproxy tune apply"},
		{[]string{"--help"}, 0, "zproxy tune revert"},
		{[]string{"check", "--root", "/does/not/exist"}, 1, "/does/not/exist"},
		{[]string{"check", "--root", root, "--only", "net.nothing"}, 1, "no such group or setting"},
		{[]string{"check", "--root", root, "-c", "/does/not/exist.yaml"}, 1, "/does/not/exist.yaml"},
		{[]string{"check", "--root", filepath.Join(root, "proc")}, 1, "online"},
	} {
		if status, out := tuneCommand("", c.args...); status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%q: status %d, %q; want %d, %q", c.args, status, out, c.status, c.want)
		}
	}
}

func TestTuneOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	const text = `loops: "0-1"
buffers: {max_per_loop: 96MiB}
listeners: [{address: "127.0.0.1:20080"}, {address: "[::]:443"}, {address: "unix:/run/x"}]
routes: [{path: /, respond: {status: 200}}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opt, err := tuneOptions(file)
	if err != nil || opt.LoopCPUs.String() != "0-1" || opt.LoopCount != 0 || opt.BufferBytes != 96<<20 ||
		len(opt.ListenPorts) != 2 || opt.ListenPorts[0] != 20080 || opt.ListenPorts[1] != 443 {
		t.Errorf("%+v, %v", opt, err)
	}
}

// The scripts are the command under other names: same output, same status.
func TestTuneScripts(t *testing.T) {
	root := smallMachine(t)
	script := func(name string, args ...string) (int, string) {
		cmd := exec.Command("../../scripts/tune/"+name, append(args, "--root", root)...)
		cmd.Env = append(os.Environ(), "ZPROXY="+os.Args[0], asCommand+"=1")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for _, c := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"check", nil, 1, "2 wrong"},
		{"apply", nil, 1, "Nothing was changed"},
		{"apply", []string{"--yes"}, 0, "net.core.somaxconn: 4096 -> 65535"},
		{"check", nil, 0, "0 wrong"},
		{"revert", nil, 0, "net.core.somaxconn: 65535 -> 4096"},
		{"check", []string{"--nonsense"}, 2, "not defined: -nonsense"},
	} {
		if status, out := script(c.name, c.args...); status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s %q: status %d\n%s", c.name, c.args, status, out)
		}
	}
}
