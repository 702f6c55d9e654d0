package upstream

import (
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// linePad keeps what one loop writes off the cache lines that others read: two
// lines, because the adjacent-line prefetcher fetches pairs.
type linePad [128]byte

// Endpoint is one origin of a cluster, shared by all loops. Its methods may be
// called from any thread.
type Endpoint struct {
	ID      int // position in Config.Endpoints, or of its slot
	Address string
	Weight  int     // in the long run; guarded by Cluster.changing
	Target  Address // what Address means
	token   token   // once it was needed; guarded by Cluster.changing

	checkFirst bool // see Config.CheckFirst
	slot       bool // see Cluster.SetEndpoints: nothing else of it may be read before Set is there

	_ linePad
	// Read by every request, written when something fails or re-resolves.
	health health
	set    atomic.Pointer[AddrSet]
	cause  atomic.Pointer[string] // why the name does not resolve; nil: it does
	found  atomic.Pointer[string] // what active checks found wrong; nil: nothing, or there are none
	keys   atomic.Uint32          // address keys given out
	failed atomic.Uint64          // attempts to connect that failed, ever

	ejection struct {
		until atomic.Int64 // of the one there is, 0: none, or it is about to begin
		ended atomic.Int64 // when the last one did, or was to
		times atomic.Int32 // in a row, see Cluster.eject
		count atomic.Uint64
	}

	_ linePad
	// Written by all loops: open when a connection is dialled or closed, kept
	// when a loop's number of idle ones moves, busy with every request, but
	// only where the balancing asks for it.
	open atomic.Int32
	kept atomic.Int32 // how many idle connections the loops may keep, <= Config.MaxIdle
	busy atomic.Int32
	pace pace // with every response, where the balancing asks for it
	_    linePad
}

// AddrSet is one immutable answer of the resolver: ip:port or unix:/path.
type AddrSet struct {
	Generation uint32 // 1 for the first set of an endpoint, then one more each
	Addrs      []string
	Keys       []uint32       // identity of Addrs[i]: kept as long as it stays in the set, never used again
	avoid      []atomic.Int64 // until when others are taken first; never: active checks have found it down
}

const never = math.MaxInt64

// Has reports whether an address is still in the set. Key 0, "unknown", is not.
func (s *AddrSet) Has(key uint32) bool { return slices.Contains(s.Keys, key) }

// Serves is Has for an address that active checks, if there are any, have not found down.
func (s *AddrSet) Serves(key uint32) bool {
	i := slices.Index(s.Keys, key)
	return i >= 0 && s.avoid[i].Load() != never
}

// someDown says that active checks have found an address down.
func (s *AddrSet) someDown() bool {
	for i := range s.avoid {
		if s.avoid[i].Load() == never {
			return true
		}
	}
	return false
}

// Serves says that requests may go on a connection to the address with this key: the
// endpoint has it, and active checks, if there are any, have not found it down.
func (e *Endpoint) Serves(key uint32) bool {
	s := e.set.Load()
	return s != nil && s.Serves(key)
}

// FoundDown says that active checks have found the address with this key down; of an
// unknown one, that they have all of them.
func (e *Endpoint) FoundDown(key uint32) bool {
	s := e.set.Load()
	if s == nil {
		return false
	}
	if i := slices.Index(s.Keys, key); i >= 0 {
		return s.avoid[i].Load() == never
	}
	return key == 0 && e.health.holds.Load()&holdChecks != 0
}

// Open is the number of connections over all loops, dialling ones included.
func (e *Endpoint) Open() int { return int(e.open.Load()) }

// Addrs is the current set of addresses; empty until the name has resolved.
// The slice is shared and must not be changed.
func (e *Endpoint) Addrs() []string {
	if s := e.set.Load(); s != nil {
		return s.Addrs
	}
	return nil
}

// Set is the current set with its generation, nil until the name has resolved.
func (e *Endpoint) Set() *AddrSet { return e.set.Load() }

// Generation counts the changes of the set; 0 until the name has resolved.
func (e *Endpoint) Generation() uint32 {
	if s := e.set.Load(); s != nil {
		return s.Generation
	}
	return 0
}

// Down reports whether requests avoid the endpoint: its back-off runs, or its
// name has not resolved.
func (e *Endpoint) Down(now int64) bool {
	return e.set.Load() == nil || !usable(e.health.word.Load(), now)
}

// Failures is how many attempts to connect have failed, over all loops.
func (e *Endpoint) Failures() uint64 { return e.failed.Load() }

// Failing reports whether connecting or responses failed last, whether the
// back-off is over or not, or the endpoint is ejected. What active checks find is no
// part of it.
func (e *Endpoint) Failing() bool {
	w := e.health.word.Load()
	return w != 0 && w != healthHeld || e.Ejected()
}

// Ejected reports whether the endpoint is out for what it answered.
func (e *Endpoint) Ejected() bool { return e.health.holds.Load()&holdEjected != 0 }

// Ejections is how often it was.
func (e *Endpoint) Ejections() uint64 { return e.ejection.count.Load() }

// State describes the endpoint for people: up, or what is wrong and until when.
func (e *Endpoint) State(now int64) (up bool, reason string) {
	if e.Vacant() {
		return false, "gone"
	}
	if e.health.holds.Load()&holdDrained != 0 {
		return false, "its weight is set to 0"
	}
	if e.set.Load() == nil {
		if c := e.cause.Load(); c != nil {
			return false, "name not resolved: " + *c
		}
		return false, "name not resolved yet"
	}
	w := e.health.word.Load()
	if w == healthHeld && e.health.holds.Load() == holdEjected {
		left := max(0, time.Duration(e.ejection.until.Load()-now)).Round(time.Millisecond)
		return false, "ejected for errors in a row, " + left.String() + " left"
	}
	if w == healthHeld {
		if why := e.found.Load(); why != nil && *why != "" {
			return false, "health check: " + *why
		}
		return false, "health check: none has been made yet"
	}
	if w == 0 {
		if c := e.cause.Load(); c != nil {
			return true, "last resolve failed, keeping the known addresses: " + *c
		}
		return true, ""
	}
	reason = "connecting failed"
	if w&healthCause != 0 {
		reason = "responses failed"
	}
	reason += ", " + strconv.Itoa(int(w&healthFails)) + " in a row"
	if wait := untilNs(w) - now; wait > 0 {
		return false, reason + ", next try in " + time.Duration(wait).Round(time.Millisecond).String()
	}
	return false, reason + ", next request tries it"
}

// resolved installs a new set of addresses unless it holds the same ones as
// the current set, in whatever order. Called by one goroutine at a time.
func (e *Endpoint) resolved(addrs []string) (changed bool) {
	e.cause.Store(nil)
	old := e.set.Load()
	fresh := slices.Clone(addrs)
	slices.Sort(fresh)
	fresh = slices.Compact(fresh)
	if old != nil && slices.Equal(fresh, old.Addrs) {
		return false
	}
	s := &AddrSet{
		Generation: e.Generation() + 1,
		Addrs:      fresh,
		Keys:       make([]uint32, len(fresh)),
		avoid:      make([]atomic.Int64, len(fresh)),
	}
	unchecked := e.checkFirst
	for i, a := range fresh {
		if old != nil {
			if j := slices.Index(old.Addrs, a); j >= 0 {
				s.Keys[i] = old.Keys[j]
				s.avoid[i].Store(old.avoid[j].Load())
				unchecked = unchecked && s.avoid[i].Load() == never
				continue
			}
		}
		s.Keys[i] = e.keys.Add(1)
		if e.checkFirst {
			s.avoid[i].Store(never)
		}
	}
	e.set.Store(s)
	if unchecked {
		e.health.hold(holdChecks)
	}
	// What failed was the old set; the new one has not been tried.
	e.health.unhold(holdNoAddress)
	e.health.recovered()
	return true
}

// reserve takes one of limit connection slots; false when all are taken.
func (e *Endpoint) reserve(limit int32) bool {
	for {
		n := e.open.Load()
		if n >= limit {
			return false
		}
		if e.open.CompareAndSwap(n, n+1) {
			return true
		}
	}
}
