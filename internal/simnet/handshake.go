package simnet

import (
	"crypto/sha512"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"zproxy/loop/sim"
	"zproxy/proto/tls"
	"zproxy/proxy/transport/credentials"
	"zproxy/proxy/transport/handshake"
)

// hands is one end of a handshake of the simulation. It has the outside of TLS's:
// a hello each, in one record or several, what the client says behind the
// server's hello, and a ticket of the server's that comes with it under the keys
// that follow. Randoms, versions and suites are the world's, and the secrets follow
// from the randoms.
type hands struct {
	rng       *rand.Rand
	server    bool
	protocols []string // ALPN: offered, or taken, the best first
	in, out   []byte
	body      []byte // of handshake records, not yet a message
	random    []byte
	alpn      string
	secrets   tls.Secrets
	over      bool
	err       error
}

var errHandshake = errors.New("no handshake of the simulation")

// begin is what the client says first.
func (h *hands) begin() {
	h.random = h.bytes(32)
	if h.server {
		return
	}
	b := append([]byte(nil), h.random...)
	b = append(b, byte(len(h.protocols)))
	for _, p := range h.protocols {
		b = append(append(b, byte(len(p))), p...)
	}
	h.message(messageClientHello, append(b, make([]byte, size(h.rng, h.large()))...))
}

// large is how much there may be in a hello beside what counts.
func (h *hands) large() int {
	if h.rng.IntN(20) == 0 {
		return 20_000
	}
	return 3000
}

func (h *hands) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(h.rng.Uint32())
	}
	return b
}

