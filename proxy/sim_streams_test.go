package proxy

import (
	"fmt"
	"strings"

	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/memory"
)

// checkStreams holds what must be true of HTTP/2 between any two turns: which
// stream of a session is whose, and that all that ended has been cleared away.
func (s *simulation) checkStreams(w *simWorker) {
	if n := len(w.clients.ended); n != 0 {
		s.fail("%d entries of streams that ended are still there", n)
	}
	toOrigins := 0
	for se := range w.h2.Each() {
		toOrigins += bit(se.Role == http2.Client)
	}
	if n := int(w.metrics.UpstreamSessions); n != toOrigins {
		s.fail("%d sessions to origins are counted, %d are there", n, toOrigins)
	}
	s.checkSides(w)
	if what := w.leases.Broken(); what != "" {
		s.fail("leases: %s", what)
	}
}

// checkSides: each stream is the side of one exchange, or on its way out.
func (s *simulation) checkSides(w *simWorker) {
	clients, origins, waiting := 0, 0, 0
	slack := s.slack(w)
	for i, left := uint32(1), w.streams.Len(); left > 0; i++ {
		if !w.streams.Live(i) {
			continue
		}
		left--
		st := w.streams.At(i)
		facesClient := st.FacesClient()
		if facesClient {
			clients++
			if !w.clients.Live(st.Side) || w.clients.At(st.Side).stream != i {
				s.fail("stream %d is client %d's, which it is not", i, st.Side)
			}
		} else {
			origins++
			if o := w.origins.At(st.Side); o.stream != i {
				s.fail("stream %d is origin %d's, which it is not", i, st.Side)
			} else if o.state == originConnecting {
				waiting++
			}
		}
		mark := s.mark()
		if facesClient {
			mark = min(mark, h2conn.StreamMark)
		}
		if n := st.Queued(); n > mark+slack {
			s.fail("%d bytes wait in stream %d", n, i)
		}
	}
	if n := int(w.metrics.Streams); n != clients {
		s.fail("%d streams of clients are counted, %d are there", n, clients)
	}
	if n := int(w.metrics.UpstreamStreams); n != origins-waiting {
		s.fail("%d streams to origins are counted, %d are there", n, origins-waiting)
	}
}

// mark is how much may wait for a leg before its sender is paused.
func (s *simulation) mark() int {
	if s.high != 0 {
		return s.high
	}
	return memory.HighBytes
}

// slack is how much may come beyond a mark: what a turn brings in one go, three
// times more of what was on its way when its backend was told to pause, or what
// the window of a stream still allowed.
func (s *simulation) slack(w *simWorker) int {
	n := simTurnBlocks*w.pool.BlockBytes() + w.heads.limits.HeadBytes
	if s.world.Faults.Overshoot > 0 {
		n += 3 * simTurnBlocks * w.pool.BlockBytes()
	}
	if s.h2c || s.run.Traits.H2 > 0 {
		n += 4 * max(int(s.snap.HTTP2.Server.StreamWindow), 1<<16)
	}
	return n
}

// checkPermits: every permit for a stream is somewhere, and none is in
// two places.
func (s *simulation) checkPermits() {
	if !s.h2c {
		return
	}
	open, held := s.openSlots(), 0
	for _, w := range s.workers {
		if w.drain.done {
			return // with what it had
		}
		held += w.leases.Len()
		held += int(w.metrics.UpstreamHandedOver) - int(w.metrics.UpstreamAdopted) // by mail
		for id, cl := range w.clusters {
			if cl == nil {
				continue
			}
			p := w.leases.Pool(id).Stats()
			held += p.Idle + p.Doomed + w.leases.CountOf(id).Orphans
		}
	}
	if open != held {
		s.fail("%d leaves are counted, %d are there%s", open, held, s.leaves())
	}
}

// leaves says where they are.
func (s *simulation) leaves() string {
	var b strings.Builder
	for c := range s.clusters() {
		n := 0
		for _, e := range c.Endpoints() {
			n += e.Open()
		}
		fmt.Fprintf(&b, "\n  upstream %s %p: %d counted", c.Name(), c, n)
	}
	for i, w := range s.workers {
		fmt.Fprintf(&b, "\n  loop %d: %d given, %d got", i, w.metrics.UpstreamHandedOver, w.metrics.UpstreamAdopted)
		for id, cl := range w.clusters {
			if cl == nil {
				continue
			}
			n := w.leases.CountOf(id)
			fmt.Fprintf(&b, "; %d (%p): %d with leases, %d idle, %d to be", id, cl.Shared, n.All, w.leases.Pool(id).Stats().Idle, n.Orphans)
		}
	}
	return b.String()
}

// checkRestStreams: nobody is there any more, so no stream is. (Prewarming goes
// on, and is seen in the middle of it.)
func (s *simulation) checkRestStreams(i int, w *simWorker) (sessions int) {
	if n := w.streams.Len(); n != 0 || w.h2.HasToSend() {
		s.fail("at rest loop %d has %d streams, and something to send: %v", i, n, w.h2.HasToSend())
	}
	for se := range w.h2.Each() {
		sessions++
		if se.Role == http2.Server {
			s.fail("at rest loop %d has session %d of a client", i, se.Self)
		} else if s.prewarm == 0 {
			s.fail("at rest loop %d has session %d to an origin", i, se.Self)
		}
	}
	for id := range w.clusters {
		if w.leases.Has(id) && s.prewarm == 0 {
			if n := w.leases.CountOf(id); n.Awaiting+n.Orphans > 0 {
				s.fail("at rest loop %d has %d exchanges and %d leaves that wait for endpoints of %d", i, n.Awaiting, n.Orphans, id)
			}
		}
	}
	return sessions
}
