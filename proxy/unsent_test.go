package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/proto/proxyproto"
)

// shut is an origin that resets a connection on which no more has come yet than a header of the
// PROXY protocol, or a part of one.
type shut struct{ refused, heard int }

func (s *shut) serve(p *sim.Peer) {
	var b []byte
	p.OnChange(func() {
		for more := make([]byte, 4096); ; {
			n, err := p.Read(more)
			b = append(b, more[:n]...)
			if err != nil || n == 0 {
				break
			}
		}
		n, _, _ := proxyproto.Parse(b)
		switch {
		case len(b) > 0 && (n == 0 || n == len(b)):
			s.refused++
			p.Reset()
		case bytes.HasSuffix(b, []byte("body")):
			s.heard++
			b = nil
			p.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		}
	})
}

// An origin that resets its connection when no more than the PROXY header has come has not got the
// request: it is sent to another one, whatever its method, with its body.
func TestOnlyThePROXYHeaderWasSent(t *testing.T) {
	refused, again := 0, 0
	for seed := uint64(1); seed <= 80; seed++ {
		world := sim.NewWorld(seed, sim.Faults{ShortIO: 100, Late: 20})
		origins := []*shut{{}, {}}
		for i, o := range origins {
			world.Serve(fmt.Sprintf("10.2.0.%d:80", i+1), o.serve)
		}
		w := simWorkerOf(t, world, yaml("", `upstreams: {app: {send_proxy: v2, retry: {attempts: 5, budget: {percent: 100, min: 10}},
  endpoints: [{address: "10.2.0.1:80"}, {address: "10.2.0.2:80"}]}}`), 0)
		p := world.Connect(simListen, simListen)
		for range 20 {
			before := *origins[0]
			before.heard, before.refused = before.heard+origins[1].heard, before.refused+origins[1].refused
			p.Write([]byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"))
			var b []byte
			for turns := 0; turns < 5000 && !bytes.HasSuffix(b, []byte("\r\n\r\n")); turns++ {
				world.RunDue()
				if err := w.turn(-1); err != nil {
					t.Fatal(err)
				}
				more := make([]byte, 4096)
				n, _ := p.Read(more)
				b = append(b, more[:n]...)
				if world.Pending() > 0 {
					world.Advance()
				}
			}
			heard, whole := origins[0].heard+origins[1].heard-before.heard, bytes.HasPrefix(b, []byte("HTTP/1.1 200 "))
			if heard > 1 || whole != (heard == 1) {
				t.Fatalf("seed %d: heard %d times, answered %q", seed, heard, b)
			}
			if origins[0].refused+origins[1].refused > before.refused {
				refused++
				again += bit(whole)
			}
			if !whole {
				break // the proxy's own response may end the connection
			}
		}
		if err := w.l.Destroy(); err != nil {
			t.Fatal(err)
		}
		if n := w.pool.InUse(); n != 0 {
			t.Fatalf("seed %d: %d blocks are in use", seed, n)
		}
	}
	// Where a part of the request was on its way, nobody knows.
	if t.Logf("%d refused, %d sent again", refused, again); refused < 20 || again*2 < refused {
		t.Errorf("%d requests were refused, %d of them sent again", refused, again)
	}
}

// With TLS the header leaves in front of a handshake, and all requests are sent again.
func TestPROXYHeaderRefusedBeforeTLS(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var refused atomic.Int32
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.ReadFull(c, make([]byte, 28))
				refused.Add(1)
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		}()
		r := start(t, backend, 1, yaml(startGreeted(t, true), fmt.Sprintf("upstreams: {app: {send_proxy: v2, tls: {verify: false}, retries: 1, endpoints: [{address: %q}, {address: ORIGIN}]}}", l.Addr())), nil)
		for range 4 {
			resp, err := http.Post("http://"+r.addr+"/", "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			if resp.Body.Close(); resp.StatusCode != 200 || !strings.Contains(string(b), "request 1") {
				t.Errorf("%s: %s", resp.Status, b)
			}
		}
		if refused.Load() == 0 {
			t.Error("nobody was refused")
		}
	})
}
