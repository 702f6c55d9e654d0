package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

// goalScale is how much more CPU time a request may take with several loops
// than with one, and than in as many processes that share nothing.
const goalScale = 1.03

// layout is a number of loops that are loaded at once, all in one process or
// one in each. One loop is on each CPU in turn: CPUs need not be equally fast.
type layout struct {
	loops int
	apart bool
}

func (l layout) String() string {
	switch {
	case l.loops == 1:
		return "1 loop"
	case l.apart:
		return fmt.Sprintf("%d processes", l.loops)
	}
	return fmt.Sprintf("%d loops", l.loops)
}

// scaleRow is what a layout came to, round by round.
type scaleRow struct {
	layout
	cpu, others            []float64 // us per request: of all threads, of those that are no loops'
	kernel                 []float64 // the kernel's part of cpu
	rate                   []float64
	even                   []float64 // requests of the loop that had fewest, to an even share
	requests, mails, moved int64
	ports, admins          []string // of the processes
	members                []member
}

// scale compares n loops in one process with one loop and with n processes of
// one loop each. Every CPU in use has a loop, a load generator, whose
// connections the loop of that CPU serves, and an origin for what comes from
// there: one that could go elsewhere would find another CPU idle beside one loop
// and none beside two. Over the loopback interface that takes generators that
// choose their ports: left to the steering, connections of several loops in one
// process would be mixed and those of separate processes not, and the mixing is
// dear. All origins have one address.
func scale(args []string, out, errOut io.Writer) int {
	set := settings{duration: time.Second}
	fs := flag.NewFlagSet("bench scale", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.IntVar(&set.rounds, "rounds", 15, "`rounds` per layout")
	fs.DurationVar(&set.duration, "duration", set.duration, "`length` of a round")
	most := fs.Int("loops", 0, "go up to so many loops, one, two, four ... (default: the CPUs that this process may use)")
	backend := fs.String("io", "epoll", "`backend`, epoll or uring")
	connections := fs.Int("connections", loadConns, "client `connections` for each loop")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	if *most == 0 {
		*most = mask.Count()
	}
	if fs.NArg() > 0 || *most < 2 || *most > mask.Count() || set.rounds < 1 || *connections < 1 || set.duration < time.Second || *backend != "epoll" && *backend != "uring" {
		fmt.Fprintf(errOut, "bench scale: want -loops of 2 to the %d CPUs that this process may use, -rounds and -connections of 1 and -duration of 1s or more, -io epoll or uring, and nothing else\n", mask.Count())
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := runScale(ctx, set, mask, *most, *connections, *backend, out, errOut); err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	return 0
}

func runScale(ctx context.Context, set settings, mask unix.CPUSet, most, connections int, backend string, out, progress io.Writer) (err error) {
	set.contenders = []string{"zproxy-" + backend}
	b, end, err := newBench(ctx, set, progress)
	if err != nil {
		return err
	}
	defer end()
	if why := b.programs.missing[set.contenders[0]]; why != "" {
		return errors.New(why)
	}
	var cpus []int
	for cpu := 0; len(cpus) < most; cpu++ {
		if mask.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	origin, err := b.originsOn(cpus)
	if err != nil {
		return err
	}
	rows, err := b.layouts(cpus, backend, origin)
	if err != nil {
		return err
	}
	for round := 0; round <= set.rounds; round++ { // round 0 warms up
		for i := range rows {
			r := rows[i]
			if round%2 == 1 { // whoever comes after whom, it is the other way round next time
				r = rows[len(rows)-1-i]
			}
			if err := b.scaleRound(r, cpus, connections, round); err != nil {
				return fmt.Errorf("%v: %w", r.layout, err)
			}
		}
	}
	writeScale(out, rows, backend, connections, b.environment())
	return nil
}

// originsOn starts an origin on each of cpus, all at one address.
func (b *bench) originsOn(cpus []int) (string, error) {
	addr, err := freeAddress()
	if err != nil {
		return "", err
	}
	for i, cpu := range cpus {
		p, err := b.startProcess(fmt.Sprintf("origin-%d", cpu), cpu, b.programs.paths["origin"], "-listen", addr, "-cpu", strconv.Itoa(cpu))
		if err != nil {
			return "", err
		}
		err = p.waitFor(b.ctx, func() error { // a connection would get to those that are there already
			if n, err := listeners(addr); err != nil || n > i {
				return err
			}
			return errors.New("does not listen yet")
		})
		if err != nil {
			return "", err
		}
	}
	return addr, nil
}

// layouts starts all processes of all layouts; those that are not loaded sleep.
func (b *bench) layouts(cpus []int, backend, origin string) (rows []*scaleRow, err error) {
	// start adds a layout with a process on each of places.
	start := func(l layout, places ...[]int) {
		r := &scaleRow{layout: l}
		rows = append(rows, r)
		for _, place := range places {
			if err == nil {
				err = b.startLoops(r, place, backend, origin)
			}
		}
	}
	start(layout{loops: 1}, slices.Collect(slices.Chunk(cpus, 1))...)
	for n := 1; n < len(cpus); {
		n = min(2*n, len(cpus))
		start(layout{loops: n}, cpus[:n])
		start(layout{loops: n, apart: true}, slices.Collect(slices.Chunk(cpus[:n], 1))...)
	}
	return rows, err
}

// startLoops starts a process with a loop on each of cpus.
func (b *bench) startLoops(r *scaleRow, cpus []int, backend, origin string) error {
	p := &place{Origin: origin, Pool: 1024, IO: backend}
	for _, cpu := range cpus {
		p.Loops = strings.TrimPrefix(fmt.Sprintf("%s,%d-%d", p.Loops, cpu, cpu), ",")
	}
	var err error
	if p.Listen, err = freeAddress(); err != nil {
		return err
	}
	if p.Admin, err = freeAddress(); err != nil {
		return err
	}
	t, err := template.ParseFS(peerFiles, "peers/zproxy.yaml")
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, p); err != nil {
		return err
	}
	name := fmt.Sprintf("zproxy-%d", len(b.running))
	config := filepath.Join(b.dir, name+".yaml")
	if err := os.WriteFile(config, text.Bytes(), 0o644); err != nil {
		return err
	}
	proc, err := b.startProcess(name, -1, b.programs.paths["zproxy"], "run", "-c", config)
	if err != nil {
		return err
	}
	if err := proc.waitFor(b.ctx, func() error { return tryConnect(p.Listen) }); err != nil {
		return err
	}
	r.ports, r.admins = append(r.ports, p.Listen), append(r.admins, p.Admin)
	r.members = append(r.members, tree(proc.pid())...)
	return nil
}

// look is what can be read of a layout's processes at one moment.
type look struct {
	cpu          cpuUse
	threads      []map[string]scheduled // by process
	mails, moved int64
}

func (r *scaleRow) look() (l look, err error) {
	if l.mails, l.moved, err = counters(r.admins); err != nil {
		return l, err
	}
	for _, m := range r.members {
		threads, err := m.threads()
		if err != nil {
			return l, err
		}
		l.threads = append(l.threads, threads)
	}
	l.cpu, err = cpuOf(r.members)
	return l, err
}

// loopsEach is the number of loops in each process.
func (r *scaleRow) loopsEach() int { return max(1, r.loops/len(r.ports)) }

// scaleRound loads as many loops at once as the layout says, and then the next,
// until all were.
func (b *bench) scaleRound(r *scaleRow, cpus []int, connections, round int) error {
	before, err := r.look()
	if err != nil {
		return err
	}
	all := len(r.ports) * r.loopsEach()
	var results []*generated
	for first := 0; first < all; first += r.loops {
		some, err := b.loadLoops(r, cpus, first, connections)
		if err != nil {
			return err
		}
		results = append(results, some...)
	}
	after, err := r.look()
	if err != nil {
		return err
	}
	requests, fewest, rate := int64(0), results[0].requests, 0.0
	for _, g := range results {
		if g.void != "" {
			return errors.New(g.void)
		}
		requests += g.requests
		fewest = min(fewest, g.requests)
		rate += float64(g.requests) / g.seconds * float64(r.loops) / float64(all)
	}
	if round == 0 {
		return nil
	}
	others := uint64(0)
	for i := range r.members {
		others += besides(r.loopsEach(), before.threads[i], after.threads[i])
	}
	cpu := float64(after.cpu.total-before.cpu.total) / 1e3 / float64(requests)
	user, system := after.cpu.user-before.cpu.user, after.cpu.system-before.cpu.system
	r.cpu, r.rate = append(r.cpu, cpu), append(r.rate, rate)
	r.others = append(r.others, float64(others)/1e3/float64(requests))
	r.kernel = append(r.kernel, system/(user+system))
	r.even = append(r.even, float64(fewest)*float64(all)/float64(requests))
	r.requests += requests
	r.mails += after.mails - before.mails
	r.moved += after.moved - before.moved
	b.say("round %d/%d  %-12v %7.2f us/request  %7.0f requests/s\n", round, b.set.rounds, r.layout, cpu, rate)
	return nil
}

// comeUp is what generators get to come up before they begin: one that does so
// late is out of step.
const comeUp = 100 * time.Millisecond

// loadLoops loads r.loops loops of r, from first on, each from a generator on
// the loop's CPU. They begin together.
func (b *bench) loadLoops(r *scaleRow, cpus []int, first, connections int) ([]*generated, error) {
	ctx, cancel := context.WithTimeout(b.ctx, b.set.duration+20*time.Second)
	defer cancel()
	hold, word, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer hold.Close()
	outputs, waits := make([]bytes.Buffer, r.loops), make([]func() error, r.loops)
	for i := range r.loops {
		loop, each := first+i, r.loopsEach()
		cmd := exec.CommandContext(ctx, b.programs.paths["load"], "-connect", r.ports[loop/each], "-loop", fmt.Sprintf("%d/%d", loop%each, each),
			"-hold", "-rate", "0", "-warm-up", "0s", "-connections", strconv.Itoa(connections), "-duration", b.set.duration.String())
		cmd.Stdin, cmd.Stdout, cmd.Stderr = hold, &outputs[i], &outputs[i]
		if err := b.launcher.start(cmd, cpus[loop]); err != nil {
			word.Close()
			return nil, fmt.Errorf("starting load: %w", err)
		}
		waits[i] = cmd.Wait
	}
	time.Sleep(comeUp)
	word.Close()
	results, failures := make([]*generated, r.loops), make([]error, r.loops)
	for i, wait := range waits {
		if failures[i] = wait(); failures[i] != nil {
			failures[i] = fmt.Errorf("load: %w: %s", failures[i], bytes.TrimSpace(outputs[i].Bytes()))
			continue
		}
		results[i], failures[i] = parseOwn(outputs[i].Bytes())
	}
	return results, errors.Join(failures...)
}

// counters reads how many mails loops have got and how many connections they
// have moved between each other.
func counters(admins []string) (mails, moved int64, err error) {
	for _, addr := range admins {
		r, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			return 0, 0, err
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(text)) {
			name, rest, _ := strings.Cut(line, "{")
			_, value, _ := strings.Cut(rest, "} ")
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			switch name {
			case "zproxy_loop_mails_total":
				mails += int64(n)
			case "zproxy_upstream_given_total", "zproxy_handed_over_total":
				moved += int64(n)
			}
		}
	}
	return mails, moved, nil
}

func writeScale(w io.Writer, rows []*scaleRow, backend string, connections int, e Environment) {
	fmt.Fprintf(w, "zproxy %s, %s, kernel %s, %s, %d CPUs, %d NUMA node(s). 128 B answers, %d connections for each loop; every CPU in use has a loop, its load generator and its origin; one loop alone is on each CPU in turn. "+
		"Medians (least to most) of %d rounds, ratios round by round. Least loaded loop: its requests to an even share.\n\n", e.Revision, backend, e.Kernel, e.CPU, e.CPUs, e.Nodes, connections, len(rows[0].cpu))
	fmt.Fprintf(w, "| | us per request | of it other threads | in the kernel | requests/s | least loaded loop | x 1 loop | x as many processes | mails between loops | connections moved | requests |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for i, r := range rows {
		apart := ""
		if !r.apart && i+1 < len(rows) && rows[i+1].apart {
			apart = spread(ratios(r.cpu, rows[i+1].cpu))
		}
		fmt.Fprintf(w, "| %v | %s | %.2f | %.0f %% | %.0f | %.2f | %s | %s | %d | %d | %d |\n", r.layout, spread(summarise(r.cpu)), summarise(r.others).Median,
			100*summarise(r.kernel).Median, summarise(r.rate).Median, summarise(r.even).Median, spread(ratios(r.cpu, rows[0].cpu)), apart, r.mails, r.moved, r.requests)
	}
	for i, r := range rows {
		if !r.apart && i+1 < len(rows) && rows[i+1].apart {
			alone, beside := ratios(r.cpu, rows[0].cpu).Median, ratios(r.cpu, rows[i+1].cpu).Median
			fmt.Fprintf(w, "\nGoal: %v at most %.2f x 1 loop: %.2f, met: %s\n", r.layout, goalScale, alone, yes(alone <= goalScale))
			fmt.Fprintf(w, "Goal: %v at most %.2f x as many processes: %.2f, met: %s\n", r.layout, goalScale, beside, yes(beside <= goalScale))
		}
	}
}

func spread(s Summary) string { return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Min, s.Max) }
