package proxy

import (
	"zproxy/proxy/forward"
	"zproxy/upstream"
)

// asker is the client on whose behalf x asks for a connection: the one that a trusted proxy
// names, or the connection, below its address.
func (sc *shortage) asker(c *client, x *exchange) upstream.Client {
	if x.from.Named() {
		return upstream.Client{Addr: x.from.Key()}
	}
	conn := sc.w.legs.carrier(&c.leg)
	return upstream.Client{Addr: forward.AddrKey(sc.l.Peer(conn).Addr()), Conn: uint64(conn)}
}
