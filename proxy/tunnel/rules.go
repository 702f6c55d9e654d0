package tunnel

import (
	"sync/atomic"

	"zproxy/proto/ws"
)

// Rules are what the WebSockets of a route go by. They are shared by all loops.
type Rules struct {
	Frames bool // their frames are followed
	Limits ws.Limits
	IdleNs int64 // 0: the upstream's
	PingNs int64 // between two pings of the proxy's own, 0: there are none
	Most   int64 // how many there may be over all loops, 0: any number
	open   atomic.Int64
}

// enter counts one more, or says that there are as many as there may be.
func (r *Rules) enter() bool {
	if r.Most > 0 && r.open.Add(1) > r.Most {
		r.open.Add(-1)
		return false
	}
	return true
}

func (r *Rules) leave() {
	if r.Most > 0 {
		r.open.Add(-1)
	}
}
