package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Comparison of this tree with one commit: both are built here, as make build
// of either does it, and take turns under the same load until it is clear by how
// much they differ.
type comparison struct {
	settings
	base     string // commit
	backends []string
	narrow   float64 // the interval that is enough
	most     int     // pairs of rounds
}

// defaultCompared are the scenarios that a change has to answer for.
var defaultCompared = []string{"small", "connect", "pipelined", "64k", "1m", "upload", "unix", "h2-h1", "h2-h2c", "h1-h2c", "h2-1m", "ws-echo", "ws-h2", "idle", "h2-waiting"}

// comparedRow is what came of one scenario on one backend.
type comparedRow struct {
	scenario, backend, what string
	before, after           Summary
	ratio                   Interval
	failed                  string
	busy                    int // rounds
	rounds                  int // of both
	void                    int
}

// against is bench compare -base.
func against(args []string, out, errOut io.Writer) int {
	c, status := parseAgainst(args, out, errOut)
	if status >= 0 {
		return status
	}
	if status := c.moveIn(append([]string{"compare"}, args...), out, errOut); status >= 0 {
		return status
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("not done after %v (see -limit)", c.limit))
	defer cancel()
	quiet, failed, err := c.run(ctx, out, errOut)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
			err = cause
		}
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	if failed {
		return 1
	}
	return c.verdict(quiet, errOut)
}

func parseAgainst(args []string, out, errOut io.Writer) (c *comparison, status int) {
	c = &comparison{settings: settings{own: true}}
	fs := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.StringVar(&c.base, "base", "", "measure this tree against `COMMIT`")
	fs.DurationVar(&c.duration, "duration", 500*time.Millisecond, "`length` of a round; large messages get twice that")
	percent := fs.Float64("narrow", 2, "take turns until the 95 % interval of the ratio is narrower than so many `percent`")
	fs.IntVar(&c.most, "pairs", 40, "and at most so many `pairs` of rounds")
	names := fs.String("scenarios", strings.Join(defaultCompared, ","), "with commas between; see bench -list")
	backends := fs.String("io", "epoll,uring", "`backends`")
	fs.IntVar(&c.idle, "idle", 3000, "`connections` of the idle scenarios")
	memoryTimes := fs.Int("memory-runs", fewestPairs, "`runs` with fresh processes of the idle scenarios")
	fs.IntVar(&c.proxyCPU, "proxy-cpu", 0, "`CPU` of both builds")
	fs.IntVar(&c.loadCPU, "load-cpu", 1, "`CPU` of load generator and origin")
	fs.DurationVar(&c.limit, "limit", time.Hour, "give up after this `time`")
	c.commonFlags(fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return c, 0
		}
		return c, 2
	}
	c.narrow, c.backends, c.rounds = *percent/100, strings.Split(*backends, ","), *memoryTimes
	err := c.check(*names)
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(errOut, "bench compare:", err)
		return c, 2
	}
	return c, -1
}

func (c *comparison) check(names string) error {
	c.scenarios = strings.Split(names, ",")
	for _, name := range c.scenarios {
		switch s := scenarioNamed(name); {
		case s == nil:
			return fmt.Errorf("there is no scenario %q; see bench -list", name)
		case s.openLoop:
			return fmt.Errorf("%s is not for comparing builds: how long answers take differs too much from round to round", name)
		}
	}
	for _, io := range c.backends {
		if contenderNamed("zproxy-"+io) == nil {
			return fmt.Errorf("-io %s: want epoll, uring, or both with a comma between", io)
		}
		c.contenders = append(c.contenders, "zproxy-"+io)
	}
	switch {
	case c.base == "":
		return errors.New("-base COMMIT is missing")
	case c.duration < 100*time.Millisecond || c.duration > time.Minute:
		return errors.New("-duration must be 100ms to 1m")
	case c.most < fewestPairs || c.most > 500:
		return fmt.Errorf("-pairs must be %d to 500", fewestPairs)
	case c.narrow <= 0:
		return errors.New("-narrow must be above 0")
	case c.idle < 1 || c.rounds < 1:
		return errors.New("-idle and -memory-runs must be above 0")
	}
	if err := c.checkCommon(); err != nil {
		return err
	}
	// All have their guests at a time.
	whole := *c
	whole.idle *= 2 * len(c.backends)
	err := whole.checkMachine()
	c.files = whole.files
	return err
}

