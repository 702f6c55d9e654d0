package proxy

import (
	"net/netip"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/proto/http2"
	"zproxy/proxy/journal"
)

// What a worker serves at the moment, for people. Nothing is noted for that while requests pass: it is
// read off what they need anyway. A worker looks at a slice of its tables at a time, and whoever asks goes on
// where it ended: what begins or ends meanwhile is seen or not, and nothing else is left out or seen twice.

// Subject is what an Inspection is of.
type Subject uint8

const (
	Connections Subject = iota // of clients and to endpoints, HTTP/1 and HTTP/2; those in a handshake are not among them
	Streams                    // of HTTP/2, in either role
	Exchanges                  // requests under way, WebSockets among them
)

// sliceEntries is how many entries of its tables a worker looks at for one Inspection, and SliceRows how many of
// them it tells of: that takes a fraction of a millisecond.
const (
	sliceEntries = 2048
	SliceRows    = 128
)

// Inspection asks a worker for one slice. Rows has room for SliceRows, of whoever asks.
type Inspection struct {
	Subject  Subject
	From     uint32 // 0, or the Next of the slice before
	Clients  bool   // of Connections and Streams: only those of clients
	Next     uint32 // where the next slice begins; 0: this was the last one
	Now      int64  // the loop's clock, ns
	Rows     []Inspected
	Finished Finished
}

// Finished is told, on the worker's thread, that what was asked of it has been done. It must not block.
type Finished interface{ Finished() }

// Inspected is one connection, stream or exchange.
type Inspected struct {
	Index    uint32 // of an exchange, which with its start is its name
	StartNs  int64  // of an exchange
	SinceNs  int64  // since when State is so; 0: nobody knows
	State    string
	Conn     loop.ConnID // of a stream or exchange: of its client
	Stream   uint32      // its identifier; 0: none
	Peer     netip.AddrPort
	ToOrigin bool
	HTTP2    bool
	Secure   bool
	Listener int // its number; -1: of an endpoint's
	Upstream string
	Endpoint string
	Route    string
	Method   string
	Asked    Asked
	Requests uint32 // so far
	Open     int    // streams of a connection; 1: an exchange of HTTP/1
	Queued   int    // bytes for the peer that have not left
	Status   uint16 // 0: no response yet
	In, Out  uint64 // bytes of content
}

// Asked is what a request asked for: text that somebody else is to decode.
type Asked struct {
	Form AskedForm
	len  uint16
	text [maxAsked]byte
}

const maxAsked = 384

// AskedForm says what the bytes of an Asked are. More of it may have been cut off.
type AskedForm uint8

const (
	AskedNothing AskedForm = iota
	AskedTexts             // method, target and host, each behind the other with a zero byte between
	AskedLines             // a head of HTTP/1
	AskedFields            // a field block of HTTP/2, encoded without the dynamic table
)

// Bytes lends the text.
func (a *Asked) Bytes() []byte { return a.text[:a.len] }

func (a *Asked) add(parts ...[]byte) {
	for i, p := range parts {
		if i > 0 && int(a.len) < len(a.text) {
			a.len++ // a zero byte
		}
		a.len += uint16(copy(a.text[a.len:], p))
	}
}

// AskInspect has the worker of l look, and tell in.Finished. False when its mailbox is full. Any thread.
func AskInspect(l *loop.Loop, in *Inspection) bool {
	return l.Post(loop.Mail{Kind: mailInspect, Ref: in})
}

// inspector looks.
type inspector struct{ part }

// The tables of connections, in the order in which they are looked at: an index is behind ownerShift.
func (is *inspector) inspect(in *Inspection) {
	in.Now, in.Next = is.l.Now(), 0
	left := sliceEntries
	switch in.Subject {
	case Exchanges:
		is.inspectSlab(in, &left, 0, uint32(is.w.xs.Cap()), is.inspectExchange)
	case Streams:
		if is.inspectSlab(in, &left, ownerClient, uint32(is.w.clients.Cap()), is.inspectClient) && !in.Clients {
			is.inspectSlab(in, &left, ownerOrigin, uint32(is.w.leases.Cap()), is.inspectStream)
		}
	default:
		if is.inspectSlab(in, &left, ownerClient, uint32(is.w.clients.Cap()), is.inspectClient) &&
			(in.Clients || is.inspectSlab(in, &left, ownerOrigin, loop.Slots(is.l.Loop), is.inspectConn)) {
			is.inspectSlab(in, &left, ownerSession, uint32(is.w.h2.Cap()), is.inspectSession)
		}
	}
	in.Finished.Finished()
}

