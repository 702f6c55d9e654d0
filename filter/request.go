package filter

import (
	"net/netip"
	"time"

	"zproxy/metrics"
	"zproxy/proto"
	"zproxy/proxy/transport"
	"zproxy/router"
)

// Verdict is what a filter decides about a request.
type Verdict uint8

const (
	Continue Verdict = iota // the next filter has its turn
	Reply                   // the proxy responds itself, as Request.Reply says
	Wait                    // the request waits until its Ticket is redeemed
)

// Request is a request on its way through a chain. What is in it is borrowed from the exchange, and good until the
// filter returns. After Wait all of it is a copy.
type Request struct {
	Head   *proto.Head
	Client netip.Addr         // who asks: the connection's other end, or whom a trusted proxy names; not valid where nobody is named
	Peer   netip.Addr         // the connection's other end; not valid for unix sockets
	Scheme []byte             // of the client's connection
	TLS    *transport.Session // of the connection, nil: it is in clear
	Path   []byte             // as it was routed: normalised
	Params []router.Param     // of the route's path
	Route  uint64             // the route, the same after a reload
	ID     []byte             // the identifier of the request, where the chain NeedsID
	Now    int64              // ns of the loop's clock
	WallMs int64              // of the wall clock
	Loop   int                // which loop serves it

	Forward *Changes // of the head that the origin gets
	Respond *Changes // of the head that the client gets, whoever responds

	// Status and Reason are set by Reply.
	Status uint16
	Reason string

	// Ticket is what an Asynchronous filter redeems when it has said Wait, and WaitNs how long it may take.
	Ticket Ticket
	WaitNs int64

	// User is whom a filter has found the client to be, for the access log. It stays as it is.
	User []byte

	Counts []metrics.Filter // by series; nil: of a configuration before, and not counted any more
	Timed  bool             // this run is measured

	WouldRefuse bool // the filter says Continue, and would not where it were for real

	held []hold

	uncounted metrics.Filter

	at      int  // the step that is next, or has said Wait
	waiting bool // it has
}

// MaxWait is how long a request waits for a filter at the most, where the filter does not set WaitNs.
const MaxWait = 10 * time.Second

// NewRequest has room for changes as they usually are.
func NewRequest() *Request { return &Request{Forward: NewChanges(), Respond: NewChanges()} }

// Begin makes q ready for another request.
func (q *Request) Begin() {
	q.Forward.Reset()
	q.Respond.Reset()
	q.Status, q.Reason, q.WaitNs = 0, "", int64(MaxWait)
	q.User, q.WouldRefuse = nil, false
	q.at, q.waiting = 0, false
}

// Holder gives what a request holds: Release is called when the request has ended, on its loop.
type Holder interface {
	Release(slot int32)
}

type hold struct {
	by   Holder
	slot int32
}

// Hold has by get slot back when q has ended.
func (q *Request) Hold(by Holder, slot int32) { q.held = append(q.held, hold{by, slot}) }

// Holds says that q has something to give back.
func (q *Request) Holds() bool { return len(q.held) > 0 }

// Release gives back what q holds.
func (q *Request) Release() {
	for i := range q.held {
		q.held[i].by.Release(q.held[i].slot)
	}
	clear(q.held)
	q.held = q.held[:0]
}

// Refuse is the verdict Reply with the proxy's page for status, which is at least 400. The access log has the
// reason: a constant, with a row in docs/reasons.md.
func (q *Request) Refuse(status uint16, reason string) Verdict {
	q.Status, q.Reason = status, reason
	return Reply
}

// Finish is the verdict Reply with a status below 400, without content. Respond has its fields.
func (q *Request) Finish(status uint16) Verdict {
	q.Status, q.Reason = status, ""
	return Reply
}

// Response is the final head of a response on its way to the client.
type Response struct {
	Head   *proto.Head // of the origin; nil: the proxy responds itself
	Status uint16
	Secure bool     // the client is within TLS
	Change *Changes // of Head
}

// Ticket stands for a request that waits.
type Ticket struct {
	Resumer Resumer
	Slot    uint32 // where the loop keeps it
	Serial  uint32 // which one of those that were kept there
}

// Resumer takes an answer to the loop where its request waits. False: there is no room for mail at the moment.
type Resumer interface {
	Resume(slot, serial uint32, answer any) bool
}

// Redeem has the request go on with answer, which the filter's Resume gets. Any goroutine but a loop's; once at the
// most. A request that has ended in the meantime takes no harm.
func (t Ticket) Redeem(answer any) {
	for pause := 50 * time.Microsecond; !t.Resumer.Resume(t.Slot, t.Serial, answer) && pause < MaxWait; pause *= 2 {
		time.Sleep(pause)
	}
}
