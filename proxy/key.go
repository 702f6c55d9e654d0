package proxy

// Hashes of the keys that upstreams balance by. They are kept beside the exchanges, by their
// number, so that those of other upstreams are no larger for them.

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
