package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// abuser is what a client of HTTP/2 does to cost its server more than itself.
type abuser struct {
	name   string
	why    string
	conns  int  // at once; each that is ended is followed by another one
	heads  int  // requests in one write
	polite bool // goes on when the server has read that, and ends at its GOAWAY
	wait   bool // stays when it has asked
	append func(b []byte, id uint32) []byte

	late func(b []byte, id uint32) []byte // of each request, when the server has read all of them
	// patience is how long a contender is to wait for a client that takes nothing, ""
	// for as long as it does by itself. The client stays for longer.
	patience string
}

const (
	shortPatience = "2s"
	// outstay is how long a client stays that is to be sent away after shortPatience.
	outstay = 6 * time.Second
)

// abusers are bounded: each has a connection of its own for a certain time, and
// nothing is sent that a server could not refuse by the letter of RFC 9113.
var abusers = []abuser{
	{name: "rapid-reset", why: "HEADERS and RST_STREAM at once; ends at the GOAWAY", conns: 4, heads: 100, polite: true, append: func(b []byte, id uint32) []byte {
		return appendFrame(appendAsk(b, id), frameResetType, 0, id, []byte{0, 0, 0, 8})
	}},
	{name: "made-you-reset", why: "HEADERS and a WINDOW_UPDATE by 0, which the server must answer with a reset; ends at its GOAWAY", conns: 4, heads: 100, polite: true,
		append: func(b []byte, id uint32) []byte { return addNothing(appendAsk(b, id), id) }},
	{name: "made-you-reset-on", why: "the same, going on behind its GOAWAY until the connection ends", conns: 4, heads: 100,
		append: func(b []byte, id uint32) []byte { return addNothing(appendAsk(b, id), id) }},
	{name: "made-you-reset-late", why: "the same, each WINDOW_UPDATE when the server has read the HEADERS of all; ends at its GOAWAY", conns: 4, heads: 100, polite: true, append: appendAsk, late: addNothing},
	{name: "bomb-fields", why: "4000 indexed fields of one byte in each of 100 requests, behind a window that stays closed", conns: 20, heads: 100, wait: true, append: func(b []byte, id uint32) []byte {
		return appendFrame(b, frameHeadersType, 5, id, bombFields)
	}},
	{name: "bomb-crumbs", why: "4000 cookie crumbs of one byte in each of 100 requests, behind a window that stays closed", conns: 20, heads: 100, wait: true, append: func(b []byte, id uint32) []byte {
		return appendFrame(b, frameHeadersType, 5, id, bombCrumbs(id))
	}},
	{name: "bomb-within", why: "15 fields of 1000 bytes, of a byte each, in each of 100 requests, behind a window that stays closed", conns: 20, heads: 100, wait: true, append: func(b []byte, id uint32) []byte {
		return appendFrame(b, frameHeadersType, 5, id, bombWithin(id))
	}},
	{name: "closed-window", why: "100 ordinary requests, behind a window that stays closed", conns: 20, heads: 100, wait: true, append: appendAsk},
	{name: "never-taken", why: "the same for " + outstay.String() + ", where whoever takes nothing for " + shortPatience + " is to be sent away", conns: 20, heads: 100, wait: true, append: appendAsk, patience: shortPatience},
}

func appendAsk(b []byte, id uint32) []byte { return appendFrame(b, frameHeadersType, 5, id, plainHead) }

func addNothing(b []byte, id uint32) []byte {
	return appendFrame(b, frameWindowType, 0, id, []byte{0, 0, 0, 0})
}

