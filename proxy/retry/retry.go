// Package retry says when a request is tried again: for what reason, how often, and as part of how
// many at its upstream. It knows the rules and what was counted of a request, not the request.
package retry

import (
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// Tries has, in few bits each, how often a request was sent again after a fresh connection
// broke, or for what it brought (attempts), how often after a dead one (stales), when it may be,
// and whether it is counted against the budget of its upstream.
type Tries uint8

const (
	mostAttempts = 1<<3 - 1
	oneStale     = 1 << 3
	stales       = 1<<2 - 1
	repeatShift  = 5
	inBudget     = 1 << 7

	// mostStales bounds how many dead kept-alive connections one request may
	// meet before it is given up.
	mostStales = 3

	// Where they have no room for what there may be, a constant below zero is an error of the compiler.
	_ = uint(stales - mostStales)
	_ = uint(mostAttempts - snapshot.MaxAttempts)
)

// Of is for a request that may be sent again as r says.
func Of(r upstream.Repeat) Tries { return Tries(r) << repeatShift }

// Never has the request sent again no more where an origin may have seen it.
func (t *Tries) Never() { *t &^= 3 << repeatShift }

func (t Tries) repeat() upstream.Repeat { return upstream.Repeat(t >> repeatShift & 3) }
func (t Tries) attempts() int           { return int(t & mostAttempts) }

// KeepsBody says that the beginning of the request's body is kept while it is sent to cl: for an
// origin that refuses its stream, or may refuse a PROXY header, and for another try. unsent:
// nothing has left for the origin yet.
func (t Tries) KeepsBody(cl *snapshot.Cluster, unsent bool) bool {
	return cl.H2 || cl.Retry.Bodies && (t.repeat() == upstream.RepeatAlways || cl.SendProxy != 0 && unsent)
}

// State is how far a request has come.
type State struct {
	Whole    bool // all is still there that was sent of it
	Answered bool // something of a response has been passed on
}

// May says that the request may be sent again for this reason, were it not for the budget
// (RFC 9110 9.2.2): nothing of a response has been passed on, all of the request is there, and
// it was not sent too often.
func (t Tries) May(r *snapshot.Retry, on snapshot.RetryCause, s State) bool {
	return t.repeat() == upstream.RepeatAlways && t.left(r, on, s)
}

// MayUnsent is May, for a request of any method, where nothing of it has left.
func (t Tries) MayUnsent(r *snapshot.Retry, s State) bool { return t.left(r, snapshot.OnConnect, s) }

func (t Tries) left(r *snapshot.Retry, on snapshot.RetryCause, s State) bool {
	return r.On&on != 0 && !s.Answered && s.Whole && t.attempts() < r.Attempts
}

// MayStale is May where a connection that had served before turns out to be dead. That was
// nobody's fault (RFC 9112 9.3.1): it counts for itself.
func (t Tries) MayStale(s State) bool {
	return t.repeat() != upstream.RepeatNever && !s.Answered && s.Whole && t.StalesLeft()
}

// StalesLeft says that the request has not met too many dead connections.
func (t Tries) StalesLeft() bool { return int(t/oneStale&stales) < mostStales }

// Stale counts a dead connection.
func (t *Tries) Stale() { *t += oneStale }

// Begin counts a try at cl. False: its budget has none left.
func (t *Tries) Begin(cl *snapshot.Cluster, now int64) bool {
	if cl.Retry.Budget && *t&inBudget == 0 {
		if !cl.Shared.BeginRetry(now) {
			return false
		}
		*t |= inBudget
	}
	*t++
	return true
}

// End takes the request out of the budget of cl.
func (t *Tries) End(cl *snapshot.Cluster) {
	if *t&inBudget != 0 {
		*t &^= inBudget
		cl.Shared.EndRetry()
	}
}
