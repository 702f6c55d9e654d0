package proxy

import (
	"flag"
	"testing"
	"time"

	"zproxy/internal/simnet"
	"zproxy/loop/sim"
)

var (
	simSeed     = flag.Uint64("sim.seed", 0, "run this seed of TestSim only")
	simRequests = flag.Int("sim.requests", 100_000, "go through seeds until so many requests were simulated")
	simFrom     = flag.Uint64("sim.from", 1, "the first seed")
	simTrace    = flag.Bool("sim.trace", false, "with -sim.seed, tell what the peers do")
	simFor      = flag.Duration("sim.for", 0, "go on for so long instead")
)

// TestSim runs real workers between simulated clients and origins, over many
// seeds, and holds each run to all that must be true whatever happens.
func TestSim(t *testing.T) {
	dir := t.TempDir()
	if *simSeed != 0 {
		s, err := simulate(*simSeed, dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d requests, %d turns, calm %v, faults %+v, traits %+v%s", len(s.run.Requests), s.turns, s.calm, s.world.Faults, s.run.Traits, s.text)
		if len(s.failed) > 0 {
			s.report(t)
		}
		return
	}
	c := simCounts{began: time.Now()}
	for seed := *simFrom; c.more(); seed++ {
		s, err := simulate(seed, dir)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		c.add(s)
		if len(s.failed) > 0 {
			s.report(t)
			break
		}
	}
	c.print(t)
	if !t.Failed() && *simFor == 0 && *simRequests >= 100_000 {
		c.complete(t)
	}
}

// Seeds with which something was found that few others show. When what is drawn
// changes they are seeds like any other.
func TestSimSeedsThatFound(t *testing.T) {
	for seed, what := range map[uint64]string{
		117:   "a handshake was given up for time in which the loop had not run",
		124:   "what connections within TLS held was not given back when their loop ended",
		819:   "what was to be sealed behind an alert was a panic",
		1013:  "parts of records held all memory, and none of them could be completed",
		1140:  "memory that was reserved for the content of a record which did not open stayed reserved",
		6225:  "a client was told that its request was refused, though one origin of several had begun on it",
		56575: "a worker that had drained ended before an origin was sent the end of its WebSocket, which waited for window",
	} {
		s, err := simulate(seed, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if len(s.failed) > 0 {
			t.Logf("seed %d: %s", seed, what)
			s.report(t)
		}
	}
}

// simCounts is what a test run has gone through.
type simCounts struct {
	began                        time.Time
	seeds, calm, requests, whole int
	turns, most                  int
	mostIn                       uint64 // seed
	leaves, cuts, stops, earlies int
	hangUps, drains              int
	noBlock                      uint64 // asked for at a pool's limit
	tally                        sim.Tally
	adopted, retries, stale, own uint64
	fallbacks, denied, limited   uint64
	removed                      uint64
	subset                       int // times that requests of a subset were seen at an endpoint
	sockets, pongs, failed       uint64
	pairs                        [2][2]int // WebSockets by HTTP/2 of the client and of the origin
	early, declined, noConnect   int       // WebSockets
	tunnels                      int       // others
	continues                    uint64    // 100s in an origin's place
	lingers                      int       // streams with an early answer
	tls                          [2][2]int // seeds with TLS of clients and of origins
	secured, keyUpdates          int       // connections within TLS, and changes of keys by their peers
	handshakes, unopened         uint64    // that ended well, or not
	unclosed                     int       // answers that ended without close_notify
	overlong                     int       // heads that were refused for their length
	greeted, impostors           int       // clients behind a PROXY header, and with none as it should be
	named                        [3]int    // requests whole behind a header of that version
	refused403, marked           int       // requests that a filter refused, and that came through one
	waited, waitedTooLong        uint64    // requests that waited for one
}

func (c *simCounts) more() bool {
	if *simFor > 0 {
		return time.Since(c.began) < *simFor
	}
	return c.requests < *simRequests
}

func (c *simCounts) add(s *simulation) {
	c.seeds++
	c.calm += bit(s.calm)
	c.requests += len(s.run.Requests)
	for _, q := range s.run.Requests {
		c.whole += bit(q.Complete)
		c.unclosed += bit(q.Unclosed)
		c.overlong += bit(q.Overlong && q.Answered == 431)
		c.named[s.run.Traits.SendProxy] += bit(q.Complete)
		c.refused403 += bit(q.Answered == 403 && q.Heads == 0)
		c.marked += bit(q.Complete && q.Marked)
		c.addTunnel(s, q)
	}
	c.turns += s.turns
	if s.turns > c.most {
		c.most, c.mostIn = s.turns, s.seed
	}
	c.leaves += s.run.Leaves
	c.cuts += s.run.Cuts
	c.stops += s.run.Stops
	c.earlies += s.run.Earlies
	c.lingers += s.run.Lingers
	c.hangUps += s.run.HangUps
	c.tls[bit(s.tls[fromClient])][bit(s.tls[fromOrigin])]++
	c.secured += s.run.Secured
	c.keyUpdates += s.run.KeyUpdates
	c.greeted, c.impostors = c.greeted+s.run.Greeted, c.impostors+s.run.Impostors
	c.drains += bit(s.early)
	c.subset += s.subset.seen
	c.tally.Add(&s.world.Tally)
	for _, w := range s.workers {
		c.adopted += w.metrics.UpstreamAdopted
		c.retries += w.metrics.UpstreamRetries
		c.stale += w.metrics.UpstreamStale
		c.fallbacks += w.metrics.UpstreamFallbacks
		c.denied += w.metrics.UpstreamRetriesDenied
		c.limited += w.metrics.RefusedByReason[codeMaxRequests]
		c.removed += w.metrics.RefusedByReason[codeRemoved]
		c.waitedTooLong += w.metrics.RefusedByReason[codeFilterTimeout]
		for i := range w.metrics.Filters {
			c.waited += w.metrics.Filters[i].Waited
		}
		c.own += w.metrics.ResponsesOwn
		c.continues += w.metrics.ContinuesOwn
		c.noBlock += w.pool.Stats().Exhausted
		for _, n := range w.metrics.TLS.Done {
			c.handshakes += n
		}
		for _, n := range w.metrics.TLS.Failed {
			c.unopened += n
		}
		c.sockets += w.metrics.WebSocketsTotal
		ws := &w.metrics.WebSocket
		c.pongs += ws.Frames[fromClient][10] + ws.Frames[fromOrigin][10]
		for side := range 2 {
			for _, n := range ws.Violations[side] {
				c.failed += n
			}
		}
	}
}

func (c *simCounts) addTunnel(s *simulation, q *simnet.Request) {
	switch {
	case !q.Socket:
		c.tunnels += bit(q.Opened())
	case q.Opened():
		c.pairs[bit(q.H2)][bit(s.h2c)]++
		c.early += bit(q.Early)
	case q.Answered == 403:
		c.declined++
	case q.Answered == 502:
		c.noConnect += bit(s.run.Traits.NoConnect == 100)
	}
}

func (c *simCounts) print(t *testing.T) {
	took := time.Since(c.began)
	t.Logf("%d simulated requests over %d seeds (%d calm) in %.1f s, %.0f per second, %d turns, at most %d (seed %d)", c.requests, c.seeds, c.calm,
		took.Seconds(), float64(c.requests)/took.Seconds(), c.turns, c.most, c.mostIn)
	t.Logf("%d answered whole by origins, %d answered by the proxy; %d tried again, %d stale connections, %d handed over, %d ended with their route", c.whole, c.own, c.retries, c.stale, c.adopted, c.removed)
	t.Logf("peers: %d clients left, %d origins broke off, %d peers stopped, %d early answers, %d hang-ups, %d shutdowns among clients", c.leaves, c.cuts, c.stops, c.earlies, c.hangUps, c.drains)
	t.Logf("TLS: seeds by clients and origins %v, %d connections, %d handshakes, %d that failed, %d changes of keys, %d answers that end without close_notify",
		c.tls, c.secured, c.handshakes, c.unopened, c.keyUpdates, c.unclosed)
	t.Logf("PROXY protocol: %d clients named, %d impostors refused, answers behind headers of no, the first and the second version %v", c.greeted, c.impostors, c.named)
	t.Logf("filters: %d requests refused, %d changed, %d waited, %d of them for too long", c.refused403, c.marked, c.waited, c.waitedTooLong)
	t.Logf("world: %+v, %d blocks asked for in vain", c.tally, c.noBlock)
}

// complete wants everything that can happen in a run to have happened, often:
// a fault that never comes proves nothing.
func (c *simCounts) complete(t *testing.T) {
	w := &c.tally
	for what, n := range map[string]uint64{
		"clients that left": uint64(c.leaves), "answers broken off": uint64(c.cuts), "peers that stopped": uint64(c.stops),
		"answers before the request had ended": uint64(c.earlies), "origins that closed between requests": uint64(c.hangUps),
		"shutdowns among clients": uint64(c.drains), "blocks asked for in vain": c.noBlock, "receives without a block": w.NoBlocks,
		"short reads": w.ShortReads, "short writes": w.ShortWrites, "late completions": w.Late, "receives after Pause": w.Overshoots,
		"resets": w.Resets, "resets that destroyed bytes": w.LostToReset, "half-closes": w.HalfEnds, "connects refused": w.Refused,
		"connects without an answer": w.Silent, "accepts of a connection that was reset": w.Nameless, "leaps of the clock": w.Jumps, "loops without CPU": w.Freezes, "splices": w.Splices, "splices without a pipe": w.NoPipes, "long messages in pieces": w.Gathers, "connections passed on": w.Exports,
		"operations cancelled under way": w.CancelledInOps, "requests tried again": c.retries, "stale connections": c.stale,
		"requests that fell back": c.fallbacks, "retries over the budget": c.denied, "requests beyond the limit": c.limited,
		"exchanges on a route that was removed": c.removed, "requests of a subset": uint64(c.subset),
		"WebSockets between HTTP/1 and HTTP/1": uint64(c.pairs[0][0]), "WebSockets from HTTP/1 to HTTP/2": uint64(c.pairs[0][1]),
		"WebSockets from HTTP/2 to HTTP/1": uint64(c.pairs[1][0]), "WebSockets between HTTP/2 and HTTP/2": uint64(c.pairs[1][1]),
		"WebSockets with early data": uint64(c.early), "WebSockets declined": uint64(c.declined), "WebSockets that no origin takes": uint64(c.noConnect),
		"other tunnels": uint64(c.tunnels), "100s in an origin's place": c.continues, "streams that linger behind an early answer": uint64(c.lingers),
		"seeds with TLS of clients": uint64(c.tls[1][0]), "seeds with TLS of origins": uint64(c.tls[0][1]), "seeds with both": uint64(c.tls[1][1]),
		"connections within TLS": uint64(c.secured), "changes of keys": uint64(c.keyUpdates), "handshakes": c.handshakes, "handshakes that failed": c.unopened,
		"answers that end without close_notify": uint64(c.unclosed),
		"clients behind a PROXY header":         uint64(c.greeted), "clients with none as it should be": uint64(c.impostors),
		"answers behind a PROXY header of version 1": uint64(c.named[1]), "answers behind one of version 2": uint64(c.named[2]),
		"requests that a filter refused": uint64(c.refused403), "requests that filters changed": uint64(c.marked),
		"requests that waited for a filter": c.waited, "requests that a filter did not decide about in time": c.waitedTooLong,
		"connections handed over": c.adopted, "answers of the proxy's own": c.own, "heads that are too long": uint64(c.overlong),
	} {
		if n < 20 {
			t.Errorf("%s: %d in %d requests, want at least 20", what, n, c.requests)
		}
	}
	t.Logf("peers: %d clients left, %d origins broke off, %d peers stopped, %d early answers, %d hang-ups", c.leaves, c.cuts, c.stops, c.earlies, c.hangUps)
	t.Logf("%d WebSockets, %d pongs through them, %d failed for a frame; by client's and origin's HTTP/2: %v; %d with early data, %d declined, %d where none is taken; %d other tunnels",
		c.sockets, c.pongs, c.failed, c.pairs, c.early, c.declined, c.noConnect, c.tunnels)
	t.Logf("world: %+v", c.tally)
}

// TestSimIsAFunctionOfItsSeed: whoever replays a failure sees that failure.
func TestSimIsAFunctionOfItsSeed(t *testing.T) {
	for seed := uint64(1); seed <= 30; seed++ {
		var first *simulation
		for range 2 {
			s, err := simulate(seed, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = s
			} else if s.turns != first.turns || s.world.Now() != first.world.Now() || s.world.Tally != first.world.Tally {
				t.Fatalf("seed %d: %d turns until %d, and then %d until %d", seed, first.turns, first.world.Now(), s.turns, s.world.Now())
			}
		}
	}
}
