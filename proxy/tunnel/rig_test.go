package tunnel

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"zproxy/buf"
	"zproxy/metrics"
	"zproxy/proto"
	"zproxy/proto/ws"
)

const (
	testBlock = 16 << 10
	second    = int64(1e9)
)

var (
	tooMany   = proto.Fault{Status: 503, Reason: "too many"}
	noMemory  = proto.Fault{Status: 503, Reason: "no memory"}
	notAgreed = proto.Fault{Status: 502, Reason: "not agreed"}
)

// rig is one tunnel between two sides that take all they are sent.
type rig struct {
	t        testing.TB
	pool     *buf.Pool
	m        metrics.Loop
	ts       Tunnels
	i        uint32
	rules    *Rules
	held     [2]buf.Chain
	now      int64
	draining bool

	sent     [2][]byte // to each side
	finished [2]bool   // likewise
	deadline int64
	deadlines,
	resumes int
	end string // how it ended, and why; empty: it has not
}

// newRig opens a WebSocket by rules, or, where there are none, a tunnel for something else.
func newRig(t testing.TB, rules *Rules) *rig {
	t.Helper()
	r := &rig{t: t, pool: buf.NewPool(buf.NewSliceMemory(64*testBlock, 16*testBlock), testBlock), rules: rules, now: 100 * second}
	Begin(&r.ts, Config{Pool: r.pool, Metrics: &r.m, TooMany: &tooMany, NoMemory: &noMemory, NotAgreed: &notAgreed})
	if rules == nil {
		r.i = r.ts.Plain()
	} else {
		r.i = r.offer(request(t))
		if f := r.ts.Agree(r.i, response(t), true, false, somebody, r.env()); f != nil {
			t.Fatal(f)
		}
	}
	r.ts.Open(r.i)
	return r
}

func (r *rig) offer(h *proto.Head) uint32 {
	r.t.Helper()
	i, f := r.ts.Offer(h, r.rules, r.now)
	if f != nil || i == 0 {
		r.t.Fatalf("offered: %d, %v", i, f)
	}
	return i
}

func (r *rig) env() Env {
	return Env{Rules: r.rules, IdleNs: 60 * second, Now: r.now, Held: [2]*buf.Chain{&r.held[Client], &r.held[Origin]}, Draining: r.draining}
}

// view is b in a block of its own.
func (r *rig) view(b []byte) buf.View {
	v, ok := r.pool.Get()
	if !ok {
		r.t.Fatal("no block is left")
	}
	return v.Slice(0, uint32(copy(r.pool.Bytes(v), b)))
}

// says has a side send b, in pieces of at most size.
func (r *rig) says(from Side, b []byte, size int) {
	for len(b) > 0 && r.end == "" {
		n := min(len(b), size)
		r.ts.Received(r.i, from, r.view(b[:n]), r.env())
		r.pull()
		b = b[n:]
	}
}

func (r *rig) ended(from Side) {
	if r.end == "" {
		r.ts.Ended(r.i, from, r.env())
		r.pull()
		r.drained(0, 0)
	}
}

// drained says how much waits for each side, and where nothing does that all has left.
func (r *rig) drained(client, origin int) {
	if r.end == "" {
		r.ts.Drained(r.i, [2]Waiting{{client, 100, client == 0}, {origin, 100, origin == 0}}, r.env())
		r.pull()
	}
}

func (r *rig) pull() {
	for ev := r.ts.Next(); ev != nil; ev = r.ts.Next() {
		switch ev.Kind {
		case Send:
			if r.finished[ev.Side] {
				r.t.Errorf("side %d is sent more behind its end", ev.Side)
			}
			r.sent[ev.Side] = append(r.sent[ev.Side], r.pool.Bytes(ev.View)...)
			r.pool.Release(ev.View)
		case Finish:
			r.finished[ev.Side] = true
		case Resume:
			r.resumes++
		case Deadline:
			r.deadline = ev.At
			r.deadlines++
		case Over:
			r.end = strings.TrimSpace([]string{"closed", "reset", "flushed"}[ev.How] + " " + ev.Why)
			r.free()
		}
	}
}

