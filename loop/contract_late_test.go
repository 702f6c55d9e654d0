package loop

import (
	"net"
	"strings"
	"time"
)

// A loop that comes late, because its process was stopped or had no CPU, judges
// nobody before it has looked at what arrived in time.
var _ = contract(
	contractTest{"a late loop: bytes come before deadlines", testLate},
	contractTest{"a late loop: long messages come whole before deadlines", testLateLong},
	contractTest{"a late loop: the owner acts before deadlines", testLateActs},
	contractTest{"a late loop: mail comes before deadlines", testLateMail},
)

const (
	lateDeadline = 50 * time.Millisecond
	lateBy       = 150 * time.Millisecond
)

// late makes n connections that are received from and have a deadline, which
// passes while the loop does not run. Before that their peers send s.
func (r *rig) late(n int, s string) map[ConnID]int {
	left := map[ConnID]int{}
	var peers []net.Conn
	for range n {
		id, peer := r.unixPair()
		r.l.Recv(id)
		left[id], peers = len(s), append(peers, peer)
	}
	r.quiet(20 * time.Millisecond)
	for id := range left {
		r.l.Deadline(id, r.l.Now()+int64(lateDeadline))
	}
	if err := r.l.Poll(0); err != nil {
		r.Fatal(err)
	}
	for _, peer := range peers {
		r.write(peer, s)
	}
	time.Sleep(lateBy)
	return left
}

// judge takes what there is, and clears a connection's deadline once all of its
// bytes are there.
func (r *rig) judge(left map[ConnID]int, silent ConnID) {
	timers := 0
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); {
		ev := r.next(20 * time.Millisecond)
		switch {
		case ev == nil:
			for id, n := range left {
				if n > 0 {
					r.Fatalf("%d bytes of %x did not come", n, id)
				}
			}
			r.equal("deadlines of who sent nothing that passed", timers, 1)
			return
		case ev.Kind == Received:
			id := ev.Conn
			if left[id] -= len(r.take(ev)); left[id] == 0 {
				r.l.Deadline(id, 0)
			}
		case ev.Kind == Timer && ev.Conn == silent:
			timers++
		default:
			r.Fatalf("%v of %x, of which %d bytes are unread that arrived in time", ev.Kind, ev.Conn, left[ev.Conn])
		}
	}
	r.Fatal("events without end")
}

// More connections than one wait reports, or than there are buffers in the
// ring.
func testLate(r *rig) {
	r = r.again(Config{}, 1024)
	silent, _ := r.unixPair()
	left := r.late(300, "in time")
	r.l.Deadline(silent, r.l.Now()+int64(lateDeadline))
	r.judge(left, silent)
}

// Messages longer than what one Poll receives.
func testLateLong(r *rig) {
	silent, _ := r.unixPair()
	left := r.late(10, strings.Repeat("x", 20*testBlock))
	r.l.Deadline(silent, r.l.Now()+int64(lateDeadline))
	r.judge(left, silent)
}

// What an owner does once it has handled all events, as one that writes when a
// turn ends, is in time as well.
func testLateActs(r *rig) {
	left := r.late(1, "in time")
	waits := r.l.NewTimer(0)
	r.l.Deadline(waits, r.l.Now()+1)
	for range 1000 {
		if err := r.l.Poll(time.Millisecond); err != nil {
			r.Fatal(err)
		}
		acted := false
		for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
			if ev.Kind == Timer {
				r.Fatalf("%v before the owner has acted", ev.Kind)
			}
			left[ev.Conn] -= len(r.take(ev))
			acted = left[ev.Conn] == 0
		}
		if acted {
			for id := range left {
				r.l.Deadline(id, 0)
			}
			r.l.Deadline(waits, 0)
			r.quiet(20 * time.Millisecond)
			return
		}
	}
	r.Fatal("nothing came")
}

func testLateMail(r *rig) {
	id := r.l.NewTimer(0)
	r.l.Deadline(id, r.l.Now()+int64(lateDeadline))
	const mails = mailboxSize/2 + 1 // more than one Poll collects
	for range mails {
		if !r.l.Post(Mail{}) {
			r.Fatal("the mailbox is full")
		}
	}
	time.Sleep(lateBy)
	for range mails {
		r.expect(MailIn, 0)
	}
	r.expect(Timer, id)
}
