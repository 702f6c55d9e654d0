package verify

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
)

// Digest stands for credentials. It is made with a key of this process: nobody else can look for two credentials
// with the same one, and a Digest that leaks says nothing.
type Digest [16]byte

// secret is the key.
var secret = func() (key [32]byte) {
	rand.Read(key[:])
	return key
}()

// scopes numbers what Digests are for.
var scopes atomic.Uint64

// NewScope gives a number that no other Digest of this process was made with: what was verified against one set of
// keys says nothing of another.
func NewScope() uint64 { return scopes.Add(1) }

// Digester makes Digests. Each loop has one; it allocates for credentials longer than all before alone.
type Digester struct{ buf []byte }

// Begin begins a Digest.
func (d *Digester) Begin(scope uint64) {
	d.buf = append(d.buf[:0], secret[:]...)
	d.buf = binary.LittleEndian.AppendUint64(d.buf, scope)
}

// Add adds a part of the credentials. Where one part ends and the next begins makes a difference.
func (d *Digester) Add(part []byte) {
	d.buf = binary.LittleEndian.AppendUint64(d.buf, uint64(len(part)))
	d.buf = append(d.buf, part...)
}

// Sum ends it. The parts are not kept.
func (d *Digester) Sum() (sum Digest) {
	all := sha256.Sum256(d.buf)
	clear(d.buf)
	copy(sum[:], all[:])
	return sum
}
