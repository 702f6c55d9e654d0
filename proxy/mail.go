package proxy

import (
	"slices"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/numa"
	"zproxy/proto/http2"
	"zproxy/upstream"
)

// Kinds of mail between workers, and from the control plane.
const (
	mailSteal  uint32 = 1 + iota // From asks for an idle connection: A cluster and exchange, B endpoint
	mailGift                     // here it is: FD, A as asked, B endpoint and address key
	mailNone                     // there was none: A as asked
	mailWake                     // something came free: retry who waits for cluster A
	mailClient                   // an accepted connection handed over: FD, A listener
	mailReport                   // Ref is a ReportSink
	mailLook                     // others wait for cluster A: who holds a connection without moving?
	mailDrain                    // stop accepting, finish, end
)

// Report is one worker's account of itself: copies, owned by the receiver.
type Report struct {
	Index   int
	Now     int64 // the loop's clock, ns
	Arena   numa.ArenaReport
	Metrics metrics.Loop
	Loop    loop.Stats
	Buf     buf.Stats
	Pools   []upstream.Stats // by cluster
	HTTP2   [][]Sessions     // by cluster and endpoint; nil for HTTP/1

	Clients, Origins, Exchanges int
	Short                       Shortages
	Broken                      []BrokenSessions
	UnderWay                    CutOff // what would be cut off, were the process to end now
}

// Sessions are the HTTP/2 connections of a loop to an endpoint, and the streams
// open on them.
type Sessions struct{ Connections, Streams int }

// Shortages count how often something had run out, since the start.
type Shortages struct {
	Files, Ports, Memory uint64 // the kernel's
	Blocks               uint64 // of buffer memory
	Connections          uint64 // clients beyond the limit
}

// ReportSink receives reports, on the workers' threads: it must not block.
type ReportSink interface{ Deliver(*Report) }

// AskReport makes the worker of l deliver a Report to sink. False when its
// mailbox is full. Any thread.
func AskReport(l *loop.Loop, sink ReportSink) bool {
	return l.Post(loop.Mail{Kind: mailReport, Ref: sink})
}

// AskTroubles is AskReport for what has run out and what was broken off alone:
// nothing is copied that is large. Any thread.
func AskTroubles(l *loop.Loop, sink ReportSink) bool {
	return l.Post(loop.Mail{Kind: mailReport, Ref: sink, A: briefly})
}

const briefly = 1

// AskDrain makes the worker of l stop accepting, finish what is under way
// within the configured grace and end. Any thread.
func AskDrain(l *loop.Loop) bool { return l.Post(loop.Mail{Kind: mailDrain}) }

func (w *Worker) mail(m loop.Mail) {
	switch m.Kind {
	case mailSteal:
		w.give(m)
	case mailGift:
		w.receiveGift(m)
	case mailNone:
		w.stealFailed(m)
	case mailWake:
		w.pools[m.A].Woken()
		w.serveWaiters(int(m.A))
	case mailLook:
		w.wakeBy(w.l.Now() + 1)
	case mailClient:
		if conn := w.l.AdoptAccepted(int(m.FD), m.Peer, 0); conn != 0 {
			w.admitConn(conn, int(m.A))
		}
		w.peers[w.index].coming.Add(-1)
	case mailReport:
		w.asked++
		w.report(m.Ref.(ReportSink), m.A == briefly)
	case mailDrain:
		w.drain()
	}
}

// askNeighbour asks another loop for an idle connection. The exchange holds
// its turn until the answer comes.
func (w *Worker) askNeighbour(c *client, x *exchange, endpoint, to int) {
	if x.state != xStealing {
		w.await(c, x, xStealing)
	}
	w.asks++
	x.askedUs = uint32(w.asks)
	w.deliver(to, loop.Mail{
		Kind: mailSteal, From: int32(w.index),
		A: asked(int(x.cluster), c.x, w.asks), B: uint64(endpoint),
	})
}

