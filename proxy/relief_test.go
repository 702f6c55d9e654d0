package proxy

import (
	"testing"

	"zproxy/buf"
)

// Who holds memory is not looked at for a while when the loop has not run. It
// waits meanwhile.
func TestReliefRestsBehindALeap(t *testing.T) {
	s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	var held []buf.View
	for s.w.pool.Spare() > 0 {
		v, ok := s.w.pool.Get()
		if !ok {
			t.Fatal("a spare block is none")
		}
		held = append(held, v)
	}
	s.until(4*reliefNs, func() bool { return false })
	if s.w.reliefAt == 0 {
		t.Fatal("nobody has looked who holds memory")
	}
	for i := 0; s.w.l.Leap().At == 0; i++ {
		if i == 1000 {
			t.Fatal("the clock does not leap")
		}
		if err := s.w.turn(0); err != nil {
			t.Fatal(err)
		}
		s.world.Jump = 100
		s.world.Advance()
		s.world.Jump = 0
	}
	from := s.world.Now()
	for turns := 0; s.world.Now()-from < 4*reliefNs; turns++ {
		if turns == 100 {
			t.Fatalf("%d turns in %d ms in which nothing happens", turns, (s.world.Now()-from)/1e6)
		}
		s.world.RunDue()
		if err := s.w.turn(-1); err != nil {
			t.Fatal(err)
		}
		if !s.world.Busy() {
			s.world.Advance()
		}
	}
	for _, v := range held {
		s.w.pool.Release(v)
	}
}