func (r *rig) free() {
	code, by := r.ts.CountEnd(r.i)
	if by != "" {
		r.end += fmt.Sprintf(" (%d by %s)", code, by)
	}
	r.ts.Free(r.i, r.rules)
	r.pool.Drop(&r.held[Client])
	r.pool.Drop(&r.held[Origin])
}

// isEmpty: nothing is left of any tunnel.
func (r *rig) isEmpty() {
	r.t.Helper()
	if r.end == "" {
		r.free()
		r.end = "freed"
	}
	if n := r.pool.InUse(); n != 0 {
		r.t.Errorf("%d blocks are held", n)
	}
	if r.ts.Len() != 0 || r.m.Tunnels != 0 || r.m.WebSockets != 0 {
		r.t.Errorf("%d tunnels, %d counted as open, %d as WebSockets", r.ts.Len(), r.m.Tunnels, r.m.WebSockets)
	}
}

// heard describes what a side was sent.
func (r *rig) heard(side Side) string {
	s := describe(r.t, r.sent[side], side == Origin)
	if r.finished[side] {
		s = append(s, "end")
	}
	return strings.Join(s, "; ")
}

var opcodes = map[byte]string{0x00: "more", 0x80: "last", 0x81: "text", 0x01: "text...", 0x82: "binary", 0x02: "binary...", 0x88: "close", 0x89: "ping", 0x8a: "pong"}

// describe names the frames in b, which are all masked or none.
func describe(t testing.TB, b []byte, masked bool) (all []string) {
	for len(b) > 0 {
		op, n, at := b[0], 0, 2
		if len(b) >= 2 {
			n = int(b[1] & 0x7f)
		}
		if masked {
			at += 4
		}
		if n == 126 {
			n, at = int(binary.BigEndian.Uint16(b[2:])), at+2
		}
		if len(b) < at+n {
			return append(all, "a part")
		}
		if (b[1]&0x80 != 0) != masked {
			t.Errorf("a frame is masked: %v", !masked)
		}
		payload := append([]byte(nil), b[at:at+n]...)
		for i := range payload {
			if masked {
				payload[i] ^= b[at-4+i&3]
			}
		}
		switch {
		case op == 0x88 && n >= 2:
			all = append(all, strings.TrimSpace(fmt.Sprintf("close %d %s", binary.BigEndian.Uint16(payload), payload[2:])))
		case n == 0 || op == 0x89 && n == 8 && !utf8.Valid(payload):
			all = append(all, opcodes[op])
		default:
			all = append(all, opcodes[op]+" "+string(payload))
		}
		b = b[at+n:]
	}
	return all
}

// frame is one as side sends it.
func frame(side Side, b0 byte, payload string) []byte {
	bit, b := byte(0), []byte{b0}
	if side == Client {
		bit = 0x80
	}
	switch n := len(payload); {
	case n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	case n > 125:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = append(b, bit|byte(n))
	}
	if side == Origin {
		return append(b, payload...)
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d} // of the examples
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return b
}

func text(side Side, s string) []byte { return frame(side, 0x81, s) }

func closing(side Side, code uint16) []byte {
	return frame(side, 0x88, string(binary.BigEndian.AppendUint16(nil, code)))
}

// pings gives the payloads of the pings in what a side was sent.
func (r *rig) pings(side Side) (payloads []string) {
	b, mask := r.sent[side], 0
	if side == Origin {
		mask = 4
	}
	for i := 0; i+10+mask <= len(b); i++ {
		if b[i] != 0x89 || b[i+1]&0x7f != 8 {
			continue
		}
		p := append([]byte(nil), b[i+2+mask:i+10+mask]...)
		for k := range p {
			if mask > 0 {
				p[k] ^= b[i+2+k&3]
			}
		}
		payloads = append(payloads, string(p))
	}
	return payloads
}

// violated is how many rules were broken.
func (r *rig) violated() (n uint64) {
	for side := range r.m.WebSocket.Violations {
		for code := range ws.FaultCount {
			n += r.m.WebSocket.Violations[side][code]
		}
	}
	return n
}
