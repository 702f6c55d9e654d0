package rate

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

// A Secret is the key of two keyed hashes. Whoever does not know it cannot find
// two keys that meet in a table.
type Secret struct{ low, high maphash.Seed }

// NewSecret returns a secret that nobody knows.
func NewSecret() Secret { return Secret{maphash.MakeSeed(), maphash.MakeSeed()} }

// What a part of a key begins with: no two lists of parts are the same bytes.
const (
	partIPv4     = '4'
	partIPv6     = '6'
	partText     = 't'
	partNone     = '-'
	partRepeated = '+'
)

// AppendAddress adds the network of a to a key: bits4 bits of an IPv4 address,
// bits6 of another. An IPv4 address mapped to IPv6 is the IPv4 address, and
// has no zone. An address that is not valid is none.
func AppendAddress(key []byte, a netip.Addr, bits4, bits6 int) []byte {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return AppendNone(key)
	case a.Is4():
		b := a.As4()
		mask(b[:], bits4)
		return append(append(key, partIPv4), b[:]...)
	}
	b := a.As16()
	mask(b[:], bits6)
	return append(append(key, partIPv6), b[:]...)
}

// mask clears all but the first n bits.
func mask(b []byte, n int) {
	for i := range b {
		if keep := n - 8*i; keep < 8 {
			b[i] &= ^byte(0xff >> max(keep, 0))
		}
	}
}

// AppendText adds text to a key.
func AppendText[T string | []byte](key []byte, text T) []byte {
	key = binary.AppendUvarint(append(key, partText), uint64(len(text)))
	return append(key, text...)
}

// AppendNone adds that there is nothing where something was looked for: all such requests have the same key.
func AppendNone(key []byte) []byte { return append(key, partNone) }

// AppendRepeated adds that there was more than one value where one is allowed. All such requests
// have the same key: with one of the values, or with all, a client could have a new one each time
// while the origin reads another value.
func AppendRepeated(key []byte) []byte { return append(key, partRepeated) }
