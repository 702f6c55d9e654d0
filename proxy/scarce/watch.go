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
type Leaps interface {
	RanNs(from, now int64) int64 // for how long it has run, without them
}

// IdleNs is for how long i has not moved: less than least, and at least one byte. Time in
// which the loop did not run is not counted: the peer took nothing, and had no credit.
func (ws *Watches) IdleNs(i uint32, s *Sight, least transport.Rate, now int64, leaps Leaps) int64 {
	w := ws.of(i)
	if w.start != s.Start || w.down != s.Down {
		*w = watch{start: s.Start, at: now, seen: s.Moved, down: s.Down}
		if !s.Down { // since it has its connection nothing need have come
			w.at, w.seen = s.Got, 0
		}
	}
	if s.Moved < w.seen { // part of a TLS record was more than the content of the whole
		w.seen = s.Moved
	}
	if n := s.Moved - w.seen; n > 0 && n >= least.Bytes(leaps.RanNs(w.at, now)) {
		w.at, w.seen = now, s.Moved
		return 0
	}
	return leaps.RanNs(w.at, now)
}