// asked names who asked, for the answer: a cluster, an exchange and the number of
// the ask, since the exchange may end meanwhile and its slot pass to another.
func asked(cluster int, xi uint32, ask uint16) uint64 {
	return uint64(uint16(cluster)) | uint64(ask)<<16 | uint64(xi)<<32
}

func askedOf(a uint64) (cluster int, xi uint32, ask uint16) {
	return int(uint16(a)), uint32(a >> 32), uint16(a >> 16)
}

// give exports an idle connection to the loop that asked.
func (w *Worker) give(m loop.Mail) {
	cluster, _, _ := askedOf(m.A)
	endpoint := int(m.B)
	conn, addr, ok := w.pools[cluster].TakeIdleAddr(endpoint)
	if !ok {
		w.deliver(int(m.From), loop.Mail{Kind: mailNone, From: int32(w.index), A: m.A})
		return
	}
	w.handOff(cluster, endpoint, int(m.From), conn, addr, m.A)
}

// handOff exports an idle connection to another loop; a says for whom there, see
// asked.
func (w *Worker) handOff(cluster, endpoint, to int, conn uint64, addr uint32, a uint64) {
	if w.snap.clusters[cluster].h2 {
		// A leave to open a stream: the neighbour has connections of its own.
		w.deliver(to, loop.Mail{Kind: mailGift, From: int32(w.index), A: a, B: uint64(endpoint)})
		w.m.UpstreamGiven++
		return
	}
	_, xi, ask := askedOf(a)
	w.peers[w.index].drained.Store(false) // nobody ends before it has arrived
	o := w.origins.At(uint32(conn))
	o.state, o.exportTo, o.addr = originExporting, uint16(to), addr
	o.x, o.uses = xi, uint32(ask) // the asker's exchange, not ours, and what it needs to know it by
	w.l.Export(o.conn)
}

// exportedOrigin: the connection has left this loop. Its slot in the cap goes
// with it.
func (w *Worker) exportedOrigin(o *origin, fd int) {
	to, a := int(o.exportTo), asked(int(o.cluster), o.x, uint16(o.uses))
	if fd >= 0 {
		m := loop.Mail{
			Kind: mailGift, From: int32(w.index), FD: int32(fd), Peer: w.l.ExportedPeer(),
			A: a, B: uint64(o.endpoint) | uint64(o.addr)<<32,
		}
		w.deliver(to, m)
		w.m.UpstreamGiven++
		return
	}
	w.pools[o.cluster].Closed(int(o.endpoint))
	w.deliver(to, loop.Mail{Kind: mailNone, From: int32(w.index), A: a})
}

func (w *Worker) post(to int, m loop.Mail) bool { return w.peers[to].Loop.Post(m) }

// letter is mail that found its mailbox full.
type letter struct {
	to   int
	mail loop.Mail
}

// deliver posts what somebody waits for: if the mailbox is full, again with
// every turn until it is not. Letters to one loop arrive in their order.
func (w *Worker) deliver(to int, m loop.Mail) {
	if w.unposted[to] > 0 || !w.post(to, m) {
		w.letters = append(w.letters, letter{to, m})
		w.unposted[to]++
	}
}

func (w *Worker) deliverAgain() {
	clear(w.unposted)
	kept := w.letters[:0]
	for _, l := range w.letters {
		if w.unposted[l.to] > 0 || !w.post(l.to, l.mail) {
			kept = append(kept, l)
			w.unposted[l.to]++
		}
	}
	clear(w.letters[len(kept):])
	w.letters = kept
}

// stealing finds the exchange that asked; nil when it has ended since.
func (w *Worker) stealing(a uint64) (*client, *exchange) {
	cluster, xi, ask := askedOf(a)
	if xi == 0 { // nobody asked: it came because there are waiters here
		w.pools[cluster].Woken()
		return nil, nil
	}
	if !w.xs.Live(xi) {
		return nil, nil
	}
	x := w.xs.At(xi)
	if x.state != xStealing || x.askedUs != uint32(ask) {
		return nil, nil
	}
	return w.clients.At(x.client), x
}

