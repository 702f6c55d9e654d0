package loop

import (
	"io"
	"testing"
	"time"
)

// What epoll promises beyond the contract: its cost in system calls.

// TestOneRecvPerMessage: a message that does not fill a block is one recv, and
// one send.
func TestOneRecvPerMessage(t *testing.T) {
	r := newRig(t, Epoll)
	id, c := r.tcpPair(SockOpts{NoDelay: true})
	r.l.Recv(id)
	r.quiet(5 * time.Millisecond)
	before := r.l.Stats()
	const messages = 50
	for range messages {
		r.write(c, "request")
		r.recvAll(id, 7)
		r.send(id, "response")
		r.readFull(c, 8)
	}
	after := r.l.Stats()
	r.equal("recv calls", after.RecvCalls-before.RecvCalls, messages)
	r.equal("send calls", after.SendCalls-before.SendCalls, messages)
}

// TestNoSendInVain: after a short send the next one waits for room.
func TestNoSendInVain(t *testing.T) {
	r := newRig(t, Epoll)
	id, c := r.tcpPair(SockOpts{SndBuf: 8192})
	const size = 800_000
	r.send(id, pattern(1, size))
	go io.Copy(io.Discard, c)
	events := uint64(0)
	for left := size; left > 0; events++ {
		left -= int(r.expect(Sent, id).N)
	}
	s := r.l.Stats()
	if s.ShortSends == 0 {
		t.Fatal("no short send: this test tests nothing")
	}
	if s.SendCalls != events {
		t.Errorf("%d send calls, of which %d brought something", s.SendCalls, events)
	}
}

// TestBlocksPerTick: however much waits in a socket, one tick takes a bounded
// part of it.
func TestBlocksPerTick(t *testing.T) {
	r := newRig(t, Epoll)
	id, c := r.tcpPair(SockOpts{RcvBuf: 4 << 20})
	text := pattern(1, 1<<20)
	c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	size, _ := io.WriteString(c, text)
	if size < 3*blocksPerTick*testBlock {
		t.Skipf("the kernel took only %d bytes: sysctl net.core.rmem_max=4194304 gives more", size)
	}
	r.quiet(5 * time.Millisecond)
	r.l.Recv(id)
	for got := 0; got < 2*blocksPerTick*testBlock; {
		if err := r.l.Poll(testTimeout); err != nil {
			t.Fatal(err)
		}
		blocks := 0
		for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
			got += len(r.take(ev))
			blocks++
		}
		if blocks > 2*blocksPerTick { // one turn asked for, one announced
			t.Fatalf("%d blocks in one tick", blocks)
		}
	}
}

// TestStopAcceptTakesIn: clients whose handshake is done are not reset.
func TestStopAcceptTakesIn(t *testing.T) {
	r := newRig(t, Epoll)
	fd, addr := r.listen(SockOpts{}, 0)
	for range 5 {
		r.client(addr)
	}
	r.l.StopAccept(fd)
	for range 5 {
		r.expect(Accepted, 0)
	}
}

// TestBytesPerTick: connections that bring much take turns, and each gets one.
func TestBytesPerTick(t *testing.T) {
	const each = blocksPerTick * testBlock
	const conns = 3 * bytesPerTick / each
	r := newRigWith(t, Config{IO: Epoll}, 2*conns*blocksPerTick)
	text := pattern(3, each)
	var ids [conns]ConnID
	for i := range ids {
		id, c := r.tcpPair(SockOpts{RcvBuf: 2 * each})
		r.write(c, text)
		for r.l.be.unread(r.l.conns.lookup(id)) < each {
			time.Sleep(time.Millisecond)
		}
		r.l.conns.lookup(id).setRecvBlocks(blocksPerTick)
		ids[i] = id
	}
	for _, id := range ids {
		r.l.Recv(id)
	}
	got := map[ConnID]int{}
	for total, polls := 0, 0; total < conns*each; polls++ {
		if polls == 10 {
			t.Fatalf("%d bytes of %d after %d Polls", total, conns*each, polls)
		}
		before := total
		if err := r.l.Poll(time.Millisecond); err != nil {
			t.Fatal(err)
		}
		for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
			got[ev.Conn] += int(ev.N)
			total += int(ev.N)
			r.pool.Release(ev.View)
		}
		if n := total - before; n > bytesPerTick+each {
			t.Errorf("%d bytes in a tick, want at most %d and what one more has", n, bytesPerTick)
		}
	}
	for i, id := range ids {
		if got[id] != each {
			t.Errorf("connection %d got %d bytes of %d", i, got[id], each)
		}
	}
}
