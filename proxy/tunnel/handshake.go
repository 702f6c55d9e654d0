package tunnel

import (
	"net/netip"

	"zproxy/proto"
	"zproxy/proto/ws"
)

// Offer judges a request that may ask for WebSocket, and makes a tunnel that keeps what it
// offers; none, 0, where it asks for something else. One whose Upgrade goes no further,
// because there is content behind it, is a request like any other (RFC 9110 7.8).
func (ts *Tunnels) Offer(h *proto.Head, rules *Rules, now int64) (uint32, *proto.Fault) {
	wanted, others := ws.Offered(h)
	if !wanted {
		return 0, nil
	}
	if f := ws.CheckRequest(h); f != nil {
		return 0, f
	}
	key, _ := h.Get(proto.TokenSecWebSocketKey)
	if h.H2 {
		ts.key = ws.AppendKey(ts.key[:0], ts.scramble(now), ts.scramble(now))
		key = ts.key
	}
	ts.out = ws.AppendOffer(ts.out[:0], h, key)
	if len(ts.out) > ts.pool.BlockBytes() {
		return 0, proto.RequestFault(proto.FaultHeadTooLarge)
	}
	if !rules.enter() {
		return 0, ts.tooMany
	}
	dst := ts.pool.Reserve(len(ts.out))
	if dst == nil {
		rules.leave()
		return 0, ts.noMemory
	}
	i, t := ts.all.Alloc()
	t.flags |= isWebSocket
	if !others {
		t.flags |= offersOnly
	}
	copy(dst, ts.out)
	t.offer = ts.pool.Commit(len(ts.out))
	return i, nil
}

// Key is the one that the proxy has made for the last client that has none, since it
// speaks HTTP/2: its origin may want one.
func (ts *Tunnels) Key() []byte { return ts.key }

// Accept is what the client of the last WebSocket that was agreed on is to be given
// with the 101.
func (ts *Tunnels) Accept() []byte { return ts.accept }

// Agree judges the response h that opens a tunnel, by what its request has offered. The
// response chooses WebSocket, or others. peer is the client.
func (ts *Tunnels) Agree(i uint32, h *proto.Head, chosen, others bool, peer netip.AddrPort, env Env) *proto.Fault {
	t := ts.all.At(i)
	if chosen == others || !chosen && t.flags&offersOnly != 0 {
		return ts.notAgreed
	}
	if !chosen {
		ts.dropSocket(t, env.Rules) // it is to be something else, which this proxy does not know
		return nil
	}
	offer := ts.pool.Bytes(t.offer)
	ext, f := ws.CheckResponse(h, offer)
	if f != nil {
		return f
	}
	ts.accept = append(ts.accept[:0], ws.AcceptOf(offer)...)
	ts.pool.Release(t.offer)
	t.offer.ID = 0
	t.flags |= isOpenSocket
	t.peer, t.port = peer.Addr().As16(), peer.Port()
	if env.Rules.Frames {
		t.flags |= isFollowed
		t.scan[Client].Start(true, ext)
		t.scan[Origin].Start(false, ext)
		t.token = ts.scramble(env.Now)
	}
	ts.m.WebSockets++
	ts.m.WebSocketsTotal++
	return nil
}

// dropSocket forgets what a tunnel has of a WebSocket, open or not.
func (ts *Tunnels) dropSocket(t *tunnel, rules *Rules) {
	if t.flags&isWebSocket == 0 {
		return
	}
	if t.flags&isOpenSocket != 0 {
		ts.m.WebSockets--
	}
	rules.leave()
	if t.offer.ID != 0 {
		ts.pool.Release(t.offer)
		t.offer.ID = 0
	}
	t.flags &^= isWebSocket | isOpenSocket | isFollowed
}

// scramble gives bits that nobody outside can guess from those before without
// work: masks and payloads of frames of the proxy's own. What they hide is
// nobody's secret (RFC 6455 10.3 is about payloads an attacker chooses).
func (ts *Tunnels) scramble(now int64) uint64 {
	ts.scrambled += 0x9e3779b97f4a7c15
	z := ts.scrambled ^ uint64(now)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
