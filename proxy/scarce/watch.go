package scarce

import "zproxy/proxy/transport"

// Sight is what is seen of an exchange that holds a connection others wait for.
type Sight struct {
	Start int64  // of the exchange: its slot may have passed to another
	Got   int64  // when it got the connection
	Moved uint64 // bytes in the direction that is waited for
	Down  bool   // that is the response's: its client is to take it
}

// watch is what was last seen of one.
type watch struct {
	start int64
	at    int64
	seen  uint64 // bytes that had moved at that time
	leapt int64  // for how long the loop had not run when at was noted, since it began
	down  bool
}

// Watches are of exchanges, by index: those that hold a connection while others wait for one.
type Watches struct{ all []watch }

func (ws *Watches) of(i uint32) *watch {
	for int(i) >= len(ws.all) {
		ws.all = append(ws.all, watch{})
	}
	return &ws.all[i]
}

// Forget says that i does not hold its connection without moving: others than its client are
// waited for.
func (ws *Watches) Forget(i uint32) { ws.of(i).start = 0 }

// Leaps are the times in which the loop should have run and did not.
type Leaps struct {
	At    int64 // when the last one had ended
	SumNs int64 // how long all of them have been
}

// IdleNs is for how long i has not moved: less than least, and at least one byte. Leaps are
// not counted: while the loop did not run the peer took nothing, and had no credit. What is
// between them is, however often the loop gets no CPU.
func (ws *Watches) IdleNs(i uint32, s *Sight, least transport.Rate, now int64, leaps Leaps) int64 {
	w := ws.of(i)
	if w.start != s.Start || w.down != s.Down {
		*w = watch{start: s.Start, at: now, seen: s.Moved, leapt: leaps.SumNs, down: s.Down}
		if !s.Down { // since it has its connection nothing need have come
			w.at, w.seen = max(s.Got, leaps.At), 0
		}
	}
	if s.Moved < w.seen { // part of a TLS record was more than the content of the whole
		w.seen = s.Moved
	}
	if n := s.Moved - w.seen; n > 0 && n >= least.Bytes(now-w.at) {
		w.at, w.seen, w.leapt = now, s.Moved, leaps.SumNs
		return 0
	}
	return now - w.at - (leaps.SumNs - w.leapt)
}
