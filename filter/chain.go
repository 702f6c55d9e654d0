package filter

import (
	"cmp"
	"slices"

	"zproxy/loop"
)

// Filter looks at requests before they are forwarded. Its methods are called on all loops at once. They do not block
// and do not allocate.
type Filter interface {
	Request(q *Request) Verdict
}

// Asynchronous is a Filter that may say Wait. It has taken a copy of Request.Ticket before, and of whatever else the
// goroutine needs that redeems it.
type Asynchronous interface {
	Filter
	// Resume goes on with q, with what its ticket was redeemed with.
	Resume(q *Request, answer any) Verdict
}

// ResponseFilter changes the final head of a response.
type ResponseFilter interface {
	Response(r *Response)
}

// Class is where a kind of filter stands in a chain: the cheaper it is to refuse a request, the earlier. Filters that
// refuse stand before filters that work.
type Class uint8

const (
	ClassResponse  Class = iota // notes what responses get, refusals as well
	ClassAddress                // decides by the client's address alone
	ClassRate                   // limits by what the connection or the head says
	ClassKey                    // a credential that is found in a table
	ClassToken                  // a credential whose signature is verified
	ClassPassword               // a credential that is hashed at length
	ClassAsk                    // asks another server
	ClassRateKnown              // limits by who the client has proved to be
	ClassWork                   // changes what passes
)

// Step is a filter at its place in a chain.
type Step struct {
	Kind     string // as the configuration and the metrics have it
	Text     string // what it does, for people
	Line     int    // of the configuration
	Class    Class
	Filter   Filter         // nil: it is about responses alone
	Response ResponseFilter // nil: it is about requests alone
	NeedsID  bool           // it looks at Request.ID
	Series   uint16         // that it is counted under
	Owns     []*Name        // fields of the request that nobody else may set: those of clients are dropped
}

// Chain is the filters of a route, in the order they run.
type Chain struct {
	Steps    []Step
	NeedsID  bool
	Responds bool // a step is about responses

	requests, responses []Step // those about either
	owned               []*Name
}

// NewChain sorts steps by class; those of one class stay in the order given. nil: there are none.
func NewChain(steps []Step) *Chain {
	if len(steps) == 0 {
		return nil
	}
	c := &Chain{Steps: slices.Clone(steps)}
	slices.SortStableFunc(c.Steps, func(a, b Step) int { return cmp.Compare(a.Class, b.Class) })
	return c
}

// Ready completes a chain whose steps have their series.
func (c *Chain) Ready() {
	for _, s := range c.Steps {
		c.NeedsID = c.NeedsID || s.NeedsID
		c.owned = append(c.owned, s.Owns...)
		if s.Filter != nil {
			c.requests = append(c.requests, s)
		}
		if s.Response != nil {
			c.responses, c.Responds = append(c.responses, s), true
		}
	}
}

// Run takes q on from where it stands.
func (c *Chain) Run(q *Request) Verdict {
	if q.at == 0 {
		for _, n := range c.owned {
			q.Forward.Remove(q.Head, n)
		}
	}
	for q.at < len(c.requests) {
		s := &c.requests[q.at]
		began := int64(0)
		if q.Timed {
			began = loop.Clock()
		}
		if v := s.count(q, s.Filter.Request(q), began); v != Continue {
			return v
		}
	}
	return Continue
}

// Resume takes q on whose ticket was redeemed with answer.
func (c *Chain) Resume(q *Request, answer any) Verdict {
	s := &c.requests[q.at]
	began := int64(0)
	if q.Timed {
		began = loop.Clock()
	}
	if v := s.count(q, s.Filter.(Asynchronous).Resume(q, answer), began); v != Continue {
		return v
	}
	return c.Run(q)
}

// count notes what s has decided. began is 0 where the time is not measured.
func (s *Step) count(q *Request, v Verdict, began int64) Verdict {
	n := &q.uncounted
	if int(s.Series) < len(q.Counts) {
		n = &q.Counts[s.Series]
	}
	if q.Timed {
		n.Timed++
		n.TimedNs += uint64(max(0, loop.Clock()-began))
	}
	switch v {
	case Continue:
		n.Passed++
		if q.WouldRefuse {
			n.WouldReject++
			q.WouldRefuse = false
		}
		q.at++
		q.waiting = false
	case Reply:
		n.Rejected++
	case Wait:
		if !q.waiting {
			n.Waited++
		}
		q.waiting = true
	}
	return v
}

// Respond lets the steps about responses change r.
func (c *Chain) Respond(r *Response) {
	for i := range c.responses {
		c.responses[i].Response.Response(r)
	}
}
