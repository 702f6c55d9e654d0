package snapshot

import (
	"bytes"
	"math"

	"zproxy/config"
	"zproxy/proto"
	"zproxy/upstream"
)

// Share is what an upstream gets of a route's requests: those whose draw is below Below and not
// below that of the share before.
type Share struct {
	Below   uint64 // at most 1<<32
	Cluster int
}

func compileSplit(shares []config.Share, clusters map[string]int) (list []Share) {
	sum, upTo := 0, 0
	for _, s := range shares {
		sum += s.Weight
	}
	for _, s := range shares {
		upTo += s.Weight
		list = append(list, Share{uint64(upTo) * (math.MaxUint32 + 1) / uint64(sum), clusters[s.Upstream]})
	}
	return list
}

// Target is the number of the upstream of a request, by a number that is drawn for it.
func (r *Route) Target(draw uint32) int {
	for i := range r.Split {
		if uint64(draw) < r.Split[i].Below {
			return r.Split[i].Cluster
		}
	}
	return r.Cluster
}

// Draw is the number for the request with head h that requests share which belong together; false:
// it belongs to none.
func (r *Route) Draw(h *proto.Head) (draw uint32, ok bool) {
	if r.sticky == nil {
		return 0, false
	}
	v, ok := fieldValue(h, r.sticky.Header, r.sticky.Cookie)
	if !ok {
		return 0, false
	}
	return drawOf(v), true
}

// cookieValue finds the first cookie with this name in the value of a Cookie field (RFC 6265 4.2.1).
func cookieValue(list []byte, name string) (value []byte, ok bool) {
	for len(list) > 0 {
		var pair []byte
		pair, list, _ = bytes.Cut(list, []byte{';'})
		key, value, ok := bytes.Cut(bytes.TrimLeft(pair, " "), []byte{'='})
		if ok && string(key) == name {
			return bytes.TrimRight(value, " "), true
		}
	}
	return nil, false
}

// drawOf spreads values evenly, alike everywhere.
func drawOf(v []byte) uint32 { return uint32(upstream.HashKey(v) >> 32) }
