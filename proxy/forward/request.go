package forward

import (
	"net/netip"
	"strconv"
	"unique"

	"zproxy/filter"
	"zproxy/proto"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// Request is a request that has come and is being looked at: its head, and what is known
// about who sent it.
type Request struct {
	Head   *proto.Head
	Peer   *Peer              // the connection's other end
	Client netip.Addr         // the peer, or whom a trusted peer names; not valid where nobody is named
	TLS    *transport.Session // of the connection, nil: it is in clear

	id    []byte // see ID
	named bool   // id is that of this request
	ids   sequence
}

// NewRequest has room for requests.
func NewRequest() Request { return Request{ids: newSequence(), id: make([]byte, 0, MaxIDBytes)} }

// Begin is for the next request, from p.
func (q *Request) Begin(f *snapshot.Forwarding, h *proto.Head, p *Peer, within *transport.Session) {
	q.Head, q.Peer, q.TLS, q.named = h, p, within, false
	q.Client = p.addr
	if p.trusted {
		q.Client = f.OnBehalfOf(h, p.addr)
	}
}

// Way is what is known of the way of a request to its origin.
type Way struct {
	Noted   Noted
	H2      bool            // its origin speaks HTTP/2
	Upgrade bool            // it asks for a tunnel, as Upgrades says
	Key     []byte          // Sec-WebSocket-Key for a client of HTTP/2, which has none
	Change  *filter.Changes // that filters make, nil: none
}

// Request lists the fields that the proxy adds to q's head, whose fields of this hop have
// been dropped.
func (fs *Fields) Request(f *snapshot.Forwarding, q *Request, way *Way) []proto.Extra {
	fs.reset()
	h := q.Head
	if f.XForwarded {
		fs.xForwarded(h, q.Peer, way.Noted.tells)
	}
	if f.RequestID {
		fs.lend(proto.TokenXRequestID, q.ID())
	}
	if f.XRealIP && q.Client.IsValid() {
		from := len(fs.text)
		fs.text = q.Client.AppendTo(fs.text)
		fs.close(proto.TokenXRealIP, from)
	}
	if f.Forwarded {
		fs.forwarded(h, q.Peer)
	}
	fs.certificate(q.TLS)
	if via := f.RequestVia[versionOf(h)]; via != "" {
		fs.add(proto.TokenVia, via)
	}
	if n := way.Noted.forwards; n >= 0 {
		from := len(fs.text)
		fs.text = strconv.AppendInt(fs.text, n, 10)
		fs.close(proto.TokenMaxForwards, from)
	}
	if way.Upgrade {
		fs.requestUpgrade(h, way)
	} else if h.HasTETrailers {
		fs.add(proto.TokenTE, "trailers")
		if !way.H2 { // RFC 9113 8.2.2: TE is there without Connection
			fs.add(proto.TokenConnection, "TE")
		}
	}
	if way.Change != nil {
		fs.list = way.Change.Apply(fs.list)
	}
	return fs.list
}

// xForwarded adds the fields that have no standard. tells: the client may have
// sent such fields itself, and is believed.
func (fs *Fields) xForwarded(h *proto.Head, p *Peer, tells bool) {
	if !tells {
		if len(p.text) > 0 {
			fs.lend(proto.TokenXForwardedFor, p.text)
		}
		fs.lend(proto.TokenXForwardedProto, p.scheme)
		if h.Host.Len > 0 {
			fs.lend(proto.TokenXForwardedHost, h.Bytes(h.Host))
		}
		return
	}
	from := len(fs.text)
	fs.gather(h, proto.TokenXForwardedFor)
	if len(p.text) > 0 {
		fs.comma(from)
		fs.text = append(fs.text, p.text...)
	}
	if len(fs.text) > from {
		fs.close(proto.TokenXForwardedFor, from)
	}
	from = len(fs.text)
	fs.gather(h, proto.TokenXForwardedProto)
	if len(fs.text) == from {
		fs.text = append(fs.text, p.scheme...)
	}
	fs.close(proto.TokenXForwardedProto, from)
	from = len(fs.text)
	fs.gather(h, proto.TokenXForwardedHost)
	if len(fs.text) == from {
		fs.text = append(fs.text, h.Bytes(h.Host)...)
	}
	if len(fs.text) > from {
		fs.close(proto.TokenXForwardedHost, from)
	}
}

// forwarded adds this hop to Forwarded (RFC 7239 4).
func (fs *Fields) forwarded(h *proto.Head, p *Peer) {
	from := len(fs.text)
	fs.gather(h, proto.TokenForwarded)
	fs.comma(from)
	fs.text = append(fs.text, "for="...)
	switch {
	case !p.addr.IsValid():
		fs.text = append(fs.text, "unknown"...)
	case p.addr.Is4():
		fs.text = append(fs.text, p.text...)
	default: // RFC 7239 6.1: an IPv6 address is quoted and in brackets
		fs.text = append(fs.text, `"[`...)
		fs.text = append(fs.text, p.text...)
		fs.text = append(fs.text, `]"`...)
	}
	if h.Host.Len > 0 {
		fs.text = append(fs.text, `;host="`...)
		fs.text = append(fs.text, h.Bytes(h.Host)...)
		fs.text = append(fs.text, '"')
	}
	fs.text = append(append(fs.text, ";proto="...), p.scheme...)
	fs.close(proto.TokenForwarded, from)
}

// certificate passes on a client's certificate (RFC 9440 2).
func (fs *Fields) certificate(s *transport.Session) {
	if s == nil || s.Client == (unique.Handle[credentials.Client]{}) {
		return
	}
	cert := s.Client.Value()
	fs.addNamed(snapshot.NameClientCert, cert.Cert)
	if cert.Chain != "" {
		fs.addNamed(snapshot.NameClientCertChain, cert.Chain)
	}
}
