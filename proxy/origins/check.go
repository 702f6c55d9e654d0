package origins

import (
	"strconv"

	"zproxy/internal/assert"
	"zproxy/proto/http2"
)

// Check holds what must be true of leases between any two turns. It looks at all of them,
// with assertions alone.
func (ls *Leases) Check() {
	if assert.Enabled {
		if what := ls.Broken(); what != "" {
			panic("leases: " + what)
		}
	}
}

// Broken says what is not as it must be between any two turns; "": nothing.
func (ls *Leases) Broken() string {
	if n := len(ls.ended); n != 0 {
		return wrong("entries of streams that ended are still there", n)
	}
	if n := len(ls.told) + len(ls.out); n != 0 {
		return wrong("events and letters were not pulled", n)
	}
	waiting := 0
	for id, cl := range ls.clusters {
		if cl == nil {
			continue
		}
		for endpoint := range cl.groups {
			waiting += cl.groups[endpoint].pending.Len()
			if what := ls.brokenGroup(id, endpoint); what != "" {
				return what
			}
		}
	}
	if n, exports := ls.count(awaiting), ls.count(exporting); n != waiting || exports != len(ls.exports) {
		return wrong("leases that wait for streams, that leave, and how many of either are known", n, exports, waiting, len(ls.exports))
	}
	return ""
}

// brokenGroup: whoever waits for a stream waits in the group of its endpoint, and a group's
// sessions are those that take streams.
func (ls *Leases) brokenGroup(id, endpoint int) string {
	g, waiting, ending := &ls.clusters[id].groups[endpoint], 0, false
	for n, left := uint32(1), ls.all.Len(); left > 0; n++ {
		if !ls.all.Live(n) {
			continue
		}
		left--
		l := ls.all.At(n)
		waits := l.state == awaiting && int(l.cluster) == id && int(l.endpoint) == endpoint
		if waits != g.pending.Has(n) {
			return wrong("lease, in state, does or does not wait for a stream at endpoint", int(n), int(l.state), endpoint)
		}
		if waits {
			waiting++
		}
	}
	if waiting != g.pending.Len() {
		return wrong("leases that wait for a stream, at endpoint, of them are there", g.pending.Len(), endpoint, waiting)
	}
	for se := range ls.h2.Each() { // the end of such a session makes the group look again
		ending = ending || se.Role == http2.Client && se.IsOver() && int(se.Cluster) == id && int(se.Endpoint) == endpoint
	}
	if g.pending.Len()+g.orphans > 0 && len(g.sessions) == 0 && !ending {
		return wrong("leases wait for a connection and none is opened, to endpoint", g.pending.Len()+g.orphans, endpoint)
	}
	for _, i := range g.sessions {
		se := ls.h2.At(i)
		if se == nil || se.Role != http2.Client || int(se.Endpoint) != endpoint || !se.Opens() && !se.IsOpen() {
			return wrong("session that should not gets streams, for endpoint", int(i), endpoint)
		}
	}
	return ""
}

// Count is what there is of leases: all, those in a pool, those of connections that were counted
// out before they have closed, those that wait for a stream, and the permits that nobody
// needs any more.
type Count struct{ All, Idle, Uncounted, Awaiting, Orphans int }

// CountOf is that of one cluster.
func (ls *Leases) CountOf(cluster int) (c Count) {
	for n := uint32(1); n <= uint32(ls.all.Cap()); n++ {
		if !ls.all.Live(n) || int(ls.all.At(n).cluster) != cluster {
			continue
		}
		c.All++
		switch l := ls.all.At(n); {
		case l.state == idle:
			c.Idle++
		case l.state == awaiting:
			c.Awaiting++
		case l.state == closing && l.flags&uncounted != 0:
			c.Uncounted++
		}
	}
	for i := range ls.clusters[cluster].groups {
		c.Orphans += ls.clusters[cluster].groups[i].orphans
	}
	return c
}

// count is how many leases are in a state.
func (ls *Leases) count(s state) (n int) {
	for i := uint32(1); i <= uint32(ls.all.Cap()); i++ {
		if ls.all.Live(i) && ls.all.At(i).state == s {
			n++
		}
	}
	return n
}

func wrong(what string, numbers ...int) string {
	for _, n := range numbers {
		what += " " + strconv.Itoa(n)
	}
	return what
}
