package verify

import (
	"zproxy/filter"
)

// Busy is the reason for a request that is refused because too many wait to be verified.
const Busy = "too many credentials wait to be verified"

// Late is the verdict about what has waited for too long.
var Late = Refuse(503, Busy)

// Crowded is what is decided about q where too many wait already.
func Crowded(q *filter.Request) filter.Verdict { return q.Refuse(503, Busy) }

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
