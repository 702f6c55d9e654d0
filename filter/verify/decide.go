package verify

import (
	"zproxy/filter"
	"zproxy/proto"
)

// Busy is the reason for a request that is refused because too many wait to be verified.
const Busy = "too many credentials wait to be verified"

// Late is the verdict about what has waited for too long.
var Late = Refuse(503, Busy)

// Crowded is what is decided about q where too many wait already.
func Crowded(q *filter.Request) filter.Verdict { return q.Refuse(503, Busy) }

// Finder is a filter that may have to find its verdict beside the loops.
type Finder interface {
	// Check gives the verdict about a request, nil: it has to be found first, and is kept by the digest.
	Check(h *proto.Head, d *Digester, nowMs int64) (*Verdict, Digest)
	// Start has it found. Neither a verdict nor waits: too many wait.
	Start(h *proto.Head, digest *Digest, waiter Waiter) (v *Verdict, waits bool)
}

// Ask lets q in, refuses it, or has it wait for who finds out.
func (id *Identity) Ask(f Finder, loops *Loops, q *filter.Request) filter.Verdict {
	v, digest := f.Check(q.Head, loops.At(q.Loop), q.WallMs)
	if v == nil {
		var waits bool
		if v, waits = f.Start(q.Head, &digest, q.Ticket); waits {
			return filter.Wait
		}
	}
	if v == nil {
		return Crowded(q)
	}
	return id.Decide(q, v)
}

// Identity is what becomes of a request that is let in: the fields that say who asks. Only the proxy says that: what
// a client sends under these names goes no further.
type Identity struct {
	User   *filter.Name   // gets Verdict.Name; nil: nothing does
	Fields []*filter.Name // that a verdict may set
	Strip  []*filter.Name // of credentials, which go no further
}

// Decide makes v what is decided about q.
func (id *Identity) Decide(q *filter.Request, v *Verdict) filter.Verdict {
	if v.Outcome != Allowed {
		for i := range v.Fields {
			f := &v.Fields[i]
			q.Respond.Add(f.Name, f.Value)
		}
		if v.Status < 400 {
			return q.Finish(v.Status)
		}
		return q.Refuse(v.Status, v.Reason)
	}
	for _, list := range [...][]*filter.Name{id.Fields, id.Strip} {
		for _, n := range list {
			q.Forward.Remove(q.Head, n)
		}
	}
	q.User = v.Name
	if id.User != nil {
		q.Forward.Remove(q.Head, id.User)
		if len(v.Name) > 0 {
			q.Forward.Add(id.User, v.Name)
		}
	}
	for i := range v.Fields {
		f := &v.Fields[i]
		q.Forward.Add(f.Name, f.Value)
	}
	return filter.Continue
}

// Loops has a Digester for each loop.
type Loops struct{ of [maxLoops]*Digester }

const maxLoops = 1024

// At is that of a loop, which alone calls it with its number.
func (l *Loops) At(loop int) *Digester {
	if l.of[loop] == nil {
		l.of[loop] = new(Digester)
	}
	return l.of[loop]
}
