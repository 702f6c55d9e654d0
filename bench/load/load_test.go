package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/loop"
)

func serve(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func generate(t *testing.T, p plan) *Result {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := p.run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryRequestIsSentAndTimed(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		io.WriteString(w, "ok")
	})
	began := time.Now()
	r := generate(t, plan{addr: addr, path: "/", rate: 500, connections: 50, duration: time.Second, patience: 5 * time.Second})
	if r.Requests != 500 || r.Errors != 0 || r.Unanswered != 0 {
		t.Errorf("%+v, want 500 requests without errors", r)
	}
	// The machine may be slow; the server cannot be fast.
	if r.P50Micros < 20e3 || r.P50Micros > 500e3 || r.MaxMicros < r.P99Micros || r.P99Micros < r.P50Micros {
		t.Errorf("%+v, want times of 20 ms and a little", r)
	}
	if took := time.Since(began); took < 980*time.Millisecond {
		t.Errorf("took %v, want the second that it was to take", took)
	}
}

// A server that stops for a third of the run shows in far more than the few
// requests that were under way.
func TestStallCountsForAllThatWereDue(t *testing.T) {
	const stall = 300 * time.Millisecond
	var end time.Time
	start := time.Now()
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if since := time.Since(start); since > stall && since < 2*stall {
			time.Sleep(time.Until(end))
		}
		io.WriteString(w, "ok")
	})
	end = start.Add(2 * stall)
	r := generate(t, plan{addr: addr, path: "/", rate: 200, connections: 2, duration: 3 * stall, patience: 5 * time.Second})
	if r.Unanswered != 0 || r.Errors != 0 {
		t.Fatalf("%+v, want no errors", r)
	}
	// Of 180 requests, 2 were held up by the server; the others of that time by these.
	if r.P90Micros < float64(stall.Microseconds())/4 {
		t.Errorf("%+v: the 90th percentile does not show a stop of %v in %v", r, stall, 3*stall)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	p := plan{path: "/", rate: 100, connections: 4, duration: 200 * time.Millisecond, patience: 300 * time.Millisecond}
	p.addr = serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	if r := generate(t, p); r.Requests != 0 || r.Errors != 4 || r.Unanswered != 16 {
		t.Errorf("503: %+v, want 4 errors, one for each connection, and the rest unanswered", r)
	}
	hang := make(chan struct{})
	p.addr = serve(t, func(http.ResponseWriter, *http.Request) { <-hang })
	if r := generate(t, p); r.Requests != 0 || r.Unanswered != 20 {
		t.Errorf("a server that hangs: %+v, want 20 unanswered", r)
	}
	close(hang)
	p.addr = netip.MustParseAddrPort("127.0.0.1:1")
	if _, err := p.run(); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody listens: %v, want an error that names the address", err)
	}
}

func TestAnswerIsTheSameHoweverItIsSplit(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-LENGTH: 5\r\nA: b\r\n\r\nhello"
	for i := 1; i <= len(text); i++ {
		for j := i; j <= len(text); j++ {
			var a answer
			for round := range 2 {
				parts := []string{text[:i], text[i:j], text[j:]}
				done := 0
				for _, p := range parts {
					if p == "" {
						continue
					}
					used, ok, err := a.feed([]byte(p))
					if err != nil {
						t.Fatalf("split at %d, %d, round %d: %v", i, j, round, err)
					}
					if used != len(p) {
						t.Fatalf("split at %d, %d, round %d: %d bytes of %q used", i, j, round, used, p)
					}
					if ok {
						done++
					}
				}
				if done != 1 || a.inBody || len(a.head) > 0 {
					t.Fatalf("split at %d, %d, round %d: done %d times, in body %v, %d bytes kept", i, j, round, done, a.inBody, len(a.head))
				}
			}
		}
	}
}

func TestBadAnswers(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
	} {
		var a answer
		if _, done, err := a.feed([]byte(text)); err == nil {
			t.Errorf("%s: done %v, no error", fmt.Sprintf("%q", text), done)
		}
	}
}

// The generator between a proxy that does nothing and itself: what is sent
// comes back, and it knows how late it was.
func TestOriginInTheGenerator(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	p := plan{addr: own, origin: own, size: 1000, path: "/", rate: 500, connections: 4, duration: 400 * time.Millisecond, patience: 5 * time.Second}
	r := generate(t, p)
	if r.Requests != 200 || r.Errors != 0 || r.Unanswered != 0 {
		t.Errorf("%+v, want 200 requests without errors", r)
	}
	if r.LateMaxMicros <= 0 || r.LateP99Micros > r.LateMaxMicros || r.P50Micros <= 0 {
		t.Errorf("%+v, want times, and how late it was", r)
	}
	p.rate = 0
	if r := generate(t, p); r.Requests < 200 || r.Errors != 0 || r.Unanswered != 0 || r.Seconds < 0.4 {
		t.Errorf("as fast as it goes: %+v, want far more than 200 requests without errors", r)
	}
}

