package proxy

import (
	"zproxy/proxy/forward"
	"zproxy/proxy/origins"
	"zproxy/proxy/snapshot"
)

// uniqueID is the identifier of a request, which itself is good only while it is looked at.
type uniqueID struct {
	n    uint8
	text [forward.MaxIDBytes]byte
}

// noteUniqueID keeps the identifier of exchange xi, with request q, if it is told. There is room
// for as many exchanges as there have been for upstreams that are.
func (ol *originLegs) noteUniqueID(xi uint32, q *forward.Request, tell snapshot.TLVs) {
	if tell&snapshot.TellUniqueID != 0 {
		for int(xi) >= len(ol.uniqueIDs) {
			ol.uniqueIDs = append(ol.uniqueIDs, uniqueID{})
		}
		u := &ol.uniqueIDs[xi]
		u.n = uint8(copy(u.text[:], q.ID()))
	} else if int(xi) < len(ol.uniqueIDs) {
		ol.uniqueIDs[xi].n = 0 // another request's
	}
}

// from is who a connection is dialled for, where the upstream is told.
func (ol *originLegs) from(c *client, x *exchange) (from origins.From) {
	if ol.w.clusters[x.cluster].SendProxy == 0 {
		return from
	}
	from.Conn = ol.w.legs.carrier(&c.leg)
	if int(c.x) < len(ol.uniqueIDs) {
		u := &ol.uniqueIDs[c.x]
		from.ID = u.text[:u.n]
	}
	return from
}
