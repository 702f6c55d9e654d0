// Package mixedload loads a proxy with everything that it serves, by clients that pause, and counts
// what a proxy that changes may do to them: requests that fail or are made twice, and connections
// that end early. No client tries again what has failed.
package mixedload

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what a client does.
type Kind int

const (
	Kept      Kind = iota // POSTs of HTTP/1 on a connection that is kept
	Fresh                 // each POST on a connection of its own
	Streams               // POSTs on a connection of HTTP/2
	GRPC                  // streams of gRPC on a connection of HTTP/2, with some messages each
	WebSocket             // messages on a WebSocket
	kinds
)

var kindNames = [kinds]string{"kept", "fresh", "streams", "gRPC", "WebSocket"}

func (k Kind) String() string { return kindNames[k] }

// Clients are who makes the load. An address that is empty has no clients.
type Clients struct {
	Clear  string // of HTTP/1 without TLS
	Prior  string // of HTTP/2 without TLS, from the first byte on
	Secure string // of HTTP/1 and HTTP/2 within TLS, with any certificate

	Kinds  []Kind          // all when empty
	Each   int             // clients of each kind and address
	Pauses []time.Duration // between requests: of each client one of them
	Once   bool            // a client whose connection has ended comes not again
}

// limit is how long a client waits for anything.
const limit = 30 * time.Second

// Counts are what has become of requests and messages, and of connections.
type Counts struct {
	Answered int64
	Failed   int64 // no response, or a wrong one
	// Early connections have ended before Connection: close, GOAWAY or a Close of 1001 was seen,
	// Told ones behind it.
	Early, Told int64

	Met int64 // connections of Kept that have been answered
}

// Load is clients at work.
type Load struct {
	clients Clients
	ctx     context.Context
	cancel  context.CancelFunc
	all     sync.WaitGroup

	mu     sync.Mutex
	counts [kinds]Counts
	took   []time.Duration
	first  string // that went wrong
}

// Start has the clients begin.
func Start(c Clients) *Load {
	l := &Load{clients: c}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	some := c.Kinds
	if len(some) == 0 {
		some = []Kind{Kept, Fresh, Streams, GRPC, WebSocket}
	}
	for _, kind := range some {
		clear := c.Clear
		if kind == Streams || kind == GRPC {
			clear = c.Prior
		}
		for i := range c.Each {
			l.begin(&client{load: l, kind: kind, addr: clear, pause: c.Pauses[i%len(c.Pauses)]})
			l.begin(&client{load: l, kind: kind, addr: c.Secure, secure: true, pause: c.Pauses[i%len(c.Pauses)]})
		}
	}
	return l
}

func (l *Load) begin(c *client) {
	if c.addr == "" {
		return
	}
	visit := [kinds]func(){c.kept, c.fresh, c.streams, c.grpc, c.webSocket}[c.kind]
	l.all.Go(func() {
		for l.ctx.Err() == nil {
			if visit(); l.clients.Once && c.kind != Fresh {
				return
			}
		}
	})
}

// Wait returns when all clients have ended, which those do that come once.
func (l *Load) Wait() { l.all.Wait() }

// Stop ends the load.
func (l *Load) Stop() {
	l.cancel()
	l.all.Wait()
}

// Of is what became of one kind until now.
func (l *Load) Of(k Kind) Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[k]
}

// Total is what became of all kinds.
func (l *Load) Total() (sum Counts) {
	for k := range kinds {
		c := l.Of(k)
		sum.Answered += c.Answered
		sum.Failed += c.Failed
		sum.Early += c.Early
		sum.Told += c.Told
		sum.Met += c.Met
	}
	return sum
}

// Took is how long answers took since it was asked last: from when a request is sent, or a
// connection is opened for it, until all of the response is there.
func (l *Load) Took() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.took
	l.took = nil
	return t
}

// String says what became of the load, and what went wrong first.
func (l *Load) String() (s string) {
	for k := range kinds {
		if c := l.Of(k); c != (Counts{}) {
			s += fmt.Sprintf("%v: answered %d, failed %d, closed early %d, told %d; ", k, c.Answered, c.Failed, c.Early, c.Told)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == "" {
		return s + "nothing went wrong"
	}
	return s + "first of all " + l.first
}

// client is one of the load.
type client struct {
	load   *Load
	kind   Kind
	addr   string
	secure bool
	pause  time.Duration
	unsent string // the body of a request that was refused by GOAWAY before anybody looked at it
}

// bodies numbers all requests and messages, so that no two are the same.
var bodies atomic.Int64

func (c *client) body() (b string) {
	if b, c.unsent = c.unsent, ""; b == "" {
		b = fmt.Sprintf("%v %d", c.kind, bodies.Add(1))
	}
	return b
}

func (c *client) goesOn() bool { return c.load.ctx.Err() == nil }

// count changes what is counted, unless it comes of the end of the load.
func (c *client) count(change func(*Counts)) {
	c.load.mu.Lock()
	defer c.load.mu.Unlock()
	if c.goesOn() {
		change(&c.load.counts[c.kind])
	}
}

func (c *client) told() { c.count(func(n *Counts) { n.Told++ }) }

// answered counts a response that came as it should, to what began at begun.
func (c *client) answered(begun time.Time) {
	took := time.Since(begun)
	c.count(func(n *Counts) {
		n.Answered++
		c.load.took = append(c.load.took, took)
	})
}

// failed counts a request or message without its response. A client does not hurry back then.
func (c *client) failed(format string, args ...any) {
	c.count(func(n *Counts) { n.Failed++; c.blame(format, args...) })
	c.waits(100 * time.Millisecond)
}

// early counts a connection that has ended though its client was not told.
func (c *client) early(format string, args ...any) {
	c.count(func(n *Counts) { n.Early++; c.blame(format, args...) })
}

// blame notes what went wrong first.
func (c *client) blame(format string, args ...any) {
	if c.load.first == "" {
		c.load.first = fmt.Sprintf("%s, %v, TLS %v: %s", time.Now().Format("15:04:05.000"), c.kind, c.secure, fmt.Sprintf(format, args...))
	}
}

// waits lets time pass; false: the load is to end.
func (c *client) waits(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return c.goesOn()
	case <-c.load.ctx.Done():
		return false
	}
}

// dial opens a connection for protocol, which is the name of it in TLS.
func (c *client) dial(protocol string) (net.Conn, error) {
	d := net.Dialer{Timeout: limit}
	if !c.secure {
		return d.DialContext(c.load.ctx, "tcp", c.addr)
	}
	s := tls.Dialer{NetDialer: &d, Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}}
	conn, err := s.DialContext(c.load.ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	// A server may choose none, which means HTTP/1.
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != protocol && (got != "" || protocol != http1) {
		conn.Close()
		return nil, fmt.Errorf("protocol %q was chosen, want %q", got, protocol)
	}
	return conn, nil
}

// Names of protocols within TLS (RFC 7301).
const (
	http1 = "http/1.1"
	http2 = "h2"
)
