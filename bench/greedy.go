package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// goalBesideGreedy is how many times longer others may take beside a greedy client,
// at the 99th percentile.
const goalBesideGreedy = 2.0

// onset is how long greedy clients have been there when it is measured: what they cost
// while they open what they can is told by the longest answer alone.
const onset = 3 * time.Second

// greedySetting is one proxy between clients and an origin with a limit on connections.
type greedySetting struct {
	contender string
	loops     int // of zproxy
	h2Origin  bool
}

// greedy shows what others of an upstream see while a client opens all the requests it
// may and does not go on with them.
func greedy(args []string, out, errOut io.Writer) int {
	set := settings{contenders: []string{"zproxy-epoll", "zproxy-uring", "nginx", "haproxy"}, peers: installedPeers, proxyCPU: -1, loadCPU: -1}
	fs := flag.NewFlagSet("bench greedy", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.DurationVar(&set.duration, "duration", 5*time.Second, "`length` of what is measured without, and again beside, each greedy client")
	names := fs.String("contenders", strings.Join(set.contenders, ","), "`contenders`, with commas between")
	most := fs.Int("loops", 2, "zproxy with one loop and with so many")
	limit := fs.Int("limit", 1024, "`connections` to the origin, at most")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	set.contenders = strings.Split(*names, ",")
	unknown := slices.ContainsFunc(set.contenders, func(name string) bool { return contenderNamed(name) == nil || contenderNamed(name).template == "" })
	if unknown || fs.NArg() > 0 || *most < 1 || *limit < 1 || set.duration < time.Second {
		fmt.Fprintln(errOut, "bench greedy: want -contenders that speak HTTP, -loops and -limit of 1 or more, -duration of 1s or more, and nothing else")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	met, err := runGreedy(ctx, set, *most, *limit, out, errOut)
	if err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	if !met {
		return 1
	}
	return 0
}

func runGreedy(ctx context.Context, set settings, most, limit int, out, progress io.Writer) (met bool, err error) {
	b, end, err := newBench(ctx, set, progress)
	if err != nil {
		return false, err
	}
	defer end()
	e := b.environment()
	fmt.Fprintf(out, "zproxy %s, kernel %s, %d CPUs, load average before %s; %d connections to the origin at most; %v without and %v beside each.\n\n",
		e.Revision, e.Kernel, e.CPUs, loadAverage(), limit, set.duration, set.duration)
	fmt.Fprintf(out, "| contender | loops | origin | beside | open at the end | others' requests | lost | p50 ms without, beside | p99 ms without, beside | longest ms at first, then | met |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	met = true
	for _, s := range b.greedySettings(most) {
		for _, mix := range greedyMixes() {
			row, err := b.besideGreedy(s, limit, mix)
			if err != nil {
				return false, fmt.Errorf("%s, %d loops, %s: %w", s.contender, s.loops, greedyName(mix), err)
			}
			met = met && (row.met() || contenderNamed(s.contender).program != "zproxy")
			fmt.Fprint(out, row)
		}
	}
	for name, why := range b.programs.missing {
		if slices.Contains(set.contenders, name) {
			fmt.Fprintf(out, "\n%s does not take part: %s\n", name, why)
		}
	}
	return met, nil
}

// greedySettings are those of the contenders that are there. nginx speaks HTTP/1 with
// origins, whatever they speak.
func (b *bench) greedySettings(most int) (all []greedySetting) {
	for _, name := range b.set.contenders {
		if b.programs.missing[name] != "" {
			continue
		}
		loops := []int{1}
		if contenderNamed(name).program == "zproxy" {
			loops = slices.Compact([]int{1, most})
		}
		for _, n := range loops {
			for _, h2 := range []bool{false, true} {
				if !h2 || contenderNamed(name).program != "nginx" {
					all = append(all, greedySetting{name, n, h2})
				}
			}
		}
	}
	return all
}

// greedyRow is what others got, without a greedy client and beside it.
type greedyRow struct {
	greedySetting
	mix                    []greedyClient
	without, first, beside *asked
	open                   int64 // requests of greedy clients that had not ended
}

func (r *greedyRow) met() bool {
	return r.without.lost+r.first.lost+r.beside.lost == 0 && r.open > 0 &&
		float64(percentile(r.beside.took, 99)) <= goalBesideGreedy*float64(percentile(r.without.took, 99))
}

func (r *greedyRow) String() string {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	verdict := yes(r.met())
	for _, a := range []*asked{r.without, r.first, r.beside} {
		if a.why != "" {
			verdict += ": " + a.why
		}
	}
	origin := "h1"
	if r.h2Origin {
		origin = "h2c"
	}
	a, z := r.without.took, r.beside.took
	return fmt.Sprintf("| %s | %d | %s | %s | %d | %d | %d | %.2f, %.2f | %.2f, %.2f | %.1f, %.1f | %s |\n", r.contender, r.loops, origin, greedyName(r.mix), r.open,
		len(z), r.first.lost+r.beside.lost, ms(percentile(a, 50)), ms(percentile(z, 50)), ms(percentile(a, 99)), ms(percentile(z, 99)), ms(percentile(r.first.took, 100)), ms(percentile(z, 100)), verdict)
}

// besideGreedy has others ask, first alone and then beside a mix.
func (b *bench) besideGreedy(s greedySetting, limit int, mix []greedyClient) (*greedyRow, error) {
	defer b.stopAll()
	proxy, h2, plain, err := b.startLimited(s, limit)
	if err != nil {
		return nil, err
	}
	row := &greedyRow{greedySetting: s, mix: mix}
	ask(b.ctx, plain, 200*time.Millisecond) // until it is warm
	row.without = ask(b.ctx, plain, b.set.duration)
	row.without.addMissed()
	ctx, leave := context.WithCancel(b.ctx)
	defer leave()
	t := startGreedy(ctx, h2, plain, mix)
	row.first = ask(b.ctx, plain, onset)
	row.beside = ask(b.ctx, plain, b.set.duration)
	row.beside.addMissed()
	row.open = t.open.Load()
	if proxy.ended() {
		return nil, proxy.complain(errGone)
	}
	leave()
	<-t.done
	return row, b.ctx.Err()
}

// startLimited starts an origin and a proxy that may open so many connections to it, and
// says where it listens for HTTP/2 and for HTTP/1.
func (b *bench) startLimited(s greedySetting, limit int) (proxy *process, h2, plain string, err error) {
	sc, c := &scenario{name: "greedy", body: smallBody, http2Origin: s.h2Origin}, contenderNamed(s.contender)
	origin, err := b.origin(sc)
	if err != nil {
		return nil, "", "", err
	}
	p := &place{Origin: origin, Dir: b.dir, Pool: limit, Limit: limit, Connections: 1<<13 + limit, Tuned: c.tuned, IO: c.io, Loops: fmt.Sprint(s.loops),
		HTTP2Client: true, HTTP2Origin: s.h2Origin, Root: os.Geteuid() == 0}
	p.Files = 2 * p.Connections
	if p.Listen, err = freeAddress(); err != nil {
		return nil, "", "", err
	}
	plain = p.Listen
	if c.program != "zproxy" { // which tells the versions apart
		if plain, err = freeAddress(); err != nil {
			return nil, "", "", err
		}
		p.Plain = plain
	}
	config, err := b.configure(c.name, c.template, sc, p)
	if err != nil {
		return nil, "", "", err
	}
	proxy, err = b.startProcess(c.name, b.set.proxyCPU, append(b.programs.argv(c.program), c.args(config, p)...)...)
	if err != nil {
		return nil, "", "", err
	}
	return proxy, p.Listen, plain, proxy.waitFor(b.ctx, func() error { return tryConnect(plain) })
}
