package proxy

import (
	"time"

	"zproxy/buf"
	"zproxy/loop"
)

// A client that still sends when its last answer has left must not be closed at
// once: bytes that nobody reads are answered with a reset, which destroys what of
// the answer the client has not read yet (RFC 9112 9.6). So its connection
// lingers: the write side is closed, and what comes is thrown away until the
// client closes as well, or nothing comes for limits.lingering_timeout, or
// limits.lingering_time is over. Connections of HTTP/2 that end with a GOAWAY do
// the same.
//
// Such a connection holds nothing but its place. Where places become few, those
// that have lingered the longest go. Many of them may send as fast as they can, and
// others are not to wait for that: no loop throws away more than discardBytes in
// discardNs, and who has his turn after that is not read before it.

// lingererNs is how often it is looked at who lingers where places are few: all
// clients are walked.
const lingererNs = int64(50 * time.Millisecond)

const (
	discardNs    = int64(10 * time.Millisecond)
	discardBytes = 1 << 20
	discardTurns = 4 // so many are read on after each discardNs
)

// discarding is what has come behind last answers since a time, and the
// connections that are not read for it, those first that have not been for longest.
type discarding struct {
	since  int64
	bytes  int
	unread []loop.ConnID
}

// closeAfterFlush closes a client's connection once the queued bytes have left. With linger the
// write side is closed first and input discarded, lest a reset overtake the
// answer.
func (cs *clients) closeAfterFlush(c *client, linger bool) {
	cs.pool.Drop(&c.in)
	c.requests = 0
	if linger {
		// What comes is thrown away at once, but it takes a block until then: heads go
		// first, and accepting does not wait for it.
		cs.w.legs.clientBulk(c, true)
		cs.l.Shutdown(c.conn)
		cs.w.legs.resumeClient(c)
		cs.linger(c)
		return
	}
	if cs.w.legs.queued(&c.leg) == 0 {
		cs.close(c)
		return
	}
	c.state = clientFlush
	cs.l.Shutdown(c.conn) // its end leaves with the last bytes
	cs.w.legs.due(&c.leg, cs.l.Now()+cs.w.snap.Limits.SendNs)
}

// flushed: all has left to a client that was to be closed then. Should it have
// sent something meanwhile, it may be sending more.
func (cs *clients) flushed(c *client) {
	if c.requests == 0 {
		cs.close(c)
		return
	}
	cs.linger(c)
}

func (cs *clients) linger(c *client) {
	c.state = clientLinger
	cs.lingering++
	if cs.w.legs.queued(&c.leg) == 0 {
		c.takeFrom = 0
		if c.flags&clientEOF != 0 {
			cs.close(c)
			return
		}
	}
	cs.lingerDeadline(c)
}

// lingerDeadline: the answer must go on leaving; once it has, the lingering
// begins.
func (cs *clients) lingerDeadline(c *client) {
	if cs.w.legs.queued(&c.leg) > 0 {
		cs.w.legs.due(&c.leg, cs.w.writeDeadline(c))
		return
	}
	if c.takeFrom == 0 {
		c.takeFrom = cs.l.Now()
	}
	cs.w.legs.due(&c.leg, cs.lingerBy(c.takeFrom, c.flags&clientPaused == 0))
}

// lingerBy is the deadline of a client that has just sent something, or has only
// begun to linger. Who is not read has not fallen silent.
func (cs *clients) lingerBy(since int64, read bool) int64 {
	lim := &cs.w.snap.Limits
	pause := lim.LingerTimeoutNs
	if !read {
		pause = lim.LingerTimeNs
	}
	if cs.w.drain.on {
		pause = min(pause, lingerNs)
	}
	return min(cs.l.Now()+pause, since+lim.LingerTimeNs)
}

// lingerTimeout: a client that lingers has not closed in time, or takes nothing.
func (cs *clients) lingerTimeout(c *client) {
	if cs.w.legs.queued(&c.leg) == 0 {
		cs.close(c)
	} else if !cs.w.stillTakes(c) {
		cs.abort(c)
	}
}

// discard takes bytes of a client that is no more listened to.
func (cs *clients) discard(c *client, v buf.View) {
	c.requests += v.Len
	cs.pool.Release(v)
	if c.requests > lingerBytes {
		cs.close(c)
		return
	}
	if cs.discards(v.Len) && c.flags&clientPaused == 0 {
		cs.w.legs.pauseClient(c)
		cs.discarding.unread = append(cs.discarding.unread, c.conn)
	}
	if c.state == clientLinger && cs.w.legs.queued(&c.leg) == 0 {
		cs.lingerDeadline(c)
	}
}

// discards counts n bytes that are thrown away; true: no more for now.
func (cs *clients) discards(n uint32) bool {
	d := &cs.discarding
	if now := cs.l.Now(); now-d.since >= discardNs {
		d.since, d.bytes = now, 0
	}
	d.bytes += int(n)
	return d.bytes > discardBytes
}

// discardOn has those read whose turn it is.
func (cs *clients) discardOn() {
	d := &cs.discarding
	if len(d.unread) == 0 || cs.l.Now()-d.since < discardNs {
		return
	}
	d.since, d.bytes = cs.l.Now(), 0
	k := 0
	for turns := 0; k < len(d.unread) && turns < discardTurns; k++ {
		owner := cs.l.Owner(d.unread[k])
		switch i := owner & ownerMask; {
		case owner == 0: // it is gone
		case owner>>ownerShift == ownerSession:
			if cs.w.h2.ResumeLinger(cs.w.h2.At(i)) {
				turns++
			}
		default:
			if c := cs.At(i); c.state == clientFlush || c.state == clientLinger {
				turns++
				cs.w.legs.resumeClient(c)
				if c.state == clientLinger && cs.w.legs.queued(&c.leg) == 0 {
					cs.lingerDeadline(c)
				}
			}
		}
	}
	d.unread = d.unread[:copy(d.unread, d.unread[k:])]
}

// lingersNoMore comes before a client's state changes for the last time.
func (cs *clients) lingersNoMore(c *client) {
	if c.state == clientLinger {
		cs.lingering--
	}
}

// lingering is how many connections linger.
func (w *Worker) lingering() int { return w.clients.lingering + w.h2.Lingering }

// endLingerers closes connections that linger where most places are taken: those
// of the first half of the time since the first of them began.
func (cs *clients) endLingerers() {
	now := cs.l.Now()
	if cs.w.lingering() == 0 || now < cs.lingererAt || !cs.l.NearlyFull() {
		return
	}
	cs.lingererAt = now + lingererNs
	first := now
	for i := uint32(1); i <= uint32(cs.Cap()); i++ {
		if cs.Live(i) && cs.onlyLingers(cs.At(i)) {
			first = min(first, cs.At(i).takeFrom)
		}
	}
	for se := range cs.w.h2.Each() {
		if se.OnlyLingers() {
			first = min(first, se.LingersSince())
		}
	}
	until := first + (now-first)/2
	for i := uint32(1); i <= uint32(cs.Cap()); i++ {
		if cs.Live(i) && cs.onlyLingers(cs.At(i)) && cs.At(i).takeFrom <= until {
			cs.close(cs.At(i))
		}
	}
	for se := range cs.w.h2.Each() {
		if se.OnlyLingers() && se.LingersSince() <= until {
			cs.w.h2.Drop(se)
		}
	}
}

// onlyLingers says that all has left to a client that lingers.
func (cs *clients) onlyLingers(c *client) bool {
	return c.state == clientLinger && c.ownsConn() && cs.w.legs.queued(&c.leg) == 0 && c.takeFrom != 0
}
