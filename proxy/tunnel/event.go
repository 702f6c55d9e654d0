package tunnel

import (
	"zproxy/buf"
	"zproxy/internal/assert"
)

// Kind is what an event asks for.
type Kind uint8

const (
	Send     Kind = iota + 1 // View goes to Side, with its reference
	Finish                   // nothing more goes to Side behind what waits; the other direction goes on
	Resume                   // Side is to be read on
	Deadline                 // the tunnel has been idle for too long when it is At
	Over                     // the tunnel has ended: How, and Why
)

// How is what becomes of both connections.
type How uint8

const (
	Closed  How = iota // both sides have closed, and all has left
	Reset              // nothing else would show that their bytes are not all there
	Flushed            // they need to hear no more than what is queued for them
)

// Event is one thing that a tunnel has come to.
type Event struct {
	Kind Kind
	How  How
	Side Side
	View buf.View
	At   int64
	Why  string // of Over, for the log; empty: in order
}

// Env is what a tunnel has from its owner, with each call that it may act on.
type Env struct {
	Rules    *Rules        // not looked at but for WebSocket
	IdleNs   int64         // how long the upstream lets a tunnel be idle
	Now      int64         // of the loop's clock
	Held     [2]*buf.Chain // by sender: where bytes wait that are not decided yet
	Draining bool          // the proxy is shutting down
}

// work is the tunnel that was called last, and how far what it received has been read.
type work struct {
	i   uint32 // 0: none
	t   *tunnel
	env Env

	reading   bool
	from      Side
	v         buf.View // received
	at        int      // bytes of v before were scanned
	begun     int      // bytes of v before were passed on or dropped
	frame     int      // where the present frame began; -1: a part of it has gone before
	swallowed int      // bytes of v that were for the proxy alone
}

// begin makes i the tunnel at hand.
func (ts *Tunnels) begin(i uint32, env Env) *tunnel {
	if assert.Enabled && ts.toldAt < len(ts.told) {
		panic("tunnel: a call before all events were pulled")
	}
	ts.at = work{i: i, t: ts.all.At(i), env: env}
	return ts.at.t
}

// Next is the next thing that the last call has come to, nil: that was all. It is good
// until Next is called again.
func (ts *Tunnels) Next() *Event {
	for ts.toldAt == len(ts.told) {
		ts.told, ts.toldAt = ts.told[:0], 0
		if !ts.at.reading {
			return nil
		}
		ts.readOn()
	}
	ts.toldAt++
	return &ts.told[ts.toldAt-1]
}

// forget drops what the tunnel at hand has come to and nobody has pulled.
func (ts *Tunnels) forget() {
	for ; ts.toldAt < len(ts.told); ts.toldAt++ {
		if ev := &ts.told[ts.toldAt]; ev.Kind == Send {
			ts.pool.Release(ev.View)
		}
	}
	if ts.at.reading {
		ts.pool.Release(ts.at.v)
	}
	ts.at = work{}
}

func (ts *Tunnels) tell(kind Kind, side Side) {
	ts.told = append(ts.told, Event{Kind: kind, Side: side})
}

// send has v go to a side. It takes its reference.
func (ts *Tunnels) send(to Side, v buf.View) {
	ts.told = append(ts.told, Event{Kind: Send, Side: to, View: v})
}

// moved: the idle clock, which runs for both directions at once, begins again.
func (ts *Tunnels) moved() {
	ts.told = append(ts.told, Event{Kind: Deadline, At: ts.at.t.due(&ts.at.env)})
}

func (ts *Tunnels) endsBy(how How, why string) {
	ts.told = append(ts.told, Event{Kind: Over, How: how, Why: why})
}
