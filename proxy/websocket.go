package proxy

import (
	"time"

	"zproxy/buf"
	"zproxy/proto"
	"zproxy/proto/ws"
	"zproxy/proxy/snapshot"
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

func (tu *tunnels) rulesOf(x *exchange) *snapshot.WebSocket {
	return tu.w.snapOf(x).Routes[x.route].WebSocket
}

// request judges a request that asks for WebSocket and takes note of what
// it offers. One whose Upgrade goes no further, because there is content behind
// it, is a request like any other (RFC 9110 7.8).
func (tu *tunnels) request(x *exchange, h *proto.Head) *proto.Fault {
	wanted, others := ws.Offered(h)
	if !wanted {
		return nil
	}
	if f := ws.CheckRequest(h); f != nil {
		return f
	}
	key, _ := h.Get(proto.TokenSecWebSocketKey)
	if h.H2 {
		tu.key = ws.AppendKey(tu.key[:0], tu.scramble(), tu.scramble())
		key = tu.key
	}
	tu.w.heads.out = ws.AppendOffer(tu.w.heads.out[:0], h, key)
	if len(tu.w.heads.out) > tu.pool.BlockBytes() {
		return proto.RequestFault(proto.FaultHeadTooLarge)
	}
	rules := tu.rulesOf(x)
	if rules.Most > 0 && rules.Open.Add(1) > rules.Most {
		rules.Open.Add(-1)
		return &faultSockets
	}
	i, k := tu.sockets.Alloc()
	x.socket = i
	if !others {
		k.flags |= socketOnly
	}
	if k.offer = tu.w.keep(x, tu.w.heads.out); k.offer.ID == 0 {
		return &faultMemory
	}
	return nil
}

// agreed judges a 101 by the request it answers. False means that the
// exchange has ended.
func (tu *tunnels) agreed(c *client, x *exchange, o *origin, h *proto.Head) bool {
	k := tu.sockets.At(x.socket)
	chosen, others := o.switchedTo(h)
	if chosen == others || !chosen && k.flags&socketOnly != 0 {
		tu.w.failExchange(c, x, &faultSwitch)
		return false
	}
	if !chosen {
		tu.dropSocket(x) // it is to be something else, which this proxy does not know
		return true
	}
	offer := tu.pool.Bytes(k.offer)
	ext, f := ws.CheckResponse(h, offer)
	if f != nil {
		tu.w.failExchange(c, x, f)
		return false
	}
	tu.accept = append(tu.accept[:0], ws.AcceptOf(offer)...)
	tu.w.release(&k.offer)
	rules := tu.rulesOf(x)
	k.flags |= socketOpen
	peer := tu.w.legs.peer(c)
	k.peer, k.port = peer.Addr().As16(), peer.Port()
	if rules.Frames {
		k.flags |= socketFrames
		k.scan[fromClient].Start(true, ext)
		k.scan[fromOrigin].Start(false, ext)
		k.token = tu.scramble()
	}
	tu.m.WebSockets++
	tu.m.WebSocketsTotal++
	return true
}

// dropSocket forgets what an exchange has of a WebSocket, open or not.
func (tu *tunnels) dropSocket(x *exchange) {
	k := tu.sockets.At(x.socket)
	if k.flags&socketOpen != 0 {
		tu.m.WebSockets--
	}
	if rules := tu.rulesOf(x); rules.Most > 0 {
		rules.Open.Add(-1)
	}
	tu.w.release(&k.offer)
	tu.sockets.Free(x.socket)
	x.socket = 0
}

// framed is the socket of an exchange whose frames are followed, or nil.
func (tu *tunnels) framed(x *exchange) *socket {
	if x.socket != 0 {
		if k := tu.sockets.At(x.socket); k.flags&socketFrames != 0 {
			return k
		}
	}
	return nil
}

// due is when a tunnel in which something moves now has been idle for
// too long.
func (tu *tunnels) due(x *exchange) int64 {
	idle := tu.w.clusters[x.cluster].IdleNs
	if x.socket != 0 {
		if k := tu.sockets.At(x.socket); k.flags&socketClosing != 0 {
			return k.closeBy
		}
		if ns := tu.rulesOf(x).IdleNs; ns > 0 {
			idle = ns
		}
	}
	return tu.l.Now() + idle
}

// note keeps who said first that it ends, and with which code.
func (k *socket) note(by uint8, code uint16) {
	if k.by == endedByNobody {
		k.by, k.code = by, code
	}
}

// accountSocket counts the end of a WebSocket.
func (tu *tunnels) accountSocket(x *exchange, why string) {
	k := tu.framed(x)
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
	tu.m.WebSocket.CountClose(k.by-endedByClient, k.code)
}

// scramble gives bits that nobody outside can guess from those before without
// work: masks and payloads of frames of the proxy's own. What they hide is
// nobody's secret (RFC 6455 10.3 is about payloads an attacker chooses).
func (tu *tunnels) scramble() uint64 {
	tu.scrambled += 0x9e3779b97f4a7c15
	z := tu.scrambled ^ uint64(tu.l.Now())
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
