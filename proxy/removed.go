package proxy

// An exchange outlives what it began on: its route, its listener, its upstream or its endpoint. When
// the current snapshot leads its request there no more, it has until reload.grace is over.
// How long that is says the snapshot that was the first without it.

// limitRemoved gives exchanges their end that began with another snapshot, and that the current
// one leads nowhere.
func (sn *snapshots) limitRemoved() {
	w := sn.w
	for i := uint32(1); i <= uint32(w.xs.Cap()); i++ {
		if !w.xs.Live(i) {
			continue
		}
		x := w.xs.At(i)
		if x.state == xEnded || x.snap == sn.now || sn.end(i) != 0 || sn.leads(x) {
			continue
		}
		if sn.limit(i); sn.end(i) == 0 {
			return
		}
		if c := w.clients.At(x.client); x.state == xTunnel {
			w.tunnels.restartIdle(c, x)
		} else {
			w.clientDeadline(c, x)
		}
	}
}

// leads says whether a request like that of x may still come to where x is.
func (sn *snapshots) leads(x *exchange) bool {
	w := sn.w
	if x.route < 0 || x.cluster < 0 {
		return true // the response is the proxy's own
	}
	if w.snap.Listeners[w.clients.At(x.client).listener].Gone {
		return false
	}
	return w.snap.Leads(&w.snapOf(x).Routes[x.route], w.clusters[x.cluster], int(x.endpoint))
}

// limit has exchange xi end when the time of what is removed is over.
func (sn *snapshots) limit(xi uint32) {
	if ns := sn.w.snap.RemovedNs; ns >= 0 {
		sn.setEnd(xi, sn.l.Now()+ns)
	}
}

// end is when exchange xi has to end since what it began on is removed, 0: never.
func (sn *snapshots) end(xi uint32) int64 {
	if int(xi) < len(sn.endBy) {
		return sn.endBy[xi]
	}
	return 0
}

func (sn *snapshots) setEnd(xi uint32, at int64) {
	if at == 0 && int(xi) >= len(sn.endBy) {
		return
	}
	for int(xi) >= len(sn.endBy) {
		sn.endBy = append(sn.endBy, 0)
	}
	sn.endBy[xi] = at
}
