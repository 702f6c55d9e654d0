package proxy

import (
	"slices"

	"zproxy/proxy/snapshot"
)

// What becomes of connections whose endpoint is down, or whose address its name no longer
// has. Idle ones the pool gives up. HTTP/2 connections take no more streams, and end with their last one.
// Busy ones go on, or, with `on_down: end`, end where active checks have found the address down.

// look looks whether what is known of the addresses of a cluster has changed since the last
// time, and lets go what is not served any more. Nothing that carries an exchange ends here.
func (gs *groups) look(cluster int) {
	cl := gs.w.clusters[cluster]
	changes := cl.Shared.Changes()
	if gs.seen[cluster] == changes {
		return
	}
	gs.seen[cluster] = changes
	if !cl.H2 {
		return
	}
	for ep, e := range cl.Shared.Endpoints() {
		for _, i := range slices.Clone(gs.all[cluster][ep].sessions) {
			if se := gs.w.h2.At(i); se.IsOpen() && !e.Serves(se.Addr) {
				gs.w.h2.Leave(se, false)
			}
		}
	}
}

// endDown ends what goes on at endpoints of a cluster that active checks have found down since
// the last time.
func (og *origins) endDown(cluster int) {
	cl := og.w.clusters[cluster]
	changes := cl.Shared.Changes()
	if !cl.EndsDown || og.ends[cluster] == changes {
		return
	}
	og.ends[cluster] = changes
	for oi := uint32(1); oi <= uint32(og.Cap()); oi++ {
		if !og.Live(oi) {
			continue
		}
		o := og.At(oi)
		if int(o.cluster) != cluster || o.x == 0 || o.state != originBusy && o.state != originTunnel || !isDown(cl, o) {
			continue
		}
		x := og.w.xs.At(o.x)
		c := og.w.clients.At(x.client)
		if o.state == originTunnel {
			og.w.tunnels.endTunnel(c, x, faultDown.Reason)
			continue
		}
		og.w.responses.lost(c, x, o, &faultDown)
	}
}

// isDown says that active checks have found down what o is connected to.
func isDown(cl *snapshot.Cluster, o *origin) bool {
	return cl.Shared.Endpoints()[o.endpoint].FoundDown(o.addr)
}
