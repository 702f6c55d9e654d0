package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
)

// Traits are the chances, in percent, that something in a script goes another
// way than it usually does. In a calm run nothing does that a proxy could not
// serve in full.
type Traits struct {
	Calm bool

	Clients  int // in all
	Requests int // of one client, at most
	Body     int // bytes, at most

	Pipeline  int // a client asks again before it has its answers
	Leave     int // a client leaves at some byte
	Stop      int // a peer stops reading, or writing, for good
	Slow      int // a peer takes its time
	Cut       int // an origin breaks its answer off at some byte
	Early     int // an origin answers before it has the request
	HangUp    int // an origin closes behind an answer
	Upgrade   int // a request asks for a tunnel
	Socket    int // of those, for a WebSocket
	Wrong     int // of those, with a frame that breaks the rules
	Decline   int // ... and answered like any other request
	BigHeads  int // fields that need more than a block
	Overlong  int // a head of HTTP/1 is longer than any proxy reads
	Large     int // an answer may be of any size up to Body, not of any order
	IdleClose int // an origin closes a connection nobody uses

	// HTTP/2 alone.
	H2          int // a client speaks it
	Streams     int // requests of one client under way, at most
	Abandon     int // a client resets a stream
	Refuse      int // an origin refuses a stream
	GoAway      int // a peer announces its end
	Settings    int // a peer changes its settings under way
	TinyWindows int // windows of some bytes, or none, for a while
	Tables      int // a peer wants another table for HPACK
	NoConnect   int // an origin takes no WebSocket

	// TLS alone.
	SecureClients, SecureOrigins bool // they speak it
	Silent                       int  // an end closes without close_notify
	Stall                        int  // an end never finishes its handshake

	// The PROXY protocol alone.
	Greets      bool // clients come by a load balancer, which sends a header
	OthersPlain bool // ... but for some, who come by themselves
	Impostors   int  // a client has no business to be one
	SendProxy   int  // version of the header that origins want, 0: none
	TLVs        bool // ... with all the proxy knows to tell

	// The proxy's filters: who is kept out, and whether they mark heads, X-Set of requests and X-Reply of responses with
	// the request's path.
	Denied []netip.Prefix
	Marks  bool

	Refused   bool // a client may find nobody listening
	Direct    bool // no proxy is between the peers
	NoInterim bool // the proxy passes no interim responses on but 100
}

// howToEnd is the way a peer leaves.
type howToEnd int

const (
	byClosing howToEnd = iota
	byReset
	byHalfClose
)

// Request is one request, the answer planned for it, and the book about both.
type Request struct {
	ID       int
	From, To netip.AddrPort // its client, and where that has connected to

	identifier string // that PROXY headers tell
	Method     string
	Minor      int
	Body       int
	Chunked    bool
	Trailer    bool
	Expect     bool
	Patient    bool // ... and it waits for the 100 as long as it takes
	Close      bool
	Upgrade    bool
	Socket     bool
	Wrong      int  // with Socket: 1: the client breaks the rules, 2: the origin does
	Fill       int  // length of a field that fills the head
	Overlong   bool // ... with more than a proxy takes
	Direct     bool
	Marked     bool // it has an X-Set of its own, which is to be replaced

	Reply Reply

	HeadSent  bool // the client handed over its whole head
	Sent      bool // ... and its whole body
	Heads     int  // how often origins got its head
	Whole     int  // ... and its body
	Replied   bool // an origin has handed over the whole answer
	Continued bool // the client got a 100
	Answered  int  // status of the final head the client got
	Complete  bool // the client got it whole

	// Where only the end of a connection ends a body, who ends it early and in
	// order has ended the body: nobody can see a cut.
	ClientEnded, ReplyEnded bool
	// ... but within TLS everybody can: the answer ended without close_notify.
	Unclosed bool

	H2        bool   // the client speaks HTTP/2
	AbandonAt int    // body bytes of the answer at which it resets the stream; -1: never
	Code      uint32 // ... and with what
	Early     bool   // with Socket: it does not wait for the answer
	BreakAt   int    // ... and of what it sends the byte at which it breaks off; -1: never
	BreakHow  howToEnd
}