// abuse states what abusers cost: CPU for each stream, and the most memory.
func abuse(args []string, out, errOut io.Writer) int {
	set := settings{scenarios: []string{"h2-h1"}, contenders: []string{"zproxy-epoll", "zproxy-uring", "nginx", "haproxy"}, peers: installedPeers, proxyCPU: -1, loadCPU: -1}
	fs := flag.NewFlagSet("bench abuse", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.DurationVar(&set.duration, "duration", 2*time.Second, "`length` of each round")
	fs.IntVar(&set.rounds, "rounds", 3, "`rounds`, in which all take turns")
	names := fs.String("only", "", "`abusers`, with commas between; all if empty")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	chosen, unknown := chooseAbusers(*names)
	if unknown != "" || fs.NArg() > 0 || set.rounds < 1 || set.duration < 100*time.Millisecond || set.duration > time.Minute {
		fmt.Fprintf(errOut, "bench abuse: want -only of %s, -rounds of 1 or more, -duration of 100ms to 1m, and nothing else\n", abuserNames())
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := runAbuse(ctx, set, chosen, out, errOut); err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	return 0
}

func abuserNames() string {
	var names []string
	for _, a := range abusers {
		names = append(names, a.name)
	}
	return strings.Join(names, ", ")
}

func chooseAbusers(names string) (chosen []*abuser, unknown string) {
	for i := range abusers {
		if names == "" || slices.Contains(strings.Split(names, ","), abusers[i].name) {
			chosen = append(chosen, &abusers[i])
		}
	}
	if names != "" && len(chosen) != len(strings.Split(names, ",")) {
		return nil, names
	}
	return chosen, ""
}

func runAbuse(ctx context.Context, set settings, chosen []*abuser, out, progress io.Writer) error {
	b, end, err := newBench(ctx, set, progress)
	if err != nil {
		return err
	}
	defer end()
	e := b.environment()
	fmt.Fprintf(out, "zproxy %s, kernel %s, %d CPUs, load average before %s; %d rounds of %v.\n", e.Revision, e.Kernel, e.CPUs, loadAverage(), set.rounds, set.duration)
	for _, name := range set.contenders {
		if why := b.programs.missing[name]; why != "" {
			fmt.Fprintf(out, "%s does not take part: %s\n", name, why)
		} else {
			version, _, _ := strings.Cut(b.programs.versions[contenderNamed(name).program], "\n")
			fmt.Fprintf(out, "%s: %s\n", name, version)
		}
	}
	for _, a := range chosen {
		fmt.Fprintf(out, "\n%s: %s; %d connections.\n\n| contender | streams | connections ended | streams reset, the last after s | CPU us for a stream, least, median | CPU s | memory before, most, with the clients still there MiB | MiB 1 s after |\n|---|---|---|---|---|---|---|---|\n", a.name, a.why, a.conns)
		rows, err := b.abuseRows(a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		for _, r := range rows {
			fmt.Fprint(out, r)
		}
	}
	return nil
}

// abuseRow is what one contender has paid for one abuser.
type abuseRow struct {
	name           string
	streams, ended int64
	reset          int64
	lastReset      time.Duration // since the round began
	cpu            uint64        // ns
	each           []float64     // us for a stream, of each round
	before, most   uint64        // bytes
	last, after    uint64        // with the clients still there, and without
}

func (r *abuseRow) String() string {
	const mib = 1 << 20
	slices.Sort(r.each)
	return fmt.Sprintf("| %s | %d | %d | %d, %.1f | %.2f, %.2f | %.2f | %.1f, %.1f, %.1f | %.1f |\n", r.name, r.streams, r.ended, r.reset, r.lastReset.Seconds(),
		r.each[0], r.each[len(r.each)/2], float64(r.cpu)/1e9, float64(r.before)/mib, float64(r.most)/mib, float64(r.last)/mib, float64(r.after)/mib)
}

// abuseRows has the contenders take turns, each started anew for each round.
func (b *bench) abuseRows(a *abuser) (rows []*abuseRow, err error) {
	for _, name := range b.set.contenders {
		if b.programs.missing[name] == "" {
			rows = append(rows, &abuseRow{name: name})
		}
	}
	for range b.set.rounds {
		for _, r := range rows {
			if err := b.abuseRound(a, r); err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	return rows, nil
}

func (b *bench) abuseRound(a *abuser, r *abuseRow) error {
	defer b.stopAll()
	s := *scenarioNamed("h2-h1")
	s.patience = a.patience
	origin, err := b.origin(&s)
	if err != nil {
		return err
	}
	st, err := b.start(contenderNamed(r.name), &s, origin)
	if err != nil {
		return err
	}
	if err := a.warmUp(address(st.url)); err != nil {
		return st.process.complain(err)
	}
	family := tree(st.process.pid())
	before, err := cpuOf(family)
	if err != nil {
		return err
	}
	_, pss, err := memoryOf(family)
	if err != nil {
		return err
	}
	r.before = max(r.before, pss)
	stay := b.set.duration
	if a.patience != "" {
		stay = outstay
	}
	ctx, leave := context.WithTimeout(b.ctx, stay)
	defer leave()
	tally := a.start(ctx, address(st.url))
	last := uint64(0)
	for watch := true; watch; {
		select {
		case <-tally.done:
			watch = false
		case <-time.After(20 * time.Millisecond):
			if _, pss, err := memoryOf(family); err == nil {
				r.most, last = max(r.most, pss), pss
			}
		}
	}
	r.last = max(r.last, last)
	b.sleep(time.Second)
	after, err := cpuOf(family)
	if err != nil {
		return st.process.complain(err)
	}
	if _, pss, err = memoryOf(family); err != nil {
		return err
	}
	r.after = max(r.after, pss)
	streams := tally.streams.Load()
	if streams == 0 {
		return st.process.complain(fmt.Errorf("%s: no stream was opened", a.name))
	}
	r.streams += streams
	r.ended += tally.ended.Load()
	r.reset += tally.reset.Load()
	r.lastReset = max(r.lastReset, time.Duration(tally.lastReset.Load()))
	r.cpu += after.total - before.total
	r.each = append(r.each, float64(after.total-before.total)/1e3/float64(streams))
	return b.ctx.Err()
}

// warmUp asks once, so that the workers are there.
func (a *abuser) warmUp(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(appendFrame(greeting(65535), frameHeadersType, 5, 1, plainHead)); err != nil {
		return err
	}
	for {
		kind, _, stream, err := readFrame(c)
		if err != nil || kind == frameHeadersType && stream == 1 {
			return err
		}
	}
}
