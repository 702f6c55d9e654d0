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
	if n := len(w.clients.ended) + len(w.origins.ended); n != 0 {
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
	s.checkGroups(w)
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
			if !w.origins.Live(st.Side) || w.origins.At(st.Side).stream != i {
				s.fail("stream %d is origin %d's, which it is not", i, st.Side)
			} else if w.origins.At(st.Side).state == originConnecting {
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

// checkGroups: whoever waits for a stream waits in the group of its endpoint,
// and a group's sessions are those that take streams.
func (s *simulation) checkGroups(w *simWorker) {
	for id, cl := range w.clusters {
		if cl != nil {
			s.checkGroupsOf(w, id)
		}
	}
}

func (s *simulation) checkGroupsOf(w *simWorker, cluster int) {
	var ending uint64 // endpoints with a session whose end makes the group look again
	for se := range w.h2.Each() {
		if se.Role == http2.Client && se.IsOver() && int(se.Cluster) == cluster {
			ending |= 1 << se.Endpoint
		}
	}
	for endpoint := range w.groups.all[cluster] {
		g := &w.groups.all[cluster][endpoint]
		waiting := 0
		for oi, left := uint32(1), w.origins.Len(); left > 0; oi++ {
			if !w.origins.Live(oi) {
				continue
			}
			left--
			o := w.origins.At(oi)
			if waits := o.state == originConnecting && o.stream != 0 && w.streams.At(o.stream).Waits() && int(o.cluster) == cluster && int(o.endpoint) == endpoint; waits != g.pending.Has(oi) {
				s.fail("origin %d in state %d waits for a stream at endpoint %d: %v, want %v", oi, o.state, endpoint, !waits, waits)
			} else if waits {
				waiting++
			}
		}
		if waiting != g.pending.Len() {
			s.fail("%d exchanges wait for a stream at endpoint %d, %d of them are there", g.pending.Len(), endpoint, waiting)
		}
		if g.pending.Len()+g.orphans > 0 && len(g.sessions) == 0 && ending>>endpoint&1 == 0 {
			s.fail("%d exchanges wait for a connection to endpoint %d, and none is opened", g.pending.Len()+g.orphans, endpoint)
		}
		for _, i := range g.sessions {
			se := w.h2.At(i)
			if se == nil || se.Role != http2.Client || int(se.Endpoint) != endpoint || !se.Opens() && !se.IsOpen() {
				s.fail("session %d gets streams for endpoint %d, and should not", i, endpoint)
			}
		}
	}
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
		held += w.origins.Len()
		held += int(w.metrics.UpstreamHandedOver) - int(w.metrics.UpstreamAdopted) // by mail
		for id, cl := range w.clusters {
			if cl == nil {
				continue
			}
			held += w.origins.pools[id].Stats().Idle + w.origins.pools[id].Stats().Doomed
			for i := range w.groups.all[id] {
				held += w.groups.all[id][i].orphans
			}
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
			origins, orphans := 0, 0
			for oi := uint32(1); oi <= uint32(w.origins.Cap()); oi++ {
				origins += bit(w.origins.Live(oi) && int(w.origins.At(oi).cluster) == id)
			}
			for _, g := range w.groups.all[id] {
				orphans += g.orphans
			}
			fmt.Fprintf(&b, "; %d (%p): %d with origins, %d idle, %d to be", id, cl.Shared, origins, w.origins.pools[id].Stats().Idle, orphans)
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
	for id := range w.groups.all {
		for endpoint := range w.groups.all[id] {
			if g := &w.groups.all[id][endpoint]; g.pending.Len()+g.orphans > 0 && s.prewarm == 0 {
				s.fail("at rest loop %d has %d exchanges and %d leaves that wait for endpoint %d", i, g.pending.Len(), g.orphans, endpoint)
			}
		}
	}
	return sessions
}
