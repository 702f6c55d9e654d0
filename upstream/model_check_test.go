package upstream

// check compares the cluster with the books.
func (m *model) check() {
	for _, e := range m.c.Endpoints() {
		open, busy, idle := 0, 0, 0
		for _, c := range m.conns {
			if c.ep == e.ID {
				open++
				if c.state == mIdle {
					idle++
				} else {
					busy++
				}
			}
		}
		if e.Open() != open || open > m.c.cfg.MaxConnections {
			m.failf("endpoint %d: %d open, %d in the books, cap %d", e.ID, e.Open(), open, m.c.cfg.MaxConnections)
		}
		if (m.c.cfg.Balance.comparesBusy() || m.c.cfg.bounded()) && int(e.busy.Load()) != busy {
			m.failf("endpoint %d: %d busy, %d in the books", e.ID, e.busy.Load(), busy)
		}
		if idle > m.c.cfg.MaxIdle || int(e.kept.Load()) > m.c.cfg.MaxIdle {
			m.failf("endpoint %d: %d idle, permits for %d, limit %d", e.ID, idle, e.kept.Load(), m.c.cfg.MaxIdle)
		}
		for l := range m.queues {
			if n := m.idleAt(l, e.ID); int(m.c.pools[l].pub.idle[e.ID].Load()) != n {
				m.failf("loop %d publishes %d idle to %d, has %d", l, m.c.pools[l].pub.idle[e.ID].Load(), e.ID, n)
			}
		}
	}
	waiting, again := 0, 0
	for l := range m.queues {
		q := m.queues[l].ids()
		waiting += len(q)
		for _, w := range q {
			if m.again[w] {
				again++
			}
		}
		if m.c.Pool(l).Waiting() != len(q) || m.c.pools[l].Stats().Miscounted != 0 {
			m.failf("loop %d: %d waiting, queue %v, miscounted %d", l, m.c.Pool(l).Waiting(), q, m.c.pools[l].Stats().Miscounted)
		}
	}
	if m.c.Waiting() != waiting || waiting-again > m.c.cfg.Queue {
		m.failf("%d waiting, %d in the books, limit %d", m.c.Waiting(), waiting, m.c.cfg.Queue)
	}
}

// checkForgotten delivers all mail; then nobody may wait for what is there.
func (m *model) checkForgotten() {
	for len(m.mails) > 0 {
		m.deliver()
	}
	for l := range m.queues {
		q := m.queues[l].ids()
		if len(q) == 0 {
			continue
		}
		for _, e := range m.c.Endpoints() {
			if e.Open() < m.c.cfg.MaxConnections || m.c.Idle(e.ID) > 0 {
				m.failf("loop %d: %v forgotten, endpoint %d has %d open, %d idle", l, q, e.ID, e.Open(), m.c.Idle(e.ID))
			}
		}
	}
}
