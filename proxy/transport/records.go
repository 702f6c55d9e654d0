package transport

import (
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto/tls"
)

const (
	// Where a peer has got nothing for lullNs, the first firstBytes come in records
	// of one segment each: it can open the first one when it has come, and needs not
	// wait for 16 KiB (the congestion window may have to grow before they fit).
	lullNs       = int64(time.Second)
	firstBytes   = 8 << 10
	segmentBytes = 1300
)

// open opens records until one has content, which becomes Received in t.ev.
// False: there is no whole record, or the connection's end was among them.
func (t *Transport) open(i uint32, c *conn) bool {
	for c.opened == 0 {
		var header [tls.HeaderLen]byte
		if t.pool.CopyOut(&c.in, header[:]) < len(header) {
			return false
		}
		n := c.tls.RecordLen(header[:])
		if n > c.in.Bytes() {
			return false
		}
		c.sinceMs = t.ms()
		front := t.pool.Front(&c.in)
		rec := t.pool.Bytes(front)
		split := len(rec) < n
		if split {
			rec = t.join(n)
			t.pool.CopyOut(&c.in, rec)
		} else {
			rec = rec[:n]
		}
		at, size, ok := t.content(i, c, rec)
		switch {
		case !ok:
			return false
		case size == 0:
			t.pool.Consume(&c.in, n)
		case split:
			// Its content goes back to where the record was, the first part of it: no
			// block is needed, so none is waited for.
			t.pool.CopyIn(&c.in, rec[at:at+size])
			c.opened, c.rest = uint16(size), uint16(n-size)
		case int(front.Len) == n:
			t.ev.View = t.pool.Pop(&c.in).Slice(uint32(at), uint32(size)) // its reference goes along
			return t.receives(size)
		default:
			t.pool.Retain(front)
			t.ev.View = front.Slice(uint32(at), uint32(size))
			t.pool.Consume(&c.in, n)
			return t.receives(size)
		}
	}
	return t.receives(t.openedPart(c))
}

func (t *Transport) receives(n int) bool {
	t.ev.Kind, t.ev.N = loop.Received, uint32(n)
	return true
}

// openedPart takes what the first block has of a record that is open.
func (t *Transport) openedPart(c *conn) (n int) {
	front := t.pool.Front(&c.in)
	if n = int(c.opened); int(front.Len) <= n {
		n = int(front.Len)
		t.ev.View = t.pool.Pop(&c.in)
	} else {
		t.pool.Retain(front)
		t.ev.View = front.Slice(0, uint32(n))
		t.pool.Consume(&c.in, n)
	}
	if c.opened -= uint16(n); c.opened == 0 {
		t.pool.Consume(&c.in, int(c.rest))
		c.rest = 0
	}
	return n
}

// content opens rec: size bytes from at on; none where it is a message of the
// record layer. False: the peer's direction is over.
func (t *Transport) content(i uint32, c *conn, rec []byte) (at, size int, ok bool) {
	raw := t.beforeFirst(c, rec)
	for used := 0; used < len(rec); {
		var ev tls.Event
		n := c.tls.Next(t.keys.in(i, c), rec[used:], &ev)
		switch ev.Kind {
		case tls.EventData:
			at, size = used+ev.Off, ev.N
		case tls.EventTicket:
			if ev.End && raw != nil {
				t.handshakes.jobs[i].Ticket(raw)
				raw = nil
			}
		case tls.EventClosed, tls.EventFailed:
			t.over(i, c, &ev)
			return 0, 0, false
		}
		used += n
	}
	if c.has(flagTicket) {
		c.flags &^= flagTicket
		t.handshakes.jobs[i] = job{}
	}
	if c.tls.Pending() {
		t.touch(i, c)
	}
	if size > 0 && !t.worth(c, size) {
		c.tls.Fail(tls.AlertUnexpectedMessage)
		t.broken(i, c, unix.EPROTO, whyTiny)
		return 0, 0, false
	}
	return at, size, true
}

// mostTicket bounds the record that a session ticket may be.
const mostTicket = 8 << 10

// beforeFirst copies the first record, for the handshake, if it may be a ticket.
func (t *Transport) beforeFirst(c *conn, rec []byte) []byte {
	if !c.has(flagTicket) || len(rec) > mostTicket {
		return nil
	}
	t.raw = append(t.raw[:0], rec...)
	return t.raw
}

