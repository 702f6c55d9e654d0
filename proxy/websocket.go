package proxy

import (
	"sync/atomic"
	"time"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/proto"
	"zproxy/proto/ws"
)

// Directions of a WebSocket, named by who sends.
const (
	fromClient = 0
	fromOrigin = 1
)

const (
	socketOpen    = 1 << iota // the handshake is over: counted as open
	socketFrames              // its frames are followed
	socketOnly                // the client offers no other protocol
	socketAway                // the client was told, or is to be told, to go away
	socketClosing             // only the end of the connections is still to come, by closeBy
	// By direction, the second one bit higher.
	socketMuted   = 1 << 5  // nothing more is passed on: the proxy has sent a Close frame
	socketPingDue = 1 << 7  // a ping is to go this way when no frame is in its way
	socketAwaits  = 1 << 9  // this side has been sent a ping and nothing has come since
	socketPinged  = 1 << 11 // this side was ever sent one
	socketAwayDue = 1 << 13 // a Close frame is to go this way likewise
	socketFailed  = 1 << 15 // this side has broken a rule: whatever else it sends is discarded
)

// socketCloseNs is how long the sides may take to close their connections once
// both have sent a Close frame (RFC 6455 7.1.1).
const socketCloseNs = int64(10 * time.Second)

// Who ended a WebSocket, in the log and in metrics.
const (
	endedByNobody = iota
	endedByClient
	endedByOrigin
	endedByProxy
)

var endedBy = [...]string{"", "client", "origin", "proxy"}

// Reasons of a tunnel's end that say which side broke it.
const (
	whyClientBroke = "client broke the connection"
	whyOriginBroke = "origin broke the connection"
)

// socket is what an exchange has besides when its client asks for WebSocket.
// Pointer-free.
type socket struct {
	scan    [2]ws.Scanner
	token   uint64   // payload of the proxy's pings
	closeBy int64    // when socketClosing: how long the sides may take
	offer   buf.View // what the client offers, until there is an answer
	peer    [16]byte // address of a client that is a stream: the connection may be gone first
	flags   uint32
	code    uint16       // of the first Close frame
	port    uint16       // behind peer
	by      uint8        // who sent it
	fault   ws.FaultCode // with socketFailed: which rule
}

// socketRules are the settings of a route.
type socketRules struct {
	frames bool
	limits ws.Limits
	idleNs int64 // 0: the upstream's
	pingNs int64
	most   int64
	open   atomic.Int64 // over all loops, counted when there is a most
}

func compileSocket(c *config.WebSocket) *socketRules {
	return &socketRules{
		frames: c.Mode == "frames",
		limits: ws.Limits{FrameBytes: uint64(c.MaxFrame), MessageBytes: uint64(c.MaxMessage)},
		idleNs: int64(c.IdleTimeout), pingNs: int64(c.PingInterval), most: int64(c.MaxConnections),
	}
}

// plainSocket are the rules of routes that have none of their own.
var plainSocket = compileSocket(&config.WebSocket{Mode: "frames"})

func (w *Worker) rulesOf(x *exchange) *socketRules { return w.snap.routes[x.route].socket }

// socketRequest judges a request that asks for WebSocket and takes note of what
// it offers. One whose Upgrade goes no further, because there is content behind
// it, is a request like any other (RFC 9110 7.8).
func (w *Worker) socketRequest(x *exchange, h *proto.Head) *proto.Fault {
	wanted, others := ws.Offered(h)
	if !wanted {
		return nil
	}
	if f := ws.CheckRequest(h); f != nil {
		return f
	}
	key, _ := h.Get(proto.TokenSecWebSocketKey)
	if h.H2 {
		w.socketKey = ws.AppendKey(w.socketKey[:0], w.scramble(), w.scramble())
		key = w.socketKey
	}
	w.out = ws.AppendOffer(w.out[:0], h, key)
	if len(w.out) > w.pool.BlockBytes() {
		return proto.RequestFault(proto.FaultHeadTooLarge)
	}
	rules := w.rulesOf(x)
	if rules.most > 0 && rules.open.Add(1) > rules.most {
		rules.open.Add(-1)
		return &faultSockets
	}
	i, k := w.sockets.Alloc()
	x.socket = i
	if !others {
		k.flags |= socketOnly
	}
	if k.offer = w.keep(x, w.out); k.offer.ID == 0 {
		return &faultMemory
	}
	return nil
}

