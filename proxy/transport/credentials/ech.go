package credentials

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
)

// echKeys reads files with a private key and an ECHConfigList each (RFC 9934). The
// configurations of the first file are those that clients are to use.
func echKeys(files [][]byte) (keys []stdtls.EncryptedClientHelloKey, err error) {
	for i, data := range files {
		of, err := echFile(data)
		if err != nil {
			return nil, fmt.Errorf("ech_keys[%d]: %w", i, err)
		}
		for _, k := range of {
			k.SendAsRetry = i == 0
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func echFile(data []byte) (keys []stdtls.EncryptedClientHelloKey, err error) {
	var private, public []byte
	var list []byte
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch block.Type {
		case "PRIVATE KEY":
			if private, public, err = echPrivate(block.Bytes); err != nil {
				return nil, err
			}
		case "ECHCONFIG":
			list = block.Bytes
		}
	}
	if private == nil || list == nil {
		return nil, errors.New("no PRIVATE KEY, or no ECHCONFIG")
	}
	if len(list) < 2 || int(binary.BigEndian.Uint16(list)) != len(list)-2 {
		return nil, errors.New("malformed ECHCONFIG")
	}
	for list = list[2:]; len(list) > 0; {
		if len(list) < 4 || int(binary.BigEndian.Uint16(list[2:])) > len(list)-4 {
			return nil, errors.New("malformed ECHCONFIG")
		}
		n := 4 + int(binary.BigEndian.Uint16(list[2:]))
		// RFC 9849 4: version, length, config_id, kem_id, public_key.
		if c := list[:n]; binary.BigEndian.Uint16(c) == 0xfe0d {
			if n < 9 || int(binary.BigEndian.Uint16(c[7:])) != len(public) || n < 9+len(public) || string(c[9:9+len(public)]) != string(public) {
				return nil, errors.New("the key is not that of the ECHCONFIG")
			}
			keys = append(keys, stdtls.EncryptedClientHelloKey{Config: c, PrivateKey: private})
		}
		list = list[n:]
	}
	if len(keys) == 0 {
		return nil, errors.New("no ECHCONFIG of version 0xfe0d (RFC 9849)")
	}
	return keys, nil
}

// echPrivate is a key of PKCS #8 as HPKE has it, and the public one.
func echPrivate(der []byte) (private, public []byte, err error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, nil, errors.New("the PRIVATE KEY is not PKCS #8")
	}
	switch k := k.(type) {
	case *ecdh.PrivateKey: // X25519
		return k.Bytes(), k.PublicKey().Bytes(), nil
	case *ecdsa.PrivateKey:
		e, err := k.ECDH()
		if err != nil {
			return nil, nil, errors.New("the PRIVATE KEY is of a curve that is not supported")
		}
		return e.Bytes(), e.PublicKey().Bytes(), nil
	}
	return nil, nil, errors.New("the PRIVATE KEY is none of X25519, P-256, P-384 or P-521")
}
