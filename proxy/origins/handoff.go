package origins

import (
	"slices"

	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/upstream"
)

// Kinds of mail between the leases of loops. Those of others begin behind them.
const (
	MailAsk     uint32 = 1 + iota // From asks for an idle connection: A cluster and ask, B endpoint
	MailHandoff                   // here it is: FD, A as asked, B endpoint and address key
	MailNone                      // there was none: A as asked
	MailWake                      // something came free: retry who waits for cluster A
	MailKinds
)

// handoff is what loops give each other.
type handoff struct {
	part
	asks    slab.Slab[ask]
	asked   uint16 // how many, so far
	exports []export
	out     []Letter // to be pulled, from outAt on
	outAt   int
}

// Letter is mail for another loop.
type Letter struct {
	To   int
	Mail loop.Mail
}

// Outgoing is the next mail for another loop, nil: there is none. It is good until Outgoing
// is called again. Mail to one loop is to arrive in order.
func (hf *handoff) Outgoing() *Letter {
	if hf.outAt == len(hf.out) {
		clear(hf.out)
		hf.out, hf.outAt = hf.out[:0], 0
		return nil
	}
	hf.outAt++
	return &hf.out[hf.outAt-1]
}

func (hf *handoff) send(to int, m loop.Mail) {
	m.From = int32(hf.loop)
	hf.out = append(hf.out, Letter{to, m})
}

// Mail takes mail of another loop, of a kind below MailKinds.
func (hf *handoff) Mail(m loop.Mail) {
	id, _, _ := askedOf(m.A)
	switch m.Kind {
	case MailAsk:
		hf.give(id, m)
	case MailHandoff:
		hf.receive(id, m)
	case MailNone:
		hf.none(id, m)
	case MailWake:
		if hf.ls.Has(id) {
			hf.ls.clusters[id].pool.Woken()
			hf.ls.Freed(id)
		}
	}
}

// ask is a request for another loop's connection whose answer is to come.
type ask struct {
	waiter  uint32
	cluster uint16
	number  uint16
}

// askLoop asks another loop for an idle connection. Whoever waits holds its turn until the
// answer comes.
func (hf *handoff) askLoop(id int, waiter uint32, endpoint, to int) uint32 {
	i, a := hf.asks.Alloc()
	hf.asked++
	a.waiter, a.cluster, a.number = waiter, uint16(id), hf.asked
	hf.send(to, loop.Mail{Kind: MailAsk, A: asked(id, i, a.number), B: uint64(endpoint)})
	return i
}

// Forget gives up what another loop was asked for: what it gives is for others.
func (hf *handoff) Forget(ask uint32) { hf.asks.Free(ask) }

// asked names an ask, for the answer: a cluster, an entry of asks and the number of the
// ask, since the entry may be another's by then. Numbers come again after 65536 asks: one
// that long overdue may find an ask for the same cluster, which can use the answer as well,
// and never another's.
func asked(cluster int, i uint32, number uint16) uint64 {
	return uint64(uint16(cluster)) | uint64(number)<<16 | uint64(i)<<32
}

func askedOf(a uint64) (cluster int, i uint32, number uint16) {
	return int(uint16(a)), uint32(a >> 32), uint16(a >> 16)
}

// answered ends the ask that a names and says who waits; 0: nobody does any more.
func (hf *handoff) answered(a uint64) (waiter uint32) {
	id, i, number := askedOf(a)
	if i == 0 { // nobody asked: it came because there are waiters here
		if hf.ls.Has(id) {
			hf.ls.clusters[id].pool.Woken()
		}
		return 0
	}
	if !hf.asks.Live(i) {
		return 0
	}
	k := hf.asks.At(i)
	if k.number != number || int(k.cluster) != id {
		return 0
	}
	waiter = k.waiter
	hf.asks.Free(i)
	return waiter
}

// give exports an idle connection to the loop that asked.
func (hf *handoff) give(id int, m loop.Mail) {
	endpoint, to := int(m.B), int(m.From)
	if hf.ls.Has(id) {
		if conn, addr, ok := hf.ls.clusters[id].pool.TakeIdleAddr(endpoint); ok {
			hf.export(id, endpoint, to, conn, addr, m.A)
			return
		}
	}
	hf.send(to, loop.Mail{Kind: MailNone, A: m.A})
}

// pass gives another loop what is for it first.
func (hf *handoff) pass(id int, h *upstream.Handoff) {
	if h.Kept {
		hf.export(id, h.Endpoint, h.Loop, h.Conn, h.Addr, asked(id, 0, 0))
	} else {
		hf.send(h.Loop, loop.Mail{Kind: MailWake, A: uint64(id)})
	}
}

