package discover

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstPause   = 200 * time.Millisecond
	longestPause = 15 * time.Second
)

// Pause is how long a source waits after so many failures, 1 or more, before it asks again: twice as long each time, up to a
// bound, and less by up to a half, so that many proxies do not ask together.
func Pause(failures int) time.Duration {
	d := min(firstPause<<min(max(failures-1, 0), 10), longestPause)
	return d - rand.N(d/2)
}

// Sleep waits, false: ctx is done.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
