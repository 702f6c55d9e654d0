// Package child is what tests that start programs have in common, in this module
// and in those of its tests: what a program prints, and where it can listen.
package child

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
)

// Output collects what a program prints, and may be read while it does.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write is for the program's side.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is all that has been printed.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// ports is the next port to try, see FreeAddr.
var ports = struct {
	sync.Mutex
	next uint16
}{next: uint16(firstPort + os.Getpid()*64%(lastPort-firstPort))}

// The ports given out lie below those that the kernel gives to connections
// (net.ipv4.ip_local_port_range).
const (
	firstPort = 10000
	lastPort  = 32000
)

// FreeAddr finds a port of 127.0.0.1 that nobody uses and that was not given
// out before: several may be wanted until the first is listened on.
func FreeAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	// A program that is being started has a copy of every descriptor until it is
	// itself: a listener that lives on there would take connections that are meant
	// for whoever gets the port.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for range lastPort - firstPort {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ports.next)
		if ports.next++; ports.next == lastPort {
			ports.next = firstPort
		}
		if l, err := net.Listen("tcp4", addr.String()); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatalf("no port of 127.0.0.1 from %d to %d is free", firstPort, lastPort)
	return netip.AddrPort{}
}
