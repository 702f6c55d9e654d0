package upstream

import (
	"container/heap"
	"testing"
	"time"
)

// shareWorld plays loops whose clients always have something to ask, with mail that
// takes its time, and counts who is served.
type shareWorld struct {
	t      *testing.T
	c      *Cluster
	now    int64
	events shareEvents
	asks   map[uint32]int // by waiter, the asker
	askers []shareAsker
	conns  map[uint64]int // in use, by asker
	next   uint64
}

type shareAsker struct {
	loop   int
	client Client
	served int
}

type shareEvent struct {
	at int64
	n  int
	do func()
}

type shareEvents []shareEvent

func (e shareEvents) Len() int { return len(e) }
func (e shareEvents) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e shareEvents) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *shareEvents) Push(x any)   { *e = append(*e, x.(shareEvent)) }
func (e *shareEvents) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

func (w *shareWorld) after(ns int64, do func()) {
	w.next++
	heap.Push(&w.events, shareEvent{w.now + ns, int(w.next), do})
}

const (
	shareAnswerNs = int64(2 * time.Millisecond)
	shareMailNs   = int64(50 * time.Microsecond)
)

func (w *shareWorld) ask(asker int) {
	w.next++
	w.asks[uint32(w.next)] = asker
	w.acquire(uint32(w.next))
}

func (w *shareWorld) acquire(waiter uint32) {
	asker := w.asks[waiter]
	a := &w.askers[asker]
	p := w.c.Pool(a.loop)
	d := p.AcquireFor(w.now, &Request{Waiter: waiter, Client: a.client})
	switch d.Kind {
	case Dial:
		p.DialOK(w.now, 0)
		w.next++
		w.use(a.loop, w.next, waiter)
	case Reuse:
		w.use(a.loop, d.Conn, waiter)
	case Ask:
		w.after(shareMailNs, func() { w.give(d.Loop, a.loop, waiter) })
	case Refuse:
		w.t.Fatalf("refused: %v", d.Reason)
	}
}

func (w *shareWorld) give(from, to int, waiter uint32) {
	conn, ok := w.c.Pool(from).TakeIdle(0)
	w.after(shareMailNs, func() {
		if ok {
			w.c.Pool(to).Adopted(0)
			w.use(to, conn, waiter)
		} else {
			w.c.Pool(to).Again(waiter)
			w.acquire(waiter)
		}
		w.serve(to)
	})
}

func (w *shareWorld) use(loop int, conn uint64, waiter uint32) {
	asker := w.asks[waiter]
	delete(w.asks, waiter)
	w.after(shareAnswerNs, func() {
		w.askers[asker].served++
		if !w.c.Pool(loop).Put(w.now, conn, 0) {
			w.c.Pool(loop).Closed(0)
		}
		w.serve(loop)
		w.after(shareMailNs, func() { w.ask(asker) })
	})
}

func (w *shareWorld) serve(loop int) {
	p := w.c.Pool(loop)
	for {
		for id, ok := p.NextWaiter(w.now); ok; id, ok = p.NextWaiter(w.now) {
			w.acquire(id)
		}
		h, ok := p.Pass(w.now)
		if !ok {
			return
		}
		w.after(shareMailNs, func() {
			q := w.c.Pool(h.Loop)
			q.Woken()
			if h.Kept && !q.AdoptIdle(w.now, h.Conn, 0, 0) {
				q.Closed(0)
			}
			w.serve(h.Loop)
		})
	}
}

// Whatever an address has on however many loops, it has one turn where others have one,
// and below it each connection has one: nobody gets less than half of its share.
func TestSharesOverLoops(t *testing.T) {
	for _, v := range []struct {
		name  string
		loops int
		cap   int
		conns func(loop int) (addresses []int) // how many each address has there
	}{
		{"an address on all of 8 loops and one on one", 8, 8, func(l int) []int { return []int{4, 4 * bit(l == 0)} }},
		{"the same with few connections", 8, 2, func(l int) []int { return []int{4, 4 * bit(l == 0)} }},
		{"one connection of it on each loop", 8, 3, func(l int) []int { return []int{1, 2 * bit(l == 0)} }},
		{"one address with most on one loop", 4, 4, func(l int) []int { return []int{2 + 30*bit(l == 2)} }},
		{"addresses on different loops", 4, 4, func(l int) []int { return []int{8 * bit(l == 0), 8 * bit(l != 0), 3} }},
		{"one loop", 1, 3, func(l int) []int { return []int{30, 4, 4} }},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: v.cap, MaxIdle: 64, Queue: 1000}, v.loops)
			w := &shareWorld{t: t, c: c, now: int64(time.Hour), asks: map[uint32]int{}}
			of, loopHas := map[uint32]int{}, make([]float64, v.loops)
			for l := range v.loops {
				for addr, n := range v.conns(l) {
					for range n {
						of[uint32(addr+1)]++
						w.askers = append(w.askers, shareAsker{l, Client{uint32(addr + 1), uint64(len(w.askers) + 1)}, 0})
					}
				}
			}
			for i := range w.askers {
				w.after(int64(i)*1000, func() { w.ask(i) })
			}
			for end := w.now + int64(4*time.Second); w.now < end; {
				e := heap.Pop(&w.events).(shareEvent)
				w.now = e.at
				e.do()
			}
			total, byAddr, byLoop := 0, map[uint32]int{}, make([]int, v.loops)
			for _, a := range w.askers {
				total += a.served
				byAddr[a.client.Addr] += a.served
				byLoop[a.loop] += a.served
			}
			if most := int(4 * int64(time.Second) / shareAnswerNs * int64(v.cap)); total < most/2 {
				t.Errorf("%d served, there was time for %d", total, most)
			}
			for i, a := range w.askers {
				share := float64(total) / float64(len(of)) / float64(of[a.client.Addr])
				loopHas[a.loop] += share
				if float64(a.served) < share/2 {
					t.Errorf("connection %d of address %d on loop %d was served %d times, its share is %.0f", i, a.client.Addr, a.loop, a.served, share)
				}
			}
			for l, n := range byLoop {
				if float64(n) < loopHas[l]/2 {
					t.Errorf("loop %d served %d, its share is %.0f", l, n, loopHas[l])
				}
			}
			t.Logf("%d served, by address %v, by loop %v", total, byAddr, byLoop)
		})
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
