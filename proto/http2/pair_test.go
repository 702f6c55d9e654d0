package http2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"zproxy/proto"
)

// side is one end of a connection between two sessions.
type side struct {
	s       Session
	streams Streams
	scratch Scratch
	wire    []byte // on its way to this end
	taken   int64  // of its credit, by others
	open    map[uint32]*exchange
}

// exchange is what one end has to send and has got on a stream, by identifier.
type exchange struct {
	toSend   []byte
	sent     int
	headSent bool
	trailers bool
	ended    bool
	got      []byte
	gotEnd   bool
	owed     int // lent and not given back
}

const pairCredit = 300_000

// Two sessions talk to each other through wires that cut anywhere; bodies in
// both directions, windows, resets, settings, priorities and pings are random.
// Every byte arrives, once and in order, and nothing is left.
func TestSessionsTalk(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		cfg := DefaultConfig()
		cfg.StreamWindow, cfg.ConnWindow, cfg.MaxStreams = uint32(rng.IntN(100_000)+1000), uint32(rng.IntN(200_000)+65535), 10
		cfg.ScoreLimit = 1 << 30
		w := &world{t: t, rng: rng, seed: seed}
		for i, role := range []Role{Client, Server} {
			e := &w.ends[i]
			e.open = map[uint32]*exchange{}
			if seed%2 == 0 {
				e.scratch.Credit[role] = NewCredit(pairCredit, 20_000)
			}
			e.s.Start(role, &cfg, &e.streams, &e.scratch, 1)
		}
		for w.step = range 3000 {
			w.act()
		}
		w.settle()
		for i, role := range []Role{Client, Server} {
			e := &w.ends[i]
			e.s.Release()
			if c := e.scratch.Credit[role]; c != nil && c.Free()+e.taken != pairCredit {
				t.Fatalf("seed %d: end %d leaves a credit of %d", seed, i, c.Free()+e.taken)
			}
		}
	}
}

// press gives what others have of the credit of an end back, or takes it.
func (w *world) press(i int) {
	e := &w.ends[i]
	c := e.scratch.Credit[1-i]
	if c == nil {
		return
	}
	c.free += e.taken
	if e.taken > 0 {
		e.taken = 0
	} else {
		e.taken = w.rng.Int64N(2 * pairCredit)
		c.free -= e.taken
	}
	for range c.Waiters() {
		c.Waiting()
		e.s.Credited()
	}
	w.put(i, nil)
}

type world struct {
	t     *testing.T
	rng   *rand.Rand
	seed  uint64
	step  int
	now   int64
	ends  [2]side
	sums  map[uint32][2][]byte // what each end sends on a stream
	reset map[uint32]bool
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d step %d: %s", w.seed, w.step, fmt.Sprintf(format, args...))
}

func (w *world) body() []byte {
	b := make([]byte, w.rng.IntN(30_000)*w.rng.IntN(2)*(1+4*w.rng.IntN(2)))
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return b
}

// put moves what an end has made onto the wire to the other one.
func (w *world) put(i int, b []byte) {
	e, other := &w.ends[i], &w.ends[1-i]
	other.wire = append(other.wire, e.s.Output()...)
	e.s.Flushed()
	other.wire = append(other.wire, b...)
}

func (w *world) act() {
	w.now += int64(w.rng.IntN(1e6))
	if w.sums == nil {
		w.sums, w.reset = map[uint32][2][]byte{}, map[uint32]bool{}
	}
	client := &w.ends[0]
	switch w.rng.IntN(12) {
	case 0:
		if client.s.Capacity() == 0 {
			return
		}
		stream, _ := client.s.Open(7)
		x := &exchange{toSend: w.body(), headSent: true, trailers: w.rng.IntN(3) == 0}
		line := RequestLine{[]byte("POST"), []byte("http"), []byte("o.example"), []byte("/"), nil}
		length := int64(-1)
		if w.rng.IntN(2) == 0 {
			length = int64(len(x.toSend))
		}
		block := AppendRequestBlock(nil, new(proto.Head), &line, length, nil)
		x.ended = len(x.toSend) == 0 && !x.trailers
		w.put(0, client.s.AppendHead(nil, stream, block, x.ended))
		id := client.streams.At(stream).ID
		client.open[id] = x
		w.sums[id] = [2][]byte{x.toSend, nil}
	case 1:
		w.ends[w.rng.IntN(2)].s.Ping(w.now)
	case 2:
		w.press(w.rng.IntN(2))
	case 3:
		i := w.rng.IntN(2)
		if w.rng.IntN(10) > 0 {
			return
		}
		for id := range w.ends[i].open { // any
			if stream := w.ends[i].s.Find(id); stream != 0 {
				w.ends[i].s.Consumed(stream, w.ends[i].open[id].owed)
				w.ends[i].s.Reset(stream, ErrCancel)
				w.reset[id] = true
				delete(w.ends[i].open, id)
				w.put(i, nil)
			}
			break
		}
	case 4, 5, 6:
		w.send(w.rng.IntN(2))
	default:
		i := w.rng.IntN(2)
		w.deliver(i, w.rng.IntN(len(w.ends[i].wire)+1))
	}
}

