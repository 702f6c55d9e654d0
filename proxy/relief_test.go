package proxy

import (
	"runtime"
	"testing"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/metrics"
	"zproxy/proxy/memory"
	"zproxy/proxy/snapshot"
)

// holdAll takes all blocks that are left of a scene's pool.
func (s *scene) holdAll() (held []buf.View) {
	s.t.Helper()
	for s.w.pool.Spare() > 0 {
		v, ok := s.w.pool.Get()
		if !ok {
			s.t.Fatal("a spare block is none")
		}
		held = append(held, v)
	}
	return held
}

// leap has the clock leap.
func (s *scene) leap() {
	s.t.Helper()
	for i, before := 0, s.w.l.Leaps().Last.At; s.w.l.Leaps().Last.At == before; i++ {
		if i == 1000 {
			s.t.Fatal("the clock does not leap")
		}
		s.world.Jump = 100
		s.world.Advance()
		s.world.Jump = 0
		if err := s.w.turn(0); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Behind a leap the loop waits as before for when it is looked at again who holds
// memory.
func TestReliefRestsBehindALeap(t *testing.T) {
	s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	held := s.holdAll()
	s.until(4*memory.LookNs, func() bool { return false })
	if s.w.memory.NextLook() == 0 {
		t.Fatal("nobody has looked who holds memory")
	}
	s.leap()
	from := s.world.Now()
	for turns := 0; s.world.Now()-from < 4*memory.LookNs; turns++ {
		if turns == 100 {
			t.Fatalf("%d turns in %d ms in which nothing happens", turns, (s.world.Now()-from)/1e6)
		}
		s.world.RunDue()
		if err := s.w.turn(-1); err != nil {
			t.Fatal(err)
		}
		if !s.world.Busy() {
			s.world.Advance()
		}
	}
	for _, v := range held {
		s.w.pool.Release(v)
	}
}

// endsBetweenLeaps has somebody who holds memory, which ended tells of, end where all of
// it is held, in time in which the loop does run.
func (s *scene) endsBetweenLeaps(ended func() bool) {
	s.t.Helper()
	held := s.holdAll()
	s.until(memory.WaitedMs*1e6/2, ended)
	s.leap()
	s.until(1e6, ended)
	if ended() {
		s.t.Error("it was ended for time in which the loop did not run")
	}
	for i := 0; i < 20 && !ended(); i++ {
		s.leap()
		s.until(memory.WaitedMs*1e6/10, ended)
	}
	if !ended() {
		s.t.Error("who stood still for 1 s in which the loop did run was not ended")
	}
	for _, v := range held {
		s.w.pool.Release(v)
	}
}

// The time in which the loop did not run is not counted against who holds memory,
// but the time between is, however little there is of it at once.
func TestReliefBetweenLeaps(t *testing.T) {
	s := newScene(t, yaml("10.2.0.1:80", ""), func(*sim.Peer) {})
	p := s.world.Connect(simListen, simListen)
	p.Write([]byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"))
	chunk := make([]byte, 64<<10)
	var write func()
	write = func() {
		p.Write(chunk)
		s.world.After(1e6, write)
	}
	write()
	s.until(1e9, func() bool { return false })
	if s.w.memory.holding(s.w.clients.At(1)).Bytes[memory.ToOrigin] == 0 {
		t.Fatal("nothing waits for the origin")
	}
	ended := func() bool { return s.w.m.RefusedByReason[faultRequestHeld.Code] > 0 }
	s.endsBetweenLeaps(ended)
}

// So it is with parts of records, of which the rest does not come.
func TestReliefOfRecordsBetweenLeaps(t *testing.T) {
	s := newScene(t, "listeners: [{address: \"127.0.0.1:8443\", tls: {certificates: [{cert: cert.pem, key: key.pem}], handshake_timeout: 1h}}]\n"+
		"routes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	p := s.world.Connect(simListen, simListen)
	p.Write([]byte("\x16\x03\x01\x28\x00\x01")) // the first bytes of a ClientHello
	s.until(1e8, func() bool { return false })
	ended := func() bool {
		_, err := p.Read(make([]byte, 1))
		return err != sim.ErrWouldBlock
	}
	s.endsBetweenLeaps(ended)
}

// Blocks that io_uring has for bytes to come are nobody's: memory is as short, or
// not, as on epoll.
func TestPostedBlocksAreNoPressure(t *testing.T) {
	onBackends(t, func(t *testing.T, io loop.IO) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		const blocks, block = 128, 4096
		cfg, err := config.Parse("test.yaml", []byte("listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		snap, err := snapshot.NewRegistry(1, nil).Compile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		pool := buf.NewPool(buf.NewSliceMemory(blocks*block, blocks*block), block)
		l, err := loop.New(loop.Config{CPU: -1, IO: io, Pool: pool, Reserve: memory.Reserve(blocks)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Destroy()
		w := NewWorker(Config{Loop: l, Pool: pool, Snapshot: snap, Metrics: new(metrics.Loop), MaxBlocks: blocks}, []*Neighbour{{Loop: l}})
		if !w.begin() {
			t.Fatal("no timer")
		}
		held := 0
		for want := range memory.Pressures {
			for ; held < blocks*want/memory.Pressures+blocks/8; held++ {
				if _, ok := pool.Get(); !ok {
					t.Fatalf("no block after %d", held)
				}
			}
			for range 2 {
				if err := w.turn(0); err != nil {
					t.Fatal(err)
				}
			}
			if w.memory.Pressure != want {
				t.Errorf("%d of %d blocks are held, %d lie with the kernel: pressure %d, want %d", held, blocks, l.Posted(), w.memory.Pressure, want)
			}
		}
	})
}