// message puts a handshake message into records, cut anywhere.
func (h *hands) message(typ byte, body []byte) {
	b := append([]byte{typ, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	for len(b) > 0 {
		n := min(len(b), mostContent)
		if h.rng.IntN(5) == 0 {
			n = 1 + h.rng.IntN(n)
		}
		h.out = append(append(h.out, recordHandshake, 3, 3, byte(n>>8), byte(n)), b[:n]...)
		b = b[n:]
	}
}

// advance goes on with what is in. What is behind the handshake stays there.
func (h *hands) advance() {
	for !h.over {
		n := recordLen(h.in)
		if n == 0 || len(h.in) < n {
			return
		}
		if h.in[0] != recordHandshake {
			h.fail(fmt.Errorf("%w: record of type %d", errHandshake, h.in[0]), 10)
			return
		}
		h.body = append(h.body, h.in[recordHeader:n]...)
		h.in = h.in[n:]
		if len(h.body) < 4 {
			continue
		}
		if n := 4 + int(h.body[1])<<16 + int(h.body[2])<<8 + int(h.body[3]); len(h.body) >= n {
			body := h.body[4:n]
			typ := h.body[0]
			h.body = h.body[n:]
			h.take(typ, body)
		}
	}
}

func (h *hands) fail(err error, alert byte) {
	h.err, h.over = err, true
	h.out = append(h.out, recordAlert, 3, 3, 0, 2, 2, alert)
}

// take acts on a message.
func (h *hands) take(typ byte, b []byte) {
	switch {
	case h.server && typ == messageClientHello && len(b) >= 33 && h.secrets.Suite == 0:
		h.answer(b)
	case h.server && typ == messageFinished && h.secrets.Suite != 0:
		h.over = true
	case !h.server && typ == messageServerHello && len(b) >= 37:
		h.secrets.Version, h.secrets.Suite = uint16(b[32])<<8|uint16(b[33]), uint16(b[34])<<8|uint16(b[35])
		h.alpn = string(b[37 : 37+int(b[36])])
		h.derive(h.random, b[:32])
		h.message(messageFinished, nil)
		h.over = true
	default:
		h.fail(fmt.Errorf("%w: message of type %d", errHandshake, typ), 10)
	}
}

// answer is the server's to a client's hello.
func (h *hands) answer(hello []byte) {
	far, rest := hello[:32], hello[33:]
	var offered []string
	for range hello[32] {
		n := 1 + int(rest[0])
		offered = append(offered, string(rest[1:n]))
		rest = rest[n:]
	}
	for _, p := range h.protocols {
		for _, q := range offered {
			if p == q && h.alpn == "" {
				h.alpn = p
			}
		}
	}
	if h.alpn == "" && len(offered) > 0 && len(h.protocols) > 0 {
		h.fail(fmt.Errorf("%w: no common protocol in %v and %v", errHandshake, offered, h.protocols), 120)
		return
	}
	s := &h.secrets
	s.Version, s.Suite = tls.Version13, []uint16{suite13AES128, suite13AES256, suite13ChaCha}[h.rng.IntN(3)]
	if h.rng.IntN(4) == 0 {
		s.Version, s.Suite = tls.Version12, suite12AES128
	}
	b := append([]byte(nil), h.random...)
	b = append(b, byte(s.Version>>8), byte(s.Version), byte(s.Suite>>8), byte(s.Suite), byte(len(h.alpn)))
	b = append(b, h.alpn...)
	h.message(messageServerHello, append(b, make([]byte, size(h.rng, h.large()))...))
	h.derive(far, h.random)
	if s.Version == tls.Version13 && h.rng.IntN(2) == 0 {
		_, k := keysOf(s)
		h.out = k.seal(h.out, recordHandshake, ticket(h.rng), 0)
		s.ServerSent = 1
	}
}

// ticket is a NewSessionTicket message.
func ticket(rng *rand.Rand) []byte {
	n := 1 + rng.IntN(200)
	return append([]byte{messageTicket, 0, 0, byte(n)}, make([]byte, n)...)
}

func (h *hands) derive(client, server []byte) {
	s := &h.secrets
	sum := func(label string, n int) []byte {
		b := sha512.Sum384(append(append([]byte(label), client...), server...))
		return append([]byte(nil), b[:n]...)
	}
	if s.Version == tls.Version12 {
		s.Master, s.ClientRandom, s.ServerRandom = sum("master", 48), append([]byte(nil), client...), append([]byte(nil), server...)
		return
	}
	n := secretLen(s.Suite)
	s.ClientTraffic, s.ServerTraffic = sum("client", n), sum("server", n)
}

// Handshakes stand for crypto/tls's in a simulation, where nothing may be on another
// goroutine and no key come from elsewhere than the seed.
type Handshakes struct {
	World *sim.World
	// What servers have: ALPN, the best first, and terms, for clients that all ask for
	// one name.
	Protocols []string
	Terms     *credentials.Terms
}

// clientsName is what clients ask for.
const clientsName = "sim.example"

// standIn is one of them, the proxy's end.
type standIn struct {
	hands
	w       *sim.World
	wake    handshake.Waker
	terms   *credentials.Terms
	planned bool
	called  bool
	full    bool
	ended   bool
	dead    bool
}

// enough is how much may wait to be read.
const enough = 64 << 10

// Start begins a handshake. Of a client's configuration only NextProtos counts.
func (s *Handshakes) Start(config *stdtls.Config, server bool, wake handshake.Waker) handshake.Handshake {
	j := &standIn{w: s.World, wake: wake}
	j.protocols = config.NextProtos
	if server {
		j.protocols, j.terms = s.Protocols, s.Terms
	}
	j.rng, j.server = s.World.Rand(), server
	j.begin()
	j.soon()
	return j
}

func (j *standIn) Feed(b []byte) bool {
	j.in = append(j.in, b...)
	j.full = len(j.in) > enough
	j.soon()
	return !j.full
}

// soon computes after a while, as a goroutine does.
func (j *standIn) soon() {
	if !j.planned {
		j.planned = true
		j.w.After(j.rng.Int64N(1e6), j.work)
	}
}

func (j *standIn) work() {
	j.planned = false
	if j.dead {
		return
	}
	j.advance()
	if j.ended && !j.over {
		j.over, j.err = true, io.ErrUnexpectedEOF
	}
	if j.over || j.full || len(j.out) > 0 {
		j.full = false
		j.tell()
	}
}

func (j *standIn) tell() {
	if j.called || j.dead {
		return
	}
	if j.called = j.wake(); !j.called {
		j.w.After(1e6, j.tell)
	}
}

func (j *standIn) Take(dst []byte) ([]byte, *handshake.Result, bool) {
	j.called = false
	dst = append(dst, j.out...)
	j.out = j.out[:0]
	if !j.over {
		return dst, nil, false
	}
	r := &handshake.Result{Err: j.err, Secrets: j.secrets, Unread: j.in}
	if j.server {
		r.Name, r.Terms = clientsName, j.terms
	}
	r.State.NegotiatedProtocol = j.alpn
	r.State.Version, r.State.CipherSuite = j.secrets.Version, j.secrets.Suite
	return dst, r, true
}

func (j *standIn) End() {
	j.ended = true
	j.soon()
}

func (j *standIn) Abort() { j.dead = true }

// Ticket is never called: no result asks for it.
func (j *standIn) Ticket([]byte) {}
