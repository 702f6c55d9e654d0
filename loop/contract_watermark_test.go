package loop

import (
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

var _ = contract(
	contractTest{"low watermark: nothing before a piece is there", testWatermarkPiece},
	contractTest{"low watermark: less than a piece is received in the end", testWatermarkLate},
	contractTest{"low watermark: ends with the message", testWatermarkWhole},
	contractTest{"low watermark and the end of file", testWatermarkEnd},
	contractTest{"low watermark and a reset", testWatermarkReset},
	contractTest{"low watermark and export", testWatermarkExport},
	contractTest{"low watermark and pause", testWatermarkPause},
	contractTest{"low watermark of a splice", testWatermarkSplice},
)

const testPiece = 4 << 10

// watermarked lets a peer send the beginning of a message of n bytes, until the
// loop waits for pieces, and forgets that it should not wait for ever. It gives
// the size of a piece and how much of the message is left.
func (r *rig) watermarked(n int) (id ConnID, c tcpConn, g *watermark, left int) {
	r.Helper()
	r.l.watermarkPiece = testPiece
	id, c = r.tcpPair(SockOpts{NoDelay: true})
	r.l.Recv(id)
	r.l.LowWatermark(id, uint64(n))
	g = &r.l.watermarks[r.l.conns.lookup(id).watermark]
	for left = n; g.piece == 1; {
		if left <= n/2 {
			r.Fatalf("after %d bytes of %d the loop does not wait for pieces", n-left, n)
		}
		// All of it at once: what trickles in may be too slow to wait for.
		r.write(c, pattern(left, testPiece))
		r.same(r.recvAll(id, testPiece), pattern(left, testPiece))
		left -= testPiece
		r.quiet(time.Millisecond / 2) // it has looked and found nothing more
	}
	r.equal("left", g.left, left)
	r.forever(g)
	return id, c, g, left
}

// forever makes the loop wait for a piece however long it takes.
func (r *rig) forever(g *watermark) { g.due, r.l.watermarkDue = 0, 0 }

// A piece that is not whole does not wake the loop, and one that is does.
func testWatermarkPiece(r *rig) {
	id, c, g, _ := r.watermarked(100 * testPiece)
	for range 5 {
		piece := int(g.piece)
		r.write(c, pattern(1, piece-1))
		r.quiet(10 * time.Millisecond)
		r.write(c, pattern(2, 1))
		r.same(r.recvAll(id, piece), pattern(1, piece-1)+pattern(2, 1))
		r.quiet(time.Millisecond / 2)
		if g.piece == 1 {
			return // the test was too slow for more
		}
		r.forever(g)
	}
}

// Bytes that do not become a piece come all the same, and so do the next.
func testWatermarkLate(r *rig) {
	id, c, g, _ := r.watermarked(100 * testPiece)
	r.l.setPiece(r.l.conns.lookup(id), g, g.piece) // with the time it has
	for range 5 {
		r.write(c, "late")
		r.same(r.recvAll(id, 4), "late")
	}
}

// What comes behind the message comes at once.
func testWatermarkWhole(r *rig) {
	id, c, g, left := r.watermarked(40 * testPiece)
	r.l.setPiece(r.l.conns.lookup(id), g, g.piece)
	for left > 0 {
		piece := min(left, 16*testPiece)
		r.write(c, pattern(left, piece))
		r.same(r.recvAll(id, piece), pattern(left, piece))
		if left -= piece; left > 0 {
			r.equal("left", g.left, left)
		}
	}
	r.equal("low watermark of the connection", r.l.conns.lookup(id).watermark, 0)
	for range 3 {
		r.write(c, "next")
		r.same(r.recvAll(id, 4), "next")
	}
	// The entry serves the next message.
	r.l.LowWatermark(id, 100*testPiece)
	r.equal("low watermark of the connection", r.l.conns.lookup(id).watermark, 1)
}

func testWatermarkEnd(r *rig) {
	id, c, _, _ := r.watermarked(100 * testPiece)
	r.write(c, "the last")
	c.CloseWrite()
	r.same(r.recvAll(id, 8), "the last")
	r.equal("errno", r.expect(RecvEnd, id).Errno, unix.Errno(0))
}

func testWatermarkReset(r *rig) {
	id, c, _, _ := r.watermarked(100 * testPiece)
	c.SetLinger(0)
	c.Close()
	r.equal("errno", r.expect(RecvEnd, id).Errno, unix.ECONNRESET)
	r.closed(id)
	for i := range r.l.watermarks {
		r.equal("connection of an entry", r.l.watermarks[i].id, 0)
	}
}

// Who gets the descriptor need not know that a low watermark was set.
func testWatermarkExport(r *rig) {
	id, c, _, _ := r.watermarked(100 * testPiece)
	r.l.Export(id)
	ev := r.expect(Closed, id)
	if ev.FD < 0 {
		r.Fatal("an idle connection was not exported")
	}
	id = r.l.Adopt(int(ev.FD), netip.AddrPort{}, 3)
	r.l.Recv(id)
	r.write(c, "x")
	r.same(r.recvAll(id, 1), "x")
}

func testWatermarkPause(r *rig) {
	id, c, g, _ := r.watermarked(100 * testPiece)
	r.l.setPiece(r.l.conns.lookup(id), g, g.piece)
	r.l.Pause(id)
	r.quiet(time.Millisecond)
	r.write(c, "while it is paused")
	time.Sleep(10 * time.Millisecond)
	r.l.Recv(id)
	r.same(r.recvAll(id, 18), "while it is paused")
}

func testWatermarkSplice(r *rig) {
	const size = 3_000_000
	s := newSplicing(r, size)
	r.l.watermarkPiece = testPiece
	r.l.LowWatermark(s.from, size)
	s.splice()
	s.whole(pattern(5, size))
	r.equal("low watermark of the connection", r.l.conns.lookup(s.from).watermark, 0)
	io.WriteString(s.src, "behind")
	s.until("what is behind", func() bool { return s.behind == "behind" })
}