// Reply is what the origin does with it.
type Reply struct {
	Status    int
	Body      int
	Framing   framing
	Minor     int
	Trailer   bool
	Fill      int
	Interims  int
	Continues int  // 100s that nobody asked for, or too many
	Announce  bool // Connection: close
	HangUp    bool // closes behind the answer
	Early     int  // body bytes of the request after which it answers; -1: when it has all
	DelayNs   int64
	Cut       int // byte of the answer at which it ends; -1: none
	How       howToEnd
	Stop      int // byte of the answer after which nothing more comes; -1: none
	Deaf      bool
	Code      uint32 // HTTP/2: what a stream is reset with
}

var (
	methods  = []string{"GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "PURGE"}
	statuses = []int{200, 200, 200, 200, 201, 204, 205, 206, 304, 404, 426, 500}
)

// size is a length up to limit, of any order of magnitude.
func size(rng *rand.Rand, limit int) int {
	if limit <= 0 || rng.IntN(4) == 0 {
		return 0
	}
	n := 1
	for n < limit {
		n <<= 1
	}
	bits := 0
	for 1<<bits < n {
		bits++
	}
	return min(limit, rng.IntN(1<<(1+rng.IntN(bits+1))))
}

func chance(rng *rand.Rand, percent int) bool { return percent > 0 && rng.IntN(100) < percent }

// newRequest plans a request.
func (r *Run) newRequest() *Request {
	rng, t := r.rng, &r.Traits
	q := &Request{ID: len(r.Requests), Method: methods[rng.IntN(len(methods))], Minor: 1, Direct: t.Direct, Marked: t.Marks}
	r.Requests = append(r.Requests, q)
	if rng.IntN(12) == 0 {
		q.Minor = 0
	}
	if q.Method == "POST" || q.Method == "PUT" || rng.IntN(20) == 0 {
		q.Body = size(rng, t.Body)
		q.Chunked = q.Minor == 1 && rng.IntN(2) == 0
		q.Trailer = q.Chunked && rng.IntN(4) == 0
		q.Expect = q.Minor == 1 && q.Body > 0 && rng.IntN(6) == 0
		q.Patient = q.Expect && rng.IntN(2) == 0 && !t.Direct // only a proxy makes sure that it comes
	}
	q.Close = rng.IntN(15) == 0
	q.Fill = rng.IntN(200)
	if chance(rng, t.BigHeads) {
		q.Fill = rng.IntN(20_000)
	}
	if q.Minor == 1 && chance(rng, t.Upgrade) {
		q.Method, q.Upgrade, q.Chunked, q.Expect, q.Trailer, q.Close = "GET", true, false, false, false, false
		q.Body = size(rng, t.Body)
		q.Socket = chance(rng, t.Socket)
		if q.Socket && chance(rng, t.Wrong) {
			// Both sides are cut off then, in order.
			q.Wrong = 1 + rng.IntN(2)
			q.ClientEnded, q.ReplyEnded = true, true
		}
	}
	q.Reply = r.newReply(q)
	return q
}

// overlong has a request of HTTP/1 sent with a head that no proxy takes, which is the last
// that its connection carries.
func (r *Run) overlong(q *Request) {
	if !q.Upgrade && chance(r.rng, r.Traits.Overlong) {
		q.Overlong, q.Close, q.Fill = true, true, 70_000+r.rng.IntN(20_000)
		q.Body, q.Chunked, q.Trailer, q.Expect, q.Patient = 0, false, false, false, false
	}
}

// Tunnels: it asks for a tunnel and is to get one.
func (q *Request) Tunnels() bool { return q.Upgrade && q.Reply.Status == 101 }

// Opened: its client knows of the tunnel.
func (q *Request) Opened() bool {
	return q.Tunnels() && (q.Answered == 101 || q.H2 && q.Answered == 200)
}

// content is how many bytes of body an origin is to get.
func (q *Request) content() int {
	if q.Upgrade && !q.Tunnels() {
		return 0
	}
	return q.Body
}

// interim notes an interim response and says what is wrong with it: a client
// gets one 100, and that if it asked for it.
func (r *Run) interim(q *Request, status int) error {
	switch {
	case status != 100 && r.Traits.NoInterim:
		return fmt.Errorf("a %d to %d, where none may pass", status, q.ID)
	case status == 100 && !q.Expect:
		return fmt.Errorf("a 100 nobody waits for, to %d", q.ID)
	case status == 100 && q.Continued:
		return fmt.Errorf("a second 100 to %d", q.ID)
	}
	q.Continued = q.Continued || status == 100
	return nil
}

func (r *Run) newReply(q *Request) Reply {
	rng, t := r.rng, &r.Traits
	p := Reply{Status: statuses[rng.IntN(len(statuses))], Minor: 1, Early: -1, Cut: -1, Stop: -1}
	p.Body = size(rng, t.Body)
	if chance(rng, t.Large) {
		p.Body = rng.IntN(t.Body)
	}
	p.Framing = []framing{byLength, byLength, byChunks, byClose}[rng.IntN(4)]
	p.Fill = rng.IntN(200)
	if chance(rng, t.BigHeads) {
		p.Fill = rng.IntN(20_000)
	}
	switch {
	case q.Socket && chance(rng, t.Decline):
		p.Status, p.Framing = 403, []framing{byLength, byChunks}[rng.IntN(2)]
	case q.Upgrade:
		p.Status, p.Framing = 101, byClose
	case q.Method == "HEAD" || p.Status == 204 || p.Status == 304:
		p.Framing = noBody
	}
	if p.Framing == byClose && !q.Upgrade {
		p.Announce, p.HangUp = true, true
		p.Minor = rng.IntN(2)
	}
	p.Trailer = p.Framing == byChunks && rng.IntN(4) == 0
	if rng.IntN(10) == 0 {
		p.Interims = 1 + rng.IntN(3)
	}
	if n := 1 + rng.IntN(3); rng.IntN(10) == 0 && !q.Direct { // a proxy keeps them to itself
		p.Continues = n
	}
	if rng.IntN(3) == 0 {
		p.DelayNs = rng.Int64N(int64(5e6))
	}
	if chance(rng, t.Slow) {
		p.DelayNs = rng.Int64N(int64(8e8))
	}
	if chance(rng, t.HangUp) {
		p.HangUp = true
		p.Announce = p.Announce || rng.IntN(2) == 0
	}
	if t.Calm {
		p.HangUp = p.HangUp && p.Announce
		return p
	}
	if chance(rng, t.Early) {
		p.Early = size(rng, q.Body)
		p.Deaf = rng.IntN(3) == 0
	}
	if chance(rng, t.Cut) {
		p.Cut = size(rng, 300+p.Body) // of small ones most, that is within the head
		if rng.IntN(2) == 0 {
			p.Cut = rng.IntN(300 + p.Body)
		}
		p.How = howToEnd(rng.IntN(3))
	}
	if chance(rng, t.Stop) {
		p.Stop = size(rng, 300+p.Body)
	}
	p.Code = []uint32{h2NoError, h2Internal, h2Cancel, h2Calm}[rng.IntN(4)]
	return p
}

// fill is the value of the field that fills a head.
func fill(id, direction, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteByte('a' + byteAt(id, direction, i)%26)
	}
	return b.String()
}

