package proxy

import (
	"bytes"

	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/snapshot"
)

// versionOf is the index in versionNames of the version that h was received by.
func versionOf(h *proto.Head) int {
	switch {
	case h.H2:
		return 2
	case h.Minor == 0:
		return 0
	}
	return 1
}

// vetted is what has been found out about a request before it is forwarded.
type vetted struct {
	tells    bool  // see judge
	forwards int64 // Max-Forwards for the next recipient, -1: as it came
}

// vet looks at what the client says of itself, and at what proxies before this
// one have noted. False: the request has been answered here.
func (hd *heads) vet(c *client, x *exchange, h *proto.Head) (vetted, bool) {
	v := vetted{forwards: -1}
	noted := false
	v.tells, noted = hd.w.snap.Forwarding.Judge(h, hd.who.peer.trusted, hd.asksClients(c))
	if !noted {
		return v, true
	}
	if f := hops(&hd.w.snap.Forwarding, h); f != nil {
		hd.w.failExchange(c, x, f)
		return v, false
	}
	if h.Method == proto.TRACE || h.Method == proto.OPTIONS {
		return v, hd.maxForwards(c, x, h, &v)
	}
	return v, true
}

// hops refuses a request that goes round in circles: one that this process has
// forwarded before (RFC 9110 7.6.3), or that more proxies have than a way to an
// origin has (as RFC 8586 counts them, too).
func hops(f *snapshot.Forwarding, h *proto.Head) *proto.Fault {
	vias, cdns := 0, 0
	for i := range h.Fields {
		field := &h.Fields[i]
		switch field.Token {
		case proto.TokenVia:
			if bytes.Contains(h.Bytes(field.Value), []byte(snapshot.Instance)) {
				return &faultLoop
			}
			vias += elements(h.Bytes(field.Value))
		case proto.TokenCDNLoop:
			cdns += elements(h.Bytes(field.Value))
		}
	}
	if f.MaxHops > 0 && max(vias, cdns) >= f.MaxHops {
		return &faultHops
	}
	return nil
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
// here, else the next recipient gets one less. False: it has been answered.
func (hd *heads) maxForwards(c *client, x *exchange, h *proto.Head, v *vetted) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != proto.TokenMaxForwards {
			continue
		}
		n, code := proto.ParseContentLength(h.Bytes(f.Value)) // digits alone, as there
		if v.forwards >= 0 || code != proto.FaultNone {
			hd.w.failExchange(c, x, &faultMaxForwards)
			return false
		}
		v.forwards = min(n, forwardsMax)
		f.Flags |= proto.FlagDrop
	}
	switch {
	case v.forwards > 0:
		v.forwards--
	case v.forwards == 0:
		hd.answerHere(c, x, h)
		return false
	}
	return true
}

// answerHere answers a request that may not be forwarded any more, as its final
// recipient: OPTIONS with what the route allows, TRACE with the request as it was
// received, but for what identifies the user (RFC 9110 9.3.7, 9.3.8).
func (hd *heads) answerHere(c *client, x *exchange, h *proto.Head) {
	if h.Method == proto.OPTIONS {
		allow := proto.Extra{}
		if methods := hd.w.snapOf(x).Routes[x.route].Methods; len(methods) > 0 {
			allow = proto.Extra{Name: "Allow", Value: methods}
		}
		hd.m.ResponsesOwn++
		x.status = emptyAnswer.Status
		hd.w.responses.giveAnswer(c, x, emptyAnswer, allow, whyMaxForwards)
		return
	}
	h.Drop(proto.TokenCookie)
	h.Drop(proto.TokenAuthorization)
	h.Drop(proto.TokenProxyAuthorization)
	hd.out = http1.AppendRequestHead(hd.out[:0], h, h.Bytes(h.Target), h.Bytes(h.Host), proto.BodyNone, -1, nil)
	// (newAnswer allocates: nobody traces in bulk, and who does slows itself down.)
	a := snapshot.NewResponse(200, "message/http", nil, string(hd.out))
	hd.m.ResponsesOwn++
	x.status = a.Status
	hd.w.responses.giveAnswer(c, x, a, proto.Extra{}, whyMaxForwards)
}

const whyMaxForwards = "answered here as Max-Forwards is 0"

var emptyAnswer = snapshot.NewResponse(200, "", nil, "")
