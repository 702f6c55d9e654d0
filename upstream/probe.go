package upstream

// An endpoint that cannot be connected to is looked at in the background, from
// one place, so that it is known to be up again before a request comes. The
// back-off is the one of all: what the look finds is a success or a failure as
// a dial's. Requests need not wait for it; whoever tries first tells the others.

// ProbeAddress is an address to connect to of an endpoint whose outage began
// with connecting and whose back-off is over; "" when there is nothing to look
// at. Several addresses take turns. Any thread.
func (e *Endpoint) ProbeAddress(now int64, turn int) string {
	w := e.health.word.Load()
	set := e.set.Load()
	if w == 0 || w&(healthCause|healthProbing) != 0 || set == nil || len(set.Addrs) == 0 || now < untilNs(w) {
		return ""
	}
	return set.Addrs[turn%len(set.Addrs)]
}

// Probed tells what became of it. A success ends the outage; a failure makes
// the next back-off longer, by jitter, any random number. Any thread.
func (c *Cluster) Probed(now int64, ep int, connected bool, jitter uint64) {
	e := c.eps[ep]
	if connected {
		e.health.connected()
		return
	}
	e.failed.Add(1)
	e.health.fail(now, 0, int64(c.cfg.FailBackoff), int64(c.cfg.FailBackoffMax), jitter)
}

// ConnectTimeout is how long a connection may take to be made, in ns.
func (c *Cluster) ConnectTimeout() int64 { return int64(c.cfg.ConnectTimeout) }
