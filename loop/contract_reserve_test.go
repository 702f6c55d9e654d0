package loop

import (
	"io"
	"time"

	"zproxy/buf"
)

var _ = contract(
	contractTest{"data leaves the reserve alone", testReserve},
	contractTest{"blocks go to who waits longest", testParkedFair},
	contractTest{"responses go further than requests", testResponsesGoFurther},
	contractTest{"a receiver changes lines", testBulkWhileParked},
	contractTest{"who has nothing to receive waits for no block", testIdleWithoutBlocks},
)

// bulk opens n connections whose clients send more than the pool holds.
func (r *rig) bulk(addr string, n int) map[ConnID]int {
	r.Helper()
	got := map[ConnID]int{}
	for range n {
		c := r.client(addr)
		id := r.expect(Accepted, 0).Conn
		got[id] = 0
		go io.WriteString(c, pattern(1, 400_000))
	}
	for id := range got {
		r.l.Bulk(id, Requests)
		r.l.Recv(id)
	}
	return got
}

func (r *rig) release(views []buf.View) {
	for _, v := range views {
		r.pool.Release(v)
	}
}

func testReserve(r *rig) {
	const reserve = 16
	r = r.again(Config{Reserve: reserve}, 64)
	_, addr := r.listen(SockOpts{}, 0)
	waiting := r.bulk(addr, 8)
	n := 0
	held := r.hold(nil, &n)
	r.equal("spare blocks when data has taken all it may", r.pool.Spare(), reserve)
	if r.l.Crowded() || r.l.Stats().Parked == 0 {
		r.Errorf("crowded by data alone: %v, %d parked", r.l.Crowded(), r.l.Stats().Parked)
	}
	// New connections are accepted and heard.
	for range 3 {
		c := r.client(addr)
		id := r.expect(Accepted, 0).Conn
		r.l.Recv(id)
		r.write(c, "head")
		r.equal("bytes", r.recvAll(id, 4), "head")
		r.send(id, "answer")
		r.equal("bytes", r.readFull(c, 6), "answer")
		r.closed(id)
	}
	// They leave a quarter for the answers.
	for range reserve {
		c := r.client(addr)
		r.write(c, "x")
	}
	accepted := 0
	for ev := r.next(50 * time.Millisecond); ev != nil; ev = r.next(50 * time.Millisecond) {
		switch ev.Kind {
		case Accepted:
			accepted++
			r.l.Recv(ev.Conn)
		case Received:
			held = append(held, ev.View)
		}
	}
	r.equal("spare blocks when heads have taken all they may", r.pool.Spare(), reserve/4)
	if !r.l.Crowded() {
		r.Errorf("not crowded by heads")
	}
	polls := r.l.Stats().Polls
	r.quiet(100 * time.Millisecond)
	if n := r.l.Stats().Polls - polls; n > 50 {
		r.Errorf("%d polls in 100 ms with everybody parked", n)
	}
	r.release(held)
	for len(waiting) > 0 || accepted < reserve {
		ev := r.next(testTimeout)
		if ev == nil {
			r.Fatalf("%d still wait for a block, %d were accepted", len(waiting), accepted)
		}
		switch ev.Kind {
		case Accepted:
			accepted++
			r.l.Recv(ev.Conn)
		case Received:
			delete(waiting, ev.Conn)
			r.take(ev)
		}
	}
}

// testParkedFair gives back one block at a time.
func testParkedFair(r *rig) {
	const conns, rounds = 6, 5
	r = r.again(Config{Reserve: 8}, 64)
	_, addr := r.listen(SockOpts{}, 0)
	got := r.bulk(addr, conns)
	n := 0
	held := r.hold(nil, &n)
	if waiting := r.l.lines[Requests].waiting(); waiting != conns {
		r.Fatalf("%d of %d wait for a block", waiting, conns)
	}
	for range rounds * conns {
		r.pool.Release(held[0])
		ev := r.expect(Received, 0)
		got[ev.Conn]++
		held = append(held[1:], ev.View)
	}
	for id, n := range got {
		if n != rounds {
			r.Errorf("%x got %d blocks of %d, want %d: %v", id, n, rounds*conns, rounds, got)
		}
	}
	r.release(held)
}

// testResponsesGoFurther: what requests may not take is there for a response, and
// when both wait each gets blocks that come back.
func testResponsesGoFurther(r *rig) {
	const reserve = 16
	r = r.again(Config{Reserve: reserve}, 64)
	_, addr := r.listen(SockOpts{}, 0)
	r.bulk(addr, 4)
	n := 0
	held := r.hold(nil, &n)
	r.equal("spare blocks when requests have taken all they may", r.pool.Spare(), reserve)
	c := r.client(addr)
	id := r.expect(Accepted, 0).Conn
	go io.WriteString(c, pattern(2, 8_000_000))
	r.l.Bulk(id, Responses)
	r.l.Recv(id)
	for range reserve / 4 {
		held = append(held, r.expect(Received, id).View)
	}
	held = r.hold(held, &n)
	r.equal("spare blocks when a response has taken all it may", r.pool.Spare(), reserve-reserve/4)
	r.equal("room for a response", r.l.Room(Responses), false)
	r.equal("room for a head", r.l.Room(Heads), true)
	r.holdTo(reserve-reserve/4-reserve/8, func() {
		r.equal("room for data that passes", r.l.Room(Passing), false)
		r.equal("room for an answer", r.l.Room(Answers), true)
	})
	r.holdTo(reserve/2, func() {
		r.equal("room for one more answer", r.l.Room(Answers), false)
		r.equal("crowded by answers", r.l.Crowded(), false)
	})
	got := [2]int{}
	for begun := time.Now(); time.Since(begun) < testTimeout && (got[0] < 20 || got[1] < 20); {
		r.release(held[:reserve/2])
		held = held[reserve/2:]
		for len(held) < 64-reserve {
			ev := r.next(testTimeout)
			if ev == nil {
				r.Fatalf("%d blocks went to requests, %d to a response, and no more", got[0], got[1])
			}
			if ev.Kind == Received {
				got[bit(ev.Conn == id)]++
				held = append(held, ev.View)
			}
		}
	}
	if got[0] < 20 || got[1] < 20 {
		r.Errorf("%d blocks went to requests, %d to a response", got[0], got[1])
	}
	r.release(held)
}

