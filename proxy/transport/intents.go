package transport

import (
	"time"

	"zproxy/buf"
	"zproxy/loop"
)

// lingerNs is how long close_notify may take to leave once the owner has closed a
// connection.
const lingerNs = int64(time.Second)

// Recv, Pause, Send, Queued, Shutdown, Close, Abort and Export are the loop's,
// for connections in clear and within TLS.
func (t *Transport) Recv(id loop.ConnID) {
	if i := t.entry(id); i != 0 {
		c := t.conns.At(i)
		c.flags |= flagSub
		t.list(i, c) // what was received while nobody wanted it
	}
	t.Loop.Recv(id)
}

// Pause asks for no more Received; within TLS none comes before Recv.
func (t *Transport) Pause(id loop.ConnID) {
	if i := t.entry(id); i != 0 {
		c := t.conns.At(i)
		c.flags &^= flagSub
		if c.state != stateOpen {
			return // a handshake goes on
		}
	}
	t.Loop.Pause(id)
}

func (t *Transport) Send(id loop.ConnID, v buf.View) {
	i := t.entry(id)
	if i == 0 {
		t.Loop.Send(id, v)
		return
	}
	c := t.conns.At(i)
	if c.has(flagFinish) || c.state > stateOpen {
		t.pool.Release(v)
		return
	}
	if v.Len <= smallBytes && c.out.Len() >= smallBehind {
		t.pool.Coalesce(&c.out, v)
	} else {
		t.pool.Push(&c.out, v)
	}
	t.touch(i, c)
}

// As the loop does: a peer that sends bytes one by one shall not use up the pool
// where they wait.
const (
	smallBytes  = 2 << 10
	smallBehind = 8
)

// Queued is the number of bytes given to Send that the socket has not taken:
// content that is not sealed yet, and records that are.
func (t *Transport) Queued(id loop.ConnID) int {
	n := t.Loop.Queued(id)
	if i := t.entry(id); i != 0 {
		n += t.conns.At(i).out.Bytes()
	}
	return n
}

func (t *Transport) Shutdown(id loop.ConnID) {
	i := t.entry(id)
	if i == 0 {
		t.Loop.Shutdown(id)
		return
	}
	c := t.conns.At(i)
	c.flags |= flagFinish
	t.touch(i, c)
}

// Close drops what is queued and ends id. Where all has left, a TLS peer is told
// of the end first.
func (t *Transport) Close(id loop.ConnID) {
	i := t.entry(id)
	if i == 0 {
		t.greetings.drop(id)
		t.Loop.Close(id)
		return
	}
	c := t.conns.At(i)
	if c.state == stateClosing || c.state == stateGone {
		return
	}
	tells := (c.state == stateOpen || c.state == stateFailed) && c.out.Empty() && !c.has(flagFinished)
	if tells && c.state == stateOpen {
		// Who only checks a name still waits for the end of the handshake, which there is nothing behind.
		tells = t.Loop.Queued(id) == 0 || c.alpn == ProtocolChallenge
		c.tls.Close()
	}
	if tells = tells && t.control(i, c); tells {
		t.Loop.Shutdown(id)
	}
	if t.Loop.Queued(id) == 0 {
		tells = false
	}
	if c.state == stateFailed {
		c.flags |= flagLinger
	}
	t.drop(i, c)
	if !tells {
		t.gone(c)
		return
	}
	c.state = stateClosing
	t.Loop.Recv(id) // to hear when the peer is gone
	t.Loop.Deadline(id, t.Loop.Now()+lingerNs)
}

// Abort is Close with RST.
func (t *Transport) Abort(id loop.ConnID) {
	t.greetings.drop(id)
	if i := t.entry(id); i != 0 {
		c := t.conns.At(i)
		t.drop(i, c)
		c.state = stateGone
	}
	t.Loop.Abort(id)
}

// Export is Close for a connection within TLS: its keys stay here. Closed has no
// descriptor then.
func (t *Transport) Export(id loop.ConnID) {
	if t.entry(id) != 0 {
		t.Close(id)
		return
	}
	t.Loop.Export(id)
}

// Deadline is the owner's. Secure sets one for the handshake; after Close there is
// another.
func (t *Transport) Deadline(id loop.ConnID, at int64) {
	if i := t.entry(id); i != 0 && t.conns.At(i).state >= stateClosing {
		return
	}
	t.Loop.Deadline(id, at)
}

// CanSplice says whether content may pass from one connection to another without
// being seen here.
func (t *Transport) CanSplice(from, to loop.ConnID) bool {
	return t.entry(from) == 0 && t.entry(to) == 0
}

// Splice and LowWatermark are for sockets in clear.
func (t *Transport) Splice(from, to loop.ConnID, n uint64) bool {
	return t.CanSplice(from, to) && t.Loop.Splice(from, to, n)
}

func (t *Transport) LowWatermark(id loop.ConnID, n uint64) {
	if t.entry(id) == 0 {
		t.Loop.LowWatermark(id, n)
	}
}