// run measures everything and prints the table.
func (c *comparison) run(ctx context.Context, out, progress io.Writer) (quiet *Quiet, failed bool, err error) {
	b, end, err := newBench(ctx, c.settings, progress)
	if err != nil {
		return nil, false, err
	}
	defer end()
	revision, err := b.buildBase(c.base)
	if err != nil {
		return nil, false, err
	}
	e := b.environment()
	if err := b.openGate(); err != nil {
		return nil, false, err
	}
	var rows []*comparedRow
	for _, name := range c.scenarios {
		some, err := c.scenario(b, *scenarioNamed(name))
		if err != nil {
			return nil, false, err
		}
		rows = append(rows, some...)
		failed = failed || slices.ContainsFunc(some, func(r *comparedRow) bool { return r.failed != "" })
	}
	quiet, err = b.closeGate(knownFloor(filepath.Join(b.root, "bench", "results"), &e))
	if err == nil {
		c.write(out, rows, quiet, &e, revision)
	}
	return quiet, failed, err
}

// buildBase builds zproxy as it is in a commit, from an archive of it, which
// leaves the repository alone. It returns the commit's name.
func (b *bench) buildBase(commit string) (revision string, err error) {
	text, err := exec.CommandContext(b.ctx, "git", "-C", b.root, "rev-parse", "--verify", "--short=12", commit+"^{commit}").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("-base %s: %s", commit, bytes.TrimSpace(text))
	}
	revision = strings.TrimSpace(string(text))
	dir, archive := filepath.Join(b.dir, "base"), filepath.Join(b.dir, "base.tar")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, args := range [][]string{{"git", "-C", b.root, "archive", "--format=tar", "-o", archive, revision}, {"tar", "-xf", archive, "-C", dir}} {
		if text, err := exec.CommandContext(b.ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(text))
		}
	}
	return revision, b.programs.buildZproxy(dir, "zproxy-base", revision)
}

// pair is the contender of a backend as it was and as it is.
func pair(io string) [2]*contender {
	now := *contenderNamed("zproxy-" + io)
	base := now
	base.name, base.program = "base-"+io, "zproxy-base"
	return [2]*contender{&base, &now}
}

func (c *comparison) scenario(b *bench, s scenario) (rows []*comparedRow, err error) {
	s.own = c.own
	var part []*comparedRow // those that can be measured
	for _, io := range c.backends {
		r := &comparedRow{scenario: s.name, backend: io, what: "us/request", failed: b.programs.missing["zproxy-"+io]}
		if s.memory != noMemory {
			r.what = "bytes/" + s.memory.what()
		}
		if rows = append(rows, r); r.failed == "" {
			part = append(part, r)
		}
	}
	if s.memory != noMemory && len(part) > 0 {
		if err := c.memory(b, &s, part); err != nil {
			for _, r := range part {
				r.failed = err.Error()
			}
		}
	} else {
		for _, r := range part {
			if err := c.turns(b, &s, r); err != nil {
				r.failed = err.Error()
			}
		}
	}
	for _, r := range rows {
		b.say("%-11s %-6s %s\n", s.name, r.backend, r.sum(c.narrow))
	}
	return rows, b.ctx.Err()
}

// memory measures all side by side, in fresh processes each time.
func (c *comparison) memory(b *bench, s *scenario, rows []*comparedRow) error {
	var field []*contender
	for _, r := range rows {
		both := pair(r.backend)
		field = append(field, both[0], both[1])
	}
	cost := make([][]float64, len(field))
	for run := range c.rounds {
		m, err := b.idleRuns(s, field...)
		if err != nil {
			return err
		}
		for i := range m {
			cost[i] = append(cost[i], m[i].PerConnection)
		}
		b.say("%-11s run %d/%d\n", s.name, run+1, c.rounds)
	}
	for i, r := range rows {
		before, after := cost[2*i], cost[2*i+1]
		r.before, r.after, r.ratio, r.rounds = summarise(before), summarise(after), pairedRatio(before, after), 2*len(before)
	}
	return nil
}

