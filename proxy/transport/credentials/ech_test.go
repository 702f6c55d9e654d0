package credentials

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"strings"
	"testing"
)

// echConfig is an ECHConfig with the public key of a KEM (RFC 9849 4).
func echConfig(version uint16, id byte, kem uint16, public []byte) []byte {
	c := binary.BigEndian.AppendUint16([]byte{id}, kem)
	c = append(binary.BigEndian.AppendUint16(c, uint16(len(public))), public...)
	c = append(c, 0, 4, 0, 1, 0, 1, 32, 1, 'p', 0, 0)
	whole := binary.BigEndian.AppendUint16(nil, version)
	return append(binary.BigEndian.AppendUint16(whole, uint16(len(c))), c...)
}

func echList(configs ...[]byte) []byte {
	all := bytes.Join(configs, nil)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...)
}

// Files of Encrypted ClientHello: what they hold, and what is wrong with them.
func TestECHFiles(t *testing.T) {
	key := func(c ecdh.Curve) (private, public []byte) {
		k, err := c.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return pemOf("PRIVATE KEY", der), k.PublicKey().Bytes()
	}
	private, public := key(ecdh.X25519())
	nist, nistPublic := key(ecdh.P256())
	one, two := echConfig(0xfe0d, 1, 0x20, public), echConfig(0xfe0d, 2, 0x20, public)
	file := func(key, list []byte) []byte { return append(bytes.Clone(key), pemOf("ECHCONFIG", list)...) }
	for name, c := range map[string]struct {
		file  []byte
		want  int // keys
		wrong string
	}{
		"one":               {file(private, echList(one)), 1, ""},
		"two for one key":   {file(private, echList(one, two)), 2, ""},
		"P-256":             {file(nist, echList(echConfig(0xfe0d, 1, 0x10, nistPublic))), 1, ""},
		"an older version":  {file(private, echList(echConfig(0xfe0c, 1, 0x20, public), one)), 1, ""},
		"none of ours":      {file(private, echList(echConfig(0xfe0c, 1, 0x20, public))), 0, "no ECHCONFIG of version 0xfe0d"},
		"another's key":     {file(nist, echList(one)), 0, "the key is not that of the ECHCONFIG"},
		"no key":            {pemOf("ECHCONFIG", echList(one)), 0, "no PRIVATE KEY, or no ECHCONFIG"},
		"no configuration":  {private, 0, "no PRIVATE KEY, or no ECHCONFIG"},
		"too short":         {file(private, []byte{0}), 0, "malformed"},
		"of another length": {file(private, append(echList(one), 0)), 0, "malformed"},
		"cut off":           {file(private, echList(one[:20])), 0, "malformed"},
		"a stub":            {file(private, echList([]byte{0xfe, 0x0d, 0, 2, 1, 0})), 0, "the key is not that of"},
		"no PKCS #8":        {file(pemOf("PRIVATE KEY", []byte("secret")), echList(one)), 0, "not PKCS #8"},
	} {
		keys, err := echKeys([][]byte{file(private, echList(one)), c.file})
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), "ech_keys[1]: "+c.wrong) && !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || len(keys) != 1+c.want || !keys[0].SendAsRetry || keys[1].SendAsRetry {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}
