package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What others must see whoever makes the proxy hold what it cannot pass on.
const (
	goalOthersP99 = 100 * time.Millisecond
	goalWhole     = time.Second // until all memory is back after they have left
)

// holders is one kind of client that makes the proxy hold what it sends, or is
// sent, and how many of them there are.
type holders struct {
	name    string
	h2      bool   // clients speak it
	path    string // whose upstream decides which origin does not read; downloads: which does
	uploads bool
	conns   int
	streams int // of each connection
}

var allHolders = []holders{
	{"h1 uploads, h1 origin", false, "/deaf1", true, 400, 1},
	{"h1 uploads, h2c origin", false, "/deaf2", true, 400, 1},
	{"h2 uploads, h1 origin", true, "/deaf1", true, 5, 64},
	{"h2 uploads, h2c origin", true, "/deaf2", true, 5, 64},
	{"h2 uploads, h2c origin with wide windows", true, "/wide2", true, 5, 64},
	{"h1 downloads", false, "/chunked/100000000", false, 400, 1},
	{"h2 downloads", true, "/bytes/1000000", false, 5, 64},
}

// mixes are the allHolders that are there at once.
func mixes() (all [][]holders) {
	for _, c := range allHolders {
		all = append(all, []holders{c})
	}
	return append(all, allHolders)
}

// uploadersConfig keeps the kernel's buffers small: hundreds of connections that stand
// still would use up its memory for TCP first, and then everybody waits for that.
const uploadersConfig = `loops: "%[1]d"
io: %[2]s
listeners: [{address: "%[3]s", protocols: [http1, h2c], socket: {send_buffer: 64KiB, receive_buffer: 64KiB}}]
upstreams:
  deaf1: {socket: {send_buffer: 64KiB, receive_buffer: 64KiB}, endpoints: [{address: "%[4]s"}]}
  deaf2: {socket: {send_buffer: 64KiB, receive_buffer: 64KiB}, protocol: h2c, endpoints: [{address: "%[5]s"}]}
  wide2: {socket: {send_buffer: 64KiB, receive_buffer: 64KiB}, protocol: h2c, endpoints: [{address: "%[6]s"}]}
  other: {socket: {send_buffer: 64KiB, receive_buffer: 64KiB}, endpoints: [{address: "%[7]s"}]}
routes: [{path: "/deaf1", upstream: deaf1}, {path: "/deaf2", upstream: deaf2}, {path: "/wide2", upstream: wide2}, {path: "/*", upstream: other}]
buffers: {max_per_loop: %[8]s}
admin: {address: "%[9]s"}
shutdown: {grace: 1s}
`

