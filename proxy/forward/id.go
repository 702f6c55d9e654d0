package forward

import (
	"crypto/rand"

	"zproxy/proto"
)

// MaxIDBytes bounds the identifier of a request that is taken from trusted peers.
const MaxIDBytes = 128

// sequence gives requests names: the loop's part, which is random, and a number
// that is scrambled so that nobody can tell one from the other.
type sequence struct{ loop, next uint64 }

func newSequence() (s sequence) {
	var b [16]byte
	rand.Read(b[:])
	for i := range 8 {
		s.loop = s.loop<<8 | uint64(b[i])
		s.next = s.next<<8 | uint64(b[8+i])
	}
	return s
}

// ID is the identifier of q: what a trusted peer calls it, else a new one of 32 digits. It is
// lent until the next request begins.
func (q *Request) ID() []byte {
	if q.named {
		return q.id
	}
	q.named = true
	h := q.Head
	if q.Peer.trusted {
		for i := range h.Fields {
			if f := &h.Fields[i]; f.Token == proto.TokenXRequestID && isIdentifier(h.Bytes(f.Value)) {
				q.id = append(q.id[:0], h.Bytes(f.Value)...)
				return q.id
			}
		}
	}
	q.ids.next++
	q.id = appendHex(appendHex(q.id[:0], q.ids.loop), mixed(q.ids.next))
	return q.id
}

// Call has q keep the identifier that it had when it came.
func (q *Request) Call(id []byte) {
	q.id, q.named = append(q.id[:0], id...), true
}

// isIdentifier says that b can stand in a field, a URL and a line of a log as it is.
func isIdentifier(b []byte) bool {
	for _, c := range b {
		if c-'0' > 9 && (c|0x20)-'a' > 25 && c != '-' && c != '_' && c != '.' && c != ':' && c != '=' && c != '+' && c != '/' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= MaxIDBytes
}

// mixed spreads n over all 64 bits; different numbers stay different (the
// finalizer of SplitMix64).
func mixed(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func appendHex(dst []byte, n uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[n>>shift&15])
	}
	return dst
}
