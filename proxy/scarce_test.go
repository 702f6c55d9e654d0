package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/proxy/scarce"
)

// scarceOrigin answers after some ms and counts the sockets that are open to it.
func scarceOrigin(t *testing.T, h2 bool, delay time.Duration) (addr string, most *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Int32
	most = new(atomic.Int32)
	s := &http.Server{Protocols: protocols(h2), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		time.Sleep(delay)
		io.WriteString(w, "ok")
	})}
	s.ConnState = func(_ net.Conn, st http.ConnState) {
		switch st {
		case http.StateNew:
			n := open.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String(), most
}

func scarceText(origin, protocol, pool string) string {
	return fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n"+
		"upstreams: {app: {protocol: %s, endpoints: [{address: %q}], pool: {prewarm: 0, %s}}}\n"+
		"routes: [{path: \"/*\", upstream: app}]\nforwarding: {trusted_proxies: [\"127.0.0.3/32\"]}\n", protocol, origin, pool)
}

// asks sends GETs one after the other until done, and counts what it gets.
func asks(r *rig, c net.Conn, done <-chan struct{}) (served, refused int, err error) {
	defer c.Close()
	for {
		select {
		case <-done:
			return served, refused, nil
		default:
		}
		if _, err = io.WriteString(c, simpleGet); err != nil {
			return
		}
		var head string
		if head, err = readHead(c); err != nil {
			return
		}
		if strings.HasPrefix(head, "HTTP/1.1 200") {
			served++
			readN(c, 2)
			continue
		}
		refused++
		if at := strings.Index(head, "Content-Length: "); at >= 0 {
			n := 0
			fmt.Sscanf(head[at:], "Content-Length: %d", &n)
			readN(c, n)
		}
	}
}

// Where connections are short neither a loop nor a connection gets less than half
// of its share, and nobody waits until the queue's time is over.
func TestLoopsShareConnections(t *testing.T) {
	for _, v := range []struct {
		protocol string
		loops    int
	}{{"http1", 2}, {"h2c", 2}, {"http1", 1}} {
		t.Run(fmt.Sprintf("%s/%d loops", v.protocol, v.loops), func(t *testing.T) {
			onBackends(t, func(t *testing.T, io loop.IO) {
				origin, _ := scarceOrigin(t, v.protocol == "h2c", 3*time.Millisecond)
				r := start(t, io, v.loops, scarceText(origin, v.protocol, "max_connections: 5, queue_timeout: 2s"), nil)
				const clients = 64
				done := make(chan struct{})
				var wg sync.WaitGroup
				served := make([]int, clients)
				var refused atomic.Int32
				conns := make([]net.Conn, clients)
				for i := range conns {
					conns[i] = r.dial()
				}
				before := r.reports()
				for clientsOf(before) < clients {
					time.Sleep(time.Millisecond)
					before = r.reports()
				}
				for i, c := range conns {
					wg.Go(func() {
						n, no, err := asks(r, c, done)
						served[i] = n
						refused.Add(int32(no))
						if err != nil {
							t.Errorf("client %d: %v", i, err)
						}
					})
				}
				time.Sleep(2 * time.Second)
				close(done)
				wg.Wait()
				total := 0
				for _, n := range served {
					total += n
				}
				after := r.reports()
				for i := range after {
					of := int(before[i].Metrics.ClientConns)
					got := int(after[i].Metrics.Requests - before[i].Metrics.Requests)
					t.Logf("loop %d: %d clients, %d requests of %d", i, of, got, total)
					if share := total * of / clients; 2*got < share {
						t.Errorf("loop %d has %d of %d clients and served %d of %d requests", i, of, clients, got, total)
					}
				}
				if least := slices.Min(served); 2*least < total/clients {
					t.Errorf("a client got %d answers, %d of them had %d", least, clients, total)
				}
				if n := refused.Load(); n != 0 || total == 0 {
					t.Errorf("%d were refused, %d served", n, total)
				}
			})
		})
	}
}

// greedy is a client that takes what it can of an upstream and sends nothing.
type greedy struct {
	name string
	h2   bool
	head string // fields besides, "name: value\r\n"
	body string // what it sends of the content
	drip bool   // ... and then one byte every so often
	from string // the address it comes from
}

var greedyClients = []greedy{
	{name: "h2 posts without content", h2: true},
	{name: "h1 posts without content"},
	{name: "h1 chunked posts without content", head: "Transfer-Encoding: chunked\r\n"},
	{name: "h1 posts that drip", drip: true, body: "x"},
	{name: "h2 posts that drip", h2: true, drip: true, body: "x"},
	{name: "h2 grpc without content", h2: true, head: "content-type: application/grpc\r\n"},
	{name: "h1 posts that expect a 100", head: "Expect: 100-continue\r\n"},
	{name: "h1 posts that stop", body: strings.Repeat("x", 3000)},
}

// takeAll opens conns connections with all the requests that each can have.
func (g *greedy) takeAll(t *testing.T, r *rig, conns, streams int, done <-chan struct{}) {
	if !g.h2 {
		conns, streams = 5*conns, 1
	}
	for range conns {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
		c, err := d.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		go io.Copy(io.Discard, c)
		if g.h2 {
			g.streams(c, streams, done)
		} else {
			g.connection(c, done)
		}
	}
}

func (g *greedy) connection(c net.Conn, done <-chan struct{}) {
	head := g.head
	if !strings.Contains(head, "chunked") {
		head += "Content-Length: 100000\r\n"
	}
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+head+"\r\n"+g.body)
	g.dripping(done, func() { io.WriteString(c, "x") })
}