// uploaders shows what clients of one upstream see while others upload to origins that
// do not read, or do not read what they download.
func uploaders(args []string, out, errOut io.Writer) int {
	set := settings{}
	fs := flag.NewFlagSet("bench uploaders", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.DurationVar(&set.duration, "duration", 3*time.Second, "`length` of what is measured beside each mix")
	backends := fs.String("io", "epoll,uring", "`backends`, with commas between")
	most := fs.Int("loops", 2, "with one loop and with so many")
	memory := fs.String("buffers", "64MiB", "buffers.max_per_loop")
	beside := fs.String("beside", "", "only beside mixes whose name matches this `expression`")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if fs.NArg() > 0 || *most < 1 || set.duration < time.Second {
		fmt.Fprintln(errOut, "bench uploaders: want -loops of 1 or more, -duration of 1s or more, and nothing else")
		return 2
	}
	only, err := regexp.Compile(*beside)
	if err != nil {
		fmt.Fprintln(errOut, "bench uploaders: -beside:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	met, err := runUploaders(ctx, set, strings.Split(*backends, ","), *most, *memory, only, out, errOut)
	if err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	if !met {
		return 1
	}
	return 0
}

func runUploaders(ctx context.Context, set settings, backends []string, most int, memory string, only *regexp.Regexp, out, progress io.Writer) (met bool, err error) {
	set.contenders = []string{"zproxy-epoll"}
	b, end, err := newBench(ctx, set, progress)
	if err != nil {
		return false, err
	}
	defer end()
	e := b.environment()
	fmt.Fprintf(out, "zproxy %s, kernel %s, %d CPUs, load average before %s; buffers %s for each loop; beside each mix for %v.\n\n",
		e.Revision, e.Kernel, e.CPUs, loadAverage(), memory, set.duration)
	fmt.Fprintf(out, "| backend | loops | beside | others' requests | lost | p50 ms | p99 ms | blocks held, of | ended for it | held %v after | met |\n|---|---|---|---|---|---|---|---|---|---|---|\n", goalWhole)
	met = true
	for _, backend := range backends {
		for _, loops := range slices.Compact([]int{1, most}) {
			for _, mix := range append([][]holders{nil}, mixes()...) {
				if !only.MatchString(mixName(mix)) {
					continue
				}
				row, err := b.besideMix(backend, loops, memory, mix)
				if err != nil {
					return false, fmt.Errorf("%s, %d loops, %s: %w", backend, loops, mixName(mix), err)
				}
				met = met && (row.met() || mix == nil)
				fmt.Fprint(out, row)
			}
		}
	}
	return met, nil
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

func mixName(mix []holders) string {
	switch {
	case mix == nil:
		return "nobody"
	case len(mix) == 1:
		return mix[0].name
	}
	return "all of them at once"
}

// besideRow is what was seen beside one mix.
type besideRow struct {
	backend  string
	loops    int
	mix      []holders
	took     []time.Duration // sorted
	lost     int
	firstWhy string
	held     int // blocks, when it was measured
	blocks   int // that there may be
	ended    int
	after    int // blocks held goalWhole after they had left
}

func (r *besideRow) met() bool {
	return r.lost == 0 && len(r.took) > 0 && percentile(r.took, 99) < goalOthersP99 && r.after == 0
}

func (r *besideRow) String() string {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	verdict := yes(r.met())
	if r.firstWhy != "" {
		verdict += ": " + r.firstWhy
	}
	return fmt.Sprintf("| %s | %d | %s | %d | %d | %.1f | %.1f | %d, %d | %d | %d | %s |\n", r.backend, r.loops, mixName(r.mix), len(r.took), r.lost,
		ms(percentile(r.took, 50)), ms(percentile(r.took, 99)), r.held, r.blocks, r.ended, r.after, verdict)
}

// besideMix starts a proxy and its origins, lets the allHolders of mix fill it, and asks
// for small answers of another upstream beside them.
func (b *bench) besideMix(backend string, loops int, memory string, mix []holders) (*besideRow, error) {
	defer b.stopAll()
	var addrs [3]string // the proxy, its admin pages, the origin
	for i := range addrs {
		var err error
		if addrs[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	deaf := make([]net.Listener, 3)
	for i, greet := range []func(net.Conn){ignore, greetNarrow, greetWide} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		deaf[i] = l
		go acceptDeaf(l, greet)
	}
	origin, err := b.startProcess("origin", -1, b.programs.paths["origin"], "-listen", addrs[2])
	if err != nil {
		return nil, err
	}
	if err := origin.waitFor(b.ctx, func() error { return tryConnect(addrs[2]) }); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(uploadersConfig, loops, backend, addrs[0], deaf[0].Addr(), deaf[1].Addr(), deaf[2].Addr(), addrs[2], memory, addrs[1])
	config := filepath.Join(b.dir, "uploaders.yaml")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	proxy, err := b.startProcess("zproxy", -1, b.programs.paths["zproxy"], "run", "-c", config)
	if err != nil {
		return nil, err
	}
	if err := proxy.waitFor(b.ctx, func() error { return tryConnect(addrs[0]) }); err != nil {
		return nil, err
	}
	row := &besideRow{backend: backend, loops: loops, mix: mix}
	if err := b.measureBeside(row, addrs[0], addrs[1]); err != nil {
		return nil, proxy.complain(err)
	}
	return row, nil
}

// fillTime is what allHolders get to fill what they can.
const fillTime = 2 * time.Second

func (b *bench) measureBeside(row *besideRow, proxy, admin string) error {
	ctx, leave := context.WithCancel(b.ctx)
	defer leave()
	for _, c := range row.mix {
		for range c.conns {
			go c.run(ctx, proxy)
		}
	}
	if row.mix != nil {
		b.sleep(fillTime)
	}
	o := ask(b.ctx, proxy, b.set.duration)
	row.took, row.lost, row.firstWhy = o.took, o.lost, o.why
	held, err := poolOf(admin)
	if err != nil {
		return err
	}
	row.held, row.blocks, row.ended = held.inUse, held.most, held.ended
	leave()
	b.sleep(goalWhole)
	if held, err = poolOf(admin); err != nil {
		return err
	}
	row.after = held.inUse
	return b.ctx.Err()
}

var errGone = errors.New("the connection has ended")
