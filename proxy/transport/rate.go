package transport

// Rate is a least rate of a peer in bytes per second, 0: none.
type Rate uint64

// Bytes is what the rate makes in ns.
func (r Rate) Bytes(ns int64) uint64 { return uint64(r) * uint64(ns/1e6) / 1000 }
