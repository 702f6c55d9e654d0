package forward

import (
	"zproxy/proto"
	"zproxy/router"
	"zproxy/variables"
)

// Location is the field of a redirection to what to says for q, whose path has been routed as
// path with what m has found. False: q has no host, and to uses it (HTTP/1.0 without Host).
func (fs *Fields) Location(to *variables.Template, q *Request, path []byte, m *router.Match) (proto.Extra, bool) {
	h := q.Head
	host := h.Bytes(h.Host)
	n, _, _ := proto.ParseAuthority(host)
	if n == 0 && to.Uses(variables.Host) {
		return proto.Extra{}, false
	}
	fs.reset()
	v := &fs.values
	v.Of[variables.Scheme], v.Of[variables.Host] = q.Peer.scheme, host[:n]
	v.Of[variables.Path], v.Of[variables.Query] = path, h.Bytes(h.Query)
	fs.addr = fs.addr[:0]
	if q.Client.IsValid() {
		fs.addr = q.Client.AppendTo(fs.addr)
	}
	v.Of[variables.ClientIP], v.Of[variables.RequestID] = fs.addr, q.ID()
	for i := range m.NParams {
		p := m.Params[i]
		v.Params[i] = path[p.Off : p.Off+p.Len]
	}
	fs.text = to.AppendURL(fs.text, v)
	return proto.Extra{Name: "Location", Value: fs.text}, true
}

// Allow is the field that says which methods there are (RFC 9110 10.2.1).
func (fs *Fields) Allow(methods router.MethodSet) proto.Extra {
	fs.reset()
	fs.text = methods.AppendAllow(fs.text)
	return proto.Extra{Name: "Allow", Value: fs.text}
}
