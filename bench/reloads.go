package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/internal/mixedload"
)

// What reloads may do.
const (
	goalReloadP99    = 1.2 // times longer, at the 99th percentile
	goalLargeReload  = 300 * time.Millisecond
	goalTurn         = 2 * time.Millisecond
	goalMemoryGrowth = 1.05
)

const (
	fewestLarge = 5 // reloads, after which memory is looked at first
	// memoryRest is how long memory may take to be what it was: garbage is collected every two minutes where nothing is done.
	memoryRest = 5 * time.Minute
)

// changePauses are what clients wait between requests. Those of the longest pause are there for a second reload at least.
var changePauses = []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, 5 * time.Second}

// reloadSettings are what bench reloads is asked for.
type reloadSettings struct {
	settings
	reloads, each, loops, large int
	interval                    time.Duration
}

// reloads shows what clients of all kinds see of a proxy whose configuration changes.
func reloads(args []string, out, errOut io.Writer) int {
	set := reloadSettings{settings: settings{proxyCPU: -1, loadCPU: -1, limit: 3 * time.Hour}}
	fs := flag.NewFlagSet("bench reloads", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.IntVar(&set.reloads, "reloads", 50, "`reloads` under load")
	fs.DurationVar(&set.interval, "interval", time.Second, "`time` from one to the next; the load is measured for as long without them before")
	fs.IntVar(&set.each, "each", 8, "`clients` of each kind and address")
	fs.IntVar(&set.loops, "loops", 2, "event `loops`, workers or threads of each contender")
	fs.IntVar(&set.large, "large", 1000, fmt.Sprintf("`reloads` of a configuration of %d routes and %d upstreams, without load; 0: none", largeRoutes, largeUpstreams))
	names := fs.String("contenders", "zproxy-epoll,zproxy-uring,nginx,haproxy", "`contenders`, with commas between")
	set.commonFlags(fs)
	if err := fs.Parse(args); err != nil {
		return 2
	}
	set.contenders = strings.Split(*names, ",")
	for _, name := range set.contenders {
		if c := contenderNamed(name); c == nil || c.template == "" {
			fmt.Fprintf(errOut, "bench reloads: -contenders %s: want some of zproxy-epoll, zproxy-uring, nginx, haproxy\n", name)
			return 2
		}
	}
	err := set.checkCommon()
	if err == nil && (fs.NArg() > 0 || set.reloads < 1 || set.each < 1 || set.loops < 1 || set.interval < 100*time.Millisecond || set.large != 0 && set.large < fewestLarge) {
		err = fmt.Errorf("want -reloads, -each and -loops of 1 or more, -interval of 100ms or more, -large of 0, or %d or more, and nothing else", fewestLarge)
	}
	if err != nil {
		fmt.Fprintln(errOut, "bench reloads:", err)
		return 2
	}
	if status := set.moveIn(append([]string{"reloads"}, args...), out, errOut); status >= 0 {
		return status
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	quiet, met, err := set.run(ctx, out, errOut)
	if err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	if status := set.verdict(quiet, errOut); status != 0 || met {
		return status
	}
	return 1
}

// run measures all contenders and prints their rows.
func (set *reloadSettings) run(ctx context.Context, out, progress io.Writer) (quiet *Quiet, met bool, err error) {
	b, end, err := newBench(ctx, set.settings, progress)
	if err != nil {
		return nil, false, err
	}
	defer end()
	e := b.environment()
	if err := b.openGate(); err != nil {
		return nil, false, err
	}
	met = true
	var rows []*reloadRow
	for _, name := range set.contenders {
		r := &reloadRow{name: name, missing: b.programs.missing[name]}
		if rows = append(rows, r); r.missing != "" {
			continue
		}
		before := now()
		if err := set.measure(b, r); err != nil {
			return nil, false, fmt.Errorf("%s: %w", name, err)
		}
		b.gate.note(before.until(now()))
		if _, err := b.between(); err != nil {
			return nil, false, err
		}
		met = met && (contenderNamed(name).program != "zproxy" || r.met())
	}
	if quiet, err = b.closeGate(knownFloor(filepath.Join(b.root, "bench", "results"), &e)); err != nil {
		return nil, false, err
	}
	set.write(out, rows, quiet, &e)
	return quiet, met, nil
}

// reloadRow is what came of a contender.
type reloadRow struct {
	name, missing   string
	without, beside reloadPhase
	large           []time.Duration // from the signal until it was in force
	rss             [2]uint64       // behind a few large reloads, and behind all
	turn            [2]time.Duration
	long            int // turns over goalTurn that large reloads have come with
}

// reloadPhase is what became of a load in a while.
type reloadPhase struct {
	mixedload.Counts
	repeated int64
	took     []time.Duration // sorted
	first    string          // that went wrong
}

func (p *reloadPhase) well() bool { return p.Failed+p.Early+p.repeated == 0 }

func (set *reloadSettings) measure(b *bench, r *reloadRow) error {
	defer b.stopAll()
	if err := set.underLoad(b, r); err != nil || set.large == 0 {
		return err
	}
	b.stopAll()
	return set.largeReloads(b, r)
}

// underLoad has clients of all kinds ask, and after a while changes the configuration under them.
func (set *reloadSettings) underLoad(b *bench, r *reloadRow) error {
	origin := mixedload.NewOrigin()
	defer origin.Close()
	first, err := origin.Listen()
	if err != nil {
		return err
	}
	another, err := origin.Listen()
	if err != nil {
		return err
	}
	p, err := startChanging(b, r.name, set.loops, false, first)
	if err != nil {
		return err
	}
	l := mixedload.Start(mixedload.Clients{Clear: p.now.Clear, Prior: p.now.Prior, Secure: p.now.Secure, Each: set.each, Pauses: changePauses})
	defer l.Stop()
	if err := rest(b.ctx, 2*time.Second); err != nil { // until all are there
		return err
	}
	l.Took()
	was := reloadPhase{Counts: l.Total(), repeated: origin.Repeated()}
	if err := rest(b.ctx, time.Duration(set.reloads)*set.interval); err != nil {
		return err
	}
	r.without = phaseOf(l, origin, was)
	b.say("%-12s without reloads: %v\n", r.name, l)
	was = reloadPhase{Counts: l.Total(), repeated: origin.Repeated()}
	for range set.reloads {
		next := time.Now().Add(set.interval)
		if _, err := p.reload(another); err != nil {
			return err
		}
		if err := rest(b.ctx, time.Until(next)); err != nil {
			return err
		}
	}
	took := l.Took()
	// Who pauses longest finds out behind the last reload.
	if err := rest(b.ctx, slices.Max(changePauses)+time.Second); err != nil {
		return err
	}
	r.beside = phaseOf(l, origin, was)
	r.beside.took = took
	slices.Sort(took)
	r.beside.first = l.String()
	b.say("%-12s with reloads: %v\n", r.name, l)
	return b.ctx.Err()
}

// phaseOf is what has become of l since was.
func phaseOf(l *mixedload.Load, origin *mixedload.Origin, was reloadPhase) (p reloadPhase) {
	p.Counts, p.took = l.Total(), l.Took()
	slices.Sort(p.took)
	p.Answered -= was.Answered
	p.Failed -= was.Failed
	p.Early -= was.Early
	p.Told -= was.Told
	p.repeated = origin.Repeated() - was.repeated
	return p
}

// largeReloads reloads a large configuration again and again, without load.
func (set *reloadSettings) largeReloads(b *bench, r *reloadRow) error {
	p, err := startChanging(b, r.name, set.loops, true, "127.0.0.1:9")
	if err != nil {
		return err
	}
	var long int
	if r.turn[0], long, err = p.longest(); err != nil {
		return err
	}
	for n := 1; n <= set.large; n++ {
		took, err := p.reload("")
		if err != nil {
			return err
		}
		if r.large = append(r.large, took); n == fewestLarge {
			if r.rss[0], err = p.resident(); err != nil {
				return err
			}
		}
	}
	if r.turn[1], r.long, err = p.longest(); err != nil {
		return err
	}
	r.long -= long
	slices.Sort(r.large)
	for began := time.Now(); ; {
		if r.rss[1], err = p.resident(); err != nil {
			return err
		}
		if r.growth() <= goalMemoryGrowth || time.Since(began) > memoryRest {
			b.say("%-12s large reloads: median %v, growth %.3f, longest turn %v\n", r.name, percentile(r.large, 50), r.growth(), r.turn[1])
			return nil
		}
		if err := rest(b.ctx, time.Second); err != nil {
			return err
		}
	}
}

func (r *reloadRow) growth() float64 { return float64(r.rss[1]) / float64(r.rss[0]) }

// slower is how many times longer answers took beside reloads, at the 99th percentile.
func (r *reloadRow) slower() float64 {
	return float64(percentile(r.beside.took, 99)) / float64(percentile(r.without.took, 99))
}

// met says whether a row has what zproxy is to have.
func (r *reloadRow) met() bool {
	small := r.without.well() && r.beside.well() && r.slower() <= goalReloadP99
	if len(r.large) == 0 {
		return small
	}
	return small && percentile(r.large, 50) <= goalLargeReload && r.long == 0 && r.growth() <= goalMemoryGrowth
}

// rest lets time pass.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (set *reloadSettings) write(out io.Writer, rows []*reloadRow, quiet *Quiet, e *Environment) {
	var w bytes.Buffer
	fmt.Fprintf(&w, "# Reloads: zproxy %s\n\n", e.Revision)
	fmt.Fprintf(&w, "%d reloads, %v from one to the next, and as long without before; %d clients of each kind and address, %d loops, workers or threads. %s, kernel %s, %s. ",
		set.reloads, set.interval, set.each, set.loops, e.CPU, e.Kernel, e.Terms)
	fmt.Fprintf(&w, "%s; %s.\n\n", e.Versions["nginx"], e.Versions["haproxy"])
	quiet.write(&w)
	fmt.Fprintf(&w, "| under load | requests without, beside reloads | failed | closed early | told to go | repeated | p50 ms without, beside | p99 ms without, beside | ratio | met |\n|---|---|---|---|---|---|---|---|---|---|\n")
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for _, r := range rows {
		if r.missing != "" {
			fmt.Fprintf(&w, "| %s | does not take part: %s |\n", r.name, cell(r.missing))
			continue
		}
		a, z := &r.without, &r.beside
		fmt.Fprintf(&w, "| %s | %d, %d | %d, %d | %d, %d | %d, %d | %d, %d | %.2f, %.2f | %.2f, %.2f | %.2f | %s |\n", r.name, a.Answered, z.Answered, a.Failed, z.Failed,
			a.Early, z.Early, a.Told, z.Told, a.repeated, z.repeated, ms(percentile(a.took, 50)), ms(percentile(z.took, 50)),
			ms(percentile(a.took, 99)), ms(percentile(z.took, 99)), r.slower(), yes(r.met()))
	}
	if set.large > 0 {
		fmt.Fprintf(&w, "\n| %d reloads, %d routes, %d upstreams | ms from signal to effect: median (least to most) | resident MiB after %d, after all | longest turn ms before, behind | turns over %v |\n|---|---|---|---|---|\n",
			set.large, largeRoutes, largeUpstreams, fewestLarge, goalTurn)
		for _, r := range rows {
			if r.missing != "" {
				continue
			}
			turns := " | "
			if contenderNamed(r.name).program == "zproxy" {
				turns = fmt.Sprintf("%.2f, %.2f | %d", ms(r.turn[0]), ms(r.turn[1]), r.long)
			}
			fmt.Fprintf(&w, "| %s | %.0f (%.0f to %.0f) | %.1f, %.1f | %s |\n", r.name, ms(percentile(r.large, 50)), ms(r.large[0]), ms(r.large[len(r.large)-1]),
				float64(r.rss[0])/(1<<20), float64(r.rss[1])/(1<<20), turns)
		}
	}
	for _, r := range rows {
		if r.missing == "" && !r.beside.well() {
			fmt.Fprintf(&w, "\n%s: %s\n", r.name, r.beside.first)
		}
	}
	out.Write(w.Bytes())
}