// inspectSlab looks at a table of so many entries. False: the slice ends in it.
func (is *inspector) inspectSlab(in *Inspection, left *int, table, entries uint32, see func(*Inspection, uint32)) bool {
	at := uint32(1)
	switch from := in.From >> ownerShift; {
	case in.From != 0 && from > table:
		return true
	case in.From != 0 && from == table:
		at = in.From & ownerMask
	}
	for ; at <= entries; at++ {
		if *left == 0 || len(in.Rows) == cap(in.Rows) {
			in.Next = ownerOf(table, at)
			return false
		}
		*left--
		see(in, at)
	}
	return true
}

func (is *inspector) inspectClient(in *Inspection, i uint32) {
	if !is.w.clients.Live(i) {
		return
	}
	c := is.w.clients.At(i)
	if c.isStream() != (in.Subject == Streams) || c.state == clientClosing || is.w.legs.isOver(&c.leg) {
		return
	}
	r := Inspected{
		State: clientStates[c.state], Conn: is.w.legs.carrier(&c.leg), Peer: is.w.legs.peer(c), Listener: int(c.listener),
		Requests: c.requests, Queued: is.w.legs.queued(&c.leg),
	}
	is.number(&r, &c.leg)
	if c.x != 0 {
		r.Open = 1
		is.route(&r, is.w.xs.At(c.x))
	}
	if c.state == clientLinger {
		r.Requests = 0 // the field counts something else then
	}
	in.Rows = append(in.Rows, r)
}

var clientStates = [...]string{
	clientIdle: "between requests", clientHead: "request head", clientBusy: "request", clientTunnel: "tunnel",
	clientFlush: "last response", clientLinger: "lingers", clientClosing: "closing",
}

// inspectConn looks at the connection in a slot of the loop. Only the loop names those to endpoints.
func (is *inspector) inspectConn(in *Inspection, slot uint32) {
	conn := loop.InSlot(is.l.Loop, slot)
	if owner := is.l.Owner(conn); owner>>ownerShift == ownerOrigin {
		is.inspectLease(in, owner&ownerMask, conn)
	}
}

// inspectStream looks at a lease that is a stream, or waits to be one.
func (is *inspector) inspectStream(in *Inspection, n uint32) {
	if look, ok := is.w.leases.Look(n); ok && look.IsStream {
		is.inspectLease(in, n, 0)
	}
}

func (is *inspector) inspectLease(in *Inspection, n uint32, conn loop.ConnID) {
	look, ok := is.w.leases.Look(n)
	if !ok {
		return
	}
	cl := is.w.clusters[look.Cluster].Shared
	r := Inspected{
		State: look.State, Conn: conn, ToOrigin: true, Listener: -1,
		Upstream: cl.Name(), Endpoint: cl.Endpoints()[look.Endpoint].Address, Requests: look.Uses,
		HTTP2: look.IsStream,
	}
	if look.IsHeld {
		o := is.w.origins.At(n)
		if o.state == originClosing || is.w.legs.isOver(&o.leg) {
			return
		}
		r.State, r.Conn, r.Queued = originStates[o.state], is.w.legs.carrier(&o.leg), is.w.legs.queued(&o.leg)
		r.Stream = is.w.legs.numberOf(&o.leg)
		if o.state == originBusy || o.state == originTunnel {
			r.Open = 1
			r.Route = is.routeOf(is.w.xs.At(o.x))
		}
	}
	r.Secure = r.Conn != 0 && is.l.IsSecure(r.Conn)
	in.Rows = append(in.Rows, r)
}

var originStates = [...]string{
	originConnecting: "connecting", originBusy: "request", originTunnel: "tunnel", originLinger: "lingers", originClosing: "closing",
}

// number says of what connection and stream g is.
func (is *inspector) number(r *Inspected, g *leg) {
	r.Secure = r.Conn != 0 && is.l.IsSecure(r.Conn)
	r.HTTP2, r.Stream = g.isStream(), is.w.legs.numberOf(g)
}

func (is *inspector) inspectSession(in *Inspection, i uint32) {
	if int(i) >= is.w.h2.Cap() {
		return
	}
	se := is.w.h2.At(i)
	if se == nil || se.IsClosed() || in.Clients && se.Role == http2.Client {
		return
	}
	r := Inspected{
		State: sessionState(se.Opens(), se.IsOpen(), se.IsOver()), Conn: se.Conn, HTTP2: true, Secure: is.l.IsSecure(se.Conn), Listener: int(se.Listener),
		Requests: se.Uses, Open: se.H2.Active(), Queued: is.l.Queued(se.Conn), Peer: is.l.Peer(se.Conn),
	}
	if se.Role == http2.Client {
		cl := is.w.clusters[se.Cluster].Shared
		r.ToOrigin, r.Listener, r.Peer = true, -1, netip.AddrPort{}
		r.Upstream, r.Endpoint = cl.Name(), cl.Endpoints()[se.Endpoint].Address
	}
	in.Rows = append(in.Rows, r)
}

