package proxy

import "zproxy/loop"

// handoff is what loops give each other: connections, and the mail about them.
type handoff struct {
	part
	asks     uint16        // of neighbours, so far
	pending  []pendingMail // mail that found a full mailbox
	unposted []int         // of those, how many for each loop
}

// ask asks another loop for an idle connection. The exchange holds
// its turn until the answer comes.
func (hf *handoff) ask(c *client, x *exchange, endpoint, to int) {
	if x.state != xAsking {
		hf.w.await(c, x, xAsking)
	}
	hf.asks++
	x.askedUs = uint32(hf.asks)
	hf.deliver(to, loop.Mail{
		Kind: mailAsk, From: int32(hf.w.index),
		A: asked(int(x.cluster), c.x, hf.asks), B: uint64(endpoint),
	})
}

// asked names who asked, for the answer: a cluster, an exchange and the number of
// the ask, since the exchange may end meanwhile and its slot pass to another. Numbers
// come again after 65536 asks: one that long overdue may find an exchange that asked
// for the same cluster, which can use the answer as well, and never another's.
func asked(cluster int, xi uint32, ask uint16) uint64 {
	return uint64(uint16(cluster)) | uint64(ask)<<16 | uint64(xi)<<32
}

func askedOf(a uint64) (cluster int, xi uint32, ask uint16) {
	return int(uint16(a)), uint32(a >> 32), uint16(a >> 16)
}

// give exports an idle connection to the loop that asked.
func (hf *handoff) give(m loop.Mail) {
	cluster, _, _ := askedOf(m.A)
	endpoint := int(m.B)
	var conn uint64
	var addr uint32
	ok := hf.w.snaps.has(cluster)
	if ok {
		conn, addr, ok = hf.w.origins.pools[cluster].TakeIdleAddr(endpoint)
	}
	if !ok {
		hf.deliver(int(m.From), loop.Mail{Kind: mailNone, From: int32(hf.w.index), A: m.A})
		return
	}
	hf.export(cluster, endpoint, int(m.From), conn, addr, m.A)
}

// export exports an idle connection to another loop; a says for whom there, see
// asked.
func (hf *handoff) export(cluster, endpoint, to int, conn uint64, addr uint32, a uint64) {
	if hf.w.clusters[cluster].H2 {
		// A permit to open a stream: the neighbour has connections of its own.
		hf.deliver(to, loop.Mail{Kind: mailHandoff, From: int32(hf.w.index), FD: -1, A: a, B: uint64(endpoint)})
		hf.m.UpstreamHandedOver++
		return
	}
	_, xi, ask := askedOf(a)
	hf.w.peers[hf.w.index].drained.Store(false) // nobody ends before it has arrived
	o := hf.w.origins.At(uint32(conn))
	o.state, o.exportTo, o.addr = originExporting, uint16(to), addr
	o.x, o.uses = xi, uint32(ask) // the asker's exchange, not ours, and what it needs to know it by
	hf.l.Export(o.conn)
}

// exportedOrigin: the connection has left this loop. Its slot in the cap goes
// with it.
func (hf *handoff) exportedOrigin(o *origin, fd int) {
	to, a := int(o.exportTo), asked(int(o.cluster), o.x, uint16(o.uses))
	if fd >= 0 {
		m := loop.Mail{
			Kind: mailHandoff, From: int32(hf.w.index), FD: int32(fd), Peer: hf.l.ExportedPeer(),
			A: a, B: uint64(o.endpoint) | uint64(o.addr)<<32,
		}
		hf.deliver(to, m)
		hf.m.UpstreamHandedOver++
		return
	}
	hf.w.origins.pools[o.cluster].Closed(int(o.endpoint))
	hf.deliver(to, loop.Mail{Kind: mailNone, From: int32(hf.w.index), A: a})
}

func (hf *handoff) post(to int, m loop.Mail) bool { return hf.w.peers[to].Loop.Post(m) }

// pendingMail is mail that found its mailbox full.
type pendingMail struct {
	to   int
	mail loop.Mail
}

// deliver posts what somebody waits for: if the mailbox is full, again with
// every turn until it is not. Mail to one loop arrives in order.
func (hf *handoff) deliver(to int, m loop.Mail) {
	if hf.unposted[to] > 0 || !hf.post(to, m) {
		hf.pending = append(hf.pending, pendingMail{to, m})
		hf.unposted[to]++
	}
}

func (hf *handoff) deliverAgain() {
	clear(hf.unposted)
	kept := hf.pending[:0]
	for _, l := range hf.pending {
		if hf.unposted[l.to] > 0 || !hf.post(l.to, l.mail) {
			kept = append(kept, l)
			hf.unposted[l.to]++
		}
	}
	clear(hf.pending[len(kept):])
	hf.pending = kept
}

