package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// stream is a body of n bytes that do not repeat, the same every time.
func stream(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), n)
}

var (
	bodyDir  string // where bodies lie as files, for nginx
	bodyLock sync.Mutex
	bodySums = map[int64]string{} // SHA-256 of stream(n), by n
)

// bodyFile puts stream(n) into a file under bodyDir, once for all tests, and
// gives its name there and its SHA-256.
func bodyFile(t *testing.T, n int64, name string) (path, sum string) {
	t.Helper()
	bodyLock.Lock()
	defer bodyLock.Unlock()
	path = filepath.Join(bodyDir, name)
	if _, err := os.Stat(path); err == nil {
		return "/" + name, bodySums[n]
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, h), stream(n)); err != nil {
		t.Fatalf("a file of %d bytes in %s: %v", n, bodyDir, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	bodySums[n] = hex.EncodeToString(h.Sum(nil))
	return "/" + name, bodySums[n]
}

// sumOf reads r to its end and gives length and SHA-256.
func sumOf(t *testing.T, r io.Reader) (int64, string) {
	t.Helper()
	n, sum, err := sumUp(r)
	if err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	return n, sum
}

// sumUp is sumOf for other goroutines than the test's.
func sumUp(r io.Reader) (int64, string, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, 256<<10))
	return n, hex.EncodeToString(h.Sum(nil)), err
}

func sumOfStream(t *testing.T, n int64) string {
	t.Helper()
	_, sum := sumOf(t, stream(n))
	return sum
}
