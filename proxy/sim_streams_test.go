package proxy

import "zproxy/proto/http2"

// checkStreams holds what must be true of HTTP/2 between any two turns: which
// stream of a session is whose, and that all that ended has been cleared away.
func (s *simulation) checkStreams(w *simWorker) {
	if n := len(w.endedClients) + len(w.endedOrigins); n != 0 {
		s.fail("%d entries of streams that ended are still there", n)
	}
	open, toOrigins := 0, 0
	for i, se := range w.sessions {
		if se == nil {
			continue
		}
		if int(se.self) != i {
			s.fail("session %d believes to be %d", i, se.self)
		}
		toOrigins += bit(se.role == http2.Client)
		for id := se.h2.First(); id != 0; id = se.h2.After(id) {
			open++
			user := w.h2streams.At(id).User
			if user == 0 && se.state >= sessionFlush {
				continue
			}
			if user == 0 || !w.streams.Live(user) {
				s.fail("session %d has stream %d of nobody", i, id)
				continue
			}
			if st := w.streams.At(user); st.id != id || int(st.session) != i {
				s.fail("stream %d of session %d is %d's, which has stream %d of session %d", id, i, user, st.id, st.session)
			}
		}
		// Heads go there at once, a few to each stream.
		if n := w.l.Queued(se.conn); n > sessionMark+simControlBytes {
			s.fail("%d bytes wait on session %d", n, i)
		}
	}
	if open != w.h2streams.Len() {
		s.fail("sessions have %d streams, the table has %d", open, w.h2streams.Len())
	}
	if n := int(w.metrics.UpstreamSessions); n != toOrigins {
		s.fail("%d sessions to origins are counted, %d are there", n, toOrigins)
	}
	s.checkSides(w)
	s.checkGroups(w)
}

// simControlBytes is how much a session may have waiting beyond its mark: heads,
// control frames, and one frame of each stream.
const simControlBytes = 1 << 20

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
		facesClient := st.flags&streamClient != 0
		if facesClient {
			clients++
			if !w.clients.Live(st.side) || w.clients.At(st.side).stream != i {
				s.fail("stream %d is client %d's, which it is not", i, st.side)
			}
		} else {
			origins++
			if !w.origins.Live(st.side) || w.origins.At(st.side).stream != i {
				s.fail("stream %d is origin %d's, which it is not", i, st.side)
			} else if w.origins.At(st.side).state == originConnecting {
				waiting++
			}
		}
		if st.id != 0 && (!w.h2streams.Live(st.id) || w.h2streams.At(st.id).User != i) {
			s.fail("stream %d is not the one that has its place", i)
		}
		if st.owed > 0 && st.flags&streamPaused == 0 {
			s.fail("stream %d is owed %d bytes of credit, and nothing stops it", i, st.owed)
		}
		mark := s.mark()
		if facesClient {
			mark = min(mark, streamMark)
		}
		if n := st.out.Bytes(); n > mark+slack {
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
	return highMark
}

// slack is how much may come beyond a mark: what a turn brings in one go, three
// times more of what was on its way when its backend was told to pause, or what
// the window of a stream still allowed.
func (s *simulation) slack(w *simWorker) int {
	n := simTurnBlocks*w.pool.BlockBytes() + w.limits.HeadBytes
	if s.world.Faults.Overshoot > 0 {
		n += 3 * simTurnBlocks * w.pool.BlockBytes()
	}
	if s.h2c || s.run.Traits.H2 > 0 {
		n += 4 * max(int(s.snap.http2.server.StreamWindow), 1<<16)
	}
	return n
}

// checkGroups: whoever waits for a stream waits in the group of its endpoint,
// and a group's sessions are those that take streams.
func (s *simulation) checkGroups(w *simWorker) {
	var ending uint64 // endpoints with a session whose end makes the group look again
	for _, se := range w.sessions {
		if se != nil && se.role == http2.Client && se.state >= sessionFlush {
			ending |= 1 << se.endpoint
		}
	}
	for endpoint := range w.groups[0] {
		g := &w.groups[0][endpoint]
		waiting := 0
		for oi, left := uint32(1), w.origins.Len(); left > 0; oi++ {
			if !w.origins.Live(oi) {
				continue
			}
			left--
			o := w.origins.At(oi)
			if waits := o.state == originConnecting && o.stream != 0 && w.streams.At(o.stream).session == 0 && int(o.endpoint) == endpoint; waits != g.pending.Has(oi) {
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
			se := w.sessions[i]
			if se == nil || se.role != http2.Client || int(se.endpoint) != endpoint || se.state > sessionOpen {
				s.fail("session %d gets streams for endpoint %d, and should not", i, endpoint)
			}
		}
	}
}

// checkLeaves: every leave to have a stream open is somewhere, and none is in
// two places.
func (s *simulation) checkLeaves() {
	if !s.h2c {
		return
	}
	open, held := 0, 0
	for _, e := range s.snap.clusters[0].shared.Endpoints() {
		open += e.Open()
	}
	for _, w := range s.workers {
		if w.stopped {
			return // with what it had
		}
		held += w.origins.Len() + w.pools[0].Stats().Idle
		held += int(w.metrics.UpstreamGiven) - int(w.metrics.UpstreamStolen) // by mail
		for i := range w.groups[0] {
			held += w.groups[0][i].orphans
		}
	}
	if open != held {
		s.fail("%d leaves are counted, %d are there", open, held)
	}
}

// checkRestStreams: nobody is there any more, so no stream is. (Prewarming goes
// on, and is seen in the middle of it.)
func (s *simulation) checkRestStreams(i int, w *simWorker) (sessions int) {
	for _, x := range []struct {
		what string
		got  int
	}{
		{"streams", w.streams.Len()}, {"streams in the sessions' table", w.h2streams.Len()}, {"sessions with something to send", len(w.touched)},
	} {
		if x.got != 0 {
			s.fail("at rest loop %d has %d %s", i, x.got, x.what)
		}
	}
	for _, se := range w.sessions {
		if se == nil {
			continue
		}
		sessions++
		if se.role == http2.Server {
			s.fail("at rest loop %d has session %d of a client in state %d", i, se.self, se.state)
		} else if s.prewarm == 0 {
			s.fail("at rest loop %d has session %d to an origin in state %d", i, se.self, se.state)
		}
	}
	for endpoint := range w.groups[0] {
		if g := &w.groups[0][endpoint]; g.pending.Len()+g.orphans > 0 && s.prewarm == 0 {
			s.fail("at rest loop %d has %d exchanges and %d leaves that wait for endpoint %d", i, g.pending.Len(), g.orphans, endpoint)
		}
	}
	return sessions
}
