package loop

import (
	"slices"
	"testing"
	"time"
)

// TestModeration: when a loop begins to wait for more, and when it stops.
func TestModeration(t *testing.T) {
	const us = int64(time.Microsecond)
	m := moderation{mostNs: 200 * us}
	now := int64(time.Second)
	// wakes lets n waits end, gap apart, and each bring so many events.
	wakes := func(n int, gap int64, events int) {
		for range n {
			now += gap
			m.awake(now, events)
		}
	}
	expect := func(on bool, when string) {
		t.Helper()
		if m.on != on {
			t.Fatalf("%s: on is %v", when, m.on)
		}
	}
	wakes(100, 400*us, 100)
	expect(false, "woken less often than it would wait")
	wakes(200, 100*us, 8)
	expect(true, "woken more often")
	wakes(200, 250*us, 20)
	expect(true, "as much happens")
	wakes(3, 20000*us, 2000)
	expect(false, "next to no load")
	wakes(101, 100*us, 8)
	expect(true, "load again")
	wakes(85, 250*us, 16)
	expect(false, "less happens")
	wakes(4000, 100*us, 8)
	expect(false, "so soon after it was in vain")
	wakes(1100, 100*us, 8)
	expect(true, "later")
	wakes((moderationSpans-2)*40, 250*us, 20)
	expect(true, "it goes on")
	wakes(3*40, 250*us, 20)
	expect(false, "for a new measure")
	wakes(101, 200*us, 8)
	expect(true, "there is one")

	l := &Loop{moderation: m}
	for wait, want := range map[int64]int64{-1: 200 * us, int64(time.Second): 200 * us, 50 * us: 50 * us} {
		if got := l.moderateNs(wait); got != want {
			t.Errorf("of a wait of %d ns %d are for more, want %d", wait, got, want)
		}
	}
	l.moderation.on = false
	if got := l.moderateNs(-1); got != 0 {
		t.Errorf("without load %d", got)
	}
}

// moderated makes every wait of a rig's loop one for more.
func moderated(t *testing.T, io IO) *rig {
	r := newRigWith(t, Config{IO: io, BatchWait: time.Millisecond}, 256)
	r.l.moderation.on, r.l.moderation.since = true, 1<<62 // for ever
	return r
}

// TestContractModerated: nothing of what a backend promises depends on when it
// wakes. What a loop made anew does is not looked at.
func TestContractModerated(t *testing.T) {
	for _, io := range usableBackends() {
		t.Run(io.String(), func(t *testing.T) {
			for _, ct := range contractTests {
				t.Run(ct.name, func(t *testing.T) { ct.run(moderated(t, io)) })
			}
		})
	}
}

// TestModeratedWait: a wait goes on although something has happened, and on
// io_uring only until a batch is there.
func TestModeratedWait(t *testing.T) {
	const wait = briefWaitMs * time.Millisecond / 2
	for _, io := range usableBackends() {
		t.Run(io.String(), func(t *testing.T) {
			r := newRigWith(t, Config{IO: io, BatchWait: wait}, 4*moderationBatch)
			var ids [moderationBatch + 1]ConnID
			var conns [len(ids)]tcpConn
			for i := range ids {
				ids[i], conns[i] = r.tcpPair(SockOpts{})
				r.l.Recv(ids[i])
			}
			r.quiet(time.Millisecond)
			r.l.moderation.on, r.l.moderation.since = true, 1<<62
			poll := func(writes int) time.Duration {
				t.Helper()
				r.quiet(time.Millisecond) // so that waits are brief
				for _, c := range conns[:writes] {
					r.write(c, "x")
				}
				if e, ok := r.l.be.(*epoll); ok {
					e.empty = emptyPolls // it does not look before it waits
				}
				began := time.Now()
				if err := r.l.Poll(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				for _, id := range ids[:writes] {
					r.same(r.recvAll(id, 1), "x")
				}
				return took
			}
			// A signal of the Go runtime may end one early.
			tries := 0
			for took := poll(2); took < wait; took = poll(2) {
				if tries++; tries == 20 {
					t.Fatalf("a wait with something to do took %v, want %v", took, wait)
				}
			}
			if io != Uring || !slices.Contains(Probe().Names, "min_timeout") {
				return
			}
			var took [50]time.Duration
			for i := range took {
				took[i] = poll(len(conns))
			}
			if slices.Sort(took[:]); took[len(took)/2] > wait/2 {
				t.Errorf("with a batch to do waits took %v", took)
			}
		})
	}
}