// export is a connection that leaves, for whom: see asked.
type export struct {
	lease uint32
	to    int
	a     uint64
}

// export exports an idle connection to another loop.
func (hf *handoff) export(id, endpoint, to int, conn uint64, addr uint32, a uint64) {
	if hf.ls.clusters[id].H2 {
		// A permit to open a stream: the other loop has connections of its own.
		hf.send(to, loop.Mail{Kind: MailHandoff, FD: -1, A: a, B: uint64(endpoint)})
		hf.m.UpstreamHandedOver++
		return
	}
	n := hf.ls.number(loop.ConnID(conn))
	l := hf.ls.all.At(n)
	l.state, l.addr = exporting, addr
	hf.exports = append(hf.exports, export{n, to, a})
	hf.ls.tell(Event{Kind: Leaving})
	hf.l.Export(loop.ConnID(conn))
}

// exported: the connection has left this loop. Its slot in the cap goes with it.
func (hf *handoff) exported(n uint32, l *lease, fd int) {
	i := slices.IndexFunc(hf.exports, func(e export) bool { return e.lease == n })
	e := hf.exports[i]
	hf.exports = slices.Delete(hf.exports, i, i+1)
	if fd >= 0 {
		hf.send(e.to, loop.Mail{
			Kind: MailHandoff, FD: int32(fd), Peer: hf.l.ExportedPeer(),
			A: e.a, B: uint64(l.endpoint) | uint64(l.addr)<<32,
		})
		hf.m.UpstreamHandedOver++
		return
	}
	hf.ls.of(l).pool.Closed(int(l.endpoint))
	hf.send(e.to, loop.Mail{Kind: MailNone, A: e.a})
}

// receive adopts another loop's connection.
func (hf *handoff) receive(id int, m loop.Mail) {
	endpoint := int(uint32(m.B))
	if !hf.ls.Has(id) {
		// Who asked has ended, and with it all that there was of an upstream which the
		// configuration has no more.
		if m.FD >= 0 { // else it is a permit
			hf.l.Close(hf.l.Adopt(int(m.FD), m.Peer, hf.nobody))
		}
		return
	}
	cl := hf.ls.clusters[id]
	if cl.H2 {
		hf.receivePermit(id, endpoint, m.A)
		return
	}
	conn := hf.l.Adopt(int(m.FD), m.Peer, 0)
	if conn == 0 {
		cl.pool.Closed(endpoint)
		hf.none(id, m)
		return
	}
	n, l := hf.ls.alloc(id, endpoint, idle)
	l.addr, l.uses = uint32(m.B>>32), 1
	hf.l.SetOwner(conn, hf.owner|n)
	hf.m.UpstreamAdopted++
	hf.l.Recv(conn)
	if waiter := hf.answered(m.A); waiter != 0 {
		cl.pool.Adopted(endpoint)
		l.state = held
		hf.ls.tell(Event{Kind: Ready, Lease: n, Conn: conn, Waiter: waiter, Cluster: id, Endpoint: endpoint, Reused: true, Stale: l.use()})
	} else if !cl.pool.AdoptIdle(hf.l.Now(), uint64(conn), endpoint, l.addr) {
		hf.ls.Close(n, conn)
	}
	hf.ls.Freed(id)
}

// receivePermit takes a permit that another loop could spare.
func (hf *handoff) receivePermit(id, endpoint int, a uint64) {
	cl := hf.ls.clusters[id]
	hf.m.UpstreamAdopted++
	if waiter := hf.answered(a); waiter != 0 {
		cl.pool.Adopted(endpoint)
		ev := hf.ls.permit(id, endpoint)
		ev.Waiter = waiter
		hf.ls.tell(*ev)
	} else if !cl.pool.AdoptIdle(hf.l.Now(), uint64(endpoint), endpoint, 0) {
		cl.pool.Closed(endpoint)
	}
	hf.ls.Freed(id)
}

// none: the other loop's connections had all gone when it was asked.
func (hf *handoff) none(id int, m loop.Mail) {
	if waiter := hf.answered(m.A); waiter != 0 {
		hf.ls.clusters[id].pool.Again(waiter)
		hf.ls.tell(Event{Kind: Turn, Cluster: id, Waiter: waiter})
	}
	if hf.ls.Has(id) {
		hf.ls.Freed(id)
	}
}
