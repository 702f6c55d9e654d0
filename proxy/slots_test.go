package proxy

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/metrics"
	"zproxy/proxy/origins"
)

// slotted is a worker on a real loop with room for so many connections and
// timers.
func slotted(t *testing.T, slots int, text string) *Worker {
	t.Helper()
	pool := buf.NewPool(buf.NewSliceMemory(1<<20, 1<<20), 4096)
	l, err := loop.New(loop.Config{CPU: -1, IO: loop.Epoll, Pool: pool, MaxSlots: slots})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Destroy() })
	return NewWorker(Config{Loop: l, Pool: pool, Snapshot: compiled(t, text), Metrics: new(metrics.Loop), MaxBlocks: 256}, []*Neighbour{{Loop: l}})
}

// A worker whose loop has no room for its timer does not run.
func TestNoRoomForTheTimer(t *testing.T) {
	w := slotted(t, 1, yaml("127.0.0.1:1", ""))
	if w.l.NewTimer(0) == 0 {
		t.Fatal("no room for one timer")
	}
	if err := w.Run(); err == nil || !w.peers[0].drained.Load() {
		t.Errorf("it runs: %v", err)
	}
}

// A connection that another loop hands over, and that there is no room for, is
// closed, and nothing is kept of it.
func TestNoRoomForWhatIsHandedOver(t *testing.T) {
	for name, mail := range map[string]loop.Mail{
		"client": {Kind: mailClient},
		"origin": {Kind: origins.MailHandoff},
	} {
		t.Run(name, func(t *testing.T) {
			w := slotted(t, 1, yaml("127.0.0.1:1", ""))
			if !w.begin() {
				t.Fatal("no timer")
			}
			ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(ends[1])
			mail.FD = int32(ends[0])
			w.mail(mail)
			if n, err := unix.Read(ends[1], make([]byte, 1)); n != 0 || err != nil {
				t.Errorf("it was not closed: read %d, %v", n, err)
			}
			if w.clients.Len()+w.leases.Len() != 0 || w.m.ClientConns != 0 {
				t.Errorf("%d clients and %d origins are kept", w.clients.Len(), w.leases.Len())
			}
		})
	}
}

// A request whose origin the loop has no room to connect to is answered 503,
// the endpoint is not blamed, and its place in the pool is free.
func TestNoRoomForTheOrigin(t *testing.T) {
	for _, protocol := range []string{"http1", "h2c"} {
		t.Run(protocol, func(t *testing.T) {
			world := sim.NewWorld(1, sim.Faults{})
			w := simWorkerOf(t, world, yaml("10.2.0.1:80", "upstreams: {app: {protocol: "+protocol+", endpoints: [{address: \"ORIGIN\"}], pool: {max_connections: 1}}}\n"), 2)
			p := world.Connect(simListen, simListen)
			for range 3 {
				p.Write([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
				for range 50 {
					world.RunDue()
					if err := w.turn(-1); err != nil {
						t.Fatal(err)
					}
					if world.Pending() > 0 {
						world.Advance()
					}
				}
				b := make([]byte, 4096)
				if n, _ := p.Read(b); !strings.HasPrefix(string(b[:n]), "HTTP/1.1 503") {
					t.Fatalf("answer %q, want a 503", b[:n])
				}
			}
			if up, why := w.clusters[0].Shared.Endpoints()[0].State(w.l.Now()); !up {
				t.Errorf("the endpoint is down: %s", why)
			}
			if w.xs.Len() != 0 || w.leases.Len() != 0 || w.m.RefusedByReason[codeNoSocket] != 3 {
				t.Errorf("%d exchanges and %d origins are left, %d refused for want of a socket", w.xs.Len(), w.leases.Len(), w.m.RefusedByReason[codeNoSocket])
			}
			if err := w.l.Destroy(); err != nil {
				t.Error(err)
			}
		})
	}
}
