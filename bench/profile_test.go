package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/internal/longtest"
)

// The profile of a run is one that the compiler and pprof read, of the functions
// that did the work.
func TestLengthyProfile(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	t.Setenv("ZPROXY_CPUPROFILE", "") // set again by the run, and put back behind the test
	file := filepath.Join(t.TempDir(), "zproxy.pgo")
	measured(t, []string{"small"}, []string{"zproxy-epoll"}, "-profile", file)
	for _, profile := range []string{file, "zproxy.pgo"} { // and the one that make build uses
		top, err := exec.Command("go", "tool", "pprof", "-top", profile).CombinedOutput()
		if err != nil || !strings.Contains(string(top), "zproxy/proxy.(*Worker).Run") || !strings.Contains(string(top), "zproxy/loop.(*epoll).wait") {
			t.Errorf("%s: %v\n%.2000s", profile, err, top)
		}
	}
}

func TestProfileOfNothing(t *testing.T) {
	b := &bench{ctx: t.Context(), dir: t.TempDir(), set: settings{profile: filepath.Join(t.TempDir(), "p")}}
	if err := b.writeProfile(); err == nil {
		t.Error("a profile of no zproxy")
	}
}
