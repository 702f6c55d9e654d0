package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a machine may show and still count as quiet. A run on a busy one says so,
// and its figures are not to be quoted.
const (
	mostSteal  = 0.02 // of all CPU time, taken by the host for others
	mostOthers = 0.05 // of one CPU, used by processes that are not ours
	mostSpread = 0.25 // of the floor's cost, between its 10th and 90th percentile
	mostDrift  = 1.25 // between the floor's cost before, after, beside a round, and the median
	mostDear   = 1.30 // between the floor's cost and the least it is known to cost on this kind of machine
)

const (
	probeTime  = 300 * time.Millisecond
	probesEach = 5 // before and after; between rounds it is one
)

// Quiet is what was seen of the machine besides the contenders.
type Quiet struct {
	Before    []float64 `json:"floor_before_us"` // the blind forwarder's cost of a request
	Between   []float64 `json:"floor_between_us,omitempty"`
	After     []float64 `json:"floor_after_us"`
	Floor     Summary   `json:"floor_us"`
	Spread    float64   `json:"floor_spread"`
	Known     float64   `json:"floor_known_us,omitempty"` // the least of earlier results on such a machine
	KnownFrom string    `json:"floor_known_from,omitempty"`
	Steal     float64   `json:"steal"`  // shares over all rounds
	Others    float64   `json:"others"` // of one CPU
	Busy      []string  `json:"busy,omitempty"`
}

// meanwhile is what else the machine did while something was measured.
type meanwhile struct {
	Steal  float64 `json:"steal"`
	Others float64 `json:"others"` // of one CPU
}

// busy says what is wrong with it; "" when nothing is.
func (l meanwhile) busy() string {
	var why []string
	if l.Steal > mostSteal {
		why = append(why, fmt.Sprintf("the host took %.0f %% of the CPU time", 100*l.Steal))
	}
	if l.Others > mostOthers {
		why = append(why, fmt.Sprintf("other processes used %.0f %% of a CPU", 100*l.Others))
	}
	return strings.Join(why, ", ")
}

// moment is what the kernel has counted so far, in ticks.
type moment struct{ total, steal, others uint64 }

func now() (m moment) {
	m.total, m.steal = cpuTicks()
	m.others = foreignTicks(processes(), os.Getpid())
	return m
}

// until is what happened between two moments.
func (m moment) until(later moment) (l meanwhile) {
	if total := float64(later.total - m.total); total > 0 {
		l.Steal = float64(later.steal-m.steal) / total
		if later.others > m.others { // it may go back where nobody waits for a process that has ended
			l.Others = float64(later.others-m.others) * float64(runtime.NumCPU()) / total
		}
	}
	return l
}

// cpuTicks sums the first line of /proc/stat.
func cpuTicks() (total, steal uint64) {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	const stolen, last = 8, 8 // guest time is in user time already
	for i, f := range strings.Fields(line) {
		n, _ := strconv.ParseUint(f, 10, 64)
		if i == 0 || i > last {
			continue
		}
		if i == stolen {
			steal = n
		}
		total += n
	}
	return total, steal
}

// processTicks is CPU time of a process and of children that it has waited for.
type processTicks struct {
	parent int
	ticks  uint64
}

// processes of this machine.
func processes() map[int]processTicks {
	all := map[int]processTicks{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		f := stat(pid)
		if f == nil {
			continue
		}
		p := processTicks{}
		p.parent, _ = strconv.Atoi(f[1])
		for _, field := range f[11:15] {
			n, _ := strconv.ParseUint(field, 10, 64)
			p.ticks += n
		}
		all[pid] = p
	}
	return all
}

// foreignTicks sums what processes have used that are neither us nor ours, nor
// the kernel's threads, whose work may be ours. What a process used that has
// ended is in its parent's sum.
func foreignTicks(all map[int]processTicks, us int) (sum uint64) {
	const kernelThreads = 2
	for pid, p := range all {
		ours := pid == kernelThreads
		for up := pid; up > 0 && !ours; up = all[up].parent {
			ours = up == us || up == kernelThreads
		}
		if !ours {
			sum += p.ticks
		}
	}
	return sum
}

// gate is the floor that is measured again and again, to see what the machine does.
type gate struct {
	floor *started
	quiet Quiet
	sum   meanwhile // over all rounds
	n     int
}

// openGate starts it and looks before anything else is measured.
func (b *bench) openGate() error {
	s := *scenarioNamed("small")
	s.name, s.own = "quiet", true
	origin, err := b.origin(&s)
	if err != nil {
		return err
	}
	c := *contenderNamed("floor")
	c.name = "quiet-floor"
	st, err := b.start(&c, &s, origin)
	if err != nil {
		return err
	}
	if err := st.answers(&s); err != nil {
		return st.process.complain(err)
	}
	st.members = tree(st.process.pid())
	b.gate = &gate{floor: st}
	b.standing = len(b.running)
	if _, err := b.probe(); err != nil { // touches what is used for the first time
		return err
	}
	for range probesEach {
		us, err := b.probe()
		if err != nil {
			return err
		}
		b.gate.quiet.Before = append(b.gate.quiet.Before, us)
	}
	q := summarise(b.gate.quiet.Before)
	b.say("the floor costs %.1f us (%.1f to %.1f) before anything else\n", q.Median, q.Min, q.Max)
	return nil
}

