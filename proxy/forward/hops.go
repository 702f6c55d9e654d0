package forward

import (
	"bytes"

	"zproxy/proto"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
)

// Noted is what a request brings that decides on what is added to it.
type Noted struct {
	tells    bool  // a trusted client says on whose behalf it asks
	forwards int64 // Max-Forwards for the next recipient, -1: as it came
}

// Verdict is whether a request may be forwarded.
type Verdict uint8

const (
	Pass           Verdict = iota
	Loops                  // this process has forwarded it before (RFC 9110 7.6.3)
	TooManyHops            // more proxies have than a way to an origin has (as RFC 8586 counts them, too)
	BadMaxForwards         // Max-Forwards is malformed
	Last                   // Max-Forwards is 0: it is to be answered here
)

// Judge drops what q's client may not say of itself, and looks at what proxies before this
// one have noted.
func (q *Request) Judge(f *snapshot.Forwarding) (Noted, Verdict) {
	n := Noted{forwards: -1}
	noted := false
	n.tells, noted = f.Judge(q.Head, q.Peer.trusted, asksClients(q.TLS))
	if !noted {
		return n, Pass
	}
	if v := hops(f, q.Head); v != Pass {
		return n, v
	}
	if q.Head.Method == proto.TRACE || q.Head.Method == proto.OPTIONS {
		return n, n.maxForwards(q.Head)
	}
	return n, Pass
}

// JudgeTrailers drops from trailers what their client, p within s, may not say of itself.
func JudgeTrailers(f *snapshot.Forwarding, t *proto.Head, p *Peer, s *transport.Session) {
	f.Judge(t, p.trusted, asksClients(s))
}

// hops refuses a request that goes round in circles.
func hops(f *snapshot.Forwarding, h *proto.Head) Verdict {
	vias, cdns := 0, 0
	for i := range h.Fields {
		field := &h.Fields[i]
		switch field.Token {
		case proto.TokenVia:
			if bytes.Contains(h.Bytes(field.Value), []byte(snapshot.Instance)) {
				return Loops
			}
			vias += elements(h.Bytes(field.Value))
		case proto.TokenCDNLoop:
			cdns += elements(h.Bytes(field.Value))
		}
	}
	if f.MaxHops > 0 && max(vias, cdns) >= f.MaxHops {
		return TooManyHops
	}
	return Pass
}

// elements counts those of a list that are not empty.
func elements(list []byte) (n int) {
	for more := true; more; {
		var e []byte
		if e, list, more = proto.NextElement(list); len(e) > 0 {
			n++
		}
	}
	return n
}

// forwardsMax is the largest Max-Forwards that is passed on.
const forwardsMax = 1 << 30

// maxForwards obeys Max-Forwards (RFC 9110 7.6.2): at 0 the request is answered
// here, else the next recipient gets one less.
func (n *Noted) maxForwards(h *proto.Head) Verdict {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != proto.TokenMaxForwards {
			continue
		}
		hops, code := proto.ParseContentLength(h.Bytes(f.Value)) // digits alone, as there
		if n.forwards >= 0 || code != proto.FaultNone {
			return BadMaxForwards
		}
		n.forwards = min(hops, forwardsMax)
		f.Flags |= proto.FlagDrop
	}
	switch {
	case n.forwards > 0:
		n.forwards--
	case n.forwards == 0:
		return Last
	}
	return Pass
}