// receiveGift adopts a neighbour's connection.
func (w *Worker) receiveGift(m loop.Mail) {
	cluster, _, _ := askedOf(m.A)
	endpoint := int(uint32(m.B))
	if w.snap.clusters[cluster].h2 {
		w.receiveLeave(m, cluster, endpoint)
		return
	}
	conn := w.l.Adopt(int(m.FD), m.Peer, 0)
	if conn == 0 {
		w.pools[cluster].Closed(endpoint)
		w.stealFailed(m)
		return
	}
	oi, o := w.origins.Alloc()
	o.self, o.addr = oi, uint32(m.B>>32)
	o.cluster, o.endpoint = uint16(cluster), uint16(endpoint)
	o.uses = 1
	o.conn = conn
	w.l.SetOwner(conn, ownerOf(ownerOrigin, oi))
	w.m.UpstreamStolen++
	w.l.Recv(o.conn)
	if c, x := w.stealing(m.A); x != nil {
		w.pools[cluster].Adopted(endpoint)
		x.flags |= xReused
		w.attach(c, x, oi, o)
		w.serveWaiters(cluster)
		return
	}
	o.state = originIdle
	if !w.pools[cluster].AdoptIdle(w.l.Now(), uint64(oi), endpoint, o.addr) {
		w.closeOrigin(o)
	}
	w.serveWaiters(cluster)
}

// stealFailed: the neighbour's connections had all gone when it was asked.
func (w *Worker) stealFailed(m loop.Mail) {
	if c, x := w.stealing(m.A); x != nil {
		w.pools[x.cluster].Again(c.x)
		w.dispatch(c, x)
	}
	cluster, _, _ := askedOf(m.A)
	w.serveWaiters(cluster)
}

