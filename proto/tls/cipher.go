package tls

import (
	"crypto/cipher"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"

	"zproxy/proto/tls/aesgcm"
)

// Sizes of a record (RFC 9846 5.1, 5.2; RFC 5246 6.2.3).
const (
	HeaderLen    = 5
	MaxPlaintext = 1 << 14
	tagLen       = 16

	maxCiphertext13 = MaxPlaintext + 256
	maxCiphertext12 = MaxPlaintext + 8 + tagLen // what an AEAD can make of the longest content

	// MaxLead and MaxTail are the most that Lead and Tail give.
	MaxLead = HeaderLen + 8
	MaxTail = tagLen + 1
)

// Cipher is the key of a Keys made ready for use. It is worth keeping while
// records of one direction pass and may be set again for any other.
type Cipher struct {
	gcm    aesgcm.AEAD
	chacha cipher.AEAD

	// Of the record in hand. They are here because an interface's arguments
	// would be allocated for each record.
	nonce [12]byte
	aad   [13]byte
}

// Use makes the cipher that of k.
func (c *Cipher) Use(k *Keys) {
	s := k.of()
	k.changed = false
	if s.aead == aeadGCM {
		c.chacha = nil
		c.gcm.SetKey(k.key[:s.keyLen])
		return
	}
	c.gcm.Clear()
	a, err := chacha20poly1305.New(k.key[:])
	if err != nil {
		panic("tls: " + err.Error()) // a key has 32 bytes
	}
	c.chacha = a
}

// Clear forgets the key.
func (c *Cipher) Clear() { *c = Cipher{} }

// Lead is how many bytes stand in front of the content in a record, tail how
// many behind it.
func (k *Keys) lead() int { return HeaderLen + k.of().explicitNonce() }

func (k *Keys) tail() int {
	if k.of().version == Version13 {
		return tagLen + 1
	}
	return tagLen
}

// seal makes a record of the n bytes of content that stand in rec behind lead,
// and gives its length, lead+n+tail.
func (k *Keys) seal(c *Cipher, rec []byte, typ ContentType, n int) int {
	s, lead, size := k.of(), k.lead(), k.lead()+n+k.tail()
	rec = rec[:size]
	c.nonce = k.nonce()
	rec[0] = byte(typ)
	binary.BigEndian.PutUint16(rec[1:], Version12) // RFC 9846 5.1: legacy_record_version
	binary.BigEndian.PutUint16(rec[3:], uint16(size-HeaderLen))
	data := c.aad[:]
	if s.version == Version13 {
		rec[0] = byte(TypeApplicationData)
		rec[lead+n] = byte(typ)
		n++
		data = c.aad[:copy(c.aad[:], rec[:HeaderLen])]
	} else {
		copy(rec[HeaderLen:lead], c.nonce[4:])
		aad12(&c.aad, k.seq, typ, n)
	}
	if c.chacha != nil {
		c.chacha.Seal(rec[lead:lead], c.nonce[:], rec[lead:lead+n], data)
	} else {
		c.gcm.Seal(rec[lead:], &c.nonce, rec[lead:lead+n], data)
	}
	k.seq++
	return size
}

// open decrypts a whole record in place: n bytes of content, behind lead.
func (k *Keys) open(c *Cipher, rec []byte) (typ ContentType, n int, a Alert) {
	s, lead := k.of(), k.lead()
	typ, n = ContentType(rec[0]), len(rec)-lead-tagLen
	if n < 0 {
		return 0, 0, AlertBadRecordMAC
	}
	c.nonce = k.nonce()
	data := c.aad[:]
	if s.version == Version13 {
		data = c.aad[:copy(c.aad[:], rec[:HeaderLen])]
	} else {
		copy(c.nonce[4:], rec[HeaderLen:lead]) // nothing where the nonce is not explicit
		aad12(&c.aad, k.seq, typ, n)
	}
	sealed := rec[lead:]
	if c.chacha != nil {
		if _, err := c.chacha.Open(sealed[:0], c.nonce[:], sealed, data); err != nil {
			return 0, 0, AlertBadRecordMAC
		}
	} else if c.gcm.Open(sealed[:n], &c.nonce, sealed, data) != nil {
		return 0, 0, AlertBadRecordMAC
	}
	k.seq++
	if s.version == Version13 {
		if n > MaxPlaintext+1 {
			return 0, 0, AlertRecordOverflow
		}
		// RFC 9846 5.4: zeros of padding stand behind the type.
		for n--; n >= 0 && sealed[n] == 0; n-- {
		}
		if n < 0 {
			return 0, 0, AlertUnexpectedMessage
		}
		typ = ContentType(sealed[n])
	}
	if n > MaxPlaintext {
		return 0, 0, AlertRecordOverflow
	}
	return typ, n, 0
}

// aad12 is RFC 5246 6.2.3.3: the additional data of a record of TLS 1.2.
func aad12(aad *[13]byte, seq uint64, typ ContentType, n int) {
	binary.BigEndian.PutUint64(aad[:], seq)
	aad[8] = byte(typ)
	binary.BigEndian.PutUint16(aad[9:], Version12)
	binary.BigEndian.PutUint16(aad[11:], uint16(n))
}
