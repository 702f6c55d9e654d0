package proxy

import (
	"crypto/rand"

	"zproxy/proto"
)

// identifiers gives requests names: the loop's part, which is random, and a number
// that is scrambled so that nobody can tell one from the other.
type identifiers struct {
	loop, next uint64
	known      bool // text is that of the request at hand
	text       []byte
}

func newIdentifiers() identifiers {
	var b [16]byte
	rand.Read(b[:])
	ids := identifiers{text: make([]byte, 0, identifierMax)}
	for i := range 8 {
		ids.loop = ids.loop<<8 | uint64(b[i])
		ids.next = ids.next<<8 | uint64(b[8+i])
	}
	return ids
}

// identifierMax bounds what is taken from trusted peers.
const identifierMax = 128

// requestID is the identifier of the request that is being started: what a trusted
// peer calls it, else a new one of 32 digits. It is lent until the next request.
func (hd *heads) requestID(h *proto.Head) []byte {
	ids := &hd.ids
	if ids.known {
		return ids.text
	}
	ids.known = true
	if hd.who.peer.trusted {
		for i := range h.Fields {
			if f := &h.Fields[i]; f.Token == proto.TokenXRequestID && isIdentifier(h.Bytes(f.Value)) {
				ids.text = append(ids.text[:0], h.Bytes(f.Value)...)
				return ids.text
			}
		}
	}
	ids.next++
	ids.text = appendHex(appendHex(ids.text[:0], ids.loop), mixed(ids.next))
	return ids.text
}

// isIdentifier says that b can stand in a field, a URL and a line of a log as it is.
func isIdentifier(b []byte) bool {
	for _, c := range b {
		if c-'0' > 9 && (c|0x20)-'a' > 25 && c != '-' && c != '_' && c != '.' && c != ':' && c != '=' && c != '+' && c != '/' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= identifierMax
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
