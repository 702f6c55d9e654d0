package origins

import (
	"zproxy/loop"
	"zproxy/upstream"
)

// Kind is what has come of a request for a connection, or of a lease.
type Kind uint8

const (
	Ready   Kind = iota + 1 // Lease is there: it may be sent to
	Coming                  // Lease will be there: Ready or Failed tells
	Permit                  // for a stream at Endpoint: Stream and Await use it, ReturnPermit gives it back
	Asked                   // another loop was asked, as Ask: Ready, Permit or Turn tells; Forget gives it up
	Queued                  // in the pool's queue: Turn tells; Displaced has lost its place for it
	Turn                    // it is Waiter's turn to ask, again
	Failed                  // there is no connection to Endpoint, for Cause. Lease is over, if there was one
	Refused                 // the pool refuses the request, for Reason
	Down                    // active checks have found down what Lease is connected to
	Served                  // those that waited for Cluster have had their turns; some may have one At, 0: none
	Leaving                 // a connection leaves for another loop
)

// Event is what a request for a connection, or a lease, has come to: the answer of who was
// asked, or what Next gives.
type Event struct {
	Kind   Kind
	Cause  Cause
	Reason upstream.Reason
	Reused bool // Ready: the connection was there before
	Stale  bool // Ready: and has served before, so that it may be dead
	Dialed bool // Ready: the connection was dialled for it, and has come about just now
	Full   bool // Coming: all the streams there may be are taken

	Lease     uint32
	Waiter    uint32 // Turn, and Ready or Permit from another loop: whose
	Stream    uint32 // Ready, Coming: which Lease is; 0: a connection
	Ask       uint32
	Displaced uint32 // a waiter and 1, 0: nobody
	Cluster   int
	Endpoint  int
	Conn      loop.ConnID // Ready, Coming: which Lease is; 0: a stream
	At        int64
}

// tell has Next give ev.
func (ls *Leases) tell(ev Event) { ls.told = append(ls.told, ev) }

// answer begins the answer of who was asked. It is good until the next is asked.
func (ls *Leases) answer(kind Kind, cluster, endpoint int) *Event {
	ev := &ls.reply
	*ev = Event{}
	ev.Kind, ev.Cluster, ev.Endpoint = kind, cluster, endpoint
	return ev
}

// Next is the next event, nil: there is none. It is good until Next is called again.
func (ls *Leases) Next() *Event {
	if len(ls.told) > 0 {
		if ls.toldAt < len(ls.told) {
			ls.toldAt++
			return &ls.told[ls.toldAt-1]
		}
		ls.told, ls.toldAt = ls.told[:0], 0
	}
	if ls.serves.cluster+ls.serves.left > 0 && ls.serveOn() {
		return &ls.pulled
	}
	return nil
}

// serves is how far those that wait have been served.
type serves struct {
	left    int // clusters of Leases.free whose turn is still to come
	cluster int // whose turn it is, and 1; 0: none
}

// Freed notes that something has come free, or may have, that requests for a cluster wait
// for. They are served when Serve is called: whatever has set it free, and may be the end
// of another request, is over then.
func (ls *Leases) Freed(cluster int) {
	if cl := ls.clusters[cluster]; !cl.free {
		cl.free = true
		ls.free = append(ls.free, cluster)
	}
}

// HasFreed says that there is something for Serve to do.
func (ls *Leases) HasFreed() bool { return len(ls.free) > 0 }

// Serve has Next give the turns of those that wait for what has come free. What comes free
// by that has its turn when Serve is called again.
func (ls *Leases) Serve() { ls.serves.left = len(ls.free) }

// serveOn finds the next that has its turn, here or, where that is for others first, on
// another loop. False: nobody has.
func (ls *Leases) serveOn() bool {
	for ls.serves.cluster != 0 || ls.nextFreed() {
		id := ls.serves.cluster - 1
		p := ls.clusters[id].pool
		if p.Waiting() > 0 {
			if waiter, ok := p.NextWaiter(ls.l.Now()); ok {
				ls.pulled = Event{Kind: Turn, Cluster: id, Waiter: waiter}
				return true
			}
		}
		if h, ok := p.Pass(ls.l.Now()); ok {
			ls.pass(id, &h)
			continue
		}
		ls.serves.cluster = 0
		ls.pulled = Event{Kind: Served, Cluster: id}
		if p.Waiting() > 0 {
			ls.pulled.At = p.NextDue(ls.l.Now())
		}
		return true
	}
	return false
}

// nextFreed takes the next cluster of those that are to be served.
func (ls *Leases) nextFreed() bool {
	for ls.serves.left > 0 {
		id := ls.free[0]
		ls.free = ls.free[:copy(ls.free, ls.free[1:])]
		ls.serves.left--
		if ls.Has(id) {
			ls.clusters[id].free = false
			ls.serves.cluster = id + 1
			return true
		}
	}
	return false
}
