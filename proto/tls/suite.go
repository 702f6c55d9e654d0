package tls

import (
	"crypto"
	_ "crypto/sha256" // linked in for crypto.Hash
	_ "crypto/sha512"
)

// Versions, as on the wire.
const (
	Version12 uint16 = 0x0303
	Version13 uint16 = 0x0304
)

type aead uint8

const (
	aeadGCM aead = iota
	aeadChaCha
)

// suite is what the record layer needs to know of a cipher suite.
type suite struct {
	name    string // in the registry of IANA
	id      uint16
	version uint16
	aead    aead
	keyLen  int
	hash    crypto.Hash
}

// suites has every one with an AEAD that crypto/tls negotiates with an ephemeral
// key exchange: RFC 9846 B.4, RFC 5289, RFC 7905.
var suites = [...]suite{
	{"TLS_AES_128_GCM_SHA256", 0x1301, Version13, aeadGCM, 16, crypto.SHA256},
	{"TLS_AES_256_GCM_SHA384", 0x1302, Version13, aeadGCM, 32, crypto.SHA384},
	{"TLS_CHACHA20_POLY1305_SHA256", 0x1303, Version13, aeadChaCha, 32, crypto.SHA256},
	{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b, Version12, aeadGCM, 16, crypto.SHA256},
	{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c, Version12, aeadGCM, 32, crypto.SHA384},
	{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f, Version12, aeadGCM, 16, crypto.SHA256},
	{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030, Version12, aeadGCM, 32, crypto.SHA384},
	{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8, Version12, aeadChaCha, 32, crypto.SHA256},
	{"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9, Version12, aeadChaCha, 32, crypto.SHA256},
}

// Supports says whether the record layer has the cipher suite id in version.
func Supports(version, id uint16) bool {
	_, ok := find(version, id)
	return ok
}

// SuiteName is what the cipher suite id is called, "" if the record layer does not
// have it.
func SuiteName(id uint16) string {
	for i := range suites {
		if suites[i].id == id {
			return suites[i].name
		}
	}
	return ""
}

// VersionName is a version as people write it.
func VersionName(version uint16) string {
	if version == Version13 {
		return "1.3"
	}
	return "1.2"
}

func find(version, id uint16) (uint8, bool) {
	for i := range suites {
		if suites[i].id == id && suites[i].version == version {
			return uint8(i), true
		}
	}
	return 0, false
}

// explicitNonce is how many bytes of the nonce stand in front of each record's
// ciphertext (RFC 5288 3).
func (s *suite) explicitNonce() int {
	if s.version == Version12 && s.aead == aeadGCM {
		return 8
	}
	return 0
}
