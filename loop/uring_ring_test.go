//go:build giouring

package loop

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needUring skips a test where io_uring does not work, and says what to do.
func needUring(t *testing.T) {
	t.Helper()
	if f := Probe(); !f.Usable {
		t.Skip(f.Reason)
	}
}

// testRing makes a ring on the test's own thread.
func testRing(t *testing.T, entries, cqEntries uint32) *ring {
	t.Helper()
	needUring(t)
	runtime.LockOSThread()
	g, err := newRingWith(entries, cqEntries, ringSetupFlags)
	if err != nil {
		runtime.UnlockOSThread()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.close()
		runtime.UnlockOSThread()
	})
	return g
}

func testPair(t *testing.T) (int, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestRingWaitTimeout(t *testing.T) {
	for _, registered := range []bool{false, true} {
		g := testRing(t, 8, 32)
		if registered {
			g.registerFD()
			if g.regIndex < 0 {
				t.Skip("no registered ring descriptors: Linux 5.18 has them")
			}
		}
		// A signal, such as the Go runtime's own, ends a wait early.
		const wait = 20 * time.Millisecond
		start := time.Now()
		err := unix.EINTR
		for left := wait; err == unix.EINTR && left > 0; left = wait - time.Since(start) {
			err, _ = g.submitWait(int64(left), 0, false).(unix.Errno)
		}
		if err != 0 && err != unix.EINTR {
			t.Fatal(err)
		}
		if d := time.Since(start); d < wait || d > 2*time.Second {
			t.Errorf("waited %v for %v", d, wait)
		}
		if c := g.completions(); len(c) != 0 {
			t.Errorf("%d completions of nothing", len(c))
		}
	}
}

// Completions for which the queue has no room are not lost.
func TestRingOverflow(t *testing.T) {
	const polls = 64
	g := testRing(t, polls, polls)
	a, b := testPair(t)
	for i := range uint32(polls) {
		prepPoll(g.sqe(), int32(a), packUserData(urRecv, i, 0))
	}
	if err := g.submit(); err != nil {
		t.Fatal(err)
	}
	// Every write makes every poll complete once: more than fit, unread.
	const writes = 3
	for range writes {
		if _, err := unix.Write(b, []byte("x")); err != nil {
			t.Fatal(err)
		}
		for range polls { // one enter runs a limited number of completions
			if err := g.submit(); err != nil && err != unix.EBUSY {
				t.Fatal(err)
			}
		}
	}
	if !g.r.CQHasOverflow() {
		t.Fatal("the completion queue did not overflow")
	}
	// A poll that does not fit ends, saying so by lacking cqeMore; none may
	// end silently.
	ended := [polls]bool{}
	for {
		batch := g.completions()
		if len(batch) == 0 {
			break
		}
		for _, c := range batch {
			if c.Res < 0 || c.Res&unix.POLLIN == 0 {
				t.Errorf("poll %d: result %d", userData(c.UserData).slot(), c.Res)
			}
			if c.Flags&cqeMore == 0 {
				ended[userData(c.UserData).slot()] = true
			}
		}
		g.seen(len(batch))
	}
	for i, ok := range ended {
		if !ok {
			t.Errorf("poll %d has not ended, as far as one can see", i)
		}
	}
}

// A thread has room for 16 registered rings: none is left registered.
func TestRingRegistration(t *testing.T) {
	for i := range 20 {
		g := testRing(t, 8, 32)
		g.registerFD()
		if g.regIndex < 0 {
			t.Fatalf("ring %d cannot be registered", i)
		}
		prepPoll(g.sqe(), 0x7fffffff, 5)
		if c, err := g.one(); err != nil || c.Res != -int32(unix.EBADF) {
			t.Fatalf("an operation of ring %d: %+v, %v", i, c, err)
		}
		g.close()
	}
}

// A buffer ring is used round and round, each buffer where it was put.
func TestPbufRingWraps(t *testing.T) {
	const entries, size = 4, 32
	g := testRing(t, 8, 32)
	r, err := g.newPbufRing(entries, 3)
	if err != nil {
		t.Fatal(err)
	}
	a, b := testPair(t)
	mem := make([]byte, entries*size)
	at := func(i uint16) []byte { return mem[int(i)*size:][:size] }
	for range entries {
		r.put(at(r.next()))
	}
	r.publish()
	u := packUserData(urRecv, 9, 7)
	prepRecvMultishot(g.sqe(), int32(a), 3, 0, u)
	for i := range 5 * entries {
		if _, err := unix.Write(b, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		c, err := g.one()
		if err != nil {
			t.Fatal(err)
		}
		id := uint16(c.Flags >> cqeBufferShift)
		if c.Res != 1 || c.Flags&cqeMore == 0 || id != uint16(i%entries) || at(id)[0] != byte(i) {
			t.Fatalf("receive %d: result %d, flags %#x, byte %d", i, c.Res, c.Flags, at(id)[0])
		}
		r.put(at(r.next()))
		r.publish()
	}
	for range entries + 1 {
		if _, err := unix.Write(b, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range entries + 1 {
		c, err := g.one()
		if err != nil {
			t.Fatal(err)
		}
		if want := -int32(unix.ENOBUFS); i == entries && (c.Res != want || c.Flags&cqeMore != 0) {
			t.Errorf("without buffers: result %d, flags %#x", c.Res, c.Flags)
		}
	}
	prepCancel(g.sqe(), u) // not there any more: this completion is not silent
	if c, err := g.one(); err != nil || userData(c.UserData).op() != urNone || c.Res != -int32(unix.ENOENT) {
		t.Errorf("cancelling what has ended: %+v, %v", c, err)
	}
	r.free()
	if _, err := g.newPbufRing(3, 3); err == nil {
		t.Error("a ring of 3 buffers")
	}
	if r, err = g.newPbufRing(entries, 3); err != nil {
		t.Errorf("the group is still taken: %v", err)
	} else {
		r.free()
	}
}
