package origins

import "slices"

// What becomes of connections whose endpoint is down, or whose address its name no longer
// has. Idle ones the pool gives up. HTTP/2 connections take no more streams, and end with their last one.
// Busy ones go on, or, with `on_down: end`, end where active checks have found the address down.

// look looks whether what is known of the addresses of a cluster has changed since the last
// time, and lets go what is not served any more. Nothing that carries an exchange ends here.
func (gs *groups) look(cl *cluster) {
	changes := cl.Shared.Changes()
	if cl.seen == changes {
		return
	}
	cl.seen = changes
	if !cl.H2 {
		return
	}
	for ep, e := range cl.Shared.Endpoints() {
		for _, i := range slices.Clone(cl.groups[ep].sessions) {
			if se := gs.h2.At(i); se.IsOpen() && !e.Serves(se.Addr) {
				gs.h2.Leave(se, false)
			}
		}
	}
}

// endDown tells of leases at endpoints of a cluster that active checks have found down since
// the last time.
func (ls *Leases) endDown(id int, cl *cluster) {
	changes := cl.Shared.Changes()
	if !cl.EndsDown || cl.ends == changes {
		return
	}
	cl.ends = changes
	for n := uint32(1); n <= uint32(ls.all.Cap()); n++ {
		if !ls.all.Live(n) {
			continue
		}
		if l := ls.all.At(n); int(l.cluster) == id && l.state == held && cl.Shared.Endpoints()[l.endpoint].FoundDown(l.addr) {
			ls.tell(Event{Kind: Down, Lease: n, Cluster: id, Endpoint: int(l.endpoint)})
		}
	}
}
