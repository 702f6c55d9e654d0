// Command load sends requests at a fixed rate, whatever becomes of them, and
// says how long answers took; or it talks on WebSockets.
//
//	load -connect 127.0.0.1:8080 -rate 10000 -connections 64 -duration 5s
//	load -connect 127.0.0.1:8080 -rate 10000 -origin 127.0.0.1:8081 -size 128
//	load -connect 127.0.0.1:8080 -rate 0 -loop 0/2
//	load -connect 127.0.0.1:8080 -rate 0 [-closing | -pipeline 16 | -upload 1048576]
//	load -connect 127.0.0.1:8443 -rate 0 -warm-up 0s -closing -tls [-resume]
//	load -connect 127.0.0.1:8080 -websocket 64 -connections 100 [-http2]
//
// The time of an answer counts from when its request was due, not from when a
// connection was free to send it: a server that stops for a moment cannot hide
// how many requests would have come in that moment (the "coordinated omission"
// of generators that wait for answers). One thread, epoll, a timer with the
// resolution of the kernel's. How late the generator itself was is told, too:
// the time from when a request was due and a connection was free until it was
// sent. With a rate of 0 it is one that waits for answers.
//
// With -origin it is also what the proxy forwards to, in the same thread, which
// then never sleeps: it needs a CPU of its own, and nobody else is waited for.
//
// On the loopback interface zproxy spreads connections over its loops by the client's
// port. With -loop all go to one of them, which may be the one on the
// generator's own CPU: as where a network card delivers packets to that CPU.
//
// On WebSockets each connection, or with -http2 each stream of one connection
// (RFC 8441), sends a message, waits for its echo, and sends the next.
//
// The result is one line of JSON, times in microseconds. The status is 0, 1 when
// something failed, 2 for wrong usage, 3 when the server does not offer what
// was asked for.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Result is what load prints.
type Result struct {
	Rate       float64 `json:"rate,omitempty"` // asked for, per second
	Requests   int64   `json:"requests"`       // answered; on WebSockets, messages echoed
	Seconds    float64 `json:"seconds"`        // from the first request to the last answer
	Errors     int64   `json:"errors"`         // connections that broke, answers that are not 200 with a Content-Length
	Unanswered int64   `json:"unanswered"`     // due in time, but without an answer when patience was over
	P50Micros  float64 `json:"p50_us"`
	P90Micros  float64 `json:"p90_us"`
	P99Micros  float64 `json:"p99_us"`
	P999Micros float64 `json:"p999_us"`
	MaxMicros  float64 `json:"max_us"`

	LateP99Micros float64 `json:"late_p99_us"` // how late requests were sent, by the generator's own fault
	LateMaxMicros float64 `json:"late_max_us"`
}

// quantiles are of times in ns.
func (r *Result) quantiles(times *hdrhistogram.Histogram) {
	us := func(quantile float64) float64 { return float64(times.ValueAtQuantile(quantile)) / 1e3 }
	r.P50Micros, r.P90Micros, r.P99Micros, r.P999Micros, r.MaxMicros = us(50), us(90), us(99), us(99.9), float64(times.Max())/1e3
}

func main() {
	run, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
	runtime.LockOSThread()
	// Little is allocated, and a collection would make requests late.
	debug.SetGCPercent(-1)
	// The default lets timers be 50 us late.
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	r, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		if errors.Is(err, errNotOffered) {
			os.Exit(3)
		}
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(r)
}

// kinds are the options of which not all go together.
type kinds struct {
	own, loop                string
	hold, tls, resume, http2 bool
}

func (k *kinds) check(p *plan, t *talks) error {
	switch {
	case t.size > 0 && (k.own != "" || k.loop != "" || k.hold):
		return errors.New("-origin, -loop and -hold do not go with -websocket")
	case t.size < 0 || t.size > maxMessage:
		return fmt.Errorf("-websocket must be 1 to %d", maxMessage)
	case k.http2 && t.size == 0:
		return errors.New("-http2 goes with -websocket")
	case k.tls && (!p.closing || p.rate > 0 || p.warmUp > 0 || k.own != "" || k.loop != "" || k.hold):
		return errors.New("-tls goes with -closing, -rate 0 and -warm-up 0s, and not with -origin, -loop or -hold")
	case k.resume && !k.tls:
		return errors.New("-resume goes with -tls")
	case t.size == 0 && p.warmUp >= p.duration:
		return errors.New("-warm-up must be shorter than -duration")
	}
	return nil
}