// socketAccepted judges a 101 by the request it answers. False means that the
// exchange has ended.
func (w *Worker) socketAccepted(c *client, x *exchange, o *origin, h *proto.Head) bool {
	k := w.sockets.At(x.socket)
	chosen, others := ws.Offered(h)
	if o.stream != 0 { // there was nothing else to choose
		chosen, others = true, false
	}
	if chosen == others || !chosen && k.flags&socketOnly != 0 {
		w.failExchange(c, x, &faultSwitch)
		return false
	}
	if !chosen {
		w.dropSocket(x) // it is to be something else, which this proxy does not know
		return true
	}
	offer := w.pool.Bytes(k.offer)
	ext, f := ws.CheckResponse(h, offer)
	if f != nil {
		w.failExchange(c, x, f)
		return false
	}
	w.socketAccept = append(w.socketAccept[:0], ws.AcceptOf(offer)...)
	w.release(&k.offer)
	rules := w.rulesOf(x)
	k.flags |= socketOpen
	if c.stream != 0 {
		peer := w.clientPeer(c)
		k.peer, k.port = peer.Addr().As16(), peer.Port()
	}
	if rules.frames {
		k.flags |= socketFrames
		k.scan[fromClient].Start(true, ext)
		k.scan[fromOrigin].Start(false, ext)
		k.token = w.scramble()
	}
	w.m.WebSockets++
	w.m.WebSocketsTotal++
	return true
}

// dropSocket forgets what an exchange has of a WebSocket, open or not.
func (w *Worker) dropSocket(x *exchange) {
	k := w.sockets.At(x.socket)
	if k.flags&socketOpen != 0 {
		w.m.WebSockets--
	}
	if rules := w.rulesOf(x); rules.most > 0 {
		rules.open.Add(-1)
	}
	w.release(&k.offer)
	w.sockets.Free(x.socket)
	x.socket = 0
}

// framed is the socket of an exchange whose frames are followed, or nil.
func (w *Worker) framed(x *exchange) *socket {
	if x.socket != 0 {
		if k := w.sockets.At(x.socket); k.flags&socketFrames != 0 {
			return k
		}
	}
	return nil
}

// tunnelDue is when a tunnel in which something moves now has been idle for
// too long.
func (w *Worker) tunnelDue(x *exchange) int64 {
	idle := w.snap.clusters[x.cluster].idleNs
	if x.socket != 0 {
		if k := w.sockets.At(x.socket); k.flags&socketClosing != 0 {
			return k.closeBy
		}
		if ns := w.rulesOf(x).idleNs; ns > 0 {
			idle = ns
		}
	}
	return w.l.Now() + idle
}

// note keeps who said first that it ends, and with which code.
func (k *socket) note(by uint8, code uint16) {
	if k.by == endedByNobody {
		k.by, k.code = by, code
	}
}

// accountSocket counts the end of a WebSocket.
func (w *Worker) accountSocket(x *exchange, why string) {
	k := w.framed(x)
	if k == nil {
		return
	}
	switch why {
	case whyClientBroke:
		k.note(endedByClient, ws.CloseAbnormal)
	case whyOriginBroke:
		k.note(endedByOrigin, ws.CloseAbnormal)
	default:
		k.note(endedByProxy, ws.CloseAbnormal)
	}
	w.m.WebSocket.CountClose(k.by-endedByClient, k.code)
}

// scramble gives bits that nobody outside can guess from those before without
// work: masks and payloads of frames of the proxy's own. What they hide is
// nobody's secret (RFC 6455 10.3 is about payloads an attacker chooses).
func (w *Worker) scramble() uint64 {
	w.scrambled += 0x9e3779b97f4a7c15
	z := w.scrambled ^ uint64(w.l.Now())
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