// turns measures both in pairs of rounds: A B, B A, A B ... so that neither is
// always the first.
func (c *comparison) turns(b *bench, s *scenario, row *comparedRow) error {
	defer b.stopAll()
	origin, err := b.origin(s)
	if err != nil {
		return err
	}
	var field [2]*started
	for i, contender := range pair(row.backend) {
		if field[i], err = b.prepare(contender, s, origin); err != nil {
			return err
		}
	}
	var cost [2][]float64
	for n := 0; n < c.most; n++ {
		for _, i := range [2]int{n % 2, 1 - n%2} {
			r, err := b.measure(field[i], s, b.round(s))
			if err != nil {
				return err
			}
			row.rounds++
			if r.Busy != "" {
				row.busy++
			}
			if r.Void != "" {
				row.void++
				r.CPUMicros = math.NaN()
				if row.failed = r.Void; row.void > c.most/2 {
					return fmt.Errorf("%d of %d rounds are void, the last: %s", row.void, row.rounds, r.Void)
				}
			}
			cost[i] = append(cost[i], r.CPUMicros)
		}
		row.ratio = pairedRatio(cost[0], cost[1])
		if row.ratio.width() < c.narrow {
			break
		}
	}
	row.failed = ""
	row.before, row.after = summarise(valid(cost[0])), summarise(valid(cost[1]))
	_, err = b.between()
	return err
}

// judge says what the interval means.
func (r *comparedRow) judge(narrow float64) string {
	switch low, high := r.ratio.Low, r.ratio.High; {
	case r.failed != "":
		return "failed"
	case high < 1:
		return "better"
	case low > 1:
		return "worse"
	case r.ratio.width() < narrow:
		return "same"
	}
	return "not clear"
}

func (r *comparedRow) sum(narrow float64) string {
	if r.failed != "" {
		return "failed: " + r.failed
	}
	return fmt.Sprintf("%s: %s to %s, ratio %.3f (%.3f to %.3f), %d rounds, %d of them busy", r.judge(narrow), figure(r.before.Median), figure(r.after.Median),
		r.ratio.Ratio, r.ratio.Low, r.ratio.High, r.rounds, r.busy)
}

// write prints the report.
func (c *comparison) write(out io.Writer, rows []*comparedRow, quiet *Quiet, e *Environment, revision string) {
	var w bytes.Buffer
	fmt.Fprintf(&w, "# zproxy %s against %s\n\n", e.Revision, revision)
	fmt.Fprintf(&w, "Pairs of rounds of %v, in turns, until the 95 %% interval of the ratio (Hodges-Lehmann, by the signed ranks of all pairs) is narrower than %.1f %%, at most %d pairs. "+
		"Memory: %d runs of fresh processes. Terms: %s. %s, kernel %s.\n\n", c.duration, 100*c.narrow, c.most, c.rounds, e.Terms, e.CPU, e.Kernel)
	quiet.write(&w)
	fmt.Fprintf(&w, "| scenario | backend | | base | now | ratio | 95 %% interval | rounds | busy | void | verdict |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		if r.failed != "" {
			fmt.Fprintf(&w, "| %s | %s | %s | | | | | %d | %d | %d | failed: %s |\n", r.scenario, r.backend, r.what, r.rounds, r.busy, r.void, cell(r.failed))
			continue
		}
		fmt.Fprintf(&w, "| %s | %s | %s | %s | %s | %.3f | %.3f to %.3f | %d | %d | %d | %s |\n", r.scenario, r.backend, r.what, figure(r.before.Median), figure(r.after.Median),
			r.ratio.Ratio, r.ratio.Low, r.ratio.High, r.rounds, r.busy, r.void, r.judge(c.narrow))
	}
	if i := slices.IndexFunc(rows, func(r *comparedRow) bool { return r.judge(c.narrow) == "not clear" }); i >= 0 {
		fmt.Fprintf(&w, "\nNot clear: the interval has 1 in it and is not narrow enough; more -pairs or a longer -duration may tell.\n")
	}
	out.Write(w.Bytes())
}