func sessionState(opens, open, over bool) string {
	switch {
	case opens:
		return "connecting"
	case open:
		return "open"
	case over:
		return "lingers"
	}
	return "no more streams"
}

func (is *inspector) inspectExchange(in *Inspection, i uint32) {
	if !is.w.xs.Live(i) || is.w.xs.At(i).state == xEnded {
		return
	}
	x := is.w.xs.At(i)
	c := is.w.clients.At(x.client)
	if is.w.legs.isOver(&c.leg) && x.state != xTunnel {
		return
	}
	r := Inspected{
		Index: i, StartNs: x.start, Conn: is.w.legs.carrier(&c.leg), Peer: is.w.legs.peer(c), Listener: int(c.listener), Method: x.method.String(),
		Status: x.status, In: x.reqBytes, Out: x.respBytes, Queued: is.w.legs.queued(&c.leg), Open: 1,
	}
	is.number(&r, &c.leg)
	is.route(&r, x)
	r.State, r.SinceNs = is.waitsFor(c, x)
	is.askedOf(i, x, &r.Asked)
	in.Rows = append(in.Rows, r)
}

// route says where x is led to.
func (is *inspector) route(r *Inspected, x *exchange) {
	r.Route = is.routeOf(x)
	if x.cluster >= 0 {
		cl := is.w.clusters[x.cluster].Shared
		r.Upstream = cl.Name()
		if x.endpoint >= 0 {
			r.Endpoint = cl.Endpoints()[x.endpoint].Address
		}
	}
}

func (is *inspector) routeOf(x *exchange) string {
	if x.route < 0 {
		return ""
	}
	return is.w.snapOf(x).Routes[x.route].Path
}

// waitsFor says what x waits for, and since when, ns.
func (is *inspector) waitsFor(c *client, x *exchange) (what string, since int64) {
	given := x.start + int64(x.askedUs)*1000
	switch {
	case x.state == xTunnel:
		return "either side of its tunnel", given
	case x.flags&xResponseBegun != 0 && is.w.legs.queued(&c.leg) > 0:
		return "its client to take the response", given + int64(x.firstByteUs)*1000
	case x.flags&xResponseBegun != 0:
		return "the origin to go on with the response", given + int64(x.firstByteUs)*1000
	case x.flags&(xHeadWaits|xContentWaits) != 0 && x.flags&xRequestDone == 0 && x.state == xRouting:
		return "its client to go on with the request", x.start + int64(x.bodyAtMs)*1e6
	case x.state == xFiltering:
		return "a filter to decide", x.start
	case x.state == xWaiting:
		return "a connection to an endpoint", x.sought()
	case x.state == xAsking:
		return "a connection of another loop", x.sought()
	case x.state == xConnecting:
		return "an endpoint to accept a connection", given
	case x.state != xForwarding || x.origin == 0:
		return "a decision where it goes", x.start
	case is.w.legs.queued(&is.w.origins.At(x.origin).leg) > 0:
		return "the origin to take the request", given
	case x.flags&(xRequestGiven|xOriginDeaf|xExpect) == 0:
		return "its client to go on with the request", max(given, x.start+int64(x.bodyAtMs)*1e6)
	}
	return "the origin to respond", given
}

// askedOf finds out what exchange i asked for, as far as that is kept.
func (is *inspector) askedOf(i uint32, x *exchange, a *Asked) {
	var r accesslog.Record
	switch {
	case x.head.ID == 0 && is.w.requests.starts == i:
		journal.Asked(&is.w.requests.asked, &r)
	case x.head.ID != 0 && journal.ReadNote(is.w.journal.noteOf(x), &r):
	case x.head.Len > 0 && x.cluster >= 0:
		if a.Form = AskedLines; is.w.clusters[x.cluster].H2 {
			a.Form = AskedFields
		}
		a.add(is.headOf(x))
		return
	default:
		return
	}
	a.Form = AskedTexts
	a.add(r.Method, r.Target, r.Host)
}

// headOf lends the head of x as it goes to its origin.
func (is *inspector) headOf(x *exchange) []byte {
	return is.pool.Bytes(buf.View{ID: x.head.ID, Off: x.head.Off, Len: min(x.head.Len, maxAsked)})
}
