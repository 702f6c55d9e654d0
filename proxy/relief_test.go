package proxy

import (
	"runtime"
	"testing"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/metrics"
)

// Who holds memory is not looked at for a while when the loop has not run. It
// waits meanwhile.
func TestReliefRestsBehindALeap(t *testing.T) {
	s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	var held []buf.View
	for s.w.pool.Spare() > 0 {
		v, ok := s.w.pool.Get()
		if !ok {
			t.Fatal("a spare block is none")
		}
		held = append(held, v)
	}
	s.until(4*reliefNs, func() bool { return false })
	if s.w.reliefAt == 0 {
		t.Fatal("nobody has looked who holds memory")
	}
	for i := 0; s.w.l.Leap().At == 0; i++ {
		if i == 1000 {
			t.Fatal("the clock does not leap")
		}
		if err := s.w.turn(0); err != nil {
			t.Fatal(err)
		}
		s.world.Jump = 100
		s.world.Advance()
		s.world.Jump = 0
	}
	from := s.world.Now()
	for turns := 0; s.world.Now()-from < 4*reliefNs; turns++ {
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
		snap, err := Compile(cfg, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		pool := buf.NewPool(buf.NewSliceMemory(blocks*block, blocks*block), block)
		l, err := loop.New(loop.Config{CPU: -1, IO: io, Pool: pool, Reserve: ReserveBlocks(blocks)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Destroy()
		w := NewWorker(Config{Loop: l, Pool: pool, Snapshot: snap, Metrics: new(metrics.Loop), MaxBlocks: blocks}, []*Neighbour{{Loop: l}})
		if !w.begin() {
			t.Fatal("no timer")
		}
		held := 0
		for want := range pressures {
			for ; held < blocks*want/pressures+blocks/8; held++ {
				if _, ok := pool.Get(); !ok {
					t.Fatalf("no block after %d", held)
				}
			}
			for range 2 {
				if err := w.turn(0); err != nil {
					t.Fatal(err)
				}
			}
			if w.pressure != want {
				t.Errorf("%d of %d blocks are held, %d lie with the kernel: pressure %d, want %d", held, blocks, l.Posted(), w.pressure, want)
			}
		}
	})
}
