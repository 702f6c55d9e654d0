package simnet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"

	"zproxy/proto/tls"
)

// Types of records (RFC 9846 5.1) and of handshake messages (B.3).
const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23

	messageClientHello = 1
	messageServerHello = 2
	messageTicket      = 4
	messageFinished    = 20
	messageKeyUpdate   = 24

	recordHeader = 5
	mostContent  = 1 << 14
)

// recordKeys are those of one direction, by the standard library alone: what the
// proxy's record layer does is held to them.
type recordKeys struct {
	aead   cipher.AEAD
	iv     [12]byte
	seq    uint64
	suite  uint16
	secret []byte // of TLS 1.3, else nil
}

var errRecord = errors.New("a record that does not open")

// keysOf gives the keys of what the client sends and of what the server sends.
func keysOf(s *tls.Secrets) (client, server recordKeys) {
	client.suite, server.suite = s.Suite, s.Suite
	if s.Version == tls.Version13 {
		client.set13(s.ClientTraffic)
		server.set13(s.ServerTraffic)
		return client, server
	}
	seed := append(append([]byte("key expansion"), s.ServerRandom...), s.ClientRandom...)
	block := prf(sha256.New, s.Master, seed, 2*16+2*4)
	for i, k := range []*recordKeys{&client, &server} {
		k.aead = gcm(block[16*i : 16*i+16])
		copy(k.iv[:4], block[32+4*i:])
		k.seq = 1 // behind Finished
	}
	return client, server
}

// prf is P_hash of RFC 5246 5.
func prf(h func() hash.Hash, secret, seed []byte, n int) (out []byte) {
	mac := func(b []byte) []byte {
		m := hmac.New(h, secret)
		m.Write(b)
		return m.Sum(nil)
	}
	for a := mac(seed); len(out) < n; a = mac(a) {
		out = append(out, mac(append(a[:len(a):len(a)], seed...))...)
	}
	return out[:n]
}

func gcm(key []byte) cipher.AEAD {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		panic(err)
	}
	return a
}

// expand is HKDF-Expand-Label (RFC 9846 7.1).
func (k *recordKeys) expand(label string, n int) []byte {
	info := append([]byte{byte(n >> 8), byte(n), byte(6 + len(label))}, "tls13 "+label+"\x00"...)
	h := sha256.New
	if k.suite == suite13AES256 {
		h = sha512.New384
	}
	b, err := hkdf.Expand(h, k.secret, string(info), n)
	if err != nil {
		panic(err)
	}
	return b
}

// The cipher suites that peers choose from.
const (
	suite13AES128 = 0x1301
	suite13AES256 = 0x1302
	suite13ChaCha = 0x1303
	suite12AES128 = 0xc02b
)

func secretLen(suite uint16) int {
	if suite == suite13AES256 {
		return 48
	}
	return 32
}

func (k *recordKeys) set13(secret []byte) {
	k.secret, k.seq = secret, 0
	copy(k.iv[:], k.expand("iv", 12))
	switch k.suite {
	case suite13ChaCha:
		a, err := chacha20poly1305.New(k.expand("key", 32))
		if err != nil {
			panic(err)
		}
		k.aead = a
	case suite13AES256:
		k.aead = gcm(k.expand("key", 32))
	default:
		k.aead = gcm(k.expand("key", 16))
	}
}

// update goes on to the next keys (RFC 9846 7.2).
func (k *recordKeys) update() { k.set13(k.expand("traffic upd", secretLen(k.suite))) }

func (k *recordKeys) nonce() []byte {
	n := k.iv
	if k.secret == nil {
		binary.BigEndian.PutUint64(n[4:], k.seq)
		return n[:]
	}
	binary.BigEndian.PutUint64(n[4:], binary.BigEndian.Uint64(n[4:])^k.seq)
	return n[:]
}

func (k *recordKeys) aad12(typ byte, n int) []byte {
	return append(binary.BigEndian.AppendUint64(nil, k.seq), typ, 3, 3, byte(n>>8), byte(n))
}

// seal appends a record; padding is of TLS 1.3 alone.
func (k *recordKeys) seal(dst []byte, typ byte, content []byte, padding int) []byte {
	nonce, at := k.nonce(), len(dst)
	dst = append(dst, recordData, 3, 3, 0, 0)
	if k.secret == nil {
		dst[at] = typ
		dst = append(dst, nonce[4:]...)
		dst = k.aead.Seal(dst, nonce, content, k.aad12(typ, len(content)))
		binary.BigEndian.PutUint16(dst[at+3:], uint16(len(dst)-at-recordHeader))
	} else {
		inner := append(append(append([]byte(nil), content...), typ), make([]byte, padding)...)
		binary.BigEndian.PutUint16(dst[at+3:], uint16(len(inner)+k.aead.Overhead()))
		dst = k.aead.Seal(dst, nonce, inner, dst[at:at+recordHeader])
	}
	k.seq++
	return dst
}

// open opens a whole record.
func (k *recordKeys) open(rec []byte) (typ byte, content []byte, err error) {
	nonce, sealed, aad := k.nonce(), rec[recordHeader:], rec[:recordHeader]
	if k.secret == nil {
		if len(sealed) < 8+k.aead.Overhead() {
			return 0, nil, errRecord
		}
		copy(nonce[4:], sealed)
		sealed = sealed[8:]
		aad = k.aad12(rec[0], len(sealed)-k.aead.Overhead())
	}
	if content, err = k.aead.Open(nil, nonce, sealed, aad); err != nil {
		return 0, nil, errRecord
	}
	k.seq++
	if typ = rec[0]; k.secret != nil {
		n := len(content) - 1
		for ; n >= 0 && content[n] == 0; n-- {
		}
		if n < 0 || typ != recordData {
			return 0, nil, errRecord
		}
		typ, content = content[n], content[:n]
	}
	if len(content) > mostContent {
		return 0, nil, errRecord
	}
	return typ, content, nil
}

// recordLen is the length of the record that b begins with, 0 while too little of
// it is there to tell.
func recordLen(b []byte) int {
	if len(b) < recordHeader {
		return 0
	}
	return recordHeader + int(b[3])<<8 + int(b[4])
}
