package proxy

import "zproxy/loop"

// handoff is what loops give each other: clients, and mail.
type handoff struct {
	part
	pending  []pendingMail // mail that found a full mailbox
	unposted []int         // of those, how many for each loop
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
