package upstream

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// plainTurns is Turns in the plainest of ways.
type plainTurns struct {
	addrs []*plainAddr
	round int64
	past  map[uint32]int64
	lines func(addr uint32) int // of all queues; nil: there is one
}

type plainAddr struct {
	turn
	addr  uint32
	flows []*plainFlow
}

type plainFlow struct {
	conn uint64
	ids  []uint32
}

func (q *plainTurns) find(c Client) (a *plainAddr, f *plainFlow) {
	for _, x := range q.addrs {
		if x.addr == c.Addr {
			a = x
			for _, y := range x.flows {
				if y.conn == c.Conn {
					f = y
				}
			}
		}
	}
	return a, f
}

func (q *plainTurns) newcomer(now int64, addr uint32) turn {
	if back, ok := q.past[addr]; ok {
		return turn{now, max(back, q.round-pastNs)}
	}
	return turn{now, q.round}
}

// insert puts a before the first that is put back more or, with first, no less.
func (q *plainTurns) insert(a *plainAddr, first bool) {
	at := slices.IndexFunc(q.addrs, func(x *plainAddr) bool { return x.back > a.back || first && x.back == a.back })
	if at < 0 {
		at = len(q.addrs)
	}
	q.addrs = slices.Insert(q.addrs, at, a)
}

func (q *plainTurns) push(now int64, id uint32, c Client) {
	a, f := q.find(c)
	if a == nil {
		a = &plainAddr{addr: c.Addr, turn: q.newcomer(now, c.Addr)}
		q.insert(a, false)
	}
	if f == nil {
		f = &plainFlow{conn: c.Conn}
		a.flows = append(a.flows, f)
	}
	f.ids = append(f.ids, id)
}

func (q *plainTurns) pushFront(t turn, id uint32, c Client) {
	a, f := q.find(c)
	if a == nil {
		a = &plainAddr{addr: c.Addr}
	} else {
		q.addrs = slices.DeleteFunc(q.addrs, func(x *plainAddr) bool { return x == a })
	}
	if f == nil {
		f = &plainFlow{conn: c.Conn}
	} else {
		a.flows = slices.DeleteFunc(a.flows, func(x *plainFlow) bool { return x == f })
	}
	a.turn = t
	q.insert(a, true)
	a.flows = slices.Insert(a.flows, 0, f)
	f.ids = slices.Insert(f.ids, 0, id)
}

func (q *plainTurns) len() (n int) {
	for _, a := range q.addrs {
		n += a.waits()
	}
	return n
}

func (a *plainAddr) waits() (n int) {
	for _, f := range a.flows {
		n += len(f.ids)
	}
	return n
}

func (q *plainTurns) ids() (ids []uint32) {
	for _, a := range q.addrs {
		for _, f := range a.flows {
			ids = append(ids, f.ids...)
		}
	}
	return ids
}

func (q *plainTurns) remove(id uint32) bool {
	for _, a := range q.addrs {
		for _, f := range a.flows {
			if i := slices.Index(f.ids, id); i >= 0 {
				f.ids = slices.Delete(f.ids, i, i+1)
				a.flows = slices.DeleteFunc(a.flows, func(f *plainFlow) bool { return len(f.ids) == 0 })
				q.addrs = slices.DeleteFunc(q.addrs, func(a *plainAddr) bool { return len(a.flows) == 0 })
				return true
			}
		}
	}
	return false
}

func (q *plainTurns) pop(now int64) uint32 {
	a := q.addrs[0]
	f := a.flows[0]
	id := f.ids[0]
	q.round = max(q.round, a.back)
	cost := turnNs
	if q.lines != nil {
		cost = turnNs * int64(q.lines(a.addr)) / int64(len(a.flows))
	}
	if q.past == nil {
		q.past = map[uint32]int64{}
	}
	q.past[a.addr] = a.back + cost
	a.flows = append(a.flows[1:], f)
	q.addrs = q.addrs[1:]
	a.turn = turn{now, a.back + cost}
	q.insert(a, false)
	q.remove(id)
	return id
}

