package forward

import (
	"zproxy/proto"
	"zproxy/proxy/transport"
)

// Misdirected says that q does not belong on its connection: it is for a host that the
// connection's certificate is not for, or whose clients are let in by another policy
// (RFC 9110 7.4, 15.5.20). A client that names no host to TLS may name an address to
// HTTP, which has no place in TLS (RFC 6066 3).
func (q *Request) Misdirected() bool {
	s, h := q.TLS, q.Head
	if s == nil || h.Host.Len == 0 {
		return false
	}
	host := h.Bytes(h.Host)
	n, _, _ := proto.ParseAuthority(host)
	host = host[:n]
	return !proto.EqualFold(host, s.Name) && !(s.Name == "" && isAddress(host)) && !s.Terms.Serves(host)
}

func isAddress(host []byte) bool {
	if len(host) > 0 && host[0] == '[' {
		return true
	}
	for _, c := range host {
		if c != '.' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// asksClients says that the client of s has been asked for a certificate: no other has a
// say. nil: it is in clear.
func asksClients(s *transport.Session) bool { return s != nil && s.Terms.AsksClients() }
