package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
)

// duplex is an origin whose answer begins at once. It ticks, a byte every
// interval until so many; then it takes the rest of the request, or ends.
func duplex(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex()
	w.WriteHeader(200)
	rc.Flush()
	switch r.URL.Path {
	case "/ticks":
		for range 30 {
			io.WriteString(w, ".")
			rc.Flush()
			time.Sleep(50 * time.Millisecond)
		}
	case "/sink":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, string(b))
	}
	if r.URL.Path == "/silent" {
		<-r.Context().Done()
	}
}

// stream asks path with a body that goes on: a byte every interval, until so
// many. It gives the answer and why it ended.
func (p *pair) stream(path string, every time.Duration, n int) (string, error) {
	body, in := io.Pipe()
	defer in.Close()
	go func() {
		for range n {
			time.Sleep(every)
			if _, err := io.WriteString(in, "x"); err != nil {
				return
			}
		}
		if n > 0 {
			in.Close()
		}
	}()
	req, err := http.NewRequest("POST", p.base+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return string(got), err
}

// Once an answer has begun, what either side sends keeps the stream open: a client
// that says nothing, or little, while the answer flows is as good as an origin
// that listens.
func TestStreamsBothWays(t *testing.T) {
	t.Parallel()
	const limits = "limits: {request_body_timeout: 250ms, min_rate: 1000}\n"
	pairsBeside(t, ", timeouts: {idle: 500ms}", limits, duplex, func(t *testing.T, p *pair) {
		if got, err := p.stream("/ticks", time.Second, 0); err != nil || got != strings.Repeat(".", 30) {
			t.Errorf("the client is silent: %q, %v", got, err)
		}
		if got, err := p.stream("/ticks", 100*time.Millisecond, 100); err != nil || got != strings.Repeat(".", 30) {
			t.Errorf("both talk: %q, %v", got, err)
		}
		if got, err := p.stream("/sink", 100*time.Millisecond, 15); err != nil || got != strings.Repeat("x", 15) {
			t.Errorf("the origin is silent: %q, %v", got, err)
		}
		if got, err := p.stream("/silent", time.Second, 0); err == nil {
			t.Errorf("nobody says anything, and the stream ends in order with %q", got)
		}
		rep := p.settled()[0]
		if n := rep.Metrics.RefusedByReason[codeStreamIdle]; n != 1 || rep.Pools[0].ResponseErrors != 0 {
			t.Errorf("%d streams were idle, want 1; %d failed responses, want none", n, rep.Pools[0].ResponseErrors)
		}
	})
}

// The longest duration of a stream holds whatever passes, for answers that have
// not begun, and for requests that wait for a connection, too.
func TestMaxStreamDuration(t *testing.T) {
	t.Parallel()
	routes := "routes: [{path: \"/*\", upstream: app, max_stream_duration: 400ms}]\n"
	pairsBeside(t, "", routes, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			io.Copy(io.Discard, r.Body)
			select {
			case <-r.Context().Done():
			case <-time.After(patience):
			}
			return
		}
		duplex(w, r)
	}, func(t *testing.T, p *pair) {
		begun := time.Now()
		if got, err := p.stream("/ticks", 50*time.Millisecond, 100); err == nil {
			t.Errorf("it goes on to its end: %q", got)
		}
		if resp, _ := p.do("GET", "/late", nil, nil); resp.StatusCode != 504 {
			t.Errorf("no answer in time: %s, want a 504", resp.Status)
		}
		if took := time.Since(begun); took < 800*time.Millisecond {
			t.Errorf("both took %v", took)
		}
		rep := p.settled()[0]
		if n := rep.Metrics.RefusedByReason[codeStreamDuration]; n != 2 || rep.Pools[0].ResponseErrors != 0 {
			t.Errorf("%d streams took too long, want 2; %d failed responses, want none", n, rep.Pools[0].ResponseErrors)
		}
	})
}

// A tunnel has the same limit.
func TestMaxStreamDurationOfTunnel(t *testing.T) {
	onBackends(t, func(t *testing.T, io_ loop.IO) {
		origin := startOrigin(t, func(n int, c net.Conn) {
			readHead(c)
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
			io.Copy(c, c)
		})
		r := start(t, io_, 1, yaml(origin, "routes: [{path: \"/*\", upstream: app, max_stream_duration: 400ms}]\n"), nil)
		c := r.dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		readHead(c)
		begun := time.Now()
		for range 100 {
			if _, err := io.WriteString(c, "x"); err != nil || readN(c, 1) != "x" {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if took := time.Since(begun); took < 200*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("it lasted %v", took)
		}
		if n := r.settled()[0].Metrics.RefusedByReason[codeStreamDuration]; n != 1 {
			t.Errorf("%d took too long, want 1", n)
		}
	})
}
