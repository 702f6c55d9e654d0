package proxy

import (
	"net/netip"

	"zproxy/proxy/forward"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// Hashes of the keys that upstreams balance by. They are kept beside the exchanges, by their
// number, so that those of other upstreams are no larger for them.

// noteKey keeps the hash of the key k of the request being started. path is the one that was
// routed, nil: the received one.
func (rq *requests) noteKey(c *client, q *forward.Request, k *snapshot.Key, path []byte) {
	if k.Source {
		rq.setKey(c.x, hashAddr(q.Client))
		return
	}
	if path == nil {
		path = q.Head.Bytes(q.Head.Path)
	}
	rq.setKey(c.x, k.Hash(q.Head, path))
}

// hashAddr is the hash of a client's address, of the first 64 bits of IPv6; 0: it has none.
func hashAddr(a netip.Addr) uint64 {
	if !a.IsValid() {
		return 0
	}
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		return upstream.HashKey(b[:])
	}
	b := a.As16()
	return upstream.HashKey(b[:8])
}

// setKey keeps the hash of exchange number i, 0: it has no key.
func (rq *requests) setKey(i uint32, hash uint64) {
	for int(i) >= len(rq.keys) {
		rq.keys = append(rq.keys, 0)
	}
	rq.keys[i] = hash
}

// hash is what the choice of an endpoint for x, number i, depends on.
func (rq *requests) hash(i uint32, x *exchange) uint64 {
	if rq.w.clusters[x.cluster].Key != nil {
		return rq.keys[i]
	}
	return uint64(x.start)
}