func (g *greedy) streams(c net.Conn, n int, done <-chan struct{}) {
	var block bytes.Buffer
	var mu sync.Mutex
	enc := hpack.NewEncoder(&block)
	io.WriteString(c, xnet.ClientPreface)
	fr := xnet.NewFramer(c, nil)
	fr.WriteSettings()
	for i := range n {
		block.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "h"}} {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		if name, value, ok := strings.Cut(strings.TrimSuffix(g.head, "\r\n"), ": "); ok {
			enc.WriteField(hpack.HeaderField{Name: name, Value: value})
		}
		fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block.Bytes(), EndHeaders: true})
		if g.body != "" {
			fr.WriteData(uint32(2*i+1), false, []byte(g.body))
		}
	}
	g.dripping(done, func() {
		mu.Lock()
		defer mu.Unlock()
		for i := range n {
			fr.WriteData(uint32(2*i+1), false, []byte("x"))
		}
	})
}

func (g *greedy) dripping(done <-chan struct{}, drop func()) {
	if !g.drip {
		return
	}
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(300 * time.Millisecond):
				drop()
			}
		}
	}()
}

// A client that opens all the requests it can and does not go on with them holds
// no connections that others wait for.
func TestGreedyClientStarvesNobody(t *testing.T) {
	for _, g := range greedyClients {
		for _, protocol := range []string{"http1", "h2c"} {
			for _, loops := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s/%s/%d loops", g.name, protocol, loops), func(t *testing.T) {
					besides(t, func(t *testing.T, io loop.IO) {
						greedyBeside(t, io, loops, protocol, &g)
					})
				})
			}
		}
	}
}

func greedyBeside(t *testing.T, backend loop.IO, loops int, protocol string, g *greedy) {
	origin, _ := scarceOrigin(t, protocol == "h2c", 2*time.Millisecond)
	r := start(t, backend, loops, scarceText(origin, protocol, "max_connections: 8, queue_timeout: 8s"), nil)
	done := make(chan struct{})
	defer close(done)
	g.takeAll(t, r, 6, 30, done)
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var took []time.Duration
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr}
			var end time.Time
			few := func() bool { // a busy machine takes longer for them
				mu.Lock()
				defer mu.Unlock()
				return len(took) < 100
			}
			for end.IsZero() || time.Now().Before(end) || few() {
				req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/", nil)
				from := time.Now()
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
				if end.IsZero() { // what stalled has been given up
					end = time.Now().Add(1500 * time.Millisecond)
				}
				mu.Lock()
				took = append(took, time.Since(from))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	if len(took) == 0 {
		t.Fatal("nothing was served")
	}
	t.Logf("%d served, half in %v, 99 %% in %v, all in %v", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	// (What stalls is given up after at most scarce.TalkNs, and that once.)
	if len(took) < 100 || took[len(took)-1] > time.Duration(scarce.TalkNs)+2*time.Second {
		t.Errorf("%d served, the slowest in %v", len(took), took[len(took)-1])
	}
}

func clientsOf(reports []*Report) (n int) {
	for _, rep := range reports {
		n += int(rep.Metrics.ClientConns)
	}
	return n
}

// Of the last streams there may be to an origin none is for who has sent nothing, as
// with connections: others find one at once, and nobody has to lose his for them.
func TestLastStreamsAreForWhoBringsSomething(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		origin, _ := scarceOrigin(t, true, 0)
		r := start(t, backend, 1, scarceText(origin, "h2c", "max_connections: 100, queue_timeout: 8s")+
			"http2: {upstream_connections: 1, upstream_streams: 8}\n", nil)
		served(t, r.dial())
		for range 12 {
			c := r.dial()
			defer c.Close()
			if _, err := c.Write([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
		}
		for begun := uint64(0); begun < 13; begun = r.reports()[0].Metrics.Requests {
			time.Sleep(time.Millisecond)
		}
		served(t, r.dial())
		if n := r.reports()[0].Metrics.Timeouts408; n != 0 {
			t.Errorf("%d have lost their stream for it", n)
		}
	})
}

func served(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	if _, err := io.WriteString(c, simpleGet); err != nil {
		t.Fatal(err)
	}
	if head, err := readHead(c); err != nil || !strings.HasPrefix(head, "HTTP/1.1 200") {
		t.Fatalf("%v: %s", err, head)
	}
}

// Who begins to wait shortly after loops have looked for what stalls, and found
// nobody waiting, is looked for in time, and not when something else wakes the loop.
func TestWhoBeginsToWaitIsLookedFor(t *testing.T) {
	world := sim.NewWorld(1, sim.Faults{})
	w := simWorkerOf(t, world, yaml("10.2.0.1:80", ""), 0)
	for range 2 {
		w.scarce.press(0)
		if at := w.timerAt; at > w.l.Now()+scarce.LookEveryNs {
			t.Errorf("the next look is in %d ms", (at-w.l.Now())/1e6)
		}
		w.wake() // nobody waits
	}
	if err := w.l.Destroy(); err != nil {
		t.Error(err)
	}
}

// Who holds a connection without moving loses it to others for the time in which the loop
// did run, however often it does not.
func TestStallsCountBetweenLeaps(t *testing.T) {
	s := newScene(t, yaml("10.2.0.1:80", "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {prewarm: 0, max_connections: 1}}}\n"), func(*sim.Peer) {})
	s.world.Connect(simListen, simListen).Write([]byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx"))
	s.until(1e7, func() bool { return false })
	s.world.Connect(simListen, simListen).Write([]byte(simpleGet))
	lost := func() bool { return s.w.m.Timeouts408 > 0 }
	s.until(scarce.StallNs/2, lost)
	if lost() {
		t.Error("it lost its connection at once")
	}
	for i := 0; i < 20 && !lost(); i++ {
		s.leap()
		s.until(scarce.StallNs/10, lost)
	}
	if !lost() {
		t.Error("it keeps its connection")
	}
}
