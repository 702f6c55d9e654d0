package proxy

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"zproxy/proxy/memory"
)

// simTurnBlocks is how many blocks of one connection a turn brings at most.
const simTurnBlocks = 16

// checkWorker holds what must be true between any two turns: who belongs to
// whom, and how much one exchange may hold.
func (s *simulation) checkWorker(w *simWorker) {
	block, slack := w.pool.BlockBytes(), s.slack(w)
	high := s.mark()
	busy := 0
	for i, left := uint32(1), w.clients.Len(); left > 0; i++ {
		if !w.clients.Live(i) {
			continue
		}
		left--
		c := w.clients.At(i)
		if c.x != 0 {
			busy++
			if !w.xs.Live(c.x) || w.xs.At(c.x).client != i {
				s.fail("client %d has exchange %d, which is not its own", i, c.x)
				continue
			}
		}
		if (c.x != 0) != (c.state == clientBusy || c.state == clientTunnel) {
			s.fail("client %d in state %d has exchange %d", i, c.state, c.x)
		}
		if n := w.legs.queued(&c.leg); n > high+slack {
			s.fail("%d bytes wait for client %d", n, i)
		}
		if n := c.in.Bytes(); n > pipelineBytes+high+slack {
			s.fail("%d bytes of client %d wait", n, i)
		}
		if n := c.in.Len(); n > 2*(c.in.Bytes()/block)+36 {
			s.fail("%d bytes of client %d wait in %d blocks", c.in.Bytes(), i, n)
		}
	}
	if busy != w.xs.Len() {
		s.fail("%d exchanges, %d of them with clients", w.xs.Len(), busy)
	}
	for i := uint32(1); i <= uint32(w.leases.Cap()); i++ {
		if !w.leases.IsHeld(i) {
			continue
		}
		o := w.origins.At(i)
		if o.x != 0 && (!w.xs.Live(o.x) || w.xs.At(o.x).origin != i) {
			s.fail("origin %d in state %d has exchange %d, which is not its own", i, o.state, o.x)
		}
		s.subset.check(s, w, o)
		if n := w.legs.queued(&o.leg); n > high+slack {
			s.fail("%d bytes wait for origin %d", n, i)
		}
	}
	for i, left := uint32(1), w.xs.Len(); left > 0; i++ {
		if !w.xs.Live(i) {
			continue
		}
		left--
		if n := w.xs.At(i).backlog.Bytes(); n > memory.HighBytes+slack {
			s.fail("%d bytes of exchange %d wait for an origin", n, i)
		}
	}
	if n := w.pool.InUse(); n > w.blocks {
		s.fail("%d blocks of %d", n, w.blocks)
	}
	s.checkStreams(w)
}

