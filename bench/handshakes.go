package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// goalBesideHandshakes is how many times longer those who have made their handshake may wait
// beside a flood of others, at the 99th percentile.
const goalBesideHandshakes = 2.0

// flooders are so many connections at a time. Each sends the same ClientHello, which costs it
// nothing, waits for the answer, which has cost the server a signature and a key exchange, and
// goes.
const flooders = 64

// handshakes shows what clients within TLS see of a flood of handshakes.
func handshakes(args []string, out, errOut io.Writer) int {
	set := settings{contenders: []string{"zproxy-epoll", "zproxy-uring", "nginx", "haproxy"}, peers: installedPeers, proxyCPU: -1, loadCPU: -1}
	fs := flag.NewFlagSet("bench handshakes", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.DurationVar(&set.duration, "duration", 5*time.Second, "`length` of what is measured without, and again beside, the flood")
	names := fs.String("contenders", strings.Join(set.contenders, ","), "`contenders`, with commas between")
	fs.StringVar(&set.peers, "peers", set.peers, "`installed` or current")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	set.contenders = strings.Split(*names, ",")
	for _, name := range set.contenders {
		if c := contenderNamed(name); c == nil || c.template == "" {
			fmt.Fprintf(errOut, "bench handshakes: -contenders %s: want some of those that speak TLS\n", name)
			return 2
		}
	}
	if fs.NArg() > 0 || set.duration < 100*time.Millisecond || set.peers != installedPeers && set.peers != currentPeers {
		fmt.Fprintln(errOut, "bench handshakes: want -duration of 100ms or more, -peers installed or current, and nothing else")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	met, err := runHandshakes(ctx, set, out, errOut)
	if err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	if !met {
		return 1
	}
	return 0
}

func runHandshakes(ctx context.Context, set settings, out, progress io.Writer) (met bool, err error) {
	b, end, err := newBench(ctx, set, progress)
	if err != nil {
		return false, err
	}
	defer end()
	e := b.environment()
	fmt.Fprintf(out, "zproxy %s, kernel %s, %d CPUs, load average before %s; %d clients with kept connections within TLS 1.3, %d connections that make handshakes; %v without and %v beside each.\n\n",
		e.Revision, e.Kernel, e.CPUs, loadAverage(), askers, flooders, set.duration, set.duration)
	fmt.Fprintf(out, "| contender | others' requests | lost | p50 ms without, beside | p99 ms without, beside | handshakes answered per s | CPU us each | CPUs used | met |\n|---|---|---|---|---|---|---|---|---|\n")
	met = true
	for _, name := range set.contenders {
		if why := b.programs.missing[name]; why != "" {
			fmt.Fprintf(out, "| %s | does not take part: %s |\n", name, why)
			continue
		}
		row, err := b.besideHandshakes(name)
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		met = met && (row.met() || contenderNamed(name).program != "zproxy")
		fmt.Fprint(out, row)
	}
	return met, nil
}

// handshakesRow is what others got, without the flood and beside it.
type handshakesRow struct {
	name            string
	without, beside *asked
	answered        int64
	cpu             uint64 // ns
	length          time.Duration
}

func (r *handshakesRow) met() bool {
	return r.without.lost+r.beside.lost == 0 &&
		float64(percentile(r.beside.took, 99)) <= goalBesideHandshakes*float64(percentile(r.without.took, 99))
}

func (r *handshakesRow) String() string {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	verdict := yes(r.met())
	for _, a := range []*asked{r.without, r.beside} {
		if a.why != "" {
			verdict += ": " + a.why
		}
	}
	a, z := r.without.took, r.beside.took
	return fmt.Sprintf("| %s | %d | %d | %.2f, %.2f | %.2f, %.2f | %.0f | %.0f | %.2f | %s |\n", r.name, len(z), r.without.lost+r.beside.lost,
		ms(percentile(a, 50)), ms(percentile(z, 50)), ms(percentile(a, 99)), ms(percentile(z, 99)), float64(r.answered)/r.length.Seconds(),
		float64(r.cpu)/1e3/float64(max(r.answered, 1)), float64(r.cpu)/float64(r.length), verdict)
}

func (b *bench) besideHandshakes(name string) (*handshakesRow, error) {
	defer b.stopAll()
	s := scenarioNamed("tls-small")
	origin, err := b.origin(s)
	if err != nil {
		return nil, err
	}
	st, err := b.start(contenderNamed(name), s, origin)
	if err != nil {
		return nil, err
	}
	addr := address(st.url)
	dial := func() (net.Conn, error) {
		return tls.DialWithDialer(&net.Dialer{Timeout: askLimit}, "tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	row := &handshakesRow{name: name}
	askBy(b.ctx, dial, true, 200*time.Millisecond) // until it is warm
	row.without = askBy(b.ctx, dial, true, b.set.duration)
	row.without.addMissed()
	hello, err := clientHello()
	if err != nil {
		return nil, err
	}
	family := tree(st.process.pid())
	before, err := cpuOf(family)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	ctx, leave := context.WithCancel(b.ctx)
	defer leave()
	flood := startFlood(ctx, addr, hello)
	row.beside = askBy(b.ctx, dial, true, b.set.duration)
	row.beside.addMissed()
	row.answered, row.length = flood.answered.Load(), time.Since(begun)
	after, err := cpuOf(family)
	if err != nil {
		return nil, st.process.complain(err)
	}
	row.cpu = after.total - before.total
	leave()
	flood.all.Wait()
	if row.answered == 0 {
		return nil, st.process.complain(errors.New("no handshake was answered"))
	}
	return row, b.ctx.Err()
}

// flood is connections of which nothing becomes.
type flood struct {
	all      sync.WaitGroup
	answered atomic.Int64
}

func startFlood(ctx context.Context, addr string, hello []byte) *flood {
	f := new(flood)
	for range flooders {
		f.all.Go(func() {
			for ctx.Err() == nil {
				if f.once(addr, hello) != nil {
					time.Sleep(time.Millisecond) // refused
				}
			}
		})
	}
	return f
}

// once sends hello and waits for what the server begins its part with.
func (f *flood) once(addr string, hello []byte) error {
	conn, err := net.DialTimeout("tcp", addr, askLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(askLimit))
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var record [5]byte
	if _, err := io.ReadFull(conn, record[:]); err != nil {
		return err
	}
	if record[0] != 22 { // no handshake record (RFC 8446 5.1)
		return fmt.Errorf("a record of type %d", record[0])
	}
	f.answered.Add(1)
	return nil
}

// clientHello is what a client of TLS 1.3 begins with, X25519 among its keys.
func clientHello() ([]byte, error) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	go tls.Client(here, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}).Handshake()
	there.SetDeadline(time.Now().Add(askLimit))
	hello := make([]byte, 5)
	if _, err := io.ReadFull(there, hello); err != nil {
		return nil, err
	}
	body := make([]byte, int(hello[3])<<8|int(hello[4]))
	if _, err := io.ReadFull(there, body); err != nil {
		return nil, err
	}
	return append(hello, body...), nil
}
