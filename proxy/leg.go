package proxy

import (
	"net/netip"

	"zproxy/buf"
	"zproxy/internal/plant"
	"zproxy/loop"
)

// Each side of an exchange is a connection of its own or a stream of an HTTP/2
// connection. What is done with either is the same up to here; these functions
// are where the two part.

// clientQueued is how many bytes of its answer wait for the client.
func (w *Worker) clientQueued(c *client) int {
	if c.stream != 0 {
		return w.streams.At(c.stream).out.Bytes()
	}
	return w.l.Queued(c.conn)
}

// originQueued is how many bytes of its request wait for the origin.
func (w *Worker) originQueued(o *origin) int {
	if o.stream != 0 {
		return w.streams.At(o.stream).out.Bytes()
	}
	return w.l.Queued(o.conn)
}

// clientLeft tells whether everything has left for the client, and with it the
// end of its direction if there was one; originLeft tells it of an origin.
func (w *Worker) clientLeft(c *client) bool {
	return w.clientQueued(c) == 0 && (c.stream == 0 || w.streams.At(c.stream).left())
}

func (w *Worker) originLeft(o *origin) bool {
	return w.originQueued(o) == 0 && (o.stream == 0 || w.streams.At(o.stream).left())
}

// clientDue sets the deadline of a client, originDue that of an origin; 0: none.
func (w *Worker) clientDue(c *client, at int64) {
	if c.stream != 0 {
		w.streamDue(c.stream, at)
		return
	}
	w.l.Deadline(c.conn, at)
}

func (w *Worker) originDue(o *origin, at int64) {
	if o.stream != 0 {
		w.streamDue(o.stream, at)
		return
	}
	w.l.Deadline(o.conn, at)
}

// clientBulk says that what a client sends from now on is data, not a head, and
// has to do without the last of the memory; originBulk says it of an origin. A
// stream has no connection of its own: see keeps.
func (w *Worker) clientBulk(c *client, on bool) { w.bulk(c.conn, loop.Requests, on) }
func (w *Worker) originBulk(o *origin, on bool) { w.bulk(o.conn, loop.Responses, on) }

func (w *Worker) bulk(conn loop.ConnID, class loop.Class, on bool) {
	if !on {
		class = loop.Heads
	}
	w.l.Bulk(conn, class)
}

// clientConn is the connection that a client sends on, 0: its stream is over.
func (w *Worker) clientConn(c *client) loop.ConnID {
	if c.stream == 0 {
		return c.conn
	}
	if st := w.streams.At(c.stream); st.id != 0 {
		return w.sessionOf(st).conn
	}
	return 0
}

// clientStarves says that there is no block for what a client has sent, or for what
// is before it on its connection; originStarves says it of an origin. They ask the
// kernel.
func (w *Worker) clientStarves(c *client) bool { return w.l.Starved(w.clientConn(c)) }

func (w *Worker) originStarves(o *origin) bool {
	conn := o.conn
	if o.stream != 0 {
		st := w.streams.At(o.stream)
		if st.id == 0 {
			return false
		}
		conn = w.sessionOf(st).conn
	}
	return w.l.Starved(conn)
}

// clientPeer is the client's address; not valid for unix sockets. A stream whose
// ends have both passed may be a tunnel that still has something for its origin,
// and has no part in a session any more.
func (w *Worker) clientPeer(c *client) netip.AddrPort {
	if c.stream != 0 {
		st := w.streams.At(c.stream)
		if st.id == 0 && c.x != 0 && w.xs.At(c.x).state == xTunnel {
			k := w.sockets.At(w.xs.At(c.x).socket)
			return netip.AddrPortFrom(netip.AddrFrom16(k.peer).Unmap(), k.port)
		}
		return w.l.Peer(w.sessionOf(st).conn)
	}
	return w.l.Peer(c.conn)
}

// clientPush sends v to a client as it is, originPush to an origin. They take
// its reference.
func (w *Worker) clientPush(c *client, v buf.View) {
	if c.stream != 0 {
		w.streamPush(w.streams.At(c.stream), v)
		return
	}
	w.l.Send(c.conn, v)
}

func (w *Worker) originPush(o *origin, v buf.View) {
	if o.stream != 0 {
		w.streamPush(w.streams.At(o.stream), v)
		return
	}
	w.l.Send(o.conn, v)
}

// clientFinish ends the sending direction to a client behind all that waits,
// originFinish that to an origin; the other direction goes on.
func (w *Worker) clientFinish(c *client) {
	if c.stream != 0 {
		w.streamFinish(w.streams.At(c.stream), buf.View{})
		return
	}
	w.l.Shutdown(c.conn)
}

func (w *Worker) originFinish(o *origin) {
	if o.stream != 0 {
		w.streamFinish(w.streams.At(o.stream), buf.View{})
		return
	}
	w.l.Shutdown(o.conn)
}

// pauseClient asks for no more bytes of a client for now, resumeClient for
// more; likewise with origins.
func (w *Worker) pauseClient(c *client) {
	if c.flags&clientPaused == 0 {
		c.flags |= clientPaused
		if c.stream != 0 {
			w.streamPause(w.streams.At(c.stream))
			return
		}
		w.paused++
		w.l.Pause(c.conn)
	}
}

func (w *Worker) resumeClient(c *client) {
	if c.flags&clientPaused != 0 {
		c.flags &^= clientPaused
		if plant.Is(plant.Pause) && c.requests%4 == 3 {
			w.paused--
			return
		}
		if c.stream != 0 {
			w.streamResume(w.streams.At(c.stream))
			return
		}
		w.paused--
		w.l.Recv(c.conn)
	}
}

func (w *Worker) pauseOrigin(o *origin) {
	if o.flags&originPaused == 0 {
		o.flags |= originPaused
		if o.stream != 0 {
			w.streamPause(w.streams.At(o.stream))
			return
		}
		w.l.Pause(o.conn)
	}
}

func (w *Worker) resumeOrigin(o *origin) {
	if o.flags&originPaused != 0 {
		o.flags &^= originPaused
		if o.stream != 0 {
			w.streamResume(w.streams.At(o.stream))
			return
		}
		w.l.Recv(o.conn)
	}
}
