package loop

import (
	"testing"
	"time"
)

// lowats is a backend that keeps what it is told of pieces.
type lowats struct {
	*stubBackend
	told []int
}

func (s *lowats) lowat(_ *conn, n int) { s.told = append(s.told, n) }

func watermarkLoop(t *testing.T) (*Loop, *lowats) {
	l, stub := stubLoop(t, int64(time.Hour))
	s := &lowats{stubBackend: stub}
	l.be = s
	return l, s
}

// someConn is a connection with a descriptor nobody uses.
func someConn(l *Loop) (ConnID, *conn) {
	id, c, _ := l.conns.alloc()
	c.fd = 1 << 30
	return id, c
}

// TestWatermarkPieces: how much is waited for follows what came in lately.
func TestWatermarkPieces(t *testing.T) {
	const kib, ms = 1 << 10, int64(time.Millisecond)
	type step struct {
		afterNs int64
		bytes   uint64
		piece   int
	}
	for _, c := range []struct {
		name  string
		size  uint64
		steps []step
	}{
		{"too short", 127 * kib, []step{{0, 64 * kib, 1}}},
		{"fast", 1024 * kib, []step{{0, 63 * kib, 1}, {0, 1 * kib, 64 * kib}, {ms, 64 * kib, 128 * kib}, {ms, 127 * kib, 128 * kib},
			{ms, 1 * kib, 256 * kib}, {ms, 256 * kib, 256 * kib}, {0, 256 * kib, 256 * kib}, {0, 1 * kib, 255 * kib}, {0, 200 * kib, 55 * kib}, {0, 55 * kib, 1}}},
		{"slow", 10240 * kib, []step{{0, 14 * kib, 1}, {ms, 14 * kib, 1}, {ms, 14 * kib, 1}, {2 * ms, 14 * kib, 1}, {ms, 7 * kib, 1}, {ms, 7 * kib, 1}, {ms, 7 * kib, 1}}},
		{"slower and slower", 10240 * kib, []step{{0, 256 * kib, 256 * kib}, {5 * ms, 64 * kib, 256 * kib}, {5 * ms, 64 * kib, 128 * kib}, {5 * ms, 20 * kib, 64 * kib}, {5 * ms, 10 * kib, 1}, {5 * ms, 100 * kib, 64 * kib}}},
	} {
		l, s := watermarkLoop(t)
		id, conn := someConn(l)
		l.LowWatermark(id, c.size)
		left := c.size
		for i, st := range c.steps {
			l.nowNs += st.afterNs
			if left -= st.bytes; conn.watermark != 0 {
				l.pieceReceived(conn, st.bytes)
			}
			l.drained(conn)
			piece := 1
			if len(s.told) > 0 {
				piece = s.told[len(s.told)-1]
			}
			if piece != st.piece {
				t.Errorf("%s, step %d: a piece is %d, want %d", c.name, i, piece, st.piece)
			}
			if piece > 1 && uint64(piece) > left {
				t.Errorf("%s, step %d: a piece is %d and only %d are left", c.name, i, piece, left)
			}
		}
	}
}

// TestWatermarkCounts: what is received and was not pulled is a part of what is to
// come.
func TestWatermarkCounts(t *testing.T) {
	l, _ := watermarkLoop(t)
	id, c := someConn(l)
	other, _ := someConn(l)
	for _, ev := range []Event{{Kind: Received, Conn: id, N: 1 << 10}, {Kind: Received, Conn: other, N: 1 << 20}, {Kind: Spliced, Conn: id, N: 2 << 10}, {Kind: Sent, Conn: id, N: 4 << 10}} {
		l.push(ev)
	}
	l.LowWatermark(id, 1<<20)
	if got := l.watermarks[c.watermark].left; got != 1<<20-3<<10 {
		t.Errorf("%d bytes are to come, want %d", got, 1<<20-3<<10)
	}
	if l.LowWatermark(other, 1<<20); l.conns.lookup(other).watermark != 0 {
		t.Error("a low watermark is set for a message that is there already")
	}
}

// TestWatermarkDue: a loop does not sleep beyond the time of a piece, and then
// takes what there is.
func TestWatermarkDue(t *testing.T) {
	l, s := watermarkLoop(t)
	var ids [3]ConnID
	for i := range ids {
		id, c := someConn(l)
		ids[i] = id
		l.LowWatermark(id, 1<<20)
		l.pieceReceived(c, 64<<10)
		l.drained(c)
		l.nowNs += int64(time.Millisecond)
	}
	s.clock = l.nowNs
	poll := func(after time.Duration) time.Duration {
		t.Helper()
		s.clock += int64(after)
		if err := l.Poll(-1); err != nil {
			t.Fatal(err)
		}
		return time.Duration(s.waited)
	}
	if got := poll(0); got != 2*time.Millisecond {
		t.Errorf("the loop would wait %v, want 2ms", got)
	}
	if poll(2 * time.Millisecond); len(s.told) != 4 || s.told[3] != 1 {
		t.Errorf("%v, want the first to take what there is", s.told)
	}
	l.drained(l.conns.lookup(ids[0])) // which is nothing: it begins anew
	if got := poll(0); got != time.Millisecond {
		t.Errorf("the loop would wait %v, want 1ms", got)
	}
	l.endWatermark(l.conns.lookup(ids[1]))
	if poll(2 * time.Millisecond); len(s.told) != 6 || s.told[5] != 1 {
		t.Errorf("%v, want the last to take what there is", s.told)
	}
	if got := poll(0); got >= 0 {
		t.Errorf("the loop would wait %v, want for ever", got)
	}
}

// TestWatermarkMany: there are as many entries as a byte can name, and they are used again.
func TestWatermarkMany(t *testing.T) {
	l, _ := watermarkLoop(t)
	var conns []*conn
	for range watermarksMax + 10 {
		id, c := someConn(l)
		l.LowWatermark(id, 1<<20)
		conns = append(conns, c)
	}
	for i, c := range conns {
		if (c.watermark != 0) != (i < watermarksMax) {
			t.Fatalf("connection %d: entry %d", i, c.watermark)
		}
	}
	l.endWatermark(conns[7])
	id, c := someConn(l)
	if l.LowWatermark(id, 1<<20); c.watermark != 8 {
		t.Errorf("entry %d, want the one that is free", c.watermark)
	}
	if l.LowWatermark(id, 2<<20); l.watermarks[8].left != 1<<20 {
		t.Errorf("%d bytes are left of a message that has its low watermark already", l.watermarks[8].left)
	}
}
