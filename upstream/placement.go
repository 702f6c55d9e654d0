package upstream

import (
	"cmp"
	"math/bits"
	"slices"
)

// placement says which endpoint a key belongs to. It is immutable, and follows from the
// addresses and weights of the endpoints alone, not from their order: every instance with the
// same endpoints sends a key to the same one.
type placement struct {
	slots  []uint16 // maglev: endpoints, each as often as its weight says
	points []point  // ring_hash: ascending
	starts []uint32 // ring_hash: by the first bits of a hash, the first point that may be its own
	shift  int      // ring_hash: what leaves these bits of a hash
}

// point is where a hash belongs to an endpoint. A place in the table has room for no more than
// the first half of a hash: what a choice costs is the memory it looks at.
type point struct {
	hash uint32
	ep   uint16
}

const (
	// Numbers of slots, which are primes, so that a walk in steps of any length comes to each.
	maglevSmall, maglevLarge = 65537, 655373
	// maglevShare is how many slots there are at least for each endpoint: 100 keep shares even
	// within one per cent, and few keys move that need not.
	maglevShare = 100
	// ringPoints is how many points an endpoint of the largest weight has.
	ringPoints = 256
)

// HashKey is the hash of what requests have in common that belong together: alike on every
// instance, and never 0. FNV-1a and a finisher, since choices are made by its high bits.
func HashKey(v []byte) uint64 {
	sum := uint64(14695981039346656037)
	for _, c := range v {
		sum = (sum ^ uint64(c)) * 1099511628211
	}
	sum = (sum ^ sum>>33) * 0xFF51AFD7ED558CCD
	return max(1, sum^sum>>33)
}

// weyl is the step of a sequence whose members spread evenly.
const weyl = 0x9E3779B97F4A7C15

// spread is the finisher of splitmix64: neighbouring numbers become unlike ones.
func spread(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// placed is an endpoint as placements know it.
type placed struct {
	hash   uint64
	weight int
	ep     uint16
}

// inOrder lists the endpoints by address. Those that share an address get different hashes.
func inOrder(eps []*Endpoint) (list []placed, heaviest int) {
	sorted := slices.SortedStableFunc(slices.Values(eps), func(a, b *Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Weight, b.Weight))
	})
	same := uint64(0)
	for i, e := range sorted {
		if same++; i == 0 || sorted[i-1].Address != e.Address {
			same = 0
		}
		list = append(list, placed{spread(HashKey([]byte(e.Address)) + same*weyl), e.Weight, uint16(e.ID)})
		heaviest = max(heaviest, e.Weight)
	}
	return list, heaviest
}

// newPlacement is nil where the balancing needs none.
func newPlacement(balance Balance, eps []*Endpoint) *placement {
	switch balance {
	case Maglev:
		return maglev(eps)
	case RingHash:
		return ring(eps)
	}
	return nil
}

// maglev fills a table in rounds: each endpoint takes the next free slot of a walk of its own,
// as often as its weight says ("Maglev", NSDI 2016, section 3.4).
func maglev(eps []*Endpoint) *placement {
	size := maglevSmall
	if len(eps)*maglevShare > size {
		size = maglevLarge
	}
	list, heaviest := inOrder(eps)
	at, skip, credit := make([]int, len(list)), make([]int, len(list)), make([]int, len(list))
	for i, e := range list {
		at[i] = int(e.hash % uint64(size))
		skip[i] = 1 + int(spread(e.hash)%uint64(size-1))
	}
	slots, taken := make([]uint16, size), make([]bool, size)
	for left := size; left > 0; {
		for i, e := range list {
			if credit[i] += e.weight; credit[i] < heaviest {
				continue
			}
			credit[i] -= heaviest
			for taken[at[i]] {
				if at[i] += skip[i]; at[i] >= size {
					at[i] -= size
				}
			}
			slots[at[i]], taken[at[i]] = e.ep, true
			if left--; left == 0 {
				break
			}
		}
	}
	return &placement{slots: slots}
}

// ring gives each endpoint points in proportion to its weight; a hash belongs to the first
// point that is not below it, and those above the last one to the first. How many points an
// endpoint has does not depend on the others, as long as the largest weight stays.
func ring(eps []*Endpoint) *placement {
	list, heaviest := inOrder(eps)
	var points []point
	for _, e := range list {
		for k := range max(1, ringPoints*e.weight/heaviest) {
			points = append(points, point{uint32(spread(e.hash+uint64(k)*weyl) >> 32), e.ep})
		}
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	width := bits.Len(uint(len(points)))
	t := &placement{points: points, starts: make([]uint32, 1<<width), shift: 32 - width}
	next := 0
	for i := range t.starts {
		for next < len(points) && points[next].hash>>t.shift < uint32(i) {
			next++
		}
		t.starts[i] = uint32(next)
	}
	return t
}

// at is the endpoint that key belongs to where it can not have the k before. Each attempt
// is a place of its own: the keys of an endpoint that is out spread over all others.
func (t *placement) at(key uint64, k int) int {
	hash := spread(key + uint64(k)*weyl)
	if t.slots != nil {
		i, _ := bits.Mul64(hash, uint64(len(t.slots)))
		return int(t.slots[i])
	}
	first := uint32(hash >> 32)
	i := int(t.starts[first>>t.shift])
	for i < len(t.points) && t.points[i].hash < first {
		i++
	}
	if i == len(t.points) {
		i = 0
	}
	return int(t.points[i].ep)
}
