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
	Below uint64 // at most 1<<32
	Place
}

// Place is where requests go: an upstream, or a subset of one.
type Place struct {
	Cluster int // its number
	Any     int // the number, and 1, of the whole upstream, where that takes what a subset with no endpoint up does not; 0: none does
}

func placeOf(of config.Subset, fallback string, clusters map[string]int) (p Place) {
	p.Cluster = clusters[of.Key()]
	if of.Labels != nil && fallback == "any" {
		p.Any = clusters[of.Upstream] + 1
	}
	return p
}

func compileSplit(shares []config.Share, clusters map[string]int) (list []Share) {
	sum, upTo := 0, 0
	for _, s := range shares {
		sum += s.Weight
	}
	for _, s := range shares {
		upTo += s.Weight
		list = append(list, Share{uint64(upTo) * (math.MaxUint32 + 1) / uint64(sum), placeOf(config.Subset{Upstream: s.Upstream, Labels: s.Subset}, s.SubsetFallback, clusters)})
	}
	return list
}

// Target is where a request goes, by a number that is drawn for it.
func (r *Route) Target(draw uint32) *Place {
	for i := range r.Split {
		if uint64(draw) < r.Split[i].Below {
			return &r.Split[i].Place
		}
	}
	return &r.Place
}

// Next is the number, and 1, of the upstream that requests go to when the one with the number cluster has no
// endpoint up; 0: there is none.
func (r *Route) Next(cluster int) int {
	if r.Place.Cluster == cluster && r.Any != 0 {
		return r.Any
	}
	for i := range r.Split {
		if r.Split[i].Cluster == cluster && r.Split[i].Any != 0 {
			return r.Split[i].Any
		}
	}
	if r.Fallback == cluster+1 {
		return 0
	}
	return r.Fallback
}

// leadsTo lists the numbers of all upstreams, and subsets of them, that requests of r may go to.
func (r *Route) leadsTo() (list []int) {
	add := func(p Place) {
		list = append(list, p.Cluster)
		if p.Any != 0 {
			list = append(list, p.Any-1)
		}
	}
	if r.Split == nil {
		add(r.Place)
	}
	for i := range r.Split {
		add(r.Split[i].Place)
	}
	if r.Fallback != 0 {
		list = append(list, r.Fallback-1)
	}
	return list
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