// lessLoaded names a loop of the same node that has clearly fewer clients, or
// -1. The steering of the listeners spreads connections well when there are
// many sources; a few heavy ones need this. Clients on their way count: of
// many that come at once a neighbour gets no more than makes it even.
func (w *Worker) lessLoaded() int {
	self := w.peers[w.index]
	mine := self.Conns.Load()
	best, least := -1, mine-max(8, mine/8)
	for i, p := range w.peers {
		if i != w.index && p.Node == self.Node {
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

func (w *Worker) handOver(conn loop.ConnID, listener, to int) {
	w.peers[to].coming.Add(1)
	w.l.SetOwner(conn, ownerOf(ownerWorker, uint32(listener)<<handLoopBits|uint32(to)))
	w.l.Export(conn)
}

// exported: an accepted connection has left this loop's books.
func (w *Worker) exported(index uint32, fd int) {
	listener, to := index>>handLoopBits, int(index&handLoopMask)
	if fd < 0 { // it broke before it left
		w.peers[to].coming.Add(-1)
		return
	}
	m := loop.Mail{Kind: mailClient, From: int32(w.index), FD: int32(fd), Peer: w.l.ExportedPeer(), A: uint64(listener)}
	if w.post(to, m) {
		w.m.HandedOver++
		return
	}
	w.peers[to].coming.Add(-1)
	if conn := w.l.AdoptAccepted(fd, m.Peer, 0); conn != 0 {
		w.admitConn(conn, int(listener))
	}
}

// serveWaiters lets queued exchanges of a cluster try again, here and, where that
// is for others first, on another loop. Called after whatever may help a waiter.
func (w *Worker) serveWaiters(cluster int) {
	p := w.pools[cluster]
	w.serveHere(cluster)
	for {
		h, ok := p.Pass(w.l.Now())
		if !ok {
			break
		}
		if h.Kept {
			w.handOff(cluster, h.Endpoint, h.Loop, h.Conn, h.Addr, asked(cluster, 0, 0))
		} else {
			w.deliver(h.Loop, loop.Mail{Kind: mailWake, From: int32(w.index), A: uint64(cluster)})
		}
		w.serveHere(cluster)
	}
	if w.mutes[cluster].Len() > 0 {
		w.serveMutes(cluster)
	}
}

// serveHere serves those whose turn it is on this loop.
func (w *Worker) serveHere(cluster int) {
	p := w.pools[cluster]
	if p.Waiting() == 0 {
		return
	}
	for {
		xi, ok := p.NextWaiter(w.l.Now())
		if !ok {
			break
		}
		x := w.xs.At(xi)
		w.dispatch(w.clients.At(x.client), x)
	}
	if p.Waiting() > 0 {
		w.wakeBy(p.NextDue(w.l.Now()))
	}
}

func (w *Worker) expireIdle(cluster int, now int64) {
	w.expired = w.pools[cluster].Expire(now, w.expired[:0])
	for _, conn := range w.expired {
		if w.snap.clusters[cluster].h2 {
			w.pools[cluster].Closed(int(conn))
			continue
		}
		w.closeOrigin(w.origins.At(uint32(conn)))
	}
}

// prewarm dials what the pool wants in advance. A failure is the endpoint's
// affair: DialFailed slows the next try down.
func (w *Worker) prewarm(cluster int, now int64) {
	for {
		ep, ok := w.pools[cluster].Prewarm(now)
		if !ok {
			return
		}
		r, key := w.remote(cluster, ep)
		if r == nil {
			w.pools[cluster].DialFailed(now, ep)
			return
		}
		if w.snap.clusters[cluster].h2 {
			w.warmGroup(cluster, ep)
			continue
		}
		if _, o := w.openOrigin(r, key, cluster, ep); o == nil {
			return
		}
	}
}

// refuseDispatch answers an exchange that its pool could not take.
func (w *Worker) refuseDispatch(c *client, x *exchange, r upstream.Reason) {
	switch r {
	case upstream.QueueFull:
		w.m.QueueFull++
		w.failExchange(c, x, w.noConnection(x, &faultQueueFull))
	case upstream.NotResolved:
		w.failExchange(c, x, w.noConnection(x, &faultUnresolved))
	default:
		w.failExchange(c, x, w.noConnection(x, &faultNoEndpoint))
	}
}

func (w *Worker) report(sink ReportSink, brief bool) {
	r := &Report{
		Index: w.index, Now: w.l.Now(), Loop: w.l.Loop.Stats(), Buf: w.pool.Stats(),
		Clients: w.clients.Len(), Origins: w.origins.Len(), Exchanges: w.xs.Len(),
		UnderWay: w.underWay(),
	}
	r.Loop.MailsIn -= w.asked // those that ask for figures are none of them
	w.m.LackFiles = r.Loop.Lack[loop.LackFiles] + w.dialLack[loop.LackFiles]
	w.m.LackPorts = r.Loop.Lack[loop.LackPorts] + w.dialLack[loop.LackPorts]
	w.m.LackMemory = r.Loop.Lack[loop.LackMemory] + w.dialLack[loop.LackMemory]
	r.Short = Shortages{
		Files: w.m.LackFiles, Ports: w.m.LackPorts, Memory: w.m.LackMemory,
		Blocks: r.Buf.Exhausted, Connections: r.Loop.Refused,
	}
	r.Broken = slices.Clone(w.broken)
	if brief {
		sink.Deliver(r)
		return
	}
	w.countRoutes()
	w.m.ConnsShed = r.Loop.Refused
	w.m.TLSRefused = w.l.Handshakes().Refused
	if w.arena != nil {
		r.Arena = w.arena.Report()
	}
	w.m.CopyTo(&r.Metrics)
	for i, p := range w.pools {
		r.Pools = append(r.Pools, p.Stats())
		var of []Sessions
		if w.snap.clusters[i].h2 {
			of = make([]Sessions, len(w.snap.clusters[i].shared.Endpoints()))
		}
		r.HTTP2 = append(r.HTTP2, of)
	}
	for _, se := range w.sessions {
		if se != nil && se.role == http2.Client && se.state < sessionClosing {
			of := &r.HTTP2[se.cluster][se.endpoint]
			of.Connections++
			of.Streams += se.h2.Active()
		}
	}
	sink.Deliver(r)
}
