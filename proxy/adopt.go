package proxy

import (
	"slices"
	"time"

	"zproxy/internal/assert"
	"zproxy/loop"
	"zproxy/proto/http2"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// snapshots are those that a worker has: the current one, and older ones that something
// began with which has not ended.
type snapshots struct {
	part
	all []*snapshot.Snapshot // by index; nil: free
	now uint16               // index of the current one
	// Until then clients may come by a listener that is gone: their loops have still to stop
	// accepting, they are on their way from another loop, or in a handshake.
	arriveBy int64
	endBy    []int64 // by exchange, see removed.go
}

// AskAdopt has the worker of l serve by s what begins from now on. False when its mailbox is
// full. Any thread.
func AskAdopt(l *loop.Loop, s *snapshot.Snapshot) bool {
	return l.Post(loop.Mail{Kind: mailAdopt, Ref: s})
}

// AskListen has the worker of l accept on fd, for a listener by its number in a snapshot that it
// was asked to adopt before; AskUnlisten has it accept no more on one, and close what it accepted
// on. Both are false when its mailbox is full. Any thread.
func AskListen(l *loop.Loop, fd, listener int) bool {
	return l.Post(loop.Mail{Kind: mailListen, FD: int32(fd), A: uint64(listener)})
}

func AskUnlisten(l *loop.Loop, listener int) bool {
	return l.Post(loop.Mail{Kind: mailUnlisten, A: uint64(listener)})
}

// snapOf is the snapshot that x began with.
func (w *Worker) snapOf(x *exchange) *snapshot.Snapshot { return w.snaps.all[x.snap] }

// begins gives exchange xi of a listener its snapshot: the current one, but where the listener
// is gone that one in which it was there last.
func (sn *snapshots) begins(xi uint32, x *exchange, listener uint16) {
	x.snap = sn.now
	if l := sn.w.snap.Listeners[listener]; l.Of != sn.w.snap {
		i := slices.Index(sn.all, l.Of)
		if assert.Enabled && i < 0 {
			panic("proxy: a client is there, and the snapshot with its listener is not")
		}
		x.snap = uint16(i)
		sn.limit(xi)
	}
}

// adopt makes s the current one. No connection is moved or closed for it, but for those that
// have nothing under way with what is gone.
func (sn *snapshots) adopt(s *snapshot.Snapshot) {
	w := sn.w
	before := w.snap
	sn.now = sn.keep(s)
	w.snap = s
	for id, cl := range s.Clusters {
		if cl != nil && (id >= len(w.clusters) || w.clusters[id] == nil) {
			sn.addCluster(id, cl)
		}
		if assert.Enabled && cl != nil && w.clusters[id] != cl {
			panic("proxy: a number stands for two upstreams")
		}
	}
	for id, cl := range w.clusters {
		if cl != nil && !(snapshot.HasCluster(s, id) && s.Clusters[id] == cl) {
			cl.Shared.Retire()
			w.leases.Retire(id)
		}
	}
	w.heads.prepare(s)
	w.requests.prepare(s)
	w.told.configure(s)
	w.journal.Adopt(s, before)
	w.clients.leaveGone()
	sn.limitRemoved()
	sn.awaitArrivals(before)
	sn.sweep()
}

// arrivalNs is how long a client may be on its way from the kernel to the loop that serves it.
const arrivalNs = int64(2 * time.Second)

// awaitArrivals keeps for a while what the last clients need of listeners that before had and
// that are gone: those on their way, and those that are between requests. Without it a router would lead them to the routes of another snapshot.
func (sn *snapshots) awaitArrivals(before *snapshot.Snapshot) {
	for i, l := range sn.w.snap.Listeners {
		if l == nil || !l.Gone || !snapshot.HasListener(before, i) || before.Listeners[i].Gone {
			continue
		}
		wait := arrivalNs
		if l.Server != nil {
			wait += l.Server.TimeoutNs
		}
		wait = max(wait, sn.w.snap.EndIdleNs+arrivalNs/4)
		sn.arriveBy = max(sn.arriveBy, sn.l.Now()+wait)
	}
}

// serves says whether a client that comes by a listener now can be served: the listener is
// there, or the snapshot is in which it was last.
func (sn *snapshots) serves(listener int) bool {
	return snapshot.HasListener(sn.w.snap, listener) && slices.Contains(sn.all, sn.w.snap.Listeners[listener].Of)
}

// keep finds an index for s.
func (sn *snapshots) keep(s *snapshot.Snapshot) uint16 {
	for i, other := range sn.all {
		if other == nil {
			sn.all[i] = s
			return uint16(i)
		}
	}
	sn.all = append(sn.all, s)
	return uint16(len(sn.all) - 1)
}

// sweep lets snapshots go in which nothing is under way any more, and clusters that the
// current one does not have. It walks all there is, and only while there is something to
// let go.
func (sn *snapshots) sweep() {
	old := 0
	for i, s := range sn.all {
		if s != nil && i != int(sn.now) {
			old++
		}
	}
	if old == 0 {
		sn.endBy = nil
		return
	}
	w := sn.w
	snaps, clusters := make([]bool, len(sn.all)), make([]bool, len(w.clusters))
	snaps[sn.now] = true
	sn.inUse(snaps, clusters)
	for id, cl := range w.clusters {
		if cl != nil && !clusters[id] && !(snapshot.HasCluster(w.snap, id) && w.snap.Clusters[id] == cl) {
			sn.dropCluster(id)
		}
	}
	for i, s := range sn.all {
		if s == nil || snaps[i] || sn.needs(s) {
			continue
		}
		sn.all[i] = nil
		s.LetGo()
	}
}

// needs says that a cluster of s is still there, and is not in the current snapshot.
func (sn *snapshots) needs(s *snapshot.Snapshot) bool {
	w := sn.w
	for id, cl := range s.Clusters {
		if cl != nil && w.clusters[id] == cl && !(snapshot.HasCluster(w.snap, id) && w.snap.Clusters[id] == cl) {
			return true
		}
	}
	return false
}

// inUse marks what something that has not ended began with.
func (sn *snapshots) inUse(snaps, clusters []bool) {
	w := sn.w
	begins := make([]bool, len(sn.all)) // requests may begin with it
	for i := uint32(1); i <= uint32(w.xs.Cap()); i++ {
		if w.xs.Live(i) {
			x := w.xs.At(i)
			snaps[x.snap] = true
			begins[x.snap] = begins[x.snap] || x.state == xFiltering
			if x.cluster >= 0 {
				clusters[x.cluster] = true
			}
		}
	}
	byListener := func(listener uint16) {
		for i, s := range sn.all {
			begins[i] = begins[i] || s != nil && s == w.snap.Listeners[listener].Of
		}
	}
	if w.l.Now() < sn.arriveBy {
		for i := range w.snap.Listeners {
			if snapshot.HasListener(w.snap, i) {
				byListener(uint16(i))
			}
		}
	}
	for i := uint32(1); i <= uint32(w.clients.Cap()); i++ {
		if w.clients.Live(i) {
			byListener(w.clients.At(i).listener)
		}
	}
	w.leases.InUse(clusters)
	for se := range w.h2.Each() {
		if se.Role == http2.Server {
			byListener(se.Listener)
		} else {
			clusters[se.Cluster] = true
		}
	}
	for i, s := range sn.all {
		if !begins[i] || i == int(sn.now) {
			continue
		}
		snaps[i] = true
		for id, cl := range s.Clusters { // its routes lead to them
			if cl != nil && w.clusters[id] == cl {
				clusters[id] = true
			}
		}
	}
	if len(w.handoff.pending) > 0 { // they may be about any
		for i := range clusters {
			clusters[i] = true
		}
	}
}

// addCluster makes room for what the worker has of a cluster.
func (sn *snapshots) addCluster(id int, cl *snapshot.Cluster) {
	w := sn.w
	w.clusters = snapshot.Put(w.clusters, id, cl)
	w.leases.AddCluster(id, cl)
	w.scarce.mutes = snapshot.Put(w.scarce.mutes, id, upstream.Turns{})
	w.origins.refusals = snapshot.Put(w.origins.refusals, id, &faultOriginHandshake)
	w.memory.SetUpstreams(id + 2)
}

// dropCluster forgets a cluster that has nothing under way.
func (sn *snapshots) dropCluster(id int) {
	w := sn.w
	cl := w.clusters[id].Shared
	w.leases.DropCluster(id)
	w.clusters[id] = nil
	w.scarce.mutes[id] = upstream.Turns{}
	w.origins.broken = slices.DeleteFunc(w.origins.broken, func(b BrokenSessions) bool { return b.Cluster == cl })
}

// has says whether mail about a cluster still concerns somebody here.
func (sn *snapshots) has(cluster int) bool {
	return cluster < len(sn.w.clusters) && sn.w.clusters[cluster] != nil
}