// What a record costs does not depend on its length. Many of them in a second that
// have less content than a frame of HTTP/2 or WebSocket has in front of its own,
// and none much longer among them, are an attack.
const (
	tinyBytes = 8
	muchBytes = 256
	mostTiny  = 1 << 14
	whyTiny   = "too many TLS records of a few bytes"
)

// worth says whether the peer may go on after a record of size bytes of content.
func (t *Transport) worth(c *conn, size int) bool {
	if size >= tinyBytes {
		if size >= muchBytes {
			c.tiny = 0
		}
		return true
	}
	if now := t.ms(); c.tiny == 0 || now-c.tinyMs > 1000 {
		c.tiny, c.tinyMs = 0, now
	}
	c.tiny++
	return c.tiny <= mostTiny
}

// ms is the time in ms, its low bits.
func (t *Transport) ms() uint32 { return uint32(t.Loop.Now() / 1e6) }

func (t *Transport) join(n int) []byte {
	if cap(t.joined) < n {
		t.joined = make([]byte, n, tls.HeaderLen+tls.MaxPlaintext+256)
	}
	return t.joined[:n]
}

// over: the peer has ended its direction, or broken the protocol.
func (t *Transport) over(i uint32, c *conn, ev *tls.Event) {
	switch {
	case ev.Kind == tls.EventClosed:
		c.errno = 0
		t.end(i, c)
	case ev.Received:
		t.broken(i, c, unix.EPROTO, "peer sent TLS alert "+ev.Alert.Name())
	default:
		t.broken(i, c, unix.EPROTO, "TLS record: "+ev.Alert.Name())
	}
}

// broken has RecvEnd reported with errno, and Failure say why.
func (t *Transport) broken(i uint32, c *conn, errno unix.Errno, why string) {
	t.handshakes.jobs[i].why = why
	c.errno = uint16(errno)
	t.end(i, c)
}

// end has RecvEnd reported, with c.errno.
func (t *Transport) end(i uint32, c *conn) {
	t.pool.Drop(&c.in)
	c.flags |= flagEOF
	t.list(i, c)
	if c.tls.Pending() {
		t.touch(i, c)
	}
}

// flush seals what waits. False: for some there was no memory.
func (t *Transport) flush() bool {
	starved := 0
	for k := 0; k < len(t.touched); k++ {
		i := t.touched[k]
		if i == 0 {
			continue
		}
		c := t.conns.At(i)
		c.flags &^= flagTouched
		if !t.seal(i, c) {
			c.flags |= flagTouched
			t.touched[starved] = i
			starved++
		}
	}
	t.touched = t.touched[:starved]
	return starved == 0
}

// seal makes records of all that was Sent, and of what the record layer itself
// has to say.
func (t *Transport) seal(i uint32, c *conn) bool {
	if c.state != stateOpen {
		return true // again when the handshake is over
	}
	if !t.control(i, c) {
		return false
	}
	if c.tls.Closed() && !c.out.Empty() { // Sent before an alert was to leave, or came
		t.pool.Drop(&c.out)
		c.flags |= flagUnsent
		t.list(i, c)
	}
	for !c.out.Empty() {
		lead, tail := c.tls.Lead(), c.tls.Tail()
		n := min(c.out.Bytes(), t.pool.BlockBytes()-lead-tail, tls.MaxPlaintext)
		now := t.Loop.Now()
		if now-c.lull > lullNs {
			c.burst = 0
		}
		c.lull = now
		if c.burst < firstBytes {
			n = min(n, segmentBytes)
		}
		b := t.pool.Reserve(lead + n + tail)
		if b == nil {
			return false
		}
		t.pool.CopyOut(&c.out, b[lead:lead+n])
		t.pool.Consume(&c.out, n)
		size := c.tls.Seal(t.keys.out(i, c), b, n)
		t.Loop.Send(c.id, t.pool.Commit(size))
		c.burst = min(c.burst+uint32(n), 1<<30)
		if c.tls.Pending() && !t.control(i, c) {
			return false
		}
	}
	if c.has(flagFinish) && !c.has(flagFinished) {
		c.tls.Close()
		if !t.control(i, c) {
			return false
		}
		c.flags |= flagFinished
		t.Loop.Shutdown(c.id)
	}
	return true
}

// control sends the record layer's own records.
func (t *Transport) control(i uint32, c *conn) bool {
	for c.state == stateOpen && c.tls.Pending() {
		b := t.pool.Reserve(tls.MaxOutput)
		if b == nil {
			return false
		}
		n := c.tls.Output(t.keys.out(i, c), b)
		t.Loop.Send(c.id, t.pool.Commit(n))
	}
	return true
}
