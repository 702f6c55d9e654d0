package tune

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func persist(t *testing.T, target *Target, dir string) string {
	t.Helper()
	var out bytes.Buffer
	if err := target.Persist(dir, "/opt/z proxy/zproxy", []string{"-c", "/etc/100%.yaml"}, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPersist(t *testing.T) {
	target := lay(t, server())
	before := contents(t, target)
	if _, err := apply(t, target, Options{}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "etc")
	old := filepath.Join(dir, "tmpfiles.d/zproxy.conf")
	if err := writeFile(old, "# mine\n"); err != nil {
		t.Fatal(err)
	}
	persist(t, target, dir)

	for file, lines := range map[string][]string{
		"sysctl.d/90-zproxy.conf": {
			"net.core.somaxconn = 65535", "net.ipv4.ip_local_port_range = 16384 65535", "kernel.numa_balancing = 0",
		},
		"tmpfiles.d/zproxy.conf": {
			"w /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise",
			"w /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages - - - - 128",
			"w /sys/devices/system/cpu/cpufreq/policy0/scaling_governor - - - - performance",
		},
		"systemd/system/zproxy-tune.service": {
			`ExecStart="/opt/z proxy/zproxy" tune apply --yes --only nic -c /etc/100%%.yaml`,
		},
	} {
		text, exists, err := readFile(filepath.Join(dir, file))
		if err != nil || !exists {
			t.Errorf("%s: there %v, %v", file, exists, err)
			continue
		}
		for _, line := range lines {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%s: no %q in\n%s", file, line, text)
			}
		}
		for _, no := range []string{"busy_poll", "irq/", "class/net"} { // was right; belongs to the unit
			if strings.Contains(text, no) {
				t.Errorf("%s has %s", file, no)
			}
		}
	}
	if out := persist(t, target, dir); out != "" {
		t.Errorf("the second time: %s", out)
	}

	if _, err := revert(t, target, false); err != nil {
		t.Error(err)
	}
	compare(t, before, contents(t, target))
	if text, _, err := readFile(old); text != "# mine\n" {
		t.Errorf("the old file: %q, %v", text, err)
	}
	for _, file := range []string{"sysctl.d/90-zproxy.conf", "systemd/system/zproxy-tune.service"} {
		if _, exists, _ := readFile(filepath.Join(dir, file)); exists {
			t.Errorf("%s is still there", file)
		}
	}
}

func TestPersistedFileEdited(t *testing.T) {
	target := lay(t, server())
	if _, err := apply(t, target, Options{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	persist(t, target, dir)
	path := filepath.Join(dir, "sysctl.d/90-zproxy.conf")
	if err := writeFile(path, "edited"); err != nil {
		t.Fatal(err)
	}
	if _, err := revert(t, target, false); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if text, _, _ := readFile(path); text != "edited" {
		t.Errorf("the file: %q", text)
	}
	if _, err := revert(t, target, true); err != nil {
		t.Error(err)
	}
	if _, exists, _ := readFile(path); exists {
		t.Error("it is still there")
	}
}

func TestQuoted(t *testing.T) {
	for in, want := range map[string]string{"/a/b": "/a/b", "a b": `"a b"`, "50%": "50%%", `a"b`: `"a\"b"`, "$x": "$$x"} {
		if got := quoted(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// missing ends a test that needs something this machine doesn't have. Where everything is to be tested, that is a
// failure.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// systemd reads both units without complaint, and finds little that the proxy's could do without.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		missing(t, "needs systemd-analyze, of the package systemd")
	}
	target := lay(t, server())
	if _, err := apply(t, target, Options{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "zproxy")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := target.Persist(dir, program, nil, &out); err != nil {
		t.Fatal(err)
	}
	text, _, err := readFile("../scripts/systemd/zproxy.service")
	if err != nil {
		t.Fatal(err)
	}
	service := filepath.Join(dir, "systemd/system/zproxy.service")
	if err := writeFile(service, strings.ReplaceAll(text, "/usr/local/bin/zproxy", program)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--man=no", service},
		{"verify", "--man=no", filepath.Join(dir, "systemd/system/zproxy-tune.service")},
		{"security", "--offline=true", "--no-pager", "--threshold=20", service}, // of 100; a unit without any of it has 96
	} {
		text, err := exec.Command(analyze, args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(text) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
}
