package loop

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var _ = contract(
	contractTest{"timers", testTimers},
	contractTest{"the last word on a deadline", testDeadlineLastWord},
	contractTest{"waiting", testWaiting},
	contractTest{"the length of a turn", testTurnLength},
	contractTest{"a collection ends a wait", testCollection},
	contractTest{"mail", testMail},
	contractTest{"the mailbox is bounded", testMailFull},
	contractTest{"no allocation", testAllocs},
)

func testTimers(r *rig) {
	a, b, c := r.l.NewTimer(1), r.l.NewTimer(2), r.l.NewTimer(3)
	start := r.l.Now()
	at := func(ms int) int64 { return start + int64(ms)*1e6 }
	r.l.Deadline(a, at(60))
	r.l.Deadline(b, at(5))
	r.l.Deadline(c, at(20))
	r.l.Deadline(b, at(40)) // away
	r.l.Deadline(c, 0)      // cleared
	r.l.Deadline(a, at(10)) // nearer
	for i, want := range []struct {
		id ConnID
		ms int
	}{{a, 10}, {b, 40}} {
		ev := r.expect(Timer, want.id)
		if now := r.l.Now(); now < at(want.ms) || now > at(want.ms+300) {
			r.Errorf("timer %d after %d ms, want %d", i, (now-start)/1e6, want.ms)
		}
		r.equal("owner", ev.Owner, 1+i)
	}
	r.quiet(30 * time.Millisecond)
	r.l.Deadline(a, 1) // past
	r.expect(Timer, a)
	r.closed(a)
	r.equal("timers", r.l.Stats().Timers, 2)
	id, _ := r.tcpPair(SockOpts{})
	r.l.Deadline(id, r.l.Now()+1e6)
	r.expect(Timer, id)
}

// A turn is as long as its owner is busy, however long the loop has waited.
func testTurnLength(r *rig) {
	const wait, busy = 500 * time.Millisecond, 3 * longTurn
	timer := r.l.NewTimer(1)
	if err := r.l.Poll(0); err != nil { // in front of the first Poll there is no turn
		r.Fatal(err)
	}
	r.l.Deadline(timer, r.l.Now()+int64(wait))
	for began := time.Now(); r.l.Next() == nil; { // in one wait, where no signal ends it
		if time.Since(began) > testTimeout {
			r.Fatal("no timer")
		}
		if err := r.l.Poll(2 * wait); err != nil {
			r.Fatal(err)
		}
	}
	before := r.l.Stats()
	if before.LongestTurn >= wait/2 { // the wait may come in two pieces
		r.Errorf("waiting for %v is a turn of %v", wait, before.LongestTurn)
	}
	time.Sleep(busy)
	for range 2 { // where something was collected and where the loop has fallen asleep
		if err := r.l.Poll(time.Millisecond); err != nil {
			r.Fatal(err)
		}
	}
	if s := r.l.Stats(); s.LongestTurn < busy || s.LongTurns <= before.LongTurns {
		r.Errorf("the longest turn took %v, and %d more were long; the owner was busy for %v", s.LongestTurn, s.LongTurns-before.LongTurns, busy)
	}
}

// A loop that waits again and again, each time briefly, must not hold up a
// collection, which needs every thread to stop.
func testCollection(r *rig) {
	const rounds = 30
	took := make(chan time.Duration, 1)
	go func() {
		start := time.Now()
		for range rounds {
			r.l.Post(Mail{})
			runtime.GC()
		}
		took <- time.Since(start)
	}()
	for {
		select {
		case d := <-took:
			if d > rounds*100*time.Millisecond {
				r.Errorf("%d collections took %v", rounds, d)
			}
			return
		default:
		}
		if ev := r.next(20 * time.Millisecond); ev != nil && ev.Kind != MailIn {
			r.Fatalf("%v", ev.Kind)
		}
	}
}

func testDeadlineLastWord(r *rig) {
	a, b := r.l.NewTimer(0), r.l.NewTimer(0)
	r.l.Deadline(a, 1)
	r.l.Deadline(b, 1)
	if err := r.l.Poll(0); err != nil {
		r.Fatal(err)
	}
	r.l.Deadline(a, 0)
	r.l.Deadline(b, r.l.Now()+5e6)
	if ev := r.l.Next(); ev != nil {
		r.Fatalf("%v of a deadline that was changed", ev.Kind)
	}
	r.expect(Timer, b)
	r.quiet(5 * time.Millisecond)
}

