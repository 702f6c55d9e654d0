package proxy

import "testing"

// What the worker's timer goes off for does not bring housekeeping forward, which gives
// memory back and, on io_uring, registers the ring of buffers anew: it comes once a second.
func TestHousekeepingComesOnceASecond(t *testing.T) {
	s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	woken, kept, from := 0, 0, s.world.Now()
	for s.world.Now()-from < 2*housekeepingNs-1e6 {
		at, keepAt := s.w.timerAt, s.w.keepAt
		s.w.wakeBy(s.world.Now() + 10e6)
		s.until(10e6, func() bool { return s.w.timerAt > at })
		if s.w.timerAt != at {
			woken++
		}
		if s.w.keepAt != keepAt {
			kept++
		}
	}
	if woken < 100 || kept != 1 && kept != 2 {
		t.Errorf("the timer had %d times in two seconds, want hundreds; %d of them were for housekeeping, want 2", woken, kept)
	}
}
