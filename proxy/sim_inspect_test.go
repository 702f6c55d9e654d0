package proxy

import (
	"os"
	"runtime/debug"
	"testing"
)

// onlooker inspects the workers of a simulation all the time, and ends some of what it sees.
type onlooker struct {
	s     *simulation
	ends  bool
	turn  int
	under *Inspection // nil: none is
	cap   int

	rows, slices, ended int
	states              map[string]bool
}

// lookNs is how often it looks.
const lookNs = 2e5

func (o *onlooker) look() {
	if o.s.drainedAny() || o.turn > 4000 {
		return
	}
	if o.turn++; o.under == nil {
		w := o.s.workers[o.turn%len(o.s.workers)]
		in := &Inspection{Subject: Subject(o.turn % 3), Rows: make([]Inspected, 0, 1+o.turn%5*40), Finished: o}
		if AskInspect(w.l.Loop, in) {
			o.under, o.cap = in, cap(in.Rows)
		}
	}
	o.s.world.After(lookNs, o.look)
}

// Finished is told on the loop's turn.
func (o *onlooker) Finished() {
	in := o.under
	if in == nil {
		return // of an Ending
	}
	o.under = nil
	o.slices++
	if len(in.Rows) > o.cap || len(in.Rows) == 0 && in.Next != 0 {
		o.s.fail("a slice of %d has %d rows, and goes on at %d", o.cap, len(in.Rows), in.Next)
	}
	for i := range in.Rows {
		r := &in.Rows[i]
		o.rows++
		o.states[r.State] = true
		if r.State == "" || r.SinceNs > in.Now || r.StartNs > in.Now {
			o.s.fail("at %d there is %+v", in.Now, r)
		}
		if o.ends && (o.turn+i)%37 == 0 {
			o.end(in, r)
		}
	}
}

func (o *onlooker) end(in *Inspection, r *Inspected) {
	e := &Ending{Finished: o}
	switch {
	case in.Subject == Exchanges:
		e.Index, e.StartNs = r.Index, r.StartNs
	case in.Subject == Connections && !r.ToOrigin:
		e.Conn = r.Conn
	default:
		return
	}
	for _, w := range o.s.workers {
		own := *e
		if AskEnd(w.l.Loop, &own) { // of another worker it is something else, or nothing
			o.ended++
		}
	}
}

// Whatever goes on can be looked at, and ended, at any time; nothing is left of what was ended.
func TestSimInspect(t *testing.T) {
	o := &onlooker{states: map[string]bool{}}
	requests := 0
	for seed := uint64(1); requests < 2_500; seed++ {
		s, err := newSimulation(seed, t.TempDir(), 0)
		if err != nil {
			t.Fatal(err)
		}
		o.s, o.turn, o.under, o.ends = s, 0, nil, !s.calm
		s.world.After(1, o.look)
		s.playOut()
		requests += len(s.run.Requests)
		if len(s.failed) > 0 {
			s.report(t)
			return
		}
	}
	t.Logf("%d slices with %d rows in %d states, %d times something was ended, beside %d requests", o.slices, o.rows, len(o.states), o.ended, requests)
	if o.rows < 1000 || o.ended < 50 || len(o.states) < 12 {
		t.Error("that is too little to have tried anything")
	}
}

// playOut plays, and holds what has happened against all that must be true.
func (s *simulation) playOut() {
	func() {
		defer func() {
			if p := recover(); p != nil {
				s.fail("panic: %v\n%s", p, debug.Stack())
			}
		}()
		s.play()
	}()
	s.log.Close()
	if !s.broken() {
		s.checkLog()
	}
	os.Remove(s.logPath)
	s.failed = append(s.failed, s.run.Violations...)
}