// checkRest: nobody is there any more, so nothing is held.
func (s *simulation) checkRest() {
	for i, w := range s.workers {
		st, waiting := w.l.Stats(), 0
		idle := 0
		for id := range w.clusters {
			if w.leases.Has(id) {
				waiting += w.leases.Pool(id).Waiting()
				idle += w.leases.CountOf(id).Idle
			}
		}
		s.checkSwapped(i, w)
		sessions, blocks := s.checkRestStreams(i, w), 0
		if sessions > 0 || s.prewarm > 0 && s.tls[fromOrigin] {
			blocks = w.pool.InUse() // of those that greet each other
		}
		for _, x := range []struct {
			what      string
			got, want int
		}{
			{"blocks", w.pool.InUse(), blocks}, {"clients", w.clients.Len(), 0}, {"exchanges", w.xs.Len(), 0},
			{"timers", st.Timers, 1}, {"connections", st.Conns, w.leases.Len() + sessions}, {"runnable", len(w.clients.runnable), 0},
			{"client gauge", int(w.metrics.ClientConns), 0}, {"tunnels gauge", int(w.metrics.Tunnels), 0},
			{"WebSocket gauge", int(w.metrics.WebSockets), 0}, {"tunnels", w.tunnels.Len(), 0},
			{"waiting", waiting, 0}, {"clients on their way to it", int(w.peers[i].coming.Load()), 0},
		} {
			if x.got != x.want {
				s.fail("at rest loop %d has %d %s, want %d", i, x.got, x.what, x.want)
			}
		}
		if n := w.leases.Len(); n != idle && s.prewarm == 0 { // (prewarming goes on)
			s.fail("at rest %d of %d connections to origins are idle", idle, n)
		}
	}
	if s.holds != 0 {
		s.fail("at rest requests that have ended hold %d of what a filter counts", s.holds)
	}
	s.checkPermits()
	s.checkGreetings()
	if s.h2c {
		return
	}
	// What is open is what the loops have, and no slot of a cap is lost.
	open, have := s.openSlots(), 0
	for _, w := range s.workers {
		have += w.leases.Len()
		for id := range w.clusters {
			if w.leases.Has(id) && s.prewarm > 0 {
				// One that prewarming could not connect has given its slot back, and is about to be gone.
				have -= w.leases.CountOf(id).Uncounted
			}
		}
	}
	if open != have {
		s.fail("at rest %d connections are counted, %d are there", open, have)
	}
}

// checkLog: every request ends in one line, and none in two.
func (s *simulation) checkLog() {
	b, err := os.ReadFile(s.logPath)
	if err != nil {
		s.fail("access log: %v", err)
		return
	}
	lines := make([]int, len(s.run.Requests))
	total, requests, bare, shed := 0, 0, 0, 0 // bare: of no whole head
	for line := range bytes.Lines(b) {
		total++
		var rec struct {
			Client string
			Target string
			Status int
			Out    int `json:"bytes_out"`
			Reason string
		}
		if err := json.Unmarshal(line, &rec); err != nil {
			s.fail("access log: %v in %q", err, line)
			return
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(rec.Target, "/r/"), "?")
		id, err := strconv.Atoi(number)
		if err != nil || id < 0 || id >= len(lines) {
			bare++
			switch {
			case rec.Status == 503 && rec.Reason == faultMemory.Reason:
				shed++
			case rec.Status == 0 && strings.Contains(rec.Reason, "TLS"): // a handshake came to nothing
			case rec.Status == 0 && strings.Contains(rec.Reason, "PROXY protocol header") && s.run.Traits.Greets:
			case rec.Status == 400 && s.run.Traits.OthersPlain: // an impostor's header
			case rec.Status != 408:
				s.fail("access log: %s", line)
			}
			continue
		}
		if lines[id]++; lines[id] > 1 {
			s.fail("access log: request %d is there twice: %s", id, line)
		}
		q := s.run.Requests[id]
		if rec.Status == 431 && q.Overlong {
			bare++
		}
		if rec.Client != q.From.String() {
			s.fail("access log: request %d is %v's: %s", id, q.From, line)
		}
		if q.Answered != 0 && rec.Status != q.Answered {
			s.fail("access log: request %d was answered %d: %s", id, q.Answered, line)
		}
		if q.Complete && !(q.Socket && q.Tunnels()) && q.Method != "HEAD" && q.Answered == q.Reply.Status && rec.Out != q.BodyBytes() {
			s.fail("access log: the answer to %d has %d bytes: %s", id, q.BodyBytes(), line)
		}
	}
	for id, q := range s.run.Requests {
		if lines[id] == 0 && q.Answered == 503 && q.Heads == 0 && shed > 0 {
			shed--
			continue
		}
		if lines[id] == 0 && (q.Answered != 0 && q.Answered != 408 || q.Heads > 0) {
			s.fail("access log: no line for request %d, answered %d", id, q.Answered)
		}
	}
	for _, w := range s.workers {
		requests += int(w.metrics.Requests)
	}
	if total != requests+bare {
		s.fail("access log: %d lines for %d requests and %d that were none", total, requests, bare)
	}
}