func TestTurnsAgainstPlainOnes(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		var q Turns
		var plain plainTurns
		owner := map[uint32]Client{}
		now, id := int64(1), uint32(0)
		for step := range 4000 {
			now += rng.Int64N(3)
			c := Client{Addr: uint32(rng.IntN(4)), Conn: uint64(rng.IntN(3))}
			if c.Conn != 0 { // a connection is one address's
				c.Conn += uint64(c.Addr) << 32
			}
			switch op := rng.IntN(10); {
			case op < 4:
				id++
				owner[id] = c
				q.Push(now, id, c)
				plain.push(now, id, c)
			case op < 5:
				id++
				owner[id] = c
				t := turn{now - rng.Int64N(50), max(0, q.round-rng.Int64N(2)*turnNs)}
				if rng.IntN(2) == 0 {
					t = q.again(c.Addr)
				}
				q.PushFront(t, id, c)
				plain.pushFront(t, id, c)
			case op < 8 && q.Len() > 0:
				next, _ := q.Next()
				got, ok := q.Pop(now)
				if want := plain.pop(now); got != want || next != want || !ok {
					t.Fatalf("seed %d, step %d: %d is next and %d popped, want %d", seed, step, next, got, want)
				}
			case op < 9 && q.Len() > 0:
				ids := plain.ids()
				gone := ids[rng.IntN(len(ids))]
				if !q.Remove(gone) || q.Remove(gone) || !plain.remove(gone) {
					t.Fatalf("seed %d, step %d: %d is not removed once", seed, step, gone)
				}
			case q.Len() > 0:
				checkCrowd(t, &q, &plain, owner, c)
			}
			next := turn{}
			if len(plain.addrs) > 0 {
				next = plain.addrs[0].turn
			}
			if q.Len() != plain.len() || q.turn() != next {
				t.Fatalf("seed %d, step %d: %d wait, %+v, want %d, %+v", seed, step, q.Len(), q.turn(), plain.len(), next)
			}
		}
		for q.Len() > 0 {
			q.Pop(now)
		}
		nodes := len(q.nodes)
		for i := range 1000 {
			q.Push(now, uint32(i), Client{Addr: uint32(i % 7)})
			q.Pop(now)
		}
		if len(q.nodes) != nodes {
			t.Errorf("seed %d: %d nodes, %d before: some are not used again", seed, len(q.nodes), nodes)
		}
	}
}

// checkCrowd: who makes room is the newest of the connection with most waiting of
// the address with most, and has more company than c.
func checkCrowd(t *testing.T, q *Turns, plain *plainTurns, owner map[uint32]Client, c Client) {
	t.Helper()
	id, ok := q.Crowd(c)
	mine, own := plain.find(c)
	had, hadFlow := 0, 0
	if mine != nil {
		had = mine.waits()
	}
	if own != nil {
		hadFlow = len(own.ids)
	}
	most := 0
	for _, a := range plain.addrs {
		most = max(most, a.waits())
	}
	if !ok {
		if most > had+1 && (mine == nil || mine.waits() != most) {
			t.Fatalf("an address with %d waiting keeps them all, and one with %d gets no place", most, had)
		}
		return
	}
	a, f := plain.find(owner[id])
	if a.waits() != most || f.ids[len(f.ids)-1] != id {
		t.Fatalf("%d is displaced, of an address with %d of at most %d, of a line %v", id, a.waits(), most, f.ids)
	}
	if a == mine && len(f.ids) <= hadFlow+1 || a != mine && most <= had+1 {
		t.Fatalf("%d is displaced for one with as many", id)
	}
}

// Whatever one client has waiting, and on however many connections, another is
// served every second time.
func TestOneClientTakesTurnsWithAnother(t *testing.T) {
	var q Turns
	for i := range uint32(2000) {
		q.Push(1, i, Client{Addr: 1, Conn: uint64(1 + i%20)})
	}
	served := 0
	for i := range uint32(100) {
		q.Push(int64(2+i), 10_000+i, Client{Addr: 2, Conn: 100})
	}
	for i := range 200 {
		if id, _ := q.Pop(int64(1000 + i)); id >= 10_000 {
			if id != uint32(10_000+served) {
				t.Fatalf("%d is served as number %d of its client", id, served)
			}
			served++
		}
	}
	if served != 100 {
		t.Errorf("a client beside one with 2000 requests was served %d times of 200, want 100", served)
	}
}
