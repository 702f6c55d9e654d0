package proxy

import (
	"unique"

	"zproxy/loop"
	"zproxy/proto/proxyproto"
	"zproxy/proto/tls"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// An upstream with send_proxy gets each connection with a header of the PROXY protocol, which
// names one client. So it carries the request that it was dialled for, and no other.

// preface has o, which is being dialled for c, begin with such a header. False: there is no
// memory for it.
func (og *origins) preface(o *origin, c *client) bool {
	version := og.w.clusters[o.cluster].SendProxy
	if version == 0 {
		return true
	}
	conn := og.w.legs.carrier(&c.leg)
	source, destination := og.l.Peer(conn), loop.Local(og.l.Loop, conn)
	scratch := og.w.heads.scratch[:0]
	if version == 1 {
		scratch = proxyproto.AppendV1(scratch, source, destination)
	} else {
		scratch = proxyproto.AppendV2(scratch, source, destination, og.facts(conn))
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

// facts are those of a client's connection.
func (og *origins) facts(conn loop.ConnID) *proxyproto.Facts {
	f := new(proxyproto.Facts)
	s := og.l.Session(conn)
	if s == nil {
		return f
	}
	switch f.Authority = s.Name; og.l.ALPN(conn) {
	case transport.ProtocolHTTP2:
		f.ALPN = "h2"
	case transport.ProtocolHTTP1:
		f.ALPN = "http/1.1"
	}
	f.TLS = &proxyproto.TLS{Version: "TLSv" + tls.VersionName(s.Version), Cipher: tls.SuiteName(s.Suite)}
	if s.Client != (unique.Handle[credentials.Client]{}) {
		f.TLS.Certificate, f.TLS.CommonName = true, s.Client.Value().CommonName
	}
	return f
}
