package router

import "zproxy/proto"

// CacheEntries is a size for NewCache at which a cache still fits beside everything else in a core's second-level
// cache.
const CacheEntries = 512

const (
	cacheKeyBytes  = 160 // host and path together; longer ones are not kept
	cacheMaxParams = 8   // routes with more are not kept
)

// Cache remembers the routes of requests that come again and again. It belongs to one loop, has a fixed size, and
// gives the same answers as Router.Lookup. docs/decisions/0002-route-cache.md has the measurements behind it.
//
// An entry is taken over only by a request that missed twice in a row there, so that paths that come once, which
// most with parameters do, neither push out what repeats nor cost more than hashing them.
type Cache struct {
	Hits, Misses uint64

	router  *Router // whose answers these are
	tags    []cacheTag
	entries []cacheEntry
}

// cacheTag is apart from its entry so that misses touch only tags, which are small.
type cacheTag struct {
	hash     uint32 // of the entry, 0 for none
	lastMiss uint32 // hash of the last request that missed here
}

type cacheEntry struct {
	holds            uint64 // Match.Holds
	target           uint32 // index in Router.targets
	hostLen, pathLen uint8
	method           proto.Method
	count            uint8                    // parameters
	params           [cacheMaxParams][2]uint8 // offset and length in the path
	key              [cacheKeyBytes]byte      // host, then path
}

// NewCache gives an empty cache of so many entries, at least one, of 192 bytes each.
func NewCache(entries int) *Cache {
	entries = max(entries, 1)
	return &Cache{tags: make([]cacheTag, entries), entries: make([]cacheEntry, entries)}
}

// Lookup is r.Lookup. A Router other than that of the call before empties the cache.
func (c *Cache) Lookup(r *Router, host, path []byte, method proto.Method, methodName []byte, m *Match) Result {
	if method == proto.MethodOther || len(host)+len(path) > cacheKeyBytes {
		return r.Lookup(host, path, method, methodName, m)
	}
	if r != c.router {
		clear(c.tags)
		c.router = r
	}
	hash := hashText(mulB+uint64(method)+m.Holds*mulA, path)
	if r.hosts.named {
		hash = hashText(hash, host)
	} else {
		host = nil
	}
	at := slotOf(hash, len(c.tags))
	tag, short := &c.tags[at], uint32(hash)|1
	if tag.hash == short {
		if e := &c.entries[at]; e.holds == m.Holds && e.is(host, path, method) {
			c.Hits++
			e.answer(r, m)
			return Found
		}
	}
	c.Misses++
	result, target := r.lookup(host, path, method, methodName, m)
	if result != Found || m.NParams > cacheMaxParams {
		return result
	}
	if tag.lastMiss != short {
		tag.lastMiss = short
		return result
	}
	tag.hash = short
	c.entries[at].set(host, path, method, target, m)
	return result
}

func (e *cacheEntry) is(host, path []byte, method proto.Method) bool {
	return e.method == method && int(e.hostLen) == len(host) && int(e.pathLen) == len(path) &&
		string(e.key[len(host):len(host)+len(path)]) == string(path) && string(e.key[:len(host)]) == string(host)
}

func (e *cacheEntry) set(host, path []byte, method proto.Method, target uint32, m *Match) {
	e.target, e.method, e.hostLen, e.pathLen = target, method, uint8(len(host)), uint8(len(path))
	copy(e.key[copy(e.key[:], host):], path)
	e.count, e.holds = uint8(m.NParams), m.Holds
	for i, p := range m.Params[:m.NParams] {
		e.params[i] = [2]uint8{uint8(p.Off), uint8(p.Len)}
	}
}

func (e *cacheEntry) answer(r *Router, m *Match) {
	t := &r.targets[e.target]
	names := r.params[t.params:]
	m.Value, m.NParams = t.value, int(e.count)
	for i := range m.NParams {
		m.Params[i] = Param{names[i], uint32(e.params[i][0]), uint32(e.params[i][1])}
	}
}