// holdTo does do while no more than spare blocks are left.
func (r *rig) holdTo(spare int, do func()) {
	r.Helper()
	var held []buf.View
	for r.pool.Spare() > spare {
		v, ok := r.pool.Get()
		if !ok {
			r.Fatalf("%d blocks are spare, and none is there", r.pool.Spare())
		}
		held = append(held, v)
	}
	do()
	r.release(held)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// testBulkWhileParked: one that waits with data and is to send a head next does
// not go on waiting with the others.
func testBulkWhileParked(r *rig) {
	r = r.again(Config{Reserve: 8}, 64)
	_, addr := r.listen(SockOpts{}, 0)
	got := r.bulk(addr, 4)
	n := 0
	held := r.hold(nil, &n)
	for id := range got {
		if !r.l.Starved(id) {
			r.Fatalf("%x does not starve", id)
		}
		r.l.Bulk(id, Heads)
		ev := r.expect(Received, id)
		r.l.Bulk(id, Requests)
		held = append(held, ev.View)
		break
	}
	held = r.hold(held, &n)
	r.release(held)
	for id := range got {
		r.closed(id)
		break
	}
}

// testIdleWithoutBlocks: however short blocks are, connections that no bytes have
// come for cost nothing and are in nobody's way, also those that were heard before.
func testIdleWithoutBlocks(r *rig) {
	const reserve, idlers = 16, 20
	r = r.again(Config{Reserve: reserve}, 64)
	_, addr := r.listen(SockOpts{}, 0)
	r.bulk(addr, 4)
	n := 0
	held := r.hold(nil, &n)
	r.equal("spare blocks when data has taken all it may", r.pool.Spare(), reserve)
	type idler struct {
		id     ConnID
		client tcpConn
	}
	var idle []idler
	for range idlers {
		c := r.client(addr)
		idle = append(idle, idler{r.expect(Accepted, 0).Conn, c})
		r.l.Recv(idle[len(idle)-1].id)
	}
	for _, i := range idle {
		r.write(i.client, "head")
		r.equal("bytes", r.recvAll(i.id, 4), "head")
	}
	r.atRest("blocks are left for heads", 0)

	// Three clients find none. Those that are idle ask anew, as behind an answer.
	r.write(idle[0].client, "x")
	for spare := reserve; spare > reserve/4; spare-- {
		held = append(held, r.expect(Received, idle[0].id).View)
		r.write(idle[0].client, "x")
	}
	r.equal("spare blocks when heads have taken all they may", r.pool.Spare(), reserve/4)
	for _, i := range idle[1:3] {
		r.quiet(20 * time.Millisecond)
		r.write(i.client, "x")
	}
	r.atRest("heads wait", 3)
	for _, i := range idle[3:] {
		r.l.Pause(i.id)
	}
	r.quiet(20 * time.Millisecond)
	for _, i := range idle[3:] {
		r.l.Recv(i.id)
	}
	r.atRest("heads wait, and others ask for bytes to come", 3)
	idle[3].client.CloseWrite()
	r.atRest("an end has come", 4)

	// Each block that comes back goes to the next one in line, if that receives when it
	// is called up: behind it is who finds the block still there.
	if r.sim != nil {
		r.sim.locked(func() { r.sim.w.Late = 0 })
	}
	for _, i := range idle[:3] {
		v := held[len(held)-1]
		held = held[:len(held)-1]
		r.pool.Release(v)
		held = append(held, r.expect(Received, i.id).View)
	}
	r.pool.Release(held[len(held)-1])
	held = held[:len(held)-1]
	r.expect(RecvEnd, idle[3].id)
	r.write(idle[4].client, "again")
	r.equal("bytes", r.recvAll(idle[4].id, 5), "again")
	r.release(held)
}

// atRest: nothing comes, heads receivers of heads wait for a block, and the loop is
// not busy with finding that out.
func (r *rig) atRest(when string, heads int) {
	r.Helper()
	r.quiet(20 * time.Millisecond)
	before := r.l.Stats()
	r.quiet(100 * time.Millisecond)
	now := r.l.Stats()
	if waiting := r.l.lines[Heads].waiting(); waiting != heads {
		r.Errorf("%s: %d wait for a block, want %d", when, waiting, heads)
	}
	if polls, calls, parks := now.Polls-before.Polls, now.RecvCalls-before.RecvCalls, now.Enobufs-before.Enobufs; polls > 50 || calls > 0 || parks > 0 {
		r.Errorf("%s: %d polls, %d receives and %d lacks of a block in 100 ms without anything new", when, polls, calls, parks)
	}
}