// probe is the floor's cost of a request, once.
func (b *bench) probe() (float64, error) {
	r, err := b.openLoopFor(probeTime, b.gate.floor, scenarioNamed("small"), "", 0)
	return r.CPUMicros, err
}

// between probes between two rounds.
func (b *bench) between() (us float64, err error) {
	if us, err = b.probe(); err == nil {
		b.gate.quiet.Between = append(b.gate.quiet.Between, us)
	}
	return us, err
}

// note adds what a round has seen.
func (g *gate) note(l meanwhile) {
	g.sum.Steal += l.Steal
	g.sum.Others += l.Others
	g.n++
}

// closeGate looks once more, and says whether the machine was quiet.
func (b *bench) closeGate(known float64, from string) (*Quiet, error) {
	q := &b.gate.quiet
	for range probesEach {
		us, err := b.probe()
		if err != nil {
			return nil, err
		}
		q.After = append(q.After, us)
	}
	if n := float64(b.gate.n); n > 0 {
		q.Steal, q.Others = b.gate.sum.Steal/n, b.gate.sum.Others/n
	}
	q.Known, q.KnownFrom = known, from
	q.judge()
	return q, nil
}

// judge finds out what is wrong with the machine.
func (q *Quiet) judge() {
	var all []float64
	for _, some := range [][]float64{q.Before, q.Between, q.After} {
		all = append(all, some...)
	}
	q.Floor, q.Spread, q.Busy = summarise(all), relativeSpread(all), nil
	if why := (meanwhile{q.Steal, q.Others}).busy(); why != "" {
		q.Busy = append(q.Busy, why)
	}
	if q.Spread > mostSpread {
		q.Busy = append(q.Busy, fmt.Sprintf("the floor's cost spread by %.0f %%", 100*q.Spread))
	}
	before, after := summarise(q.Before).Median, summarise(q.After).Median
	if drift := max(before/after, after/before); drift > mostDrift {
		q.Busy = append(q.Busy, fmt.Sprintf("the floor cost %.1f us before and %.1f us after", before, after))
	}
	if q.Known > 0 && q.Floor.Median > mostDear*q.Known {
		q.Busy = append(q.Busy, fmt.Sprintf("the floor cost %.1f us, and %.1f us in %s", q.Floor.Median, q.Known, q.KnownFrom))
	}
}

// relativeSpread is the distance of the 10th and the 90th percentile, in parts of the median.
func relativeSpread(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	last := float64(len(v) - 1)
	return (v[int(math.Round(0.9*last))] - v[int(math.Round(0.1*last))]) / median(v)
}

// besideFloor says whether the floor cost something else beside a round than it
// mostly did: then the round's figures may be off as well.
func besideFloor(before, after, usual float64) string {
	beside := (before + after) / 2
	if beside > mostDrift*usual || beside < usual/mostDrift {
		return fmt.Sprintf("the floor cost %.1f us beside it, mostly %.1f", beside, usual)
	}
	return ""
}

// knownFloor is the least that the floor costs in the results of quiet runs with
// this CPU and these terms.
func knownFloor(results string, e *Environment) (least float64, from string) {
	files, _ := filepath.Glob(filepath.Join(results, "*", "results.json"))
	for _, name := range files {
		b, err := os.ReadFile(name)
		r := new(Results)
		if err != nil || json.Unmarshal(b, r) != nil || r.Quiet == nil || len(r.Quiet.Busy) > 0 {
			continue
		}
		if r.Environment.CPU != e.CPU || r.Environment.CPUs != e.CPUs || r.Environment.Terms != e.Terms {
			continue
		}
		if us := r.Quiet.Floor.Median; us > 0 && (least == 0 || us < least) {
			least, from = us, filepath.Base(filepath.Dir(name))
		}
	}
	return least, from
}

// write says it in a report.
func (q *Quiet) write(w *bytes.Buffer) {
	if len(q.Busy) > 0 {
		fmt.Fprintf(w, "**Busy: not to be quoted.** This machine had other things to do: %s.\n\n", strings.Join(q.Busy, "; "))
	}
	series := func(v []float64) string {
		if len(v) == 0 {
			return ""
		}
		s := summarise(v)
		return fmt.Sprintf("%.1f (%.1f to %.1f)", s.Median, s.Min, s.Max)
	}
	fmt.Fprintf(w, "| the machine meanwhile | seen | quiet up to |\n|---|---|---|\n")
	fmt.Fprintf(w, "| the floor's cost before, between, after the rounds, us | %s, %s, %s | %.2f between before and after |\n", series(q.Before), series(q.Between), series(q.After), mostDrift)
	fmt.Fprintf(w, "| its spread, 10th to 90th percentile | %.0f %% | %.0f %% |\n", 100*q.Spread, 100*mostSpread)
	if q.Known > 0 {
		fmt.Fprintf(w, "| its cost to the least known (%.1f us, %s) | %.2f | %.2f |\n", q.Known, q.KnownFrom, q.Floor.Median/q.Known, mostDear)
	}
	fmt.Fprintf(w, "| CPU time that the host took | %.1f %% | %.0f %% |\n", 100*q.Steal, 100*mostSteal)
	fmt.Fprintf(w, "| other processes, of one CPU | %.1f %% | %.0f %% |\n\n", 100*q.Others, 100*mostOthers)
}

// errBusy is why a run fails that has measured everything.
var errBusy = errors.New("the machine was busy: not to be quoted (-busy accepts that)")
