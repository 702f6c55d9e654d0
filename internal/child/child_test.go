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
	used := FreeAddr(t)
	l, err := net.Listen("tcp", used.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ports.next = int(used.Port())
	addr := FreeAddr(t)
	if addr == used {
		t.Errorf("%v was given out while somebody listens there", addr)
	}
	if addr.Port() < firstPort || addr.Port() >= lastPort {
		t.Errorf("%v is not among the ports to give out", addr)
	}
}

// A block that another process has is left out, and behind the last one comes the first.
func TestFreeAddrLeavesOutBlocksOfOthers(t *testing.T) {
	FreeAddr(t)
	theirs, err := claim(lastPort - blockSize)
	if err != nil {
		t.Skipf("another process has the last block: run the test once more: %v", err)
	}
	defer theirs.Close()
	before := ports.next
	defer func() { ports.next, ports.end = before, before }()
	ports.next, ports.end = lastPort-blockSize, lastPort-blockSize // the one before has been used up
	for range 2 * blockSize {
		if addr := FreeAddr(t); addr.Port() >= lastPort-blockSize {
			t.Fatalf("%v is of another process", addr)
		}
	}
}

// Where others have all blocks a process goes on in its own.
func TestFreeAddrWithoutBlocks(t *testing.T) {
	FreeAddr(t)
	for i := range blocks {
		if c, err := claim(firstPort + i*blockSize); err == nil {
			defer c.Close()
		}
	}
	own := len(ports.own)
	for range (own + 1) * blockSize {
		FreeAddr(t)
	}
	if len(ports.own) != own {
		t.Errorf("%d blocks, had %d", len(ports.own), own)
	}
}
