package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"slices"
)

// Sticky sessions: a client that was served by an endpoint comes back to it with a token, which
// only who has the secret can make. The token names the endpoint by its address, so that it holds
// over restarts, and in every process with the same secret; it does not show the address.

// TokenBytes is the length of a token: six bits each.
const TokenBytes = 20

// tokenLetters are what a cookie's value may have without quotes (RFC 6265 4.1.1).
const tokenLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// token is that of one endpoint.
type token struct {
	key  uint64 // its first bytes, by which it is found
	ep   int
	text [TokenBytes]byte
}

// tokenOf makes the token of an endpoint of the upstream name.
func tokenOf(secret, name, address string) (t token) {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("sticky session\x00" + name + "\x00" + address))
	for i, b := range mac.Sum(nil)[:TokenBytes] {
		t.text[i] = tokenLetters[b%64]
	}
	t.key = tokenKey(t.text[:])
	return t
}

// tokenKey sorts as tokens do.
func tokenKey(text []byte) (key uint64) {
	for _, c := range text[:8] {
		key = key<<8 | uint64(c)
	}
	return key
}

// tokensOf lists the tokens of the endpoints there are, also of drained ones, sorted by key. That of an
// endpoint is made once: its address does not change.
func tokensOf(c *Cluster) (list []token) {
	if c.cfg.StickySecret == "" {
		return nil
	}
	for i, e := range c.eps {
		if !c.standings[i].there {
			continue
		}
		if e.token.key == 0 {
			e.token = tokenOf(c.cfg.StickySecret, c.cfg.Name, e.Address)
			e.token.ep = i
		}
		list = append(list, e.token)
	}
	slices.SortFunc(list, func(a, b token) int {
		return slices.Compare(a.text[:], b.text[:])
	})
	return list
}

// Sticks is the number of the endpoint, and 1, that a token is for; 0: for none that is there. On the thread
// of p, as what follows.
func Sticks(p *Pool, text []byte) int {
	if len(text) != TokenBytes {
		return 0
	}
	if p.changes != p.c.changes.Load() {
		p.notice()
	}
	list, key := p.roster.tokens, tokenKey(text)
	for low, high := 0, len(list); low < high; {
		switch mid := (low + high) / 2; {
		case list[mid].key < key:
			low = mid + 1
		case list[mid].key > key:
			high = mid
		case string(list[mid].text[:]) == string(text):
			return list[mid].ep + 1
		default:
			return 0 // of two with the first 48 bits in common one is not found
		}
	}
	return 0
}

// Token is that of an endpoint that was chosen. It does not change.
func Token(p *Pool, ep int) []byte { return p.c.eps[ep].token.text[:] }

// Holds says that requests with ep's token may go there: it is up, due to be tried, or drained, which
// keeps off new clients only; and it has not failed this request.
func Holds(p *Pool, now int64, ep int, tried Tried) bool {
	h := &p.c.eps[ep].health
	return !p.c.hasTried(tried, ep) && (usable(h.word.Load(), now) || h.holds.Load() == holdDrained)
}

// find is Pool.try, but that a request with a token goes to its endpoint first.
func (r *Request) find(p *Pool, now int64) Decision {
	if r.Stick != 0 && Holds(p, now, r.Stick-1, r.Tried) {
		if d, ok := stick(p, now, r.Stick-1); ok {
			return d
		}
	}
	return p.try(now, r.Tried, r.Hash)
}

// stick takes a connection to ep, if there is one to be had. A drained endpoint is held, and no request tries out
// whether it is up.
func stick(p *Pool, now int64, ep int) (Decision, bool) {
	e := p.c.eps[ep]
	if e.health.holds.Load() != holdDrained {
		return p.obtain(now, ep, false)
	}
	if idle := p.spare(ep); idle != 0 {
		return p.reuse(ep, idle), true
	}
	if p.rests(ep) || !e.reserve(p.limit()) {
		return Decision{}, false
	}
	p.counted(ep)
	p.stats.Dialed++
	return Decision{Kind: Dial, Endpoint: ep}, true
}
