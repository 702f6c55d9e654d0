package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"zproxy/filter/verify"
)

// key is one that tokens may be signed with.
type key struct {
	id         string   // kid, "": none
	algorithms []string // that it is for, of the accepted ones
	value      any      // as golang-jwt takes it
}

// keySet does not change.
type keySet struct {
	scope uint64
	sum   [sha256.Size]byte // of what it was read from
	keys  []key
}

// Algorithms are those of RFC 7518 and 8037 that can be accepted. "none" is none.
var Algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"}

const (
	maxKeys        = 100
	maxKeySetBytes = 1 << 20
	// minRSABits and minSecretBytes: RFC 7518 sections 3.3 and 3.2.
	minRSABits     = 2048
	maxRSABits     = 8192
	minSecretBytes = 32
)

// newKeySet keeps the keys that are for one of the accepted algorithms.
func newKeySet(data []byte, all []key, accepted []string) (*keySet, error) {
	s := &keySet{scope: verify.NewScope(), sum: sha256.Sum256(data)}
	for _, k := range all {
		k.algorithms = slices.DeleteFunc(k.algorithms, func(name string) bool { return !slices.Contains(accepted, name) })
		if len(k.algorithms) > 0 {
			s.keys = append(s.keys, k)
		}
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("no key for %s", strings.Join(accepted, ", "))
	}
	if len(s.keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, expected at most %d", len(s.keys), maxKeys)
	}
	return s, nil
}

// find gives the keys a token may be signed with. known is false where it names one that is not there.
func (s *keySet) find(id, algorithm string) (list []any, known bool) {
	for i := range s.keys {
		k := &s.keys[i]
		if k.id != "" && id != "" && k.id != id {
			continue
		}
		known = true
		if slices.Contains(k.algorithms, algorithm) {
			list = append(list, k.value)
		}
	}
	return list, known
}

// parseKeys reads a JSON Web Key Set (RFC 7517), or public keys and certificates in PEM.
func parseKeys(data []byte, accepted []string) (*keySet, error) {
	var all []key
	var err error
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '{' {
		all, err = parseJWKS(text)
	} else {
		all, err = parsePEM(text)
	}
	if err != nil {
		return nil, err
	}
	return newKeySet(data, all, accepted)
}

// parseSecret takes the bytes of a file, less white space around them, as the key of an HMAC.
func parseSecret(data []byte, accepted []string) (*keySet, error) {
	secret := bytes.TrimSpace(data)
	if len(secret) < minSecretBytes {
		return nil, fmt.Errorf("a secret of %d bytes, expected at least %d: openssl rand -base64 48", len(secret), minSecretBytes)
	}
	return newKeySet(data, []key{{algorithms: []string{"HS256", "HS384", "HS512"}, value: bytes.Clone(secret)}}, accepted)
}

func parsePEM(data []byte) (all []key, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		var public any
		switch block.Type {
		case "PUBLIC KEY":
			public, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var cert *x509.Certificate
			if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
				public = cert.PublicKey
			}
		default:
			return nil, fmt.Errorf("a PEM block %q, expected PUBLIC KEY or CERTIFICATE: openssl pkey -in key.pem -pubout", block.Type)
		}
		if err != nil {
			return nil, err
		}
		k := key{value: public}
		if k.algorithms, err = algorithmsOf(public); err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	if all == nil {
		return nil, errors.New("expected public keys in PEM, or a JSON Web Key Set")
	}
	return all, nil
}

// algorithmsOf says what a public key can be for.
func algorithmsOf(public any) ([]string, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits, expected %d to %d", bits, minRSABits, maxRSABits)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, errors.New("an elliptic curve other than P-256, P-384 and P-521")
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, fmt.Errorf("a key of type %T, expected RSA, ECDSA or Ed25519", public)
}

// jwk is a JSON Web Key.
type jwk struct {
	Kty, Kid, Alg, Use string
	KeyOps             []string `json:"key_ops"`
	N, E, Crv, X, Y, K string
}

// parseJWKS leaves out keys that are not for signatures, or of kinds it does not know: sets change without notice.
func parseJWKS(data []byte) (all []key, err error) {
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("a JSON Web Key Set: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New(`a JSON Web Key Set: expected "keys"`)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, expected at most %d", len(set.Keys), maxKeys)
	}
	var why error
	for i := range set.Keys {
		j := &set.Keys[i]
		if j.Use != "" && j.Use != "sig" || j.KeyOps != nil && !slices.Contains(j.KeyOps, "verify") {
			continue
		}
		k := key{id: j.Kid}
		k.value, err = j.value()
		if err == nil {
			if secret, ok := k.value.([]byte); !ok {
				k.algorithms, err = algorithmsOf(k.value)
			} else if k.algorithms = []string{"HS256", "HS384", "HS512"}; len(secret) < minSecretBytes {
				err = fmt.Errorf("a secret of %d bytes, expected at least %d", len(secret), minSecretBytes)
			}
		}
		if err != nil {
			why = fmt.Errorf("key %d: %w", i+1, err)
			continue
		}
		if j.Alg != "" {
			k.algorithms = slices.DeleteFunc(k.algorithms, func(name string) bool { return name != j.Alg })
		}
		all = append(all, k)
	}
	if all == nil && why != nil {
		return nil, why
	}
	return all, nil
}

var errBase64 = errors.New("expected base64url without padding")

func number(text string) (*big.Int, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, errBase64
	}
	return new(big.Int).SetBytes(b), nil
}

func (j *jwk) value() (any, error) {
	switch j.Kty {
	case "RSA":
		n, err1 := number(j.N)
		e, err2 := number(j.E)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if !e.IsInt64() || e.Int64() < 3 || e.Int64() >= 1<<31 || e.Bit(0) == 0 {
			return nil, errors.New("an exponent that is even, or not from 3 to 2^31-1")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	case "EC":
		return j.ecdsa()
	case "OKP":
		x, err := base64.RawURLEncoding.DecodeString(j.X)
		if j.Crv != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("expected crv Ed25519 with x of 32 bytes")
		}
		return ed25519.PublicKey(x), nil
	case "oct":
		secret, err := base64.RawURLEncoding.DecodeString(j.K)
		if err != nil {
			return nil, errBase64
		}
		return secret, nil
	}
	return nil, fmt.Errorf("kty %q, expected RSA, EC, OKP or oct", j.Kty)
}

func (j *jwk) ecdsa() (any, error) {
	var curve elliptic.Curve
	switch j.Crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("crv %q, expected P-256, P-384 or P-521", j.Crv)
	}
	x, err1 := base64.RawURLEncoding.DecodeString(j.X)
	y, err2 := base64.RawURLEncoding.DecodeString(j.Y)
	size := (curve.Params().BitSize + 7) / 8
	if err1 != nil || err2 != nil || len(x) != size || len(y) != size {
		return nil, fmt.Errorf("expected x and y of %d bytes each", size)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y)) // which checks that the point is on the curve
}
