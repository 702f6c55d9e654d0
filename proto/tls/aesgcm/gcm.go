// Package aesgcm is AES-GCM for TLS records: NIST SP 800-38D with nonces of 12
// bytes, tags of 16 and at most 16 bytes of additional data. Where the CPU has AES
// and carry-less multiplication on 512-bit registers it is assembly written here,
// because crypto/cipher uses 128-bit ones, which costs a long answer most of its
// time; on every other CPU it is crypto/cipher. Both give the same bytes: the
// package's tests hold one to the other.
package aesgcm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

const (
	NonceBytes = 12
	TagBytes   = 16
	MaxAAD     = 16 // the additional data of a record: 5 or 13 bytes
)

// ErrOpen says that a record is not what was sealed.
var ErrOpen = errors.New("aesgcm: message authentication failed")

// state is a key made ready for the wide implementation. gcm_amd64.s knows the
// offsets.
type state struct {
	keys   [15][16]byte // of the rounds
	rounds uint64       // 10 or 14
	_      uint64
	powers [19][16]byte // of the hash key, the 16th first; zeros behind the first
}

// AEAD is a key made ready for use. The zero value has none: SetKey comes first.
// It holds no pointer where the wide implementation is used, and may be used
// again for another key. One goroutine at a time.
type AEAD struct {
	state
	narrow cipher.AEAD // crypto/cipher's, where the CPU has no wide registers
}

// SetKey makes key, of 16 or 32 bytes, ready. The wide implementation allocates
// nothing.
func (a *AEAD) SetKey(key []byte) {
	if !wide {
		a.setNarrow(key)
		return
	}
	switch len(key) {
	case 16:
		expandKey128(&a.state, &key[0])
	case 32:
		expandKey256(&a.state, &key[0])
	default:
		panic("aesgcm: a key has 16 or 32 bytes")
	}
	var h [16]byte
	encryptZero(&a.state, &h)
	// The hash key, byte-reversed and one bit to the left in the reflected field.
	hi, lo := binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:])
	out := -(hi >> 63)
	hi, lo = hi<<1|lo>>63, lo<<1
	lo ^= out & 1
	hi ^= out & 0xc200000000000000
	binary.LittleEndian.PutUint64(a.powers[15][:8], lo)
	binary.LittleEndian.PutUint64(a.powers[15][8:], hi)
	fillPowers(&a.state)
}

func (a *AEAD) setNarrow(key []byte) {
	if len(key) != 16 && len(key) != 32 {
		panic("aesgcm: a key has 16 or 32 bytes")
	}
	b, err := aes.NewCipher(key)
	if err == nil {
		a.narrow, err = cipher.NewGCM(b)
	}
	if err != nil {
		panic("aesgcm: " + err.Error()) // no other length, nonce or tag is asked for
	}
}

// Clear forgets the key.
func (a *AEAD) Clear() { *a = AEAD{} }

// Seal encrypts src to dst and writes the tag behind it: len(dst) is
// len(src)+TagBytes. dst begins where src does, or lies apart from it.
func (a *AEAD) Seal(dst []byte, nonce *[NonceBytes]byte, src, aad []byte) {
	if len(dst) != len(src)+TagBytes {
		panic("aesgcm: no room for the tag")
	}
	if a.narrow != nil {
		a.narrow.Seal(dst[:0], nonce[:], src, aad)
		return
	}
	a.run(dst, src, nonce, aad, (*[TagBytes]byte)(dst[len(src):]), 0)
}

// Open decrypts src, which ends with the tag, to dst: len(dst) is
// len(src)-TagBytes. dst begins where src does, or lies apart from it. With an
// error dst is all zeros.
func (a *AEAD) Open(dst []byte, nonce *[NonceBytes]byte, src, aad []byte) error {
	n := len(src) - TagBytes
	if len(dst) != n {
		panic("aesgcm: room is not as long as the message")
	}
	if a.narrow != nil {
		if _, err := a.narrow.Open(dst[:0], nonce[:], src, aad); err != nil {
			clear(dst)
			return ErrOpen
		}
		return nil
	}
	var want [TagBytes]byte
	a.run(dst, src[:n], nonce, aad, &want, 1)
	if subtle.ConstantTimeCompare(want[:], src[n:]) != 1 {
		clear(dst)
		return ErrOpen
	}
	return nil
}

func (a *AEAD) run(dst, src []byte, nonce *[NonceBytes]byte, aad []byte, tag *[TagBytes]byte, open uint64) {
	if len(aad) > MaxAAD {
		panic("aesgcm: too much additional data")
	}
	var j0, first, lens [16]byte
	copy(j0[:], nonce[:])
	j0[15] = 1
	copy(first[:], aad)
	binary.BigEndian.PutUint64(lens[:8], uint64(len(aad))*8)
	binary.BigEndian.PutUint64(lens[8:], uint64(len(src))*8)
	var from, to *byte
	if len(src) > 0 {
		from, to = &src[0], &dst[0]
	}
	crypt(&a.state, to, from, len(src), &j0, &first, &lens, tag, open)
}
