package upstream

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// pendingTimes are ends of simulated requests, the next one first.
type pendingTimes []simulatedRequest

type simulatedRequest struct {
	ends, took int64
	loop, ep   int
}

func (q pendingTimes) Len() int           { return len(q) }
func (q pendingTimes) Less(i, j int) bool { return q[i].ends < q[j].ends }
func (q pendingTimes) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *pendingTimes) Push(x any)        { *q = append(*q, x.(simulatedRequest)) }
func (q *pendingTimes) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// simulateTimes sends requests at random times, so many a second, from one time to another, to endpoints that
// take what takes says; done gets each with the time it began at. Time is a number: the same every time.
func simulateTimes(t *testing.T, c *Cluster, rng *rand.Rand, from, to time.Duration, perSecond float64, takes func(ep int) time.Duration, done func(began int64, q simulatedRequest)) {
	var pending pendingTimes
	for now := int64(from); now < int64(to); now += int64(rng.ExpFloat64() / perSecond * 1e9) {
		for len(pending) > 0 && pending[0].ends <= now {
			q := heap.Pop(&pending).(simulatedRequest)
			Took(c.Pool(q.loop), q.ends, q.ep, q.took)
			c.Pool(q.loop).Closed(q.ep)
			done(q.ends-q.took, q)
		}
		loop := rng.IntN(len(c.pools))
		d := c.Pool(loop).Acquire(now, 1, 0, rng.Uint64())
		if d.Kind != Dial {
			t.Fatalf("got %+v", d)
		}
		took := int64(float64(takes(d.Endpoint)) * (0.8 + 0.4*rng.Float64()))
		heap.Push(&pending, simulatedRequest{now + took, took, loop, d.Endpoint})
	}
	for _, q := range pending {
		c.Pool(q.loop).Closed(q.ep)
	}
}

// With one of eight endpoints ten times as slow as the others, 99 of 100 requests take less than half
// as long as by p2c; once it is as fast as they are it has its share again within ten seconds.
func TestLeastTimeAvoidsTheSlowOne(t *testing.T) {
	const fast = 10 * time.Millisecond
	for _, wide := range []bool{false, true} {
		for _, perSecond := range []float64{50, 400, 3000} {
			p99 := map[Balance]int64{}
			for _, balance := range []Balance{P2C, LeastTime} {
				what := fmt.Sprintf("%v, wide %v, %v a second", balance, wide, perSecond)
				c, err := newCluster(Config{Balance: balance, Endpoints: endpoints(make([]int, 8)...)}, 2, wide)
				if err != nil {
					t.Fatal(err)
				}
				rng := rand.New(rand.NewPCG(1, uint64(perSecond)))
				takes := func(ep int) time.Duration {
					if ep == 3 {
						return 10 * fast
					}
					return fast
				}
				var times []int64
				simulateTimes(t, c, rng, time.Hour, time.Hour+30*time.Second, perSecond, takes, func(began int64, q simulatedRequest) {
					if began > int64(time.Hour+time.Second) {
						times = append(times, q.took)
					}
				})
				slices.Sort(times)
				p99[balance] = times[len(times)*99/100]
				if balance != LeastTime {
					continue
				}
				got, all := 0, 0
				simulateTimes(t, c, rng, time.Hour+30*time.Second, time.Hour+50*time.Second, perSecond, func(int) time.Duration { return fast }, func(began int64, q simulatedRequest) {
					if began > int64(time.Hour+40*time.Second) {
						all++
						if q.ep == 3 {
							got++
						}
					}
				})
				if got < all/16 || got > all/4 {
					t.Errorf("%s: after 10 s the endpoint that has recovered gets %d of %d requests, expected an eighth", what, got, all)
				}
			}
			if p99[LeastTime]*2 > p99[P2C] {
				t.Errorf("wide %v, %v a second: p99 is %v, by p2c %v", wide, perSecond, time.Duration(p99[LeastTime]), time.Duration(p99[P2C]))
			}
		}
	}
}

// Endpoints that are alike get alike many requests, by weight where they are under load.
func TestLeastTimeShares(t *testing.T) {
	for _, wide := range []bool{false, true} {
		c, err := newCluster(Config{Balance: LeastTime, Endpoints: endpoints(1, 1, 1, 1)}, 2, wide)
		if err != nil {
			t.Fatal(err)
		}
		got, all := make([]int, 4), 0
		simulateTimes(t, c, rand.New(rand.NewPCG(1, 2)), time.Hour, time.Hour+20*time.Second, 500, func(int) time.Duration { return 10 * time.Millisecond }, func(_ int64, q simulatedRequest) {
			got[q.ep]++
			all++
		})
		for ep, n := range got {
			if n < all/8 || n > all/2 {
				t.Errorf("wide %v: endpoint %d got %d of %d", wide, ep, n, all)
			}
		}
	}
}

// A burst does not go to an endpoint that has not answered yet, or not for long.
func TestLeastTimeSpreadsABurst(t *testing.T) {
	for _, idle := range []time.Duration{time.Second, time.Hour} {
		c := mustCluster(t, Config{Balance: LeastTime, Endpoints: endpoints(1, 1, 1, 1)}, 1)
		p, now := c.Pool(0), int64(time.Hour)
		for ep := range 3 { // the last one has not answered
			Took(p, now, ep, int64(10*time.Millisecond))
		}
		now += int64(idle)
		for range 40 {
			p.Acquire(now, 1, 0, 0)
		}
		for _, e := range c.eps {
			if e.Open() < 6 || e.Open() > 20 {
				t.Errorf("after %v endpoint %d gets %d of a burst of 40", idle, e.ID, e.Open())
			}
		}
	}
}

func TestHalved(t *testing.T) {
	for _, tt := range []struct{ lives, want float64 }{{0, 64}, {1, 32}, {1.5, 24}, {3, 8}, {40, 0}} {
		if got := halved(64, tt.lives); got != tt.want {
			t.Errorf("64 after %v: %v, want %v", tt.lives, got, tt.want)
		}
	}
	var p pace
	p.word.Store(5<<32 | 2000)
	if us, age := p.mean(1999 * 1e6); us != 5 || age != 0 {
		t.Errorf("by a clock that is behind: %v us, %v half-lives ago", us, age)
	}
}