// send lets an end do what its scheduler says.
func (w *world) send(i int) {
	e := &w.ends[i]
	for id, x := range e.open {
		stream := e.s.Find(id)
		if stream == 0 || !x.headSent || x.ended {
			continue
		}
		e.s.Ready(stream, x.sent == len(x.toSend))
	}
	stream, ok := e.s.NextReady()
	if !ok {
		return
	}
	id := e.streams.At(stream).ID
	x := e.open[id]
	if x == nil || x.ended || !x.headSent {
		w.fatal("stream %d has nothing to send and is ready", id)
	}
	var b []byte
	rest := x.toSend[x.sent:]
	if len(rest) == 0 && x.trailers {
		b = e.s.AppendHead(nil, stream, AppendField(nil, &proto.Extra{Name: "x-sum", Value: []byte("1")}), true)
		x.ended = true
	} else {
		n := min(len(rest), e.s.Sendable(stream), e.s.MaxFrame())
		if n == 0 && len(rest) > 0 {
			w.fatal("stream %d is ready and has no window", id)
		}
		x.sent += n
		x.ended = x.sent == len(x.toSend) && !x.trailers
		if !x.ended {
			e.s.Unready(stream)
		}
		b = e.s.AppendDataHeader(nil, stream, n, x.ended)
		b = append(b, rest[:n]...)
	}
	w.put(i, b)
}

// deliver feeds n bytes of its wire to an end.
func (w *world) deliver(i, n int) {
	e := &w.ends[i]
	b := bytes.Clone(e.wire[:n])
	e.wire = append([]byte(nil), e.wire[n:]...)
	for {
		var ev Event
		used := e.s.Next(b, w.now, &ev)
		x := e.open[ev.ID]
		switch ev.Kind {
		case EventNone:
			if used != len(b) {
				w.fatal("%d of %d bytes used", used, len(b))
			}
			w.put(i, nil)
			return
		case EventClosed:
			w.fatal("end %d: %v %v %v", i, ev.Code, ev.Fault, ev.Cause)
		case EventHead:
			if i == 1 {
				x = &exchange{toSend: w.body(), trailers: w.rng.IntN(3) == 0}
				e.open[ev.ID] = x
				w.sums[ev.ID] = [2][]byte{w.sums[ev.ID][0], x.toSend}
				x.headSent = true
				x.ended = len(x.toSend) == 0 && !x.trailers
				x.gotEnd = ev.End
				w.put(i, e.s.AppendHead(nil, ev.Stream, AppendStatus(nil, 200), x.ended))
			} else if x == nil && !w.reset[ev.ID] {
				w.fatal("a head for stream %d", ev.ID)
			}
		case EventData:
			x.got = append(x.got, b[ev.Off:ev.Off+ev.N]...)
			x.owed += ev.N
			if ev.Freed {
				e.s.Consumed(0, x.owed)
				x.owed = 0
			} else if w.rng.IntN(4) > 0 || ev.End {
				e.s.Consumed(ev.Stream, x.owed)
				x.owed = 0
			}
		case EventReset:
			if ev.Local {
				w.fatal("end %d resets stream %d: %v", i, ev.ID, ev.Fault)
			}
			if x != nil {
				e.s.Consumed(0, x.owed)
			}
			delete(e.open, ev.ID)
		}
		if ev.End && x != nil {
			x.gotEnd = true
			if stream := e.s.Find(ev.ID); stream != 0 {
				e.s.Consumed(stream, x.owed)
			} else {
				e.s.Consumed(0, x.owed)
			}
			x.owed = 0
		}
		w.put(i, nil)
		b = b[used:]
	}
}

// settle lets everything come to its end and looks at what is there.
func (w *world) settle() {
	for range 100_000 {
		idle := true
		for i := range w.ends {
			e := &w.ends[i]
			for id, x := range e.open {
				if stream := e.s.Find(id); stream != 0 && x.owed > 0 {
					e.s.Consumed(stream, x.owed)
					x.owed = 0
					w.put(i, nil)
				}
			}
			idle = idle && e.s.Active() == 0 && len(e.wire) == 0
			w.send(i)
			w.deliver(i, len(e.wire))
		}
		if idle {
			break
		}
	}
	for i := range w.ends {
		e := &w.ends[i]
		if e.s.Active() != 0 || e.streams.Len() != 0 {
			w.fatal("end %d has %d streams left, %d stalled, window %d", i, e.s.Active(), e.s.Stalled(), e.s.sendWindow)
		}
		if e.s.recvHeld != 0 {
			w.fatal("end %d holds %d bytes", i, e.s.recvHeld)
		}
		if w.ends[1-i].s.sendWindow != e.s.recvWindow {
			w.fatal("windows %d and %d", w.ends[1-i].s.sendWindow, e.s.recvWindow)
		}
		for id, x := range e.open {
			if w.reset[id] {
				continue
			}
			if want := w.sums[id][1-i]; !bytes.Equal(x.got, want) || !x.gotEnd {
				w.fatal("end %d got %d bytes of %d on stream %d, end %v", i, len(x.got), len(want), id, x.gotEnd)
			}
		}
	}
	if len(w.sums) < 10 {
		w.fatal("only %d streams", len(w.sums))
	}
}
