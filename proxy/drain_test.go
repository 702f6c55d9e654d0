package proxy

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/loop"
)

// A loop that has drained leaves nothing behind that counts against the caps:
// requests that other loops have still to finish need the connections.
func TestDrainedLoopGivesItsConnectionsBack(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := answeringOrigin(t, ok2)
		r := start(t, io_, 2, yaml(origin, "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {max_connections: 1, max_idle: 1, queue_timeout: 1s}}}\n"), nil)
		of := r.onEachLoop()
		io.WriteString(of[1], simpleGet)
		readHead(of[1])
		for r.reports()[1].Pools[0].Idle == 0 {
			time.Sleep(time.Millisecond)
		}
		io.WriteString(of[0], simpleGet[:20])
		for r.reports()[0].Metrics.BytesIn == 0 {
			time.Sleep(time.Millisecond)
		}
		for _, p := range r.peers {
			AskDrain(p.Loop)
		}
		time.Sleep(200 * time.Millisecond) // the other loop has nothing left to do
		io.WriteString(of[0], simpleGet[20:])
		if head, err := readHead(of[0]); !strings.HasPrefix(head, "HTTP/1.1 200") {
			t.Errorf("got %q, %v; want a 200", head, err)
		}
	})
}

// A client that has just connected may still send its request.
func TestDrainWaitsForFirstRequests(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		for range 5 {
			if requestsAfterDrain(t, io_) {
				return
			}
		}
		t.Error("this machine is too busy: half of drainFreshNs was over each time before the request had left")
	})
}

// requestsAfterDrain sends a first request after a drain has begun; false: too
// late to have to be answered.
func requestsAfterDrain(t *testing.T, io_ loop.IO) bool {
	r := start(t, io_, 1, yaml("127.0.0.1:1", "routes: [{path: \"/*\", respond: {status: 200, body: ok}}]\nshutdown: {idle_timeout: 0s}\n"), nil)
	fresh, idle := r.dial(), r.dial()
	io.WriteString(idle, simpleGet)
	readHead(idle)
	for r.reports()[0].Clients < 2 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	AskDrain(r.peers[0].Loop)
	if _, closed := hear(idle, func(string) bool { return false }); !closed {
		t.Error("the idle connection was not closed")
	}
	time.Sleep(100 * time.Millisecond)
	io.WriteString(fresh, simpleGet)
	if time.Since(began) > time.Duration(drainFreshNs/2) {
		return false
	}
	if head, err := readHead(fresh); !strings.HasPrefix(head, "HTTP/1.1 200") {
		t.Errorf("got %q, %v; want a 200", head, err)
	}
	return true
}

// A client of HTTP/2 that connected before the drain and begins to speak behind it is told that the
// connection ends, and its request is answered.
func TestDrainTellsWhoSpeaksLate(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		r := start(t, io_, 1, "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n"+
			"routes: [{path: \"/*\", respond: {status: 200, body: ok}}]\nshutdown: {idle_timeout: 20s, grace: 25s}\n", nil)
		late := r.dial()
		for r.reports()[0].Clients < 1 {
			time.Sleep(time.Millisecond)
		}
		AskDrain(r.peers[0].Loop)
		r.reports() // it has been read when this has
		late.SetDeadline(time.Now().Add(15 * time.Second))
		f := http2.NewFramer(late, late)
		io.WriteString(late, http2.ClientPreface)
		f.WriteSettings()
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, field := range [...][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "late"}, {":path", "/"}} {
			encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		}
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
		answered, told := false, false
		for !answered || !told {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("answered %v, told %v: %v", answered, told, err)
			}
			switch frame := frame.(type) {
			case *http2.DataFrame:
				answered = answered || string(frame.Data()) == "ok"
			case *http2.GoAwayFrame:
				told = frame.ErrCode == http2.ErrCodeNo
			}
		}
	})
}
