package proxy

import (
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/forward"
)

// What endpoints speak is for ALPN to say where an upstream has protocol: auto. The server
// asks them beside the requests, and what it has learnt is part of the configuration
// (config.Upstream.Agreed): none of a request's connections is to find it out. An upstream
// that is reached by HTTP/2 has a spare, which reaches the same endpoints by HTTP/1. It
// takes what HTTP/2 cannot, upgrades, and everything from the moment on that an
// endpoint does not agree to HTTP/2 any more.

// speaking is the cluster that h goes to: the spare, where cluster has one, for what is no
// request of HTTP/2. (Hardly a server has RFC 8441, which WebSocket would need.)
func (rq *requests) speaking(cluster int32, h *proto.Head) int32 {
	if cl := rq.w.clusters[cluster]; cl.Spare != 0 && (h.Upgrade || h.Protocol.Len > 0 || cl.Lost.Load()) {
		return int32(cl.Spare - 1)
	}
	return cluster
}

// fallBack moves x, of which no origin has got anything, to the cluster spare: what it
// has of the request, written for HTTP/2, it writes once more. This is rare, and allocates.
func (hd *heads) fallBack(c *client, x *exchange, spare int) bool {
	if x.flags&(xUpgrade|xBodyLost) != 0 || x.head.ID == 0 {
		return false
	}
	block := hd.pool.Bytes(x.head)
	if !x.headQ.Empty() {
		block = hd.joined(&x.headQ, x.headQ.Bytes())
	}
	h, ok := http2.ReadRequestBlock(block, &hd.w.snapOf(x).HTTP2.Server)
	if !ok {
		return false
	}
	switch {
	case x.flags&xRequestChunked != 0:
		h.Body, h.Length = proto.BodyChunked, -1
	case h.ContentLength > 0 && c.endsApart() && x.flags&xRequestDone == 0:
		// That it is whole only END_STREAM says, which the last chunk stands for.
		h.Body, h.Length = proto.BodyChunked, -1
		x.flags |= xRequestChunked
	case h.ContentLength >= 0:
		h.Body, h.Length = proto.BodyLength, h.ContentLength
	default:
		h.Body, h.Length = proto.BodyNone, -1
	}
	http1.MarkHopByHop(h)
	note := hd.w.journal.noteOf(x)
	line := http2.RequestLine{Method: h.Bytes(h.MethodName), Authority: h.Bytes(h.Host), Path: h.Bytes(h.Target)}
	hd.out = forward.AppendRequest(append(hd.out[:0], note...), h, hd.w.clusters[spare].H2, &line, false, nil)
	noted := uint32(len(note))
	hd.w.release(&x.head)
	hd.pool.Drop(&x.headQ)
	hd.w.release(&x.trailer) // which may be dropped (RFC 9110 6.5.1)
	x.again.End(hd.w.clusters[x.cluster])
	hd.w.leave(x)
	x.cluster, x.tried = int16(spare), 0
	if len(hd.out) > hd.pool.BlockBytes() {
		x.flags |= xLongHead
		hd.longHead(x, hd.out, int(noted))
		return x.flags&xBroken == 0
	}
	v := hd.w.keep(x, hd.out)
	if v.ID == 0 {
		return false
	}
	x.flags &^= xLongHead
	x.head = v.Slice(noted, v.Len-noted)
	return true
}
