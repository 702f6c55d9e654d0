package origins

import (
	"unique"

	"zproxy/loop"
	"zproxy/proto/proxyproto"
	"zproxy/proto/tls"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// An upstream with send_proxy gets each connection with a header of the PROXY protocol, which
// names one client. So it carries the request that it was dialled for, and no other.

// From is who a connection is dialled for, where the upstream is told: the client's connection,
// and the identifier of the request. It is lent.
type From struct {
	Conn loop.ConnID
	ID   []byte
}

// prefaces is what such headers are made of. Their connections are dialled on the way of a
// request: nothing here is allocated for each of them.
type prefaces struct {
	facts   proxyproto.Facts
	tls     proxyproto.TLS
	scratch []byte
}

// preface has conn, which is being dialled, begin with such a header. False: there is no
// memory for it.
func (ls *Leases) preface(cl *cluster, conn loop.ConnID, from *From) bool {
	if cl.SendProxy == 0 {
		return true
	}
	source, destination := ls.l.Peer(from.Conn), transport.Local(ls.l, from.Conn)
	b := ls.prefaces.scratch[:0]
	if cl.SendProxy == 1 {
		b = proxyproto.AppendV1(b, source, destination)
	} else {
		b = proxyproto.AppendV2(b, source, destination, ls.prefaces.of(ls.l, from, cl.TLVs))
	}
	ls.prefaces.scratch = b
	dst := ls.pool.Reserve(len(b))
	if dst == nil {
		return false
	}
	copy(dst, b)
	ls.l.Preface(conn, ls.pool.Commit(len(b)))
	return true
}

// of gives what is to be said of a request and its client's connection. It is lent until the next call.
func (p *prefaces) of(l *transport.Transport, from *From, tell snapshot.TLVs) *proxyproto.Facts {
	f := &p.facts
	*f = proxyproto.Facts{}
	if tell&snapshot.TellUniqueID != 0 {
		f.UniqueID = from.ID
	}
	s := l.Session(from.Conn)
	if s == nil {
		return f
	}
	if tell&snapshot.TellAuthority != 0 {
		f.Authority = s.Name
	}
	if tell&snapshot.TellALPN != 0 {
		switch l.ALPN(from.Conn) {
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