// parse makes of the command line what is to be done.
func parse(args []string) (func() (*Result, error), error) {
	var p plan
	var t talks
	var k kinds
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	connect := fs.String("connect", "127.0.0.1:8080", "`IP:PORT` of the server")
	fs.Float64Var(&p.rate, "rate", 1000, "requests per `second`; 0: the next as soon as there is an answer")
	fs.StringVar(&k.own, "origin", "", "also answer what is forwarded to this `IP:PORT`")
	fs.IntVar(&p.size, "size", 128, "with -origin: `bytes` of an answer")
	fs.IntVar(&p.connections, "connections", 64, "kept-alive `connections`, or WebSockets")
	fs.StringVar(&k.loop, "loop", "", "`I/N`: over the loopback interface, connect from ports that zproxy gives to loop I of N, one each millisecond")
	fs.BoolVar(&p.closing, "closing", false, "a new connection for each request, which the server is to close")
	fs.IntVar(&p.pipeline, "pipeline", 1, "`requests` in one write; needs -rate 0 when there are several")
	fs.IntVar(&p.upload, "upload", 0, "send `bytes` with each request")
	fs.BoolVar(&k.hold, "hold", false, "connect only when standard input has ended")
	fs.DurationVar(&p.duration, "duration", 5*time.Second, "how `long` to send")
	fs.DurationVar(&p.warmUp, "warm-up", 500*time.Millisecond, "first `part` of it that does not count; not for WebSockets")
	fs.DurationVar(&p.patience, "patience", 5*time.Second, "how `long` to wait for answers in the end")
	fs.StringVar(&p.path, "path", "/", "`path` to ask for")
	fs.IntVar(&t.size, "websocket", 0, "talk on WebSockets, with messages of so many `bytes`")
	fs.BoolVar(&k.tls, "tls", false, "with -closing: within TLS 1.3, each connection with a full handshake")
	fs.BoolVar(&k.resume, "resume", false, "with -tls: each connection resumes a session")
	fs.BoolVar(&k.http2, "http2", false, "with -websocket: on streams of one HTTP/2 connection")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if k.loop != "" {
		if _, err := fmt.Sscanf(k.loop, "%d/%d", &p.steered, &p.loops); err != nil || p.steered < 0 || p.steered >= p.loops {
			return nil, fmt.Errorf("-loop %s: want I/N, with I from 0 to N-1", k.loop)
		}
	}
	if k.hold {
		p.hold = os.Stdin
	}
	addr, err := netip.ParseAddrPort(*connect)
	switch {
	case err != nil || !addr.Addr().Is4():
		return nil, fmt.Errorf("-connect %s is not IPv4:PORT", *connect)
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case p.rate < 0 || p.connections < 1 || p.duration <= 0:
		return nil, errors.New("-connections and -duration must be above 0, -rate at least 0")
	case p.size < 0 || p.size > maxAnswer:
		return nil, fmt.Errorf("-size must be 0 to %d", maxAnswer)
	case p.pipeline < 1 || p.upload < 0:
		return nil, errors.New("-pipeline must be above 0, -upload at least 0")
	case p.pipeline > 1 && (p.rate > 0 || p.closing || p.upload > 0):
		return nil, errors.New("-pipeline goes with -rate 0, and not with -closing or -upload")
	}
	if err := k.check(&p, &t); err != nil {
		return nil, err
	}
	p.addr = addr
	if k.own != "" {
		if p.origin, err = netip.ParseAddrPort(k.own); err != nil || !p.origin.Addr().Is4() {
			return nil, fmt.Errorf("-origin %s is not IPv4:PORT", k.own)
		}
	}
	if k.tls {
		return (&handshakes{plan: p, resume: k.resume}).run, nil
	}
	if t.size == 0 {
		return p.run, nil
	}
	t.addr, t.path, t.sockets, t.duration, t.patience = addr, p.path, p.connections, p.duration, p.patience
	if k.http2 {
		return t.runHTTP2, nil
	}
	return t.run, nil
}
