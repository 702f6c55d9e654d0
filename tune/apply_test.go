package tune

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// apply makes everything right that can be, and gives what it said.
func apply(t *testing.T, target *Target, opt Options) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := target.Apply(Plan(check(t, target, opt)), &out)
	return out.String(), err
}

func revert(t *testing.T, target *Target, force bool) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := target.Revert(force, &out)
	return out.String(), err
}

// compare reports what differs between two looks at the root.
func compare(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, text := range before {
		if got, ok := after[name]; !ok || got != text {
			t.Errorf("%s: was %q, is %q (there: %v)", name, text, got, ok)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s is new", name)
		}
	}
}

func TestApplyAndRevert(t *testing.T) {
	target := lay(t, server())
	opt := Options{ListenPorts: []int{20080}}
	before := contents(t, target)
	out, err := apply(t, target, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"net.core.somaxconn: 4096 -> 65535\n", "transparent_hugepage/enabled: always -> madvise\n", "net.ipv4.ip_local_reserved_ports: (empty) -> 20080\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for _, f := range check(t, target, opt) {
		if f.State == Wrong {
			t.Errorf("%s is still %s", f.Setting, f.Now)
		}
	}
	info, err := os.Stat(filepath.Join(target.root.Name(), StateFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the state file: %v, %v", info, err)
	}

	// Once more changes nothing, and what was before stays what was before.
	applied := contents(t, target)
	if out, err := apply(t, target, opt); err != nil || out != "" {
		t.Errorf("the second time: %q, %v", out, err)
	}
	compare(t, applied, contents(t, target))

	if _, err := revert(t, target, false); err != nil {
		t.Error(err)
	}
	compare(t, before, contents(t, target))
	if out, err := revert(t, target, false); err != nil || out != "nothing to revert\n" {
		t.Errorf("the second revert: %q, %v", out, err)
	}
}

// The second of two applies, with other wishes, does not forget the values from before the first.
func TestApplyTwice(t *testing.T) {
	target := lay(t, server())
	before := contents(t, target)
	for _, opt := range []Options{{LoopCount: 2}, {LoopCount: 8}} {
		if _, err := apply(t, target, opt); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := target.value("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"); got != "128" {
		t.Errorf("%s huge pages", got)
	}
	if _, err := revert(t, target, false); err != nil {
		t.Error(err)
	}
	compare(t, before, contents(t, target))
}

// Some things cannot be set, such as an interrupt that the kernel manages: the rest is, and the error names them.
func TestApplyPartly(t *testing.T) {
	target := lay(t, server())
	plan := Plan(check(t, target, Options{}))
	managed := filepath.Join(target.root.Name(), "proc/irq/43/smp_affinity_list")
	if err := os.Remove(managed); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(managed, 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := target.Apply(plan, &out)
	if err == nil || !strings.Contains(err.Error(), "eth0 IRQ 43") {
		t.Errorf("error %v", err)
	}
	wrong := 0
	for _, f := range check(t, target, Options{}) {
		if f.State == Wrong {
			wrong++
			t.Errorf("%s is %s", f.Setting, f.Now)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != len(plan)-1 {
		t.Errorf("%d of %d changes told", n, len(plan))
	}
}

// pipe puts a pipe in the place of a file, new for everyone who opens it.
func pipe(path string) error {
	return errors.Join(syscall.Mkfifo(path+".new", 0o600), os.Rename(path+".new", path))
}

// An interrupt that is about to be moved shows its old CPUs for a moment. It is noted as moved all the same.
func TestInterruptMovesLater(t *testing.T) {
	const file = "proc/irq/40/smp_affinity_list"
	target := lay(t, map[string]string{file: ""})
	path := filepath.Join(target.root.Name(), file)
	if err := pipe(path); err != nil {
		t.Fatal(err)
	}
	written := make(chan string, 1)
	go func() { // the kernel
		text, _ := os.ReadFile(path)
		written <- string(text)
		for _, answer := range []string{"0-7\n", "0-7\n", "3\n"} {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString(answer)
				err = errors.Join(err, pipe(path), f.Close())
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	var out bytes.Buffer
	plan := []Finding{{Setting: "eth0 IRQ 40", File: file, Now: "0-7", Want: "3", State: Wrong}}
	if err := target.Apply(plan, &out); err != nil || out.String() != "eth0 IRQ 40: 0-7 -> 3\n" {
		t.Errorf("%v, %q", err, out.String())
	}
	if text := <-written; text != "3\n" {
		t.Errorf("%q was written", text)
	}
	s, err := target.loadState()
	if err != nil {
		t.Fatal(err)
	}
	if c := s.find(file); c == nil || c.Before != "0-7" || c.After != "3" {
		t.Errorf("noted: %+v", c)
	}
}

// The kernel may give fewer huge pages than asked for. After a restart, with more memory free, tmpfiles.d gets them all,
// and Revert still knows them as its own.
func TestFewerPagesThanAsked(t *testing.T) {
	target := lay(t, server())
	before := contents(t, target)
	if _, err := apply(t, target, Options{}); err != nil {
		t.Fatal(err)
	}
	const file = "sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
	s, err := target.loadState()
	if err != nil {
		t.Fatal(err)
	}
	s.find(file).After = "37"
	if err := target.saveState(s); err != nil {
		t.Fatal(err)
	}
	if err := target.set(file, "37"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	persist(t, target, dir)
	if text, _, err := readFile(filepath.Join(dir, "tmpfiles.d/zproxy.conf")); !strings.Contains(text, "/"+file+" - - - - 128\n") {
		t.Errorf("%v, %s", err, text)
	}
	if err := target.set(file, "128"); err != nil {
		t.Fatal(err)
	}
	if _, err := revert(t, target, false); err != nil {
		t.Error(err)
	}
	compare(t, before, contents(t, target))
}

// A crash between noting and writing, or between writing and noting what came of it, leaves entries without After.
func TestRevertAfterCrash(t *testing.T) {
	target := lay(t, server())
	before := contents(t, target)
	s := &state{Changes: []change{
		{Setting: "written", File: "proc/sys/net/core/somaxconn", Before: "4096"},
		{Setting: "not yet", File: "proc/sys/net/core/busy_read", Before: "50"},
	}}
	if err := target.saveState(s); err != nil {
		t.Fatal(err)
	}
	if err := target.set("proc/sys/net/core/somaxconn", "65535"); err != nil {
		t.Fatal(err)
	}
	if _, err := revert(t, target, false); err != nil {
		t.Error(err)
	}
	compare(t, before, contents(t, target))
}

func TestRevertKeepsWhatOthersChanged(t *testing.T) {
	target := lay(t, server())
	before := contents(t, target)
	if _, err := apply(t, target, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := target.set("proc/sys/net/core/somaxconn", "30000"); err != nil {
		t.Fatal(err)
	}
	_, err := revert(t, target, false)
	if err == nil || !strings.Contains(err.Error(), "net.core.somaxconn") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("error %v", err)
	}
	want := maps.Clone(before)
	want["proc/sys/net/core/somaxconn"] = "30000"
	got := contents(t, target)
	delete(got, StateFile)
	compare(t, want, got)

	if _, err := revert(t, target, true); err != nil {
		t.Error(err)
	}
	compare(t, before, contents(t, target))
}

// After a restart interrupts have other numbers and the kernel has its defaults again, or what sysctl.d says.
func TestRevertAfterRestart(t *testing.T) {
	target := lay(t, server())
	if _, err := apply(t, target, Options{}); err != nil {
		t.Fatal(err)
	}
	for file, value := range map[string]string{
		"proc/sys/kernel/random/boot_id": "22222222-2222-2222-2222-222222222222",
		"proc/irq/41/smp_affinity_list":  "6", // somebody else's interrupt now
		"proc/sys/net/core/busy_read":    "50",
	} {
		if err := target.set(file, value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := revert(t, target, false); err != nil {
		t.Error(err)
	}
	for file, want := range map[string]string{
		"proc/irq/41/smp_affinity_list": "6",
		"proc/sys/net/core/busy_read":   "50",
		"proc/sys/net/core/somaxconn":   "4096",
	} {
		if got, _ := target.value(file); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

var somaxconnOnly = map[string]string{"proc/sys/net/core/somaxconn": "4096"}

func TestStateFileIsNotTrusted(t *testing.T) {
	const good = `{"changes": [{"setting": "s", "file": "proc/sys/net/core/somaxconn", "before": "1"}]}`
	for _, c := range []struct {
		about, text string
		mode        os.FileMode
		want        string // in the error
	}{
		{"good", good, 0o600, ""},
		{"writable by others", good, 0o622, "does not belong to the calling user alone"},
		{"cut off", good[:30], 0o600, "nothing can be reverted"},
		{"outside", strings.Replace(good, "proc/sys/net/core/somaxconn", "etc/passwd", 1), 0o600, "no setting of the kernel"},
		{"upwards", strings.Replace(good, "proc/sys/net/core/somaxconn", "proc/../etc/passwd", 1), 0o600, "no setting of the kernel"},
	} {
		target := lay(t, somaxconnOnly)
		path := filepath.Join(target.root.Name(), StateFile)
		if err := writeFile(path, c.text); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := revert(t, target, false)
		if c.want == "" && err == nil {
			continue
		}
		if c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.about, err)
		}
	}

	target := lay(t, somaxconnOnly)
	path := filepath.Join(target.root.Name(), StateFile)
	elsewhere := filepath.Join(t.TempDir(), "state")
	if err := writeFile(elsewhere, good); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Fatal(err)
	}
	if _, err := revert(t, target, false); err == nil {
		t.Error("a link was followed")
	}
}

// Nothing is changed that could not be noted.
func TestApplyNotesFirst(t *testing.T) {
	target := lay(t, server())
	before := contents(t, target)
	if err := os.MkdirAll(filepath.Join(target.root.Name(), StateFile, "occupied"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(t, target, Options{}); err == nil {
		t.Error("no error")
	}
	compare(t, before, contents(t, target))
}

func TestOnly(t *testing.T) {
	findings := check(t, lay(t, server()), Options{})
	for _, f := range Only(findings, []string{"net.", "cpu"}) {
		if !strings.HasPrefix(f.Setting, "net.") && f.Rule.Group != "cpu" {
			t.Errorf("%s was kept", f.Setting)
		}
	}
	if n := len(Only(findings, []string{"fs."})); n != 3 {
		t.Errorf("%d settings begin with fs.", n)
	}
	if len(Only(findings, nil)) != len(findings) {
		t.Error("without words all are kept")
	}
}
