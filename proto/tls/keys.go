package tls

import (
	"crypto/hkdf"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"hash"
)

// ErrSecret says that a suite is not one of the record layer's, or that a secret
// has not its length.
var ErrSecret = errors.New("tls: no such cipher suite, or a secret of the wrong length")

// Keys is one direction of a connection at rest: raw key material and counters,
// no pointers.
type Keys struct {
	seq     uint64   // records that have passed under this key
	secret  [48]byte // TLS 1.3: the traffic secret that the next one is derived from
	key     [32]byte
	iv      [12]byte
	suite   uint8
	changed bool // since a Cipher was made of it
}

func (k *Keys) of() *suite { return &suites[k.suite] }

// expandLabel is HKDF-Expand-Label with an empty context (RFC 9846 7.1).
func expandLabel(s *suite, secret []byte, label string, n int) []byte {
	info := make([]byte, 0, 32)
	info = binary.BigEndian.AppendUint16(info, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0)
	out, err := hkdf.Expand(s.hash.New, secret, string(info), n)
	if err != nil {
		panic("tls: " + err.Error()) // only for more than 255 hashes' worth
	}
	return out
}

// set13 makes k the key of a traffic secret (RFC 9846 7.3).
func (k *Keys) set13(secret []byte) {
	s := k.of()
	copy(k.secret[:], secret)
	copy(k.key[:], expandLabel(s, secret, "key", s.keyLen))
	copy(k.iv[:], expandLabel(s, secret, "iv", len(k.iv)))
	k.seq, k.changed = 0, true
}

// update goes on to the next generation of keys (RFC 9846 7.2).
func (k *Keys) update() {
	s := k.of()
	n := s.hash.Size()
	k.set13(expandLabel(s, k.secret[:n], "traffic upd", n))
}

// keys13 gives the keys of a traffic secret that the handshake ended with.
func keys13(id uint16, secret []byte) (Keys, error) {
	i, ok := find(Version13, id)
	if !ok || len(secret) != suites[i].hash.Size() {
		return Keys{}, ErrSecret
	}
	k := Keys{suite: i}
	k.set13(secret)
	return k, nil
}

// keys12 gives both directions' keys of a master secret (RFC 5246 6.3). The
// first record under them was the Finished message.
func keys12(id uint16, master, clientRandom, serverRandom []byte) (client, server Keys, err error) {
	i, ok := find(Version12, id)
	if !ok || len(master) != 48 || len(clientRandom) != 32 || len(serverRandom) != 32 {
		return Keys{}, Keys{}, ErrSecret
	}
	s := &suites[i]
	ivLen := len(client.iv)
	if s.aead == aeadGCM {
		ivLen = 4 // the salt; the rest is explicit
	}
	seed := make([]byte, 0, 80)
	seed = append(seed, "key expansion"...)
	seed = append(seed, serverRandom...)
	seed = append(seed, clientRandom...)
	block := prf12(s.hash.New, master, seed, 2*s.keyLen+2*ivLen)
	for _, k := range []*Keys{&client, &server} {
		*k = Keys{suite: i, seq: 1, changed: true}
		block = block[copy(k.key[:s.keyLen], block):]
	}
	for _, k := range []*Keys{&client, &server} {
		block = block[copy(k.iv[:ivLen], block):]
	}
	return client, server, nil
}

// prf12 is P_hash (RFC 5246 5); seed has the label in front.
func prf12(h func() hash.Hash, secret, seed []byte, n int) []byte {
	mac := hmac.New(h, secret)
	mac.Write(seed)
	a := mac.Sum(nil)
	var out []byte
	for len(out) < n {
		mac.Reset()
		mac.Write(a)
		mac.Write(seed)
		out = mac.Sum(out)
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(nil)
	}
	return out[:n]
}

// nonce is that of the record which is next.
func (k *Keys) nonce() (n [12]byte) {
	n = k.iv
	if k.of().explicitNonce() > 0 {
		binary.BigEndian.PutUint64(n[4:], k.seq) // RFC 5288 3: unique, as the sequence number is
		return n
	}
	// RFC 9846 5.3, RFC 7905 2.
	x := binary.BigEndian.Uint64(n[4:]) ^ k.seq
	binary.BigEndian.PutUint64(n[4:], x)
	return n
}
