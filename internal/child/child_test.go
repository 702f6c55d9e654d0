package child

import (
	"net"
	"net/netip"
	"os/exec"
	"testing"
)

func TestOutputOfBothStreams(t *testing.T) {
	var out Output
	cmd := exec.Command("sh", "-c", "echo one; echo two >&2")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "one\ntwo\n" {
		t.Errorf("%q, want both lines", got)
	}
}

func TestFreeAddrGivesNoPortTwice(t *testing.T) {
	seen := map[netip.AddrPort]bool{}
	for range 100 {
		addr := FreeAddr(t)
		if seen[addr] {
			t.Fatalf("%v was given out before", addr)
		}
		seen[addr] = true
	}
}

func TestFreeAddrLeavesOutWhatIsUsed(t *testing.T) {
	ports.next = lastPort - 1 // it goes on with the first after the last
	used := FreeAddr(t)
	l, err := net.Listen("tcp", used.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ports.next = used.Port()
	addr := FreeAddr(t)
	if addr == used {
		t.Errorf("%v was given out while somebody listens there", addr)
	}
	if addr.Port() < firstPort || addr.Port() >= lastPort {
		t.Errorf("%v is not among the ports to give out", addr)
	}
}

// TestFreeAddrIsFree: nobody takes connections there, also while programs are
// started.
func TestFreeAddrIsFree(t *testing.T) {
	stop, stopped := make(chan bool), make(chan bool)
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					stopped <- true
					return
				default:
					exec.Command("true").Run()
				}
			}
		}()
	}
	for range 1500 {
		addr := FreeAddr(t)
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			t.Errorf("somebody takes connections at %v", addr)
		}
	}
	close(stop)
	for range 4 {
		<-stopped
	}
}
