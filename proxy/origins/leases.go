package origins

import (
	"math"

	"zproxy/buf"
	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/upstream"
)

type state uint8

const (
	dialling  state = iota
	awaiting        // its group is to give it a stream
	idle            // in its pool
	held            // its holder has what it asked for
	exporting       // leaves for another loop
	closing         // over: a connection's Closed is still to come, a stream's entry is kept until the turn ends
)

const (
	wanted    = 1 << iota // by who asked for the dial
	uncounted             // its slot in the cap has been given back
	hasBody               // what waits for a stream has content to send
	connects              // it opens a tunnel (RFC 8441)
)

// lease is one connection to an endpoint, or one stream of one. The loop knows which lease
// a connection is, and its holder or the pool, which connection. Pointer-free.
type lease struct {
	addr     uint32 // key of the address it is connected to
	stream   uint32 // of h2conn.Streams; 0: a connection of its own
	cluster  uint16
	endpoint uint16
	uses     uint16 // how often it was handed out
	state    state
	flags    uint8
}

// use counts that l is handed out. It says whether it was before.
func (l *lease) use() (served bool) {
	if l.uses < math.MaxUint16 {
		l.uses++
	}
	return l.uses > 1
}

// cluster is what a worker has of an upstream.
type cluster struct {
	*snapshot.Cluster
	pool    *upstream.Pool
	remotes []remoteSet // by endpoint
	groups  []group     // by endpoint
	seen    uint32      // its changes up to which look has looked
	ends    uint32      // and endDown
	why     string      // why the last TLS handshake failed that did
	free    bool        // listed in Leases.free
}

// Leases are a worker's connections to endpoints, and its share of their pools.
type Leases struct {
	gear
	groups
	handoff
	all      slab.Slab[lease]
	clusters []*cluster // by number; nil: none
	draining bool
	lack     [loop.LackCount]uint64 // dials that failed for want of something, by kind
	expired  []uint64
	free     []int   // clusters whose waiters are to be served
	told     []Event // to be pulled, from toldAt on
	toldAt   int
	pulled   Event // of serveOn
	reply    Event // of answer
	serves   serves
	prefaces prefaces
}

// gear is what leases work with. It does not change.
type gear struct {
	l       *transport.Transport
	pool    *buf.Pool
	m       *metrics.Loop
	h2      *h2conn.Sessions
	streams *h2conn.Streams
	owner   uint32 // of events: and the number of the lease
	mask    uint32 // of the numbers in it
	nobody  uint32 // owner of connections that are closed as they come
	loop    int
}

// part is what a part of leases begins with: the gear, and the way to the others.
type part struct {
	gear
	ls *Leases
}

// Config is what leases are made of. Owner is that of the loop's events: the number of a
// lease is added to it, in the bits of OwnerMask.
type Config struct {
	Transport        *transport.Transport
	Pool             *buf.Pool
	Metrics          *metrics.Loop
	Sessions         *h2conn.Sessions
	Streams          *h2conn.Streams
	Owner, OwnerMask uint32
	Nobody           uint32 // owner of connections that are closed as they come
	Loop             int    // which one it is
}

// Begin prepares the leases of a worker.
func Begin(ls *Leases, c Config) {
	ls.gear = gear{c.Transport, c.Pool, c.Metrics, c.Sessions, c.Streams, c.Owner, c.OwnerMask, c.Nobody, c.Loop}
	ls.groups.part, ls.handoff.part = part{ls.gear, ls}, part{ls.gear, ls}
}

// Drain says whether connections are kept that nobody needs at the moment.
func (ls *Leases) Drain(on bool) { ls.draining = on }

// AddCluster makes room for what the worker has of a cluster.
func (ls *Leases) AddCluster(id int, cl *snapshot.Cluster) {
	n, changes := len(cl.Shared.Endpoints()), cl.Shared.Changes()
	ls.clusters = snapshot.Put(ls.clusters, id, &cluster{
		Cluster: cl, pool: cl.Shared.Pool(ls.loop),
		remotes: make([]remoteSet, n), groups: make([]group, n), seen: changes, ends: changes,
	})
}