func testWaiting(r *rig) {
	for _, wait := range []time.Duration{0, 10 * time.Millisecond} {
		short := 0
		for range 5 {
			begin := time.Now()
			if err := r.l.Poll(wait); err != nil {
				r.Fatal(err)
			}
			d := time.Since(begin)
			if d > wait+time.Second {
				r.Errorf("Poll(%v) took %v", wait, d)
			}
			if d < wait {
				short++
			}
		}
		// A signal of the runtime ends a wait, which happens now and then.
		if short > 2 {
			r.Errorf("Poll(%v) did not wait %d times out of 5", wait, short)
		}
	}
	wall := time.Now().UnixMilli()
	r.l.Poll(0)
	if d := r.l.WallMs() - wall; d < -2 || d > 50 {
		r.Errorf("WallMs differs by %d ms", d)
	}
	// Events that were not pulled keep Poll from waiting.
	t := r.l.NewTimer(0)
	r.l.Deadline(t, 1)
	for range 3 {
		begin := time.Now()
		if err := r.l.Poll(testTimeout); err != nil {
			r.Fatal(err)
		}
		if d := time.Since(begin); d > testTimeout/2 {
			r.Fatalf("Poll waited %v with an event in the queue", d)
		}
	}
	r.expect(Timer, t)
}

func testMail(r *rig) {
	const senders, each = 4, 5000
	for s := range senders {
		go func() {
			for i := range each {
				for !r.l.Post(Mail{From: int32(s), A: uint64(i), Ref: &each0}) {
					time.Sleep(10 * time.Microsecond)
				}
				if i%100 == 0 {
					time.Sleep(100 * time.Microsecond) // let the loop fall asleep
				}
			}
		}()
	}
	var last [senders]uint64
	for n := 0; n < senders*each; {
		begin := time.Now()
		if err := r.l.Poll(testTimeout); err != nil {
			r.Fatal(err)
		}
		if time.Since(begin) > testTimeout/2 {
			r.Fatal("mail does not wake the loop")
		}
		for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
			if ev.Kind != MailIn {
				r.Fatalf("%v", ev.Kind)
			}
			m := r.l.Mail(ev)
			if m.A != last[m.From] || m.Ref != any(&each0) {
				r.Fatalf("mail %d of %d, want %d", m.A, m.From, last[m.From])
			}
			last[m.From]++
			n++
		}
	}
	r.equal("MailsIn", r.l.Stats().MailsIn, senders*each)
}

var each0 int

func testMailFull(r *rig) {
	n := 0
	for r.l.Post(Mail{A: uint64(n)}) {
		n++
	}
	r.equal("mails", n, mailboxSize)
	r.equal("MailsFull", r.l.Stats().MailsFull, 1)
	for i := range n {
		ev := r.expect(MailIn, 0)
		r.equal("A", r.l.Mail(&ev).A, i)
	}
	if !r.l.Post(Mail{}) {
		r.Error("an empty mailbox is full")
	}
	r.expect(MailIn, 0)
}

// testAllocs: a request and its answer allocate nothing, nor does a deadline.
func testAllocs(r *rig) {
	a, _ := unixSockets(r)
	ida, idb := r.l.Adopt(a[0], netip.AddrPort{}, 0), r.l.Adopt(a[1], netip.AddrPort{}, 0)
	r.l.Recv(ida)
	r.l.Recv(idb)
	r.quiet(5 * time.Millisecond)
	round := func() {
		v, _ := r.pool.Get()
		r.l.Send(ida, v.Slice(0, 100))
		r.l.Deadline(ida, r.l.Now()+1e9)
		for got := 0; got < 2; {
			if err := r.l.Poll(testTimeout); err != nil {
				r.Fatal(err)
			}
			for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
				if ev.Kind != Received {
					continue
				}
				got++
				if ev.Conn == idb {
					r.l.Send(idb, ev.View)
				} else {
					r.pool.Release(ev.View)
				}
			}
		}
	}
	if n := testing.AllocsPerRun(2000, round); n != 0 {
		r.Errorf("%v allocations per round trip", n)
	}
}

func unixSockets(r *rig) (p [2]int, err error) {
	r.Helper()
	p, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.Fatal(err)
	}
	return p, nil
}