// Every kind of load arrives as it was meant, and is counted.
func TestKindsOfLoad(t *testing.T) {
	for _, c := range []struct {
		name string
		plan plan
		body int64 // of a request
	}{
		{"one at a time", plan{connections: 2}, 0},
		{"a connection for each", plan{connections: 2, closing: true}, 0},
		{"sixteen at a time", plan{connections: 2, pipeline: 16}, 0},
		{"uploads beyond what sockets hold", plan{connections: 2, upload: 12 << 20}, 12 << 20},
		{"uploads on connections of their own", plan{connections: 2, upload: 1 << 20, closing: true}, 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var requests, connections atomic.Int64
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				if err != nil || n != c.body {
					t.Errorf("a body of %d bytes, %v; want %d", n, err, c.body)
				}
				requests.Add(1)
				io.WriteString(w, "ok")
			}), ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections.Add(1)
				}
			}}
			go s.Serve(l)
			defer s.Close()
			p := c.plan
			p.addr, p.path, p.duration, p.patience = l.Addr().(*net.TCPAddr).AddrPort(), "/", 200*time.Millisecond, 10*time.Second
			r := generate(t, p)
			if r.Requests == 0 || r.Errors != 0 || r.Unanswered != 0 || r.Requests != requests.Load() || r.Requests%int64(p.batch()) != 0 {
				t.Errorf("%+v, and the server has seen %d; want the same, and no errors", r, requests.Load())
			}
			want := int64(2)
			if p.closing {
				want = r.Requests
			}
			if n := connections.Load(); n != want {
				t.Errorf("%d connections for %d requests, want %d", n, r.Requests, want)
			}
		})
	}
}

// What comes behind the last answer is no answer, nor is a connection that stays
// open where it was to be closed.
func TestMoreThanWasAskedFor(t *testing.T) {
	for _, c := range []struct {
		name string
		plan plan
		say  string
	}{
		{"a byte too many", plan{}, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab"},
		{"bytes instead of the end", plan{closing: true}, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab"},
		{"an end in the middle", plan{pipeline: 2}, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"},
	} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Read(make([]byte, 4096))
				io.WriteString(conn, c.say)
				conn.Close()
			}
		}()
		p := c.plan
		p.connections, p.addr, p.path, p.duration, p.patience = 1, l.Addr().(*net.TCPAddr).AddrPort(), "/", 50*time.Millisecond, time.Second
		if r := generate(t, p); r.Errors == 0 || r.Unanswered != 0 {
			t.Errorf("%s: %+v, want errors", c.name, r)
		}
		l.Close()
	}
}

// A server without a connection to spare is slow; that is not the generator's
// being late.
func TestLateIsTheGeneratorAlone(t *testing.T) {
	const delay = 50 * time.Millisecond
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(delay)
		io.WriteString(w, "ok")
	})
	r := generate(t, plan{addr: addr, path: "/", rate: 40, connections: 1, duration: 500 * time.Millisecond, patience: 5 * time.Second})
	if r.Requests != 20 || r.MaxMicros < 4*float64(delay.Microseconds()) {
		t.Fatalf("%+v, want 20 requests that waited for one another", r)
	}
	if r.LateP99Micros > float64(delay.Microseconds()) {
		t.Errorf("%+v: late by more than it waited for itself", r)
	}
}

// The ports are those that the loop's own listeners give to the loop, for any
// number of loops; and nothing is sent before the word is given.
func TestConnectionsOfOneLoop(t *testing.T) {
	for loops := 1; loops <= 3; loops++ {
		fds, err := loop.OpenListeners("127.0.0.1:0", loops, nil, loop.SockOpts{})
		if err != nil {
			t.Fatal(err)
		}
		accepted := make([]atomic.Int32, loops)
		var addr netip.AddrPort
		for i, fd := range fds {
			f := os.NewFile(uintptr(fd), "listener")
			l, err := net.FileListener(f)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			addr = l.Addr().(*net.TCPAddr).AddrPort()
			s := &http.Server{
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }),
				ConnState: func(_ net.Conn, state http.ConnState) {
					if state == http.StateNew {
						accepted[i].Add(1)
					}
				},
			}
			go s.Serve(l)
			defer s.Close()
		}
		for i := range loops {
			hold, word := io.Pipe()
			time.AfterFunc(50*time.Millisecond, func() {
				for j := range loops {
					if n := accepted[j].Load(); n != 0 && j >= i {
						t.Errorf("%d of %d loops: loop %d has %d connections before the word was given", i, loops, j, n)
					}
				}
				word.Close()
			})
			r := generate(t, plan{addr: addr, path: "/", connections: 10, duration: 50 * time.Millisecond, patience: 5 * time.Second, loops: loops, steered: i, hold: hold})
			if r.Requests == 0 || r.Errors != 0 || r.Unanswered != 0 {
				t.Errorf("%+v, want requests without errors", r)
			}
			for j := range loops {
				if n := accepted[j].Load(); n != 10 && j <= i || n != 0 && j > i {
					t.Errorf("connections for loop %d of %d: loop %d has %d", i, loops, j, n)
				}
			}
		}
	}
}

func TestHeadsAreCountedHoweverTheyAreSplit(t *testing.T) {
	const text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n"
	for i := range len(text) + 1 {
		for j := i; j <= len(text); j++ {
			var c served
			if n := c.heads([]byte(text[:i])) + c.heads([]byte(text[i:j])) + c.heads([]byte(text[j:])); n != 2 || c.matched != 0 {
				t.Fatalf("split at %d, %d: %d requests, want 2", i, j, n)
			}
		}
	}
	var c served
	if n := c.heads([]byte("a\r\r\n\r\n")); n != 1 {
		t.Errorf("a carriage return before the end: %d requests, want 1", n)
	}
}
