// Package child is what tests that start programs have in common, in this module
// and in those of its tests: what a program prints, and where it can listen.
package child

import (
	"bytes"
	"fmt"
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

// ports are those to try next, from next to end, in a block of this process's own.
var ports struct {
	sync.Mutex
	next, end int
	own       []int // where the blocks begin that are this process's
	claims    []net.PacketConn
}

// The ports given out lie below those that the kernel gives to connections
// (net.ipv4.ip_local_port_range).
const (
	firstPort = 10000
	lastPort  = 32000
	blockSize = 100
	blocks    = (lastPort - firstPort) / blockSize
)

// claim takes the block that begins at first for as long as the process runs. Another process
// that gave out the same port would find it free until a program listens there. The name is of the
// abstract namespace (unix(7)): it goes with the process.
func claim(first int) (net.PacketConn, error) {
	return net.ListenPacket("unixgram", fmt.Sprintf("@zproxy-test-ports-%d", first))
}

// nextBlock goes on in a block that nobody has, or where none is left, in one of its own.
func nextBlock() {
	begin := ports.end
	if begin == 0 {
		begin = firstPort + os.Getpid()*7%blocks*blockSize
	}
	for i := range blocks {
		first := firstPort + ((begin-firstPort)/blockSize+i)%blocks*blockSize
		if c, err := claim(first); err == nil {
			ports.own, ports.claims = append(ports.own, first), append(ports.claims, c)
			ports.next, ports.end = first, first+blockSize
			return
		}
	}
	if len(ports.own) > 0 {
		ports.next = ports.own[0]
		ports.own = append(ports.own[1:], ports.next)
	} else {
		ports.next = begin
	}
	ports.end = ports.next + blockSize
}

// FreeAddr finds a port of 127.0.0.1 that nobody uses and that was not given
// out before, nor will be by another process: several may be wanted until the first is listened on.
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
		if ports.next == ports.end {
			nextBlock()
		}
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(ports.next))
		ports.next++
		if l, err := net.Listen("tcp4", addr.String()); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatalf("no port of 127.0.0.1 from %d to %d is free", firstPort, lastPort)
	return netip.AddrPort{}
}

// WriteProgram writes a file that is to be started. No other program begins meanwhile: it would have a copy of the
// descriptor for a moment, and what somebody may write is not started ("text file busy").
func WriteProgram(name string, program []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(name, program, 0o755)
}