// asking finds the exchange that asked; nil when it has ended since.
func (hf *handoff) asking(a uint64) (*client, *exchange) {
	cluster, xi, ask := askedOf(a)
	if xi == 0 { // nobody asked: it came because there are waiters here
		if hf.w.snaps.has(cluster) {
			hf.w.origins.pools[cluster].Woken()
		}
		return nil, nil
	}
	if !hf.w.xs.Live(xi) {
		return nil, nil
	}
	x := hf.w.xs.At(xi)
	if x.state != xAsking || x.askedUs != uint32(ask) || int(x.cluster) != cluster {
		return nil, nil
	}
	return hf.w.clients.At(x.client), x
}

// receive adopts a neighbour's connection.
func (hf *handoff) receive(m loop.Mail) {
	cluster, _, _ := askedOf(m.A)
	endpoint := int(uint32(m.B))
	if !hf.w.snaps.has(cluster) {
		// Who asked has ended, and with it all that there was of an upstream which the
		// configuration has no more.
		if m.FD >= 0 { // else it is a permit
			hf.l.Close(hf.l.Adopt(int(m.FD), m.Peer, ownerOf(ownerNobody, 0)))
		}
		return
	}
	if hf.w.clusters[cluster].H2 {
		hf.w.groups.receivePermit(m, cluster, endpoint)
		return
	}
	conn := hf.l.Adopt(int(m.FD), m.Peer, 0)
	if conn == 0 {
		hf.w.origins.pools[cluster].Closed(endpoint)
		hf.failed(m)
		return
	}
	oi, o := hf.w.origins.Alloc()
	o.self, o.addr = oi, uint32(m.B>>32)
	o.cluster, o.endpoint = uint16(cluster), uint16(endpoint)
	o.uses = 1
	o.conn = conn
	hf.l.SetOwner(conn, ownerOf(ownerOrigin, oi))
	hf.m.UpstreamAdopted++
	hf.l.Recv(o.conn)
	if c, x := hf.asking(m.A); x != nil {
		hf.w.origins.pools[cluster].Adopted(endpoint)
		x.flags |= xReused
		hf.w.attach(c, x, oi, o)
		hf.w.origins.freed(cluster)
		return
	}
	o.state = originIdle
	if !hf.w.origins.pools[cluster].AdoptIdle(hf.l.Now(), uint64(oi), endpoint, o.addr) {
		hf.w.origins.close(o)
	}
	hf.w.origins.freed(cluster)
}

// failed: the neighbour's connections had all gone when it was asked.
func (hf *handoff) failed(m loop.Mail) {
	if c, x := hf.asking(m.A); x != nil {
		hf.w.origins.pools[x.cluster].Again(c.x)
		hf.w.dispatch(c, x)
	}
	if cluster, _, _ := askedOf(m.A); hf.w.snaps.has(cluster) {
		hf.w.origins.freed(cluster)
	}
}

// lessLoaded names a loop of the same node that has clearly fewer clients, or
// -1. The steering of the listeners spreads connections well when there are
// many sources; a few heavy ones need this. Clients on their way count: of
// many that come at once a neighbour gets no more than makes it even.
func (hf *handoff) lessLoaded() int {
	self := hf.w.peers[hf.w.index]
	mine := self.Conns.Load()
	best, least := -1, mine-max(8, mine/8)
	for i, p := range hf.w.peers {
		if i != hf.w.index && p.Node == self.Node {
			if n := p.Conns.Load() + p.coming.Load(); n < least {
				best, least = i, n
			}
		}
	}
	return best
}

// A connection on its way to a neighbour carries listener and loop in its
// owner index.
const (
	handLoopBits = 12
	handLoopMask = 1<<handLoopBits - 1
)

func (hf *handoff) client(conn loop.ConnID, listener, to int) {
	hf.w.peers[to].coming.Add(1)
	hf.l.SetOwner(conn, ownerOf(ownerWorker, uint32(listener)<<handLoopBits|uint32(to)))
	hf.l.Export(conn)
}

// exported: an accepted connection has left this loop's books.
func (hf *handoff) exported(index uint32, fd int) {
	listener, to := index>>handLoopBits, int(index&handLoopMask)
	if fd < 0 { // it broke before it left
		hf.w.peers[to].coming.Add(-1)
		return
	}
	m := loop.Mail{Kind: mailClient, From: int32(hf.w.index), FD: int32(fd), Peer: hf.l.ExportedPeer(), A: uint64(listener)}
	if hf.post(to, m) {
		hf.m.HandedOver++
		return
	}
	hf.w.peers[to].coming.Add(-1)
	if conn := hf.l.AdoptAccepted(fd, m.Peer, 0); conn != 0 {
		hf.w.clients.admit(conn, int(listener))
	}
}
