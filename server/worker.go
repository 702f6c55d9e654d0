package server

import (
	"fmt"
	"time"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/numa"
	"zproxy/proxy"
	"zproxy/proxy/memory"
)

// arenaStep is how much memory a loop takes and gives back at a time: one
// huge page.
const (
	arenaStep = 2 << 20
	// autoBatchWait is batch_wait: auto. Less of it gives less (docs/decisions/0016).
	autoBatchWait = 200 * time.Microsecond
)

// workerThread is one loop on its thread.
type workerThread struct {
	index       int
	place       place
	arena       *numa.Arena
	pool        *buf.Pool
	loop        *loop.Loop
	metrics     metrics.Loop
	log         *accesslog.Buffer
	description []any // for the log
	cut         proxy.CutOff
}

// startWorkers brings up one thread per loop, and lets them go once all of
// them stand: each needs to know the others.
func (s *Server) startWorkers(fds [][]int) error {
	s.peers = make([]*proxy.Neighbour, len(s.places))
	ready := make(chan error, len(s.places))
	release := make(chan bool)
	for i, p := range s.places {
		t := &workerThread{index: i, place: p}
		s.workers = append(s.workers, t)
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			// The thread stays locked: when this returns it ends, and with it its
			// affinity.
			err := t.open(s)
			ready <- err
			if err == nil {
				if <-release {
					s.runWorker(t, fds)
				}
				t.close()
			}
		}()
	}
	var failed error
	for range s.places {
		if err := <-ready; err != nil && failed == nil {
			failed = err
		}
	}
	if failed != nil {
		close(release)
		s.running.Wait()
		return failed
	}
	for range s.places {
		release <- true
	}
	return nil
}

func (s *Server) runWorker(t *workerThread, fds [][]int) {
	w := proxy.NewWorker(proxy.Config{
		Loop: t.loop, Pool: t.pool, Snapshot: s.snap(), Metrics: &t.metrics, Log: t.log,
		MaxBlocks: int(s.cfg().Buffers.MaxPerLoop / s.cfg().Buffers.Block), Arena: t.arena,
	}, s.peers)
	for i := range fds {
		for j := t.index; j < len(fds[i]); j += len(s.places) {
			w.Listen(fds[i][j], s.snap().Listener(i))
		}
	}
	if err := w.Run(); err != nil {
		select {
		case s.failed <- fmt.Errorf("loop %d: %w", t.index, err):
		default:
		}
	}
	t.cut = w.CutOff()
}

// open pins the calling goroutine's thread and builds what the loop needs, on
// it, so that memory comes from its node.
func (t *workerThread) open(s *Server) error {
	fail := func(what string, err error) error { return fmt.Errorf("loop %d: %s: %w", t.index, what, err) }
	if err := numa.Pin(t.place.cpu); err != nil {
		return fail(fmt.Sprintf("pinning to CPU %d", t.place.cpu), err)
	}
	b := &s.cfg().Buffers
	var err error
	t.arena, err = numa.NewArena(numa.ArenaConfig{
		MaxBytes: int(b.MaxPerLoop), StepBytes: min(arenaStep, int(b.MaxPerLoop)),
		Node: t.place.node, Huge: hugeMode(b.HugePages),
	})
	if err != nil {
		return fail("buffer memory", err)
	}
	if !t.arena.Grow() {
		return fail("buffer memory", fmt.Errorf("not even %d bytes to be had", arenaStep))
	}
	t.pool = buf.NewPool(t.arena, int(b.Block))
	wait, always := batchWait(s.cfg())
	t.loop, err = loop.New(loop.Config{
		Index: t.index, CPU: t.place.cpu, Node: t.place.node,
		IO: ioKind(s.cfg().IO), Pool: t.pool, MaxConns: s.limits().maxConns(), BatchWait: wait, BatchAlways: always, Reserve: memory.Reserve(t.pool.Limit()),
	})
	if err != nil {
		t.arena.Close()
		return fail("io: "+s.cfg().IO, err)
	}
	if a := s.access(); a != nil {
		t.log = a.NewBuffer(&t.metrics.AccessLogDropped)
	}
	s.peers[t.index] = &proxy.Neighbour{Loop: t.loop, Node: t.place.node}
	t.description = []any{"loop", t.index, "cpu", t.place.cpu, "node", t.place.node, "io", t.loop.IO().String(), "buffers", t.arena.Report().String()}
	if why := t.loop.Fallback(); why != "" {
		t.description = append(t.description, "not_io_uring", why)
	}
	if why := t.loop.Unbatched(); why != "" {
		t.description = append(t.description, "not_batched", why)
	}
	return nil
}

// batchWait is how long a loop may wait for more, and whether it does so in any case.
func batchWait(c *config.Config) (wait time.Duration, always bool) {
	if c.BatchWait.Auto {
		return autoBatchWait, false
	}
	return c.BatchWait.Time, true
}

func (t *workerThread) close() {
	t.loop.Destroy()
	t.arena.Close()
}

func hugeMode(name string) numa.HugeMode {
	switch name {
	case "always":
		return numa.HugeAlways
	case "never":
		return numa.HugeNever
	}
	return numa.HugeAuto
}

func ioKind(name string) loop.IO {
	switch name {
	case "uring":
		return loop.Uring
	case "epoll":
		return loop.Epoll
	}
	return loop.Auto
}
