package tunnel

import (
	"net/netip"
	"time"

	"zproxy/buf"
	"zproxy/internal/slab"
	"zproxy/metrics"
	"zproxy/proto"
	"zproxy/proto/ws"
)

// Side is an end of a tunnel. A direction is named by the side that sends.
type Side uint8

const (
	Client Side = iota
	Origin
)

// Other is the side across.
func (s Side) Other() Side { return 1 - s }

const (
	isOpen       = 1 << iota // both sides are joined: counted
	isWebSocket              // the client asks for WebSocket, or has it
	isOpenSocket             // the handshake is over: counted as an open WebSocket
	isFollowed               // its frames are followed
	offersOnly               // the client offers no other protocol
	isAway                   // the client was told, or is to be told, to go away
	isClosing                // only the end of the connections is still to come, by closeBy
	// By direction, the second one bit higher.
	hasEnded  = 1 << 8  // this side has closed its write side
	isPaused  = 1 << 10 // this side is not read
	isMuted   = 1 << 12 // nothing more is passed on: the proxy has sent a Close frame
	pingDue   = 1 << 14 // a ping is to go this way when no frame is in its way
	isAwaited = 1 << 16 // this side has been sent a ping and nothing has come since
	wasPinged = 1 << 18 // this side was ever sent one
	awayDue   = 1 << 20 // a Close frame is to go this way likewise
	hasFailed = 1 << 22 // this side has broken a rule: whatever else it sends is discarded

	bothEnded = hasEnded<<Client | hasEnded<<Origin
)

const (
	// CloseNs is how long the sides may take to close their connections once both have
	// sent a Close frame (RFC 6455 7.1.1).
	CloseNs = int64(10 * time.Second)
	// failNs is how long a side may go on when the other has broken a rule.
	failNs = int64(2 * time.Second)
)

// Who ended a WebSocket, in the log and in metrics.
const (
	endedByNobody = iota
	endedByClient
	endedByOrigin
	endedByProxy
)

var endedBy = [...]string{"", "client", "origin", "proxy"}

// whyBroken are the reasons of a tunnel's end that say which side broke it.
var whyBroken = [2]string{"client broke the connection", "origin broke the connection"}

// tunnel is the state of one, from the request that asks for WebSocket on, or from its
// beginning. Pointer-free.
type tunnel struct {
	scan    [2]ws.Scanner
	token   uint64   // payload of the proxy's pings
	closeBy int64    // when isClosing: how long the sides may take
	offer   buf.View // what the client offers, until there is a response
	peer    [16]byte // address of a client that is a stream: the connection may be gone first
	flags   uint32
	code    uint16       // of the first Close frame
	port    uint16       // behind peer
	by      uint8        // who sent it
	fault   ws.FaultCode // with hasFailed: which rule
}

// Config is what the tunnels of a worker are made of. The faults are those of a client
// that is one too many, of having no memory, and of an origin that agrees to something else
// than was asked for.
type Config struct {
	Pool                         *buf.Pool
	Metrics                      *metrics.Loop
	TooMany, NoMemory, NotAgreed *proto.Fault
}

// Tunnels are those of a worker.
type Tunnels struct {
	pool *buf.Pool
	m    *metrics.Loop

	tooMany, noMemory, notAgreed *proto.Fault

	all       slab.Slab[tunnel]
	at        work
	told      []Event // those before toldAt have been pulled
	toldAt    int
	scrambled uint64 // see scramble
	key       []byte // see Key
	accept    []byte // see Accept
	out       []byte // scratch: what a request offers, a frame of the proxy's own
}

// Begin prepares the tunnels of a worker.
func Begin(ts *Tunnels, c Config) {
	ts.pool, ts.m = c.Pool, c.Metrics
	ts.tooMany, ts.noMemory, ts.notAgreed = c.TooMany, c.NoMemory, c.NotAgreed
}

// Len is how many there are, those that are only asked for included.
func (ts *Tunnels) Len() int { return ts.all.Len() }

// Plain makes a tunnel for something else than WebSocket.
func (ts *Tunnels) Plain() uint32 {
	i, _ := ts.all.Alloc()
	return i
}

// Open joins both sides.
func (ts *Tunnels) Open(i uint32) {
	ts.all.At(i).flags |= isOpen
	ts.m.Tunnels++
	ts.m.TunnelsTotal++
}

// Free forgets a tunnel, open or not, and what it has come to.
func (ts *Tunnels) Free(i uint32, rules *Rules) {
	if ts.at.i == i {
		ts.forget()
	}
	t := ts.all.At(i)
	if t.flags&isOpen != 0 {
		ts.m.Tunnels--
	}
	ts.dropSocket(t, rules)
	ts.all.Free(i)
}

// IsWebSocket says that i is for WebSocket.
func (ts *Tunnels) IsWebSocket(i uint32) bool { return ts.all.At(i).flags&isWebSocket != 0 }

// BothEnded says that both sides have closed their write sides.
func (ts *Tunnels) BothEnded(i uint32) bool { return ts.all.At(i).flags&bothEnded == bothEnded }

// Peer is the address of the client, as it was when its WebSocket opened.
func (ts *Tunnels) Peer(i uint32) netip.AddrPort {
	t := ts.all.At(i)
	return netip.AddrPortFrom(netip.AddrFrom16(t.peer).Unmap(), t.port)
}

