package upstream

// Limited says that Config.MaxRequests bounds the requests under way: each is to Enter first.
func (c *Cluster) Limited() bool { return c.cfg.MaxRequests != 0 }

// Enter counts a request until Leave; false when there are as many as there may be. Any thread.
func (c *Cluster) Enter() bool {
	for {
		n := c.requests.Load()
		if int(n) >= c.cfg.MaxRequests {
			return false
		}
		if c.requests.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Leave tells that a request has ended which had entered.
func (c *Cluster) Leave() { c.requests.Add(-1) }

// Entered is how many there are.
func (c *Cluster) Entered() int { return int(c.requests.Load()) }
