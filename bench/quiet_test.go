package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// With `within` set this is the program itself, as moveIn starts it.
func TestMain(m *testing.M) {
	if os.Getenv(within) != "" {
		os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// What makes a machine busy, with made-up figures, each just within and just beyond.
func TestQuietJudge(t *testing.T) {
	floor := func(us ...float64) []float64 { return us }
	even := floor(10, 10, 10, 10, 10)
	for _, c := range []struct {
		name  string
		quiet Quiet
		busy  string // part of the only reason; "" for none
	}{
		{"nothing", Quiet{Before: even, After: even}, ""},
		{"steal", Quiet{Before: even, After: even, Steal: 0.019}, ""},
		{"steal", Quiet{Before: even, After: even, Steal: 0.04}, "the host took 4 % of the CPU time"},
		{"others", Quiet{Before: even, After: even, Others: 0.05}, ""},
		{"others", Quiet{Before: even, After: even, Others: 0.42}, "other processes used 42 % of a CPU"},
		{"both", Quiet{Before: even, After: even, Steal: 0.04, Others: 0.42}, "the host took 4 % of the CPU time, other processes used 42 % of a CPU"},
		{"one probe of ten is off", Quiet{Before: even, After: floor(10, 10, 40, 10, 10)}, ""},
		{"two are", Quiet{Before: even, After: floor(40, 10, 40, 10, 10)}, "spread by 300 %"},
		{"drift", Quiet{Before: even, After: floor(12, 12, 12, 12, 12)}, ""},
		{"drift", Quiet{Before: even, Between: floor(10, 10.5, 11, 11.5, 12, 12), After: floor(12.6, 12.6, 12.6, 12.6, 12.6)}, "10.0 us before and 12.6 us after"},
		{"drift down", Quiet{Before: floor(12.6, 12.6, 12.6), Between: floor(11, 11, 11, 11, 11, 11, 11), After: floor(10, 10)}, "12.6 us before and 10.0 us after"},
		{"known", Quiet{Before: even, After: even, Known: 8, KnownFrom: "a run"}, ""},
		{"dear", Quiet{Before: even, After: even, Known: 5, KnownFrom: "a run"}, "10.0 us, and 5.0 us in a run"},
	} {
		c.quiet.judge()
		switch {
		case c.busy == "" && len(c.quiet.Busy) > 0:
			t.Errorf("%s: busy: %q, want quiet", c.name, c.quiet.Busy)
		case c.busy != "" && (len(c.quiet.Busy) != 1 || !strings.Contains(c.quiet.Busy[0], c.busy)):
			t.Errorf("%s: %q, want %q alone", c.name, c.quiet.Busy, c.busy)
		}
	}
}

func TestRoundsBesideADearFloor(t *testing.T) {
	round := func(busy string) Round { return Round{CPUMicros: 1, Busy: busy} }
	r := &Results{Quiet: &Quiet{Floor: Summary{Median: 10}}, Scenarios: []*ScenarioResult{{
		Floor:      []float64{10, 11, 30, 10},
		Contenders: []*Contestant{{Name: "nginx", Rounds: []Round{round(""), round("steal"), round(""), round("")}}},
	}}}
	r.markRounds()
	var busy []string
	for _, r := range r.Scenarios[0].Contenders[0].Rounds {
		busy = append(busy, r.Busy)
	}
	if want := []string{"", "steal, the floor cost 20.5 us beside it, mostly 10.0", "the floor cost 20.0 us beside it, mostly 10.0", ""}; !slices.Equal(busy, want) {
		t.Errorf("%q, want %q", busy, want)
	}
	if n := r.Scenarios[0].Contenders[0].busy(); n != 2 {
		t.Errorf("%d rounds are busy, want 2", n)
	}
}

func TestForeignTicks(t *testing.T) {
	all := map[int]processTicks{
		1: {0, 1000}, 2: {0, 1}, 3: {2, 2}, // init, and the kernel's
		10: {1, 100}, 11: {10, 200}, // somebody's shell, and us
		12: {11, 400}, 13: {12, 800}, // ours
		20: {1, 10000},
	}
	if got := foreignTicks(all, 11); got != 11100 {
		t.Errorf("%d, want what init, the shell and the stranger have used", got)
	}
}

func TestMoments(t *testing.T) {
	before := moment{total: 1000, steal: 10, others: 500}
	if l := before.until(moment{total: 1200, steal: 20, others: 480}); l.Steal != 0.05 || l.Others != 0 {
		t.Errorf("%+v, want 5 %% stolen, and nothing below zero", l)
	}
	if l := before.until(before); l.busy() != "" {
		t.Errorf("no time has gone by: %+v", l)
	}
	// A process that has come and gone in between counts.
	began := now()
	if err := exec.Command("sh", "-c", "setsid sh -c 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done' & sleep 0.01").Run(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if l := began.until(now()); l.Others > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a process that was not ours has not been seen")
		}
	}
}

// The least of quiet results with the same CPU and terms.
func TestKnownFloor(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, e Environment, us float64, busy ...string) {
		r := Results{Format: resultsFormat, Environment: e, Quiet: &Quiet{Floor: Summary{Median: us}, Busy: busy}}
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "results.json"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	here := Environment{CPU: "x", CPUs: 2, Terms: "reno"}
	if us, _ := knownFloor(dir, &here); us != 0 {
		t.Errorf("%v without results", us)
	}
	write("a", here, 12)
	write("b", here, 10)
	write("busy", here, 9, "others")
	write("other-cpu", Environment{CPU: "y", CPUs: 2, Terms: "reno"}, 8)
	write("other-terms", Environment{CPU: "x", CPUs: 2, Terms: "bbr"}, 7)
	write("larger", Environment{CPU: "x", CPUs: 4, Terms: "reno"}, 6)
	if us, from := knownFloor(dir, &here); us != 10 || from != "b" {
		t.Errorf("%v from %q, want 10 from b", us, from)
	}
}

// A run on a busy machine says so, and fails unless that is accepted.
func TestBusyIsTold(t *testing.T) {
	q := &Quiet{Before: []float64{10}, After: []float64{10}, Others: 0.5}
	q.judge()
	var w, errOut bytes.Buffer
	q.write(&w)
	if !strings.Contains(w.String(), "**Busy: not to be quoted.** This machine had other things to do: other processes used 50 % of a CPU.") {
		t.Errorf("the report says %s", w.String())
	}
	if status := (&settings{}).verdict(q, &errOut); status != statusBusy || !strings.Contains(errOut.String(), "not to be quoted") {
		t.Errorf("status %d, %q", status, errOut.String())
	}
	if status := (&settings{busy: true}).verdict(q, &errOut); status != 0 {
		t.Errorf("with -busy: status %d", status)
	}
	if status := (&settings{}).verdict(&Quiet{}, &errOut); status != 0 {
		t.Errorf("quiet: status %d", status)
	}
}

// What README quotes was measured on a quiet machine, as far as the results can tell.
func TestQuotedResultsAreQuiet(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	dirs, _ := filepath.Glob("results/*/results.json")
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range dirs {
			if !bytes.Contains(text, []byte("bench/"+filepath.Dir(name)+"/")) {
				continue
			}
			r, err := readResults(name)
			if err != nil {
				t.Error(err)
			} else if r.Quiet != nil && len(r.Quiet.Busy) > 0 {
				t.Errorf("%s quotes %s, whose machine was busy: %s", page, name, strings.Join(r.Quiet.Busy, "; "))
			}
		}
	}
}
