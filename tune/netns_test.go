package tune

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inNamespace marks the process that has a network namespace of its own; it names a directory to write to.
const inNamespace = "ZPROXY_TUNE_NAMESPACE"

// On a real kernel, in a new network namespace, apply makes every setting of the namespace right and revert leaves
// every single one, recommended or not, as it was. The machine's own settings don't change at any time.
func TestNamespace(t *testing.T) {
	if dir := os.Getenv(inNamespace); dir != "" {
		applyHere(t, dir)
		return
	}
	before := netSysctls(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestNamespace$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		missing(t, "needs root, or user namespaces (sysctl kernel.unprivileged_userns_clone, user.max_net_namespaces): "+err.Error())
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestNamespace")) {
		t.Errorf("%v\n%s", err, out)
	}
	compare(t, before, netSysctls(t))
}

func applyHere(t *testing.T, dir string) {
	target, err := Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	target.state = filepath.Join(dir, "tune.json")
	before := netSysctls(t)
	if len(before) < 50 {
		t.Fatalf("only %d settings of the network can be read", len(before))
	}

	net := func() []Finding { return Only(check(t, target, Options{ListenPorts: []int{20080}}), []string{"net."}) }
	plan := Plan(net())
	var out bytes.Buffer
	if err := target.Apply(plan, &out); err != nil {
		t.Error(err)
	}
	changed := netSysctls(t)
	for _, f := range plan {
		if changed[f.File] == before[f.File] {
			t.Errorf("%s has not changed", f.Setting)
		}
	}
	// Fresh namespaces have these defaults, whatever the machine's own namespace has.
	for _, name := range []string{"net.ipv4.ip_local_port_range", "net.ipv4.tcp_migrate_req", "net.ipv4.ip_local_reserved_ports"} {
		if !strings.Contains(out.String(), name+":") {
			t.Errorf("%s was to be changed:\n%s", name, out.String())
		}
	}
	elsewhere, err := target.loadState()
	if err != nil {
		t.Fatal(err)
	}
	here := *elsewhere
	elsewhere.Network = "net:[1]"
	if err := target.saveState(elsewhere); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{target.Apply(plan, &out), target.Revert(true, &out)} {
		if err == nil || !strings.Contains(err.Error(), "another network namespace") {
			t.Errorf("values of another namespace: %v", err)
		}
	}
	if err := target.saveState(&here); err != nil {
		t.Fatal(err)
	}
	for _, f := range net() {
		if f.State == Wrong {
			t.Errorf("%s is %s, not %s", f.Setting, f.Now, f.Want)
		}
	}
	if again := Plan(net()); len(again) > 0 {
		t.Errorf("would change %d settings again", len(again))
	}

	if err := target.Revert(false, &out); err != nil {
		t.Error(err)
	}
	compare(t, before, netSysctls(t))
	if _, err := os.Stat(target.state); err == nil {
		t.Error("the state file is still there")
	}
}

// netSysctls reads all of net.*, as seen from this process's network namespace. Files that can only be written or that
// need other rights are left out, and counters of connections that come and go.
func netSysctls(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	root := os.DirFS("/")
	err := fs.WalkDir(root, "proc/sys/net", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(name, "_count") {
			return nil
		}
		if b, err := fs.ReadFile(root, name); err == nil {
			all[name] = string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
