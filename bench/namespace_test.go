package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// As root, contenders run in a network namespace with its own congestion
// control, and the machine keeps the one it has.
func TestEqualTerms(t *testing.T) {
	canMeasure(t)
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	t.Setenv("TMPDIR", t.TempDir())
	const setting = "/proc/sys/net/ipv4/tcp_congestion_control"
	before, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "results")
	said, err := os.CreateTemp(t.TempDir(), "said")
	if err != nil {
		t.Fatal(err)
	}
	status := command([]string{"-rounds", "1", "-duration", "1s", "-busy", "-scenarios", "small", "-contenders", "floor", "-install=false", "-out", dir}, said, said)
	if status != 0 {
		text, _ := os.ReadFile(said.Name())
		t.Fatalf("status %d:\n%s", status, text)
	}
	noneLeft(t)
	r, err := readResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Environment.Sysctls["net.ipv4.tcp_congestion_control"]; got != fairControl || !strings.Contains(r.Environment.Terms, fairControl) {
		t.Errorf("congestion control %q, terms %q; want %s", got, r.Environment.Terms, fairControl)
	}
	if after, err := os.ReadFile(setting); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the machine has %q now, %v; it had %q", after, err, before)
	}
	if c := r.Scenarios[0].find("floor"); c == nil || c.LoadShare <= 0 || c.LoadShare > 1.5 || c.Origin <= 0 {
		t.Errorf("the floor: %+v, want what load and origin have used", c)
	}
	if q := r.Quiet; q == nil || len(q.Before) != probesEach || len(q.After) != probesEach || len(q.Between) != 2 || q.Floor.Median < 0.5 {
		t.Errorf("%+v, want probes before, between and after", q)
	}
}

// What cannot be had is said before anything is measured.
func TestNamespacesThatAreWanted(t *testing.T) {
	root := os.Geteuid() == 0
	for _, c := range []struct {
		set  settings
		want string
	}{
		{settings{peers: installedPeers}, ""},
		{settings{peers: installedPeers, equal: root}, map[bool]string{true: "net"}[root]},
		{settings{peers: currentPeers}, "mount"},
	} {
		if got := c.set.namespaces(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.set, got, c.want)
		}
	}
	if root {
		return
	}
	var out, errOut bytes.Buffer
	if status := command([]string{"-peers", currentPeers, "-idle", "1"}, &out, &errOut); status != 1 || !strings.Contains(errOut.String(), "needs root") {
		t.Errorf("status %d, %q", status, errOut.String())
	}
}
