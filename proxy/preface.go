package proxy

import (
	"unique"

	"zproxy/loop"
	"zproxy/proto/proxyproto"
	"zproxy/proto/tls"
	"zproxy/proxy/forward"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// An upstream with send_proxy gets each connection with a header of the PROXY protocol, which
// names one client. So it carries the request that it was dialled for, and no other.

// prefaces is what such headers are made of. Their connections are dialled on the way of a
// request: nothing here is allocated for each of them.
type prefaces struct {
	facts     proxyproto.Facts
	tls       proxyproto.TLS
	uniqueIDs []uniqueID // by exchange, as many as there have been for upstreams that are told
}

// uniqueID is the identifier of a request, which itself is good only while it is looked at.
type uniqueID struct {
	n    uint8
	text [forward.MaxIDBytes]byte
}

// noteUniqueID keeps the identifier of exchange xi, with request q, if it is told.
func (og *origins) noteUniqueID(xi uint32, q *forward.Request, tell snapshot.TLVs) {
	p := &og.prefaces
	if tell&snapshot.TellUniqueID != 0 {
		for int(xi) >= len(p.uniqueIDs) {
			p.uniqueIDs = append(p.uniqueIDs, uniqueID{})
		}
		u := &p.uniqueIDs[xi]
		u.n = uint8(copy(u.text[:], q.ID()))
	} else if int(xi) < len(p.uniqueIDs) {
		p.uniqueIDs[xi].n = 0 // another request's
	}
}

// preface has o, which is being dialled for c, begin with such a header. False: there is no
// memory for it.
func (og *origins) preface(o *origin, c *client) bool {
	cl := og.w.clusters[o.cluster]
	version := cl.SendProxy
	if version == 0 {
		return true
	}
	conn := og.w.legs.carrier(&c.leg)
	source, destination := og.l.Peer(conn), transport.Local(og.l, conn)
	scratch := og.w.heads.scratch[:0]
	if version == 1 {
		scratch = proxyproto.AppendV1(scratch, source, destination)
	} else {
		scratch = proxyproto.AppendV2(scratch, source, destination, og.prefaces.of(og.l, conn, c.x, cl.TLVs))
	}
	og.w.heads.scratch = scratch
	b := og.pool.Reserve(len(scratch))
	if b == nil {
		return false
	}
	copy(b, scratch)
	og.l.Preface(o.conn, og.pool.Commit(len(scratch)))
	return true
}

// of gives what is to be said of exchange xi and its client's connection. It is lent until the next call.
func (p *prefaces) of(l *transport.Transport, conn loop.ConnID, xi uint32, tell snapshot.TLVs) *proxyproto.Facts {
	f := &p.facts
	*f = proxyproto.Facts{}
	if tell&snapshot.TellUniqueID != 0 && int(xi) < len(p.uniqueIDs) {
		u := &p.uniqueIDs[xi]
		f.UniqueID = u.text[:u.n]
	}
	s := l.Session(conn)
	if s == nil {
		return f
	}
	if tell&snapshot.TellAuthority != 0 {
		f.Authority = s.Name
	}
	if tell&snapshot.TellALPN != 0 {
		switch l.ALPN(conn) {
		case transport.ProtocolHTTP2:
			f.ALPN = "h2"
		case transport.ProtocolHTTP1:
			f.ALPN = "http/1.1"
		}
	}
	if tell&snapshot.TellSSL == 0 {
		return f
	}
	p.tls = proxyproto.TLS{Version: "TLSv1.2", Cipher: tls.SuiteName(s.Suite), Resumed: s.Resumed}
	if s.Version == tls.Version13 {
		p.tls.Version = "TLSv1.3"
	}
	if s.Client != (unique.Handle[credentials.Client]{}) {
		p.tls.Certificate, p.tls.CommonName = true, s.Client.Value().CommonName
	}
	f.TLS = &p.tls
	return f
}
