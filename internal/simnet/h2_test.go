package simnet

import (
	"io"
	"strings"
	"syscall"
	"testing"

	"zproxy/loop/sim"
)

// wire is one end of a connection between two peers, without a proxy.
type wire struct {
	w      *sim.World
	far    *wire
	in     []byte
	wake   func()
	gone   bool // closed at this end
	ended  bool // the far end's direction is
	broken bool
	// mangle, if set, may change the frames that this end writes.
	mangle func(f *h2Frame) [][]byte
	held   []byte // part of a frame
	begun  bool   // the preface is behind
}

const wireRoom = 10_000

func connect(w *sim.World) (a, b *wire) {
	a, b = &wire{w: w}, &wire{w: w}
	a.far, b.far = b, a
	return a, b
}

func (v *wire) OnChange(wake func()) { v.wake = wake }

func (v *wire) poke() {
	v.w.After(0, func() {
		if v.wake != nil && !v.gone {
			v.wake()
		}
	})
}

func (v *wire) Read(b []byte) (int, error) {
	switch {
	case v.broken:
		return 0, syscall.ECONNRESET
	case len(v.in) > 0:
		n := copy(b, v.in)
		v.in = v.in[n:]
		v.far.poke()
		return n, nil
	case v.ended:
		return 0, io.EOF
	}
	return 0, sim.ErrWouldBlock
}

func (v *wire) Write(b []byte) (int, error) {
	if v.broken || v.far.gone {
		return 0, syscall.EPIPE
	}
	n := min(len(b), wireRoom-len(v.far.in))
	if n <= 0 {
		return 0, sim.ErrWouldBlock
	}
	v.far.in = append(v.far.in, v.through(b[:n])...)
	v.far.poke()
	return n, nil
}

// through mangles what is whole and holds the rest back.
func (v *wire) through(b []byte) []byte {
	if v.mangle == nil {
		return b
	}
	v.held = append(v.held, b...)
	var out []byte
	if !v.begun && v.held[0] == 'P' {
		if len(v.held) < len(h2Preface) {
			return nil
		}
		out, v.held = append(out, h2Preface...), v.held[len(h2Preface):]
	}
	v.begun = true
	for {
		f, n, _ := cutFrame(v.held)
		if n == 0 {
			return out
		}
		for _, frame := range v.mangle(&f) {
			out = append(out, frame...)
		}
		v.held = v.held[n:]
	}
}

func (v *wire) Waiting() int { return len(v.in) }

func (v *wire) CloseWrite() { v.far.ended = true; v.far.poke() }

func (v *wire) Close() { v.gone = true; v.CloseWrite() }

func (v *wire) Reset() { v.far.broken = true; v.Close() }

// between runs h2 clients straight to h2 origins until all are done, or wait for
// the other side to close first.
func between(t *testing.T, seed uint64, traits Traits, mangle func(r *Run, f *h2Frame) [][]byte) *Run {
	t.Helper()
	w := sim.NewWorld(seed, sim.Faults{})
	traits.Direct = true
	r := NewRun(w, traits)
	var clients []*h2Client
	for range traits.Clients {
		a, b := connect(w)
		if mangle != nil {
			a.mangle = func(f *h2Frame) [][]byte { return mangle(r, f) }
			b.mangle = a.mangle
		}
		r.clients++
		clients = append(clients, newH2Client(r, a))
		newH2Origin(r, b)
	}
	turns := 0
	for w.RunDue(); !r.Done() && len(r.Violations) == 0 && turns < 2_000_000 && w.Advance(); w.RunDue() {
		turns++
	}
	for i, c := range clients {
		if !c.done && c.open > 0 && len(r.Violations) == 0 {
			t.Fatalf("seed %d: client %d still waits for %d answers after %d turns at %d", seed, i, c.open, turns, w.Now())
		}
	}
	return r
}

var calmTraits = Traits{Calm: true, Clients: 4, Requests: 30, Body: 1 << 13, Streams: 12, BigHeads: 5, Settings: 60, TinyWindows: 20, Upgrade: 20, Socket: 100, Decline: 20}

// Peers that keep the rules find nothing in each other, and in calm runs all
// is answered.
func TestH2Peers(t *testing.T) {
	requests, whole := 0, 0
	for seed := range uint64(120) {
		traits := calmTraits
		if seed%3 > 0 {
			traits = Traits{Clients: 6, Requests: 30, Body: 1 << 13, Streams: 12, BigHeads: 5, Settings: 60, TinyWindows: 20, HangUp: 5,
				Leave: 10, Slow: 10, Cut: 10, Early: 10, IdleClose: 20, Abandon: 10, Refuse: 5, GoAway: 20, Upgrade: 20, Socket: 100, Decline: 20}
		}
		r := between(t, seed, traits, nil)
		if len(r.Violations) > 0 {
			t.Fatalf("seed %d: %s", seed, strings.Join(r.Violations, "\n"))
		}
		for _, q := range r.Requests {
			requests++
			if q.Complete {
				whole++
			} else if traits.Calm {
				t.Errorf("seed %d: request %+v is not answered", seed, *q)
			}
		}
	}
	t.Logf("%d requests, %d of them answered whole", requests, whole)
	if requests < 5000 || whole < requests/2 {
		t.Errorf("%d requests, %d answered whole", requests, whole)
	}
}

// What is changed on the way is seen.
func TestH2PeersSeeFaults(t *testing.T) {
	again := func(f *h2Frame) []byte { return appendFrame(nil, f.kind, f.flags, f.id, f.payload) }
	for name, mangle := range map[string]func(r *Run, f *h2Frame) [][]byte{
		"a byte": func(r *Run, f *h2Frame) [][]byte {
			if f.kind == h2Data && f.flags&h2Padded == 0 && len(f.payload) > 50 {
				f.payload[20] ^= 1
			}
			return [][]byte{again(f)}
		},
		"a frame lost": func(r *Run, f *h2Frame) [][]byte {
			if f.kind == h2Data && f.flags == 0 && len(f.payload) > 0 && r.rng.IntN(20) == 0 {
				return nil
			}
			return [][]byte{again(f)}
		},
		"a frame doubled": func(r *Run, f *h2Frame) [][]byte {
			if f.kind == h2Data && f.flags == 0 && len(f.payload) > 0 && r.rng.IntN(20) == 0 {
				return [][]byte{again(f), again(f)}
			}
			return [][]byte{again(f)}
		},
		"an end too soon": func(r *Run, f *h2Frame) [][]byte {
			if f.kind == h2Data && f.flags == 0 && r.rng.IntN(20) == 0 {
				f.flags = h2EndStream
			}
			return [][]byte{again(f)}
		},
		"another's stream": func(r *Run, f *h2Frame) [][]byte {
			if f.kind == h2Data && f.id > 1 && r.rng.IntN(20) == 0 {
				f.id -= 2
			}
			return [][]byte{again(f)}
		},
		"more window than was given": func(r *Run, f *h2Frame) [][]byte {
			if f.kind == h2WindowUpdate {
				f.payload[1] |= 0x7f
			}
			return [][]byte{again(f)}
		},
		"a field": func(r *Run, f *h2Frame) [][]byte {
			if f.kind == h2Headers && f.flags&h2EndHeaders != 0 && r.rng.IntN(20) == 0 {
				f.payload = append([]byte("\x00\x0aconnection\x05close"), f.payload...)
			}
			return [][]byte{again(f)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				if r := between(t, seed, calmTraits, mangle); len(r.Violations) > 0 {
					t.Logf("seed %d: %s", seed, r.Violations[0])
					return
				}
			}
			t.Error("nobody has seen it")
		})
	}
}
