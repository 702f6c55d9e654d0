package apikey

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"zproxy/filter/verify"
)

// keys are what a file says. They do not change.
type keys struct{ list []key } // sorted by prefix

type key struct {
	prefix  uint64
	sum     [sha256.Size]byte
	verdict *verify.Verdict
}

func prefixOf(sum *[sha256.Size]byte) uint64 { return binary.BigEndian.Uint64(sum[:8]) }

const (
	maxKeys      = 1_000_000
	maxNameBytes = 256
)

// lineError says what is wrong with a line, and never what is in it.
type lineError struct {
	line int
	what string
}

func (e *lineError) Error() string { return fmt.Sprintf("%d: %s", e.line, e.what) }

// parse reads lines "name:hash". Several keys may have the same name, so that one can take the place of another.
// Lines that begin with "#" are comments.
func parse(data []byte) (*keys, error) {
	k := new(keys)
	for n := 1; len(data) > 0; n++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		colon := strings.LastIndexByte(text, ':')
		if colon < 0 {
			return nil, &lineError{n, "expected name:hash, as zproxy apikey writes it"}
		}
		name := text[:colon]
		if name == "" || len(name) > maxNameBytes || strings.TrimSpace(name) != name || !utf8.ValidString(name) ||
			strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, &lineError{n, fmt.Sprintf("expected a name of 1 to %d bytes in UTF-8, without control characters or spaces around it", maxNameBytes)}
		}
		one := key{verdict: &verify.Verdict{Name: []byte(name)}}
		sum, err := hex.DecodeString(text[colon+1:])
		if err != nil || len(sum) != len(one.sum) {
			return nil, &lineError{n, "expected the SHA-256 of the key, 64 hexadecimal digits, behind the name"}
		}
		if len(k.list) == maxKeys {
			return nil, &lineError{n, fmt.Sprintf("more than %d keys", maxKeys)}
		}
		copy(one.sum[:], sum)
		one.prefix = prefixOf(&one.sum)
		k.list = append(k.list, one)
	}
	slices.SortFunc(k.list, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.prefix, b.prefix), bytes.Compare(a.sum[:], b.sum[:]))
	})
	for i := 1; i < len(k.list); i++ {
		if k.list[i].sum == k.list[i-1].sum {
			return nil, fmt.Errorf(" the key of %q is in the file twice", k.list[i].verdict.Name)
		}
	}
	return k, nil
}

// keyBytes is how much chance there is in a new key.
const keyBytes = 32

// NewKey makes a key for a client, and the line of the file for it.
func NewKey(name string) (secret, line string, err error) {
	var random [keyBytes]byte
	rand.Read(random[:])
	secret = base64.RawURLEncoding.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(secret))
	line = name + ":" + hex.EncodeToString(sum[:])
	if _, err = parse([]byte(line)); err != nil {
		return "", "", fmt.Errorf("name:%w", err)
	}
	return secret, line, nil
}
