package proxy

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/metrics"
	"zproxy/proxy/snapshot"
)

// simWorkerOf is a worker in world that listens at simListen, on a loop with room
// for so many connections and timers, 0: for all.
func simWorkerOf(t *testing.T, world *sim.World, configuration string, slots int) *Worker {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	if l := cfg.Listeners[0].TLS; l != nil {
		l.Certificates[0] = simCertificate()
	}
	snap, err := snapshot.NewRegistry(1, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pool := buf.NewPool(buf.NewSliceMemory(1<<20, 1<<20), 4096)
	l, err := loop.NewOn(loop.Config{Pool: pool, MaxSlots: slots}, world.Open)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWorker(Config{Loop: l, Pool: pool, Snapshot: snap, Metrics: new(metrics.Loop), MaxBlocks: 256}, []*Neighbour{{Loop: l}})
	w.Listen(world.Listen(simListen), 0)
	if !w.begin() {
		t.Fatal("no room for the timer")
	}
	return w
}

// A kept-alive origin connection breaks under a request whose body is still
// arriving, and some of the body arrives between the two signs of that. Those
// bytes are gone: the request must not be sent again without them.
func TestNoReplayWithoutDiscardedBody(t *testing.T) {
	world := sim.NewWorld(1, sim.Faults{})
	var heard [3]strings.Builder // by origin connection, in the order of dials
	conns := 0
	world.Serve("10.2.0.1:80", func(p *sim.Peer) {
		n := conns
		conns++
		p.OnChange(func() {
			b := make([]byte, 4096)
			m, _ := p.Read(b)
			heard[n].Write(b[:m])
			if strings.HasPrefix(string(b[:m]), "GET") {
				p.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
			}
		})
	})
	w := simWorkerOf(t, world, yaml("10.2.0.1:80", ""), 0)
	pool, l := w.pool, w.l
	turns := func() {
		for range 50 {
			world.RunDue()
			if err := w.turn(-1); err != nil {
				t.Fatal(err)
			}
			if world.Pending() > 0 {
				world.Advance()
			}
		}
	}
	turns()
	p := world.Connect(simListen, simListen)
	p.Write([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
	turns()
	p.Write([]byte("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"))
	turns()
	if !strings.Contains(heard[0].String(), "PUT") || conns != 1 {
		t.Fatalf("%d origin connections; the first has %q", conns, heard[0].String())
	}
	const i, oi = 1, 1
	w.handle(&loop.Event{Kind: loop.Sent, Conn: w.origins.At(oi).conn, Owner: ownerOf(ownerOrigin, oi), Errno: unix.EPIPE})
	v, _ := pool.Get()
	v = v.Slice(0, uint32(copy(pool.Bytes(v), "he")))
	w.handle(&loop.Event{Kind: loop.Received, Conn: w.clients.At(i).conn, Owner: ownerOf(ownerClient, i), View: v, N: v.Len})
	w.handle(&loop.Event{Kind: loop.RecvEnd, Conn: w.origins.At(oi).conn, Owner: ownerOf(ownerOrigin, oi), Errno: unix.ECONNRESET})
	p.Write([]byte("llo"))
	turns()
	if conns != 1 {
		t.Errorf("sent again, as %q", heard[1].String())
	}
	b := make([]byte, 4096)
	n, _ := p.Read(b)
	if !strings.Contains(string(b[:n]), "HTTP/1.1 502 ") {
		t.Errorf("the client reads %q", b[:n])
	}
	if err := l.Destroy(); err != nil {
		t.Error(err)
	}
}
