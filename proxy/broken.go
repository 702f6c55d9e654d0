package proxy

import (
	"slices"

	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/upstream"
)

// The access log has the requests that end with an origin's HTTP/2 connection, but
// not what the origin did, and the metric of reasons not which origin it was. Both
// are noted here, for the process log and for a metric by endpoint.

// BrokenSessions are the HTTP/2 connections to one endpoint that were broken off
// for one reason.
type BrokenSessions struct {
	Cluster  *upstream.Cluster
	Endpoint int
	Reason   string          // the phrase
	Code     proto.FaultCode // of FaultNames
	Times    uint64
	Requests uint64                   // that were open on them
	Score    uint32                   // of the last one, when it ended
	Acts     [http2.AbuseCount]uint32 // what it had counted
	GoAway   http2.ErrCode            // with which the origin ended it, if it did
}

// brokenMax bounds what a worker notes: endpoints times the reasons that occur.
// What has no room is in the metric of reasons alone.
const brokenMax = 256

// noteBroken counts and notes that a connection to an origin ends for f, which
// is counted under code.
func (ol *originLegs) noteBroken(se *h2conn.Session, f *proto.Fault, code proto.FaultCode, goAway http2.ErrCode) {
	cluster := ol.w.clusters[se.Cluster].Shared
	i := slices.IndexFunc(ol.broken, func(b BrokenSessions) bool {
		return b.Cluster == cluster && b.Endpoint == int(se.Endpoint) && b.Code == code && b.Reason == f.Reason && b.GoAway == goAway
	})
	if i < 0 {
		if len(ol.broken) == brokenMax {
			return
		}
		i = len(ol.broken)
		ol.broken = append(ol.broken, BrokenSessions{
			Cluster: cluster, Endpoint: int(se.Endpoint), Reason: f.Reason, Code: code, GoAway: goAway,
		})
	}
	b := &ol.broken[i]
	b.Times++
	b.Requests += uint64(se.H2.Active())
	b.Score, b.Acts = se.H2.Score(), se.H2.Abuse
}

// breakSession ends a session to an origin whose connection is of no more use, for
// what the origin did.
func (ol *originLegs) breakSession(se *h2conn.Session, f *proto.Fault) {
	ol.w.countFault(f)
	ol.noteBroken(se, f, f.Code, http2.ErrNo)
	ol.w.h2.BreakOff(se, f.Reason)
}