// DropCluster forgets a cluster that has nothing under way.
func (ls *Leases) DropCluster(id int) {
	ls.expireIdle(ls.clusters[id], ls.l.Now()) // permits, which are no connections
	ls.clusters[id] = nil
}

// Has says that there is a cluster with this number.
func (ls *Leases) Has(id int) bool { return id < len(ls.clusters) && ls.clusters[id] != nil }

// Pool is the worker's share of a cluster. Connections are got and given back by leases
// alone.
func (ls *Leases) Pool(cluster int) *upstream.Pool { return ls.clusters[cluster].pool }

// IsGone says that the upstream has the endpoint no more.
func (ls *Leases) IsGone(cluster, endpoint int) bool {
	return ls.clusters[cluster].Shared.Endpoints()[endpoint].Vacant()
}

// Len is how many leases there are, idle connections among them; Cap is the greatest number
// that one may have, IsHeld whether one has it that has been Ready and was not given back.
func (ls *Leases) Len() int             { return ls.all.Len() }
func (ls *Leases) Cap() int             { return ls.all.Cap() }
func (ls *Leases) IsHeld(n uint32) bool { return ls.all.Live(n) && ls.all.At(n).state == held }

// Exporting says that connections are about to leave for other loops.
func (ls *Leases) Exporting() bool { return len(ls.exports) > 0 }

// Lack is how many dials failed for want of something, by kind.
func (ls *Leases) Lack() *[loop.LackCount]uint64 { return &ls.lack }

// InUse marks the clusters that leases are of.
func (ls *Leases) InUse(clusters []bool) {
	for i := uint32(1); i <= uint32(ls.all.Cap()); i++ {
		if ls.all.Live(i) {
			clusters[ls.all.At(i).cluster] = true
		}
	}
}

// alloc begins a lease.
func (ls *Leases) alloc(cluster, endpoint int, s state) (uint32, *lease) {
	n, l := ls.all.Alloc()
	l.cluster, l.endpoint, l.state = uint16(cluster), uint16(endpoint), s
	return n, l
}

// of is the cluster of l.
func (ls *Leases) of(l *lease) *cluster { return ls.clusters[l.cluster] }

// group is that of the endpoint of l.
func (ls *Leases) group(l *lease) *group { return &ls.of(l).groups[l.endpoint] }

// number is the lease that conn is.
func (ls *Leases) number(conn loop.ConnID) uint32 { return ls.l.Owner(conn) & ls.mask }

// Housekeep is due once a second: idle connections age out, pools refill, and what is at
// endpoints that are down ends.
func (ls *Leases) Housekeep(id int, now int64) {
	cl := ls.clusters[id]
	ls.expireIdle(cl, now)
	ls.look(cl)
	ls.endDown(id, cl)
	if !ls.draining {
		ls.prewarm(id, cl, now)
	}
}

// Close lets a lease that is a connection go; Abort does so with a reset: what was sent
// must not pass for whole. Its slot is counted back when Closed arrives.
func (ls *Leases) Close(n uint32, conn loop.ConnID) {
	if l := ls.all.At(n); l.state != closing {
		l.state = closing
		ls.l.Close(conn)
	}
}

func (ls *Leases) Abort(n uint32, conn loop.ConnID) {
	if l := ls.all.At(n); l.state != closing {
		l.state = closing
		ls.l.Abort(conn)
	}
}

// Release gives a connection back that is being dialled, as far as its holder knows. The
// dial goes on.
func (ls *Leases) Release(n uint32, conn loop.ConnID) {
	l := ls.all.At(n)
	if l.flags &^= wanted; l.state == held { // Ready was not pulled yet
		ls.Return(n, conn)
	}
}

// Return gives a connection back on which the next byte either way belongs to the next
// exchange. It is idle, or closed where the pool has no room.
func (ls *Leases) Return(n uint32, conn loop.ConnID) {
	l := ls.all.At(n)
	cl := ls.of(l)
	l.state = idle
	ls.l.Bulk(conn, loop.Heads)
	if !ls.draining && cl.SendProxy == 0 && cl.pool.PutAddr(ls.l.Now(), uint64(conn), int(l.endpoint), l.addr) {
		ls.l.Deadline(conn, 0)
		ls.Freed(int(l.cluster))
		return
	}
	ls.Close(n, conn)
}