// forged is whom a client claims to ask for; the proxy trusts none of them.
const forged = "203.0.113.66"

// encode writes the request; head is the length of its head.
func (q *Request) encode(rng *rand.Rand) (b []byte, head int) {
	b = fmt.Appendf(b, "%s /r/%d?q=%d HTTP/1.%d\r\nHost: sim.example\r\n", q.Method, q.ID, q.Body, q.Minor)
	b = fmt.Appendf(b, "X-Id: %d\r\nX-Fill: %s\r\n", q.ID, fill(q.ID, upward, q.Fill))
	b = append(b, "X-Forwarded-For: "+forged+"\r\nForwarded: for="+forged+"\r\nx_forwarded_for: "+forged+"\r\nX-Real-IP: "+forged+"\r\n"...)
	if q.Marked {
		b = append(b, "x_set: "+forged+"\r\nX-Set: "+forged+"\r\n"...)
	}
	switch {
	case q.Socket:
		b = append(b, "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+socketKey+"\r\n"...)
	case q.Upgrade:
		b = append(b, "Connection: upgrade\r\nUpgrade: sim\r\n"...)
	case q.Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case q.Body > 0 || q.ID%2 == 0 && (q.Method == "POST" || q.Method == "PUT"):
		b = fmt.Appendf(b, "Content-Length: %d\r\n", q.Body)
	}
	if q.Expect {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	switch {
	case q.Close:
		b = append(b, "Connection: close\r\n"...)
	case q.Minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	b = append(b, "\r\n"...)
	head = len(b)
	if q.Upgrade {
		return b, head // what goes through the tunnel follows the answer
	}
	return encodeBody(b, rng, q.ID, upward, q.Body, q.Chunked, q.Trailer), head
}

// encodeBody appends a body, in chunks of all sizes if it is to be.
func encodeBody(b []byte, rng *rand.Rand, id, direction, n int, chunked, trailer bool) []byte {
	if !chunked {
		return appendBody(b, id, direction, 0, n)
	}
	for at := 0; at < n; {
		piece := max(1, min(n-at, size(rng, n)))
		b = strconv.AppendUint(b, uint64(piece), 16)
		if rng.IntN(8) == 0 {
			b = append(b, ";ext=\"a;b\""...)
		}
		b = append(b, "\r\n"...)
		b = appendBody(b, id, direction, at, piece)
		b = append(b, "\r\n"...)
		at += piece
	}
	b = append(b, "0\r\n"...)
	if trailer {
		b = fmt.Appendf(b, "X-Trailer: %d\r\n", id)
		if direction == upward {
			b = append(b, "True-Client-IP: "+forged+"\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// encodeReply writes the answer; accept is the value that agrees to a WebSocket,
// and places are those between its frames.
func (q *Request) encodeReply(rng *rand.Rand, accept string) (_ []byte, places []int) {
	p := &q.Reply
	var b []byte
	for range p.Continues {
		b = append(b, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	for i := range p.Interims {
		if q.Minor == 1 || i == 0 {
			b = append(b, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"...)
		}
	}
	b = fmt.Appendf(b, "HTTP/1.%d %d Whatever\r\nX-Id: %d\r\nX-Fill: %s\r\n", p.Minor, p.Status, q.ID, fill(q.ID, downward, p.Fill))
	switch p.Framing {
	case byLength:
		b = fmt.Appendf(b, "Content-Length: %d\r\n", p.Body)
	case byChunks:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case noBody:
		if p.Status != 204 && rng.IntN(2) == 0 {
			b = fmt.Appendf(b, "Content-Length: %d\r\n", p.Body)
		}
	}
	switch {
	case q.Tunnels() && q.Socket:
		b = append(b, "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+accept+"\r\n"...)
	case q.Tunnels():
		b = append(b, "Connection: upgrade\r\nUpgrade: sim\r\n"...)
	case p.Announce:
		if p.Status == 426 { // both options in one field
			b = append(b, "Upgrade: sim\r\nConnection: close, upgrade\r\n"...)
			break
		}
		b = append(b, "Connection: close\r\n"...)
	case p.Minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	case p.Status == 426:
		b = append(b, "Upgrade: sim\r\nConnection: upgrade\r\n"...)
	}
	b = append(b, "\r\n"...)
	switch {
	case q.Tunnels() && q.Socket:
		return appendMessages(b, rng, q, downward, p.Body)
	case p.Framing == noBody:
		return b, nil
	}
	return encodeBody(b, rng, q.ID, downward, p.Body, p.Framing == byChunks, p.Trailer), nil
}

// BodyBytes is how many bytes of body the client gets when all goes well.
func (q *Request) BodyBytes() int {
	if q.Reply.Framing == noBody {
		return 0
	}
	return q.Reply.Body
}
