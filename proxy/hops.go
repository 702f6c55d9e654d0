package proxy

import (
	"bytes"
	"crypto/rand"

	"zproxy/proto"
	"zproxy/proto/http1"
)

// instance is this process's name in Via, as a comment behind the pseudonym, which
// all instances of a tier share: a request that carries it has been here before.
var instance = newInstance()

func newInstance() string {
	var random [8]byte
	rand.Read(random[:])
	b := []byte("(")
	for _, c := range random {
		b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
	}
	return string(append(b, ')'))
}

// versionNames are protocol versions as Via has them (RFC 9110 7.6.3).
var versionNames = [...]string{"1.0", "1.1", "2.0"}

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

// compileVia prepares the values of Via by the version of what is forwarded. A
// response is not routed, so it has no use for the instance.
func (f *forwarding) compileVia(name string) {
	if name == "" {
		return
	}
	for i, version := range versionNames {
		f.responseVia[i] = version + " " + name
		f.requestVia[i] = version + " " + name + " " + instance
	}
}

// vetted is what has been found out about a request before it is forwarded.
type vetted struct {
	tells    bool  // see judge
	forwards int64 // Max-Forwards for the next recipient, -1: as it came
}

// vet looks at what the client says of itself, and at what proxies before this
// one have noted. False: the request has been answered here.
func (w *Worker) vet(c *client, x *exchange, h *proto.Head) (vetted, bool) {
	v := vetted{forwards: -1}
	noted := false
	v.tells, noted = w.snap.forwarding.judge(h, w.who.peer.trusted, w.asksClients(c))
	if !noted {
		return v, true
	}
	if f := w.snap.forwarding.hops(h); f != nil {
		w.failExchange(c, x, f)
		return v, false
	}
	if h.Method == proto.TRACE || h.Method == proto.OPTIONS {
		return v, w.maxForwards(c, x, h, &v)
	}
	return v, true
}

// hops refuses a request that goes round in circles: one that this process has
// forwarded before (RFC 9110 7.6.3), or that more proxies have than a way to an
// origin has (as RFC 8586 counts them, too).
func (f *forwarding) hops(h *proto.Head) *proto.Fault {
	vias, cdns := 0, 0
	for i := range h.Fields {
		field := &h.Fields[i]
		switch field.Token {
		case proto.TokenVia:
			if bytes.Contains(h.Bytes(field.Value), []byte(instance)) {
				return &faultLoop
			}
			vias += elements(h.Bytes(field.Value))
		case proto.TokenCDNLoop:
			cdns += elements(h.Bytes(field.Value))
		}
	}
	if f.maxHops > 0 && max(vias, cdns) >= f.maxHops {
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
func (w *Worker) maxForwards(c *client, x *exchange, h *proto.Head, v *vetted) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != proto.TokenMaxForwards {
			continue
		}
		n, code := proto.ParseContentLength(h.Bytes(f.Value)) // digits alone, as there
		if v.forwards >= 0 || code != proto.FaultNone {
			w.failExchange(c, x, &faultMaxForwards)
			return false
		}
		v.forwards = min(n, forwardsMax)
		f.Flags |= proto.FlagDrop
	}
	switch {
	case v.forwards > 0:
		v.forwards--
	case v.forwards == 0:
		w.answerHere(c, x, h)
		return false
	}
	return true
}

// answerHere answers a request that may not be forwarded any more, as its final
// recipient: OPTIONS with what the route allows, TRACE with the request as it was
// received, but for what identifies the user (RFC 9110 9.3.7, 9.3.8).
func (w *Worker) answerHere(c *client, x *exchange, h *proto.Head) {
	if h.Method == proto.OPTIONS {
		allow := proto.Extra{}
		if methods := w.snap.routes[x.route].methods; len(methods) > 0 {
			allow = proto.Extra{Name: "Allow", Value: methods}
		}
		w.m.ResponsesOwn++
		x.status = emptyAnswer.status
		w.giveAnswer(c, x, emptyAnswer, allow, whyMaxForwards)
		return
	}
	h.Drop(proto.TokenCookie)
	h.Drop(proto.TokenAuthorization)
	h.Drop(proto.TokenProxyAuthorization)
	w.out = http1.AppendRequestHead(w.out[:0], h, h.Bytes(h.Target), h.Bytes(h.Host), proto.BodyNone, -1, nil)
	// (newAnswer allocates: nobody traces in bulk, and who does slows itself down.)
	a := newAnswer(200, "message/http", nil, string(w.out))
	w.m.ResponsesOwn++
	x.status = a.status
	w.giveAnswer(c, x, a, proto.Extra{}, whyMaxForwards)
}

const whyMaxForwards = "answered here as Max-Forwards is 0"

var emptyAnswer = newAnswer(200, "", nil, "")
