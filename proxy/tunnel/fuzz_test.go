package tunnel

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"zproxy/proto/ws"
)

// turn is what one side sends before the other one does.
type turn struct {
	from Side
	b    []byte
}

// talk has both sides send, and the proxy ping between some of it, which falls between two
// pieces whatever their size.
func talk(t *testing.T, all []turn, rules *Rules, size func(rest int) int) *rig {
	r := newRig(t, rules)
	for i, say := range all {
		if i%3 == 2 && r.end == "" {
			r.ts.PingDue(r.i, [2]bool{}, r.env())
			r.pull()
		}
		for b := say.b; len(b) > 0 && r.end == ""; {
			n := min(len(b), size(len(b)))
			r.says(say.from, b[:n], n)
			b = b[n:]
		}
	}
	return r
}

// Whatever way the input is split, the same bytes go to the same sides, with the same frames
// of the proxy's own at the same places, and the same frames and faults are counted. Where
// a rule was broken, a frame may have gone in part before that was known.
func FuzzSplit(f *testing.F) {
	join := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	up := join(text(Client, "Hello"), frame(Client, 0x89, "ping"), frame(Client, 0x02, "x"), frame(Client, 0x80, string(make([]byte, 300))))
	down := join(text(Origin, "Hello"), frame(Origin, 0x8a, "pong"), frame(Origin, 0x01, "κόσ"), frame(Origin, 0x80, "με"))
	f.Add(join(up, closing(Client, 1000)), join(down, closing(Origin, 1000)), uint64(1), false)
	f.Add(join(up, frame(Client, 0x83, "")), join(down, text(Client, "masked")), uint64(2), true)
	f.Add(join(up, text(Client, "\xff")), down, uint64(3), false)
	f.Add(up[:len(up)-7], down[:len(down)-3], uint64(4), true)
	f.Fuzz(splits)
}

func splits(t *testing.T, up, down []byte, seed uint64, limited bool) {
	rules := func() *Rules {
		if limited {
			return &Rules{Frames: true, PingNs: second, Limits: ws.Limits{FrameBytes: 200, MessageBytes: 500}}
		}
		return &Rules{Frames: true, PingNs: second}
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	var all []turn
	for from := Client; len(up)+len(down) > 0; from = from.Other() {
		b := &up
		if from == Origin {
			b = &down
		}
		n := rng.IntN(min(len(*b), 400) + 1)
		all, *b = append(all, turn{from, (*b)[:n]}), (*b)[n:]
	}
	whole := talk(t, all, rules(), func(rest int) int { return rest })
	for _, size := range []func(int) int{func(int) int { return 1 }, func(rest int) int { return 1 + rng.IntN(min(rest, 20)) }} {
		compare(t, whole, talk(t, all, rules(), size))
	}
	whole.isEmpty()
}

func compare(t *testing.T, whole, split *rig) {
	t.Helper()
	broken := whole.violated() > 0
	if whole.m.WebSocket.Violations != split.m.WebSocket.Violations || whole.m.WebSocket.Frames != split.m.WebSocket.Frames {
		t.Errorf("whole: %v\nsplit: %v", whole.m.WebSocket, split.m.WebSocket)
	}
	if whole.end != split.end {
		t.Errorf("whole: ends %q, split: %q", whole.end, split.end)
	}
	for side := Client; side <= Origin; side++ {
		a, b := whole.sent[side], split.sent[side]
		if broken {
			n := 0
			for n < min(len(a), len(b)) && a[n] == b[n] {
				n++
			}
			// All that differs is the Close frame of the one, and the part of a frame of the other.
			if n < len(a) && !split.finished[side] {
				t.Errorf("side %d: whole %x, split %x", side, a, b)
			}
			continue
		}
		if !bytes.Equal(a, b) {
			t.Errorf("side %d: whole %x, split %x", side, a, b)
		}
	}
	split.isEmpty()
}