// Due is when a tunnel in which something moves now has been idle for too long.
func (ts *Tunnels) Due(i uint32, env Env) int64 { return ts.all.At(i).due(&env) }

func (t *tunnel) due(env *Env) int64 {
	switch {
	case t.flags&isClosing != 0:
		return t.closeBy
	case t.flags&isWebSocket != 0 && env.Rules.IdleNs > 0:
		return env.Now + env.Rules.IdleNs
	}
	return env.Now + env.IdleNs
}

// follows says that frames are followed.
func (t *tunnel) follows() bool { return t.flags&isFollowed != 0 }

// Received takes bytes of a side: v's reference with them.
func (ts *Tunnels) Received(i uint32, from Side, v buf.View, env Env) {
	t := ts.begin(i, env)
	if !t.follows() {
		ts.send(from.Other(), v)
		ts.moved()
		return
	}
	t.flags &^= isAwaited << from
	if t.scan[from].Closed() || t.flags&(hasFailed<<from) != 0 { // nothing may follow a Close frame (RFC 6455 5.5.1)
		ts.pool.Release(v)
		return
	}
	w := &ts.at
	w.reading, w.from, w.v = true, from, v
	if t.scan[from].Inside() {
		w.frame = -1
	}
}

// Fills says that so many bytes wait for a side, and high is the mark. True: who sends
// them is to be read no more for now.
func (ts *Tunnels) Fills(i uint32, to Side, queued, high int) bool {
	if queued <= high {
		return false
	}
	t := ts.all.At(i)
	if t.flags&(isPaused<<to.Other()) != 0 {
		return false
	}
	t.flags |= isPaused << to.Other()
	return true
}

// Waiting is what waits for a side.
type Waiting struct {
	Bytes, Low int
	Left       bool // all has left, and the end of the direction with it if there was one
}

// Drained: bytes have left for a side, or it has been said that there are no more. The
// other is read on where its queue is below the mark, and the tunnel ends when both
// sides have closed and everything has left.
func (ts *Tunnels) Drained(i uint32, to [2]Waiting, env Env) {
	t := ts.begin(i, env)
	if t.flags&isWebSocket == 0 || to[Origin].Bytes > pingBytes || to[Client].Bytes > pingBytes {
		ts.moved() // but not for pings of the proxy's own
	}
	for from := Client; from <= Origin; from++ {
		if t.flags&(isPaused<<from) != 0 && to[from.Other()].Bytes <= to[from.Other()].Low {
			t.flags &^= isPaused << from
			ts.tell(Resume, from)
		}
	}
	if t.flags&bothEnded == bothEnded && to[Client].Left && to[Origin].Left {
		ts.cutOff("")
	}
}

// Ended: a side has closed its write side, in the middle of nothing or of something;
// what is not complete has no use. The other hears of it behind what was sent before.
// An origin whose client went away without a word when told to hears why.
func (ts *Tunnels) Ended(i uint32, from Side, env Env) {
	t := ts.begin(i, env)
	t.flags |= hasEnded << from
	if t.follows() {
		ts.pool.Drop(env.Held[from])
		t.note(endedByClient+uint8(from), ws.CloseAbnormal)
		if _, now := t.speakable(from); now && t.flags&isAway != 0 {
			ts.close(from, ws.CloseGoingAway, ts.whyAway())
		}
		if t.flags&(hasFailed<<from.Other()) != 0 {
			ts.failed()
			return
		}
	}
	ts.tell(Finish, from.Other())
}

// Lost says that the connection of a side is gone. True: that side had said all it had
// to, and just hears no more; what the other says goes nowhere. False: the tunnel is
// broken.
func (ts *Tunnels) Lost(i uint32, side Side) bool {
	t := ts.all.At(i)
	if t.flags&(hasEnded<<side) == 0 {
		return false
	}
	t.flags |= bothEnded
	return true
}

// Broke: the connection of a side is broken.
func (ts *Tunnels) Broke(i uint32, side Side, env Env) {
	if t := ts.begin(i, env); t.follows() && t.flags&isClosing == 0 {
		t.note(endedByClient+uint8(side), ws.CloseAbnormal)
	}
	ts.cutOff(whyBroken[side])
}

// CutOff ends a tunnel for a reason of the owner's, and at once.
func (ts *Tunnels) CutOff(i uint32, why string, env Env) {
	ts.begin(i, env)
	ts.cutOff(why)
}

// cutOff is the end of the tunnel at hand. why is empty for one that both sides have
// closed.
func (ts *Tunnels) cutOff(why string) {
	t := ts.at.t
	switch {
	case t.follows() && t.flags&isClosing != 0:
		ts.late()
	case why == "":
		ts.endsBy(Closed, "")
	default:
		ts.endsBy(Reset, why)
	}
}

// Expired: the tunnel has been idle for too long.
func (ts *Tunnels) Expired(i uint32, env Env) {
	if t := ts.begin(i, env); t.speaks() {
		ts.fail("websocket idle for too long")
		return
	}
	ts.cutOff("tunnel idle for too long")
}

// Fail ends a tunnel for a reason of the owner's, with a Close frame to the sides of a
// WebSocket that can take one.
func (ts *Tunnels) Fail(i uint32, why string, env Env) {
	if t := ts.begin(i, env); t.speaks() {
		ts.fail(why)
		return
	}
	ts.cutOff(why)
}
