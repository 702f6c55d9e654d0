package upstream

import "sync/atomic"

// RetryBudget bounds how many retries are under way at a time, over all loops, so that an
// outage is not made worse by them.
type RetryBudget struct {
	Percent int // of the requests under way
	Least   int // and as many whatever is under way
}

// budget is what is spent of a RetryBudget.
type budget struct {
	spent atomic.Int32
	most  atomic.Int32 // as of the last count of requests
	until atomic.Int64 // that count is good
}

// budgetNs is for how long a count of the requests under way is good. It looks at every
// endpoint on every loop.
const budgetNs = int64(10e6)

// BeginRetry asks for a retry; true: it is counted until EndRetry. Any thread.
func (c *Cluster) BeginRetry(now int64) bool {
	b := &c.cfg.Retries
	for {
		n := c.retries.spent.Load()
		if int(n) >= b.Least && n >= c.mostRetries(now) {
			return false
		}
		if c.retries.spent.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// EndRetry tells that a request that was tried again has ended.
func (c *Cluster) EndRetry() { c.retries.spent.Add(-1) }

// Retrying is how many such requests there are.
func (c *Cluster) Retrying() int { return int(c.retries.spent.Load()) }

// mostRetries is how many there may be.
func (c *Cluster) mostRetries(now int64) int32 {
	if now >= c.retries.until.Load() {
		c.retries.most.Store(int32(c.UnderWay() * c.cfg.Retries.Percent / 100))
		c.retries.until.Store(now + budgetNs)
	}
	return c.retries.most.Load()
}

// UnderWay is how many requests are with endpoints, over all loops: connections, or permits
// for streams, that are not idle.
func (c *Cluster) UnderWay() int {
	n := 0
	for ep, e := range c.eps {
		n += max(0, int(e.open.Load())-c.Idle(ep))
	}
	return n
}
