// Command load sends requests at a fixed rate, whatever becomes of them, and
// says how long answers took.
//
//	load -connect 127.0.0.1:8080 -rate 10000 -connections 64 -duration 5s
//
// The time of an answer counts from when its request was due, not from when a
// connection was free to send it: a server that stops for a moment cannot hide
// how many requests would have come in that moment (the "coordinated omission"
// of generators that wait for answers). One thread, epoll, a timer with the
// resolution of the kernel's. The result is one line of JSON, times in
// microseconds.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what load prints.
type Result struct {
	Rate       float64 `json:"rate"` // asked for, per second
	Requests   int64   `json:"requests"`
	Errors     int64   `json:"errors"`     // connections that broke, answers that are not 200 with a Content-Length
	Unanswered int64   `json:"unanswered"` // due in time, but without an answer when patience was over
	P50Micros  float64 `json:"p50_us"`
	P90Micros  float64 `json:"p90_us"`
	P99Micros  float64 `json:"p99_us"`
	P999Micros float64 `json:"p999_us"`
	MaxMicros  float64 `json:"max_us"`
}

func main() {
	var p plan
	connect := flag.String("connect", "127.0.0.1:8080", "`IP:PORT` of the server")
	flag.Float64Var(&p.rate, "rate", 1000, "requests per `second`")
	flag.IntVar(&p.connections, "connections", 64, "kept-alive `connections`")
	flag.DurationVar(&p.duration, "duration", 5*time.Second, "how `long` to send")
	flag.DurationVar(&p.warmUp, "warm-up", 500*time.Millisecond, "first `part` of it that does not count")
	flag.DurationVar(&p.patience, "patience", 5*time.Second, "how `long` to wait for answers in the end")
	flag.StringVar(&p.path, "path", "/", "`path` to ask for")
	flag.Parse()
	addr, err := netip.ParseAddrPort(*connect)
	if err != nil || !addr.Addr().Is4() || flag.NArg() > 0 || p.rate <= 0 || p.connections < 1 || p.warmUp >= p.duration {
		fmt.Fprintln(os.Stderr, "load: want -connect IPv4:PORT, -rate above 0, -connections of 1 or more, and a -warm-up shorter than -duration")
		os.Exit(2)
	}
	p.addr = addr
	runtime.LockOSThread()
	// The default lets timers be 50 us late.
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	r, err := p.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(r)
}
