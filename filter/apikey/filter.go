package apikey

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"sync/atomic"

	"zproxy/filter"
	"zproxy/filter/verify"
	"zproxy/proto"
)

// Config of a Filter.
type Config struct {
	Realm    string // visible ASCII and spaces, without quotes and backslashes
	File     string // path
	Sources  []verify.Source
	Identity verify.Identity
}

const (
	// minKeyBytes is how long a key is at the least: 128 bits in hexadecimal are 32, in base64 22.
	minKeyBytes = 20
	maxKeyBytes = 512
	// maxFileBytes is how long a file may be.
	maxFileBytes = 64 << 20
)

// Reasons of refusals.
const (
	ReasonMissing   = "no API key"
	ReasonMalformed = "several API keys, or one that is too long"
	ReasonRefused   = "API key is not known"
)

// Filter asks for keys. All loops use it; Look is for one goroutine.
type Filter struct {
	cfg                         Config
	keys                        atomic.Pointer[keys]
	missing, malformed, refusal *verify.Verdict
	file                        verify.File
}

// New reads the file.
func New(cfg Config) (*Filter, error) {
	challenge := verify.Challenge(`ApiKey realm="` + cfg.Realm + `"`)
	f := &Filter{
		cfg: cfg, missing: verify.Refuse(401, ReasonMissing).With(challenge), malformed: verify.Refuse(401, ReasonMalformed).With(challenge), refusal: verify.Refuse(401, ReasonRefused).With(challenge),
		file: verify.File{Path: cfg.File, Max: maxFileBytes},
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Filter) read() error {
	data, err := f.file.Read()
	if err == nil {
		var k *keys
		if k, err = parse(data); err == nil {
			f.keys.Store(k)
			f.file.Take()
			return nil
		}
		err = fmt.Errorf("%s:%w", f.cfg.File, err)
	}
	f.file.Refuse()
	return err
}

// Look reads the file again when it has changed. An error means that the file before stays in force; it is given
// once.
func (f *Filter) Look() (changed bool, err error) {
	if !f.file.Due() {
		return false, nil
	}
	err = f.read()
	return err == nil, err
}

// Keys is how many the file has.
func (f *Filter) Keys() int { return len(f.keys.Load().list) }

// Request lets q in or refuses it.
func (f *Filter) Request(q *filter.Request) filter.Verdict {
	return f.cfg.Identity.Decide(q, f.Check(q.Head))
}

// Check gives the verdict for a request. It allocates nothing.
func (f *Filter) Check(h *proto.Head) *verify.Verdict {
	key, several := verify.FindAny(f.cfg.Sources, h)
	switch {
	case several || len(key) > maxKeyBytes:
		return f.malformed
	case len(key) == 0:
		return f.missing
	case len(key) < minKeyBytes:
		return f.refusal
	}
	sum := sha256.Sum256(key)
	if v := f.keys.Load().find(&sum); v != nil {
		return v
	}
	return f.refusal
}

// find looks for a hash. How long that takes says something of the hashes there are, of which nobody can make keys.
func (k *keys) find(sum *[sha256.Size]byte) *verify.Verdict {
	prefix := prefixOf(sum)
	low, high := 0, len(k.list)
	for low < high {
		mid := (low + high) / 2
		if k.list[mid].prefix < prefix {
			low = mid + 1
		} else {
			high = mid
		}
	}
	for ; low < len(k.list) && k.list[low].prefix == prefix; low++ {
		if subtle.ConstantTimeCompare(k.list[low].sum[:], sum[:]) == 1 {
			return k.list[low].verdict
		}
	}
	return nil
}
