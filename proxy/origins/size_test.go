package origins

import (
	"testing"
	"unsafe"
)

// What thousands of connections wait in is small: see TestSizesOfWhatWaits of package proxy.
func TestSizeOfALease(t *testing.T) {
	if n := unsafe.Sizeof(lease{}); n > 16 {
		t.Errorf("%d bytes, want at most 16", n)
	}
}
