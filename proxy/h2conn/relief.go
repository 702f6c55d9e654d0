package h2conn

import "zproxy/buf"

// Queue appends v to what waits in a stream. Where memory is short, or many
// pieces wait, a small one must not hold its block, which it may share with much
// that has left.
func (ss *Sessions) Queue(c *buf.Chain, v buf.View) {
	small := uint32(0)
	switch {
	case ss.pressure > 0:
		small = uint32(ss.pool.BlockBytes() / 2)
	case c.Len() >= 8:
		small = CopyBytes
	}
	if v.Len <= small {
		ss.pool.Pack(c, v, true)
	} else {
		ss.pool.Push(c, v)
	}
}

// Forgive does not count lost ms, in which nothing could move.
func (ss *Sessions) Forgive(lost, ms uint32) {
	for _, se := range ss.all {
		if se != nil {
			se.heldSince += min(lost, ms-se.heldSince)
		}
	}
}

// FindHolders finds sessions whose connection takes nothing of what is queued.
func (ss *Sessions) FindHolders(ms, patience uint32) {
	for _, se := range ss.all {
		if se == nil || se.state >= sessionFlush || se.state < sessionGreeting {
			continue
		}
		if ss.l.Queued(se.Conn) == 0 || se.sent != se.heldMark {
			se.heldMark, se.heldSince = se.sent, ms
		} else if ms-se.heldSince >= patience {
			ss.stalls(se, StallHeld)
		}
	}
}

// spreadCredit has sessions that waited for credit take what has come back.
func (ss *Sessions) spreadCredit() {
	for _, credit := range ss.scratch.Credit {
		for n := credit.Waiters(); n > 0 && credit.Free() > 0; n-- {
			i, _ := credit.Waiting()
			if se := ss.all[i]; se != nil && se.state < sessionFlush {
				// One that gets none waits on, and has nothing to send: to flush it would
				// serve waiters again, and the loop would not sleep for as long as that lasts.
				if se.H2.Credited(); len(se.H2.Output()) > 0 {
					ss.markDirty(se)
				}
			}
		}
	}
}

func (ss *Sessions) release(v *buf.View) {
	if v.ID != 0 {
		ss.pool.Release(*v)
		*v = buf.View{}
	}
}
