//go:build !race

// The race detector writes notes beside memory, and not beside this one.

package upstream

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lock moves what all loops share of p's cluster into memory that can only be read, until unlock.
func lock(t *testing.T, p *Pool) (unlock func()) {
	t.Helper()
	keep := p.c
	size := int(unsafe.Sizeof(Cluster{}) + uintptr(len(keep.eps))*unsafe.Sizeof(Endpoint{}))
	page, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	put := func(at, from unsafe.Pointer, n uintptr) {
		copy(page[uintptr(at)-uintptr(unsafe.Pointer(&page[0])):][:n], unsafe.Slice((*byte)(from), n))
	}
	shared := unsafe.Pointer(&page[0])
	eps := make([]*Endpoint, len(keep.eps))
	for i, e := range keep.eps {
		at := unsafe.Add(shared, unsafe.Sizeof(Cluster{})+uintptr(i)*unsafe.Sizeof(Endpoint{}))
		put(at, unsafe.Pointer(e), unsafe.Sizeof(Endpoint{}))
		eps[i] = (*Endpoint)(at)
	}
	put(shared, unsafe.Pointer(keep), unsafe.Sizeof(Cluster{}))
	p.c = (*Cluster)(shared)
	p.c.eps = eps
	if err := unix.Mprotect(page, unix.PROT_READ); err != nil {
		t.Fatal(err)
	}
	return func() {
		p.c = keep
		runtime.KeepAlive(eps) // the garbage collector does not look into the page
		if err := unix.Munmap(page); err != nil {
			t.Error(err)
		}
	}
}

// Loops must not write what other loops read with every request, or they wait for each other's caches however many
// there are. Here such a write is a fault. Balancing by load does need to write: the requests under way.
func TestRequestsWriteNothingShared(t *testing.T) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random} {
		t.Run(fmt.Sprint(balance), func(t *testing.T) {
			p := warmPool(t, balance, 4)
			defer lock(t, p)()
			requests, fault := 0, any(nil)
			func() {
				defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
				defer func() { fault = recover() }()
				for range 1000 {
					d := p.Acquire(2, 1, 0, 0)
					if d.Kind != Reuse {
						panic("got " + d.Kind.String() + ", expected reuse")
					}
					p.ResponseOK(2, d.Endpoint)
					if !p.PutAddr(2, d.Conn, d.Endpoint, d.Addr) {
						panic("not kept")
					}
					if h, ok := p.Pass(2); ok {
						panic(fmt.Sprint("loop ", h.Loop, " is called"))
					}
					requests++
				}
			}()
			if !balance.comparesBusy() && (requests != 1000 || fault != nil) {
				t.Errorf("after %d requests: %v", requests, fault)
			}
			if balance.comparesBusy() && fault == nil {
				t.Error("wrote nothing, so this test does not see writes")
			}
		})
	}
}
