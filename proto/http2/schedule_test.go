package http2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	xnet "golang.org/x/net/http2"
)

// turns asks n times whose turn it is.
func (r *rig) turns(n int) string {
	w := &strings.Builder{}
	for range n {
		i, ok := r.s.NextReady()
		if !ok {
			w.WriteString("- ")
			continue
		}
		fmt.Fprintf(w, "%d ", r.streams.At(i).ID)
	}
	return strings.TrimSpace(w.String())
}

// with opens streams with priorities, all of them ready.
func with(t *testing.T, priorities ...string) *rig {
	r := server(t, nil)
	for i, p := range priorities {
		fields := getFields[:8:8]
		if p != "none" {
			fields = append(fields, "priority", p)
		}
		r.headers(uint32(2*i+1), true, fields...)
	}
	r.feed()
	for i := r.s.First(); i != 0; i = r.s.After(i) {
		r.s.Ready(i, false)
	}
	return r
}

func TestTurns(t *testing.T) {
	for _, c := range []struct {
		name       string
		priorities []string
		want       string
	}{
		{"nobody speaks of priorities", []string{"none", "none", "none"}, "1 3 5 1 3 5"},
		{"in order", []string{"u=3", "u=3", "u=3"}, "1 1 1 1 1 1"},
		{"lowest first", []string{"u=5", "u=1", "u=3"}, "3 3 3 3 3 3"},
		{"incremental", []string{"u=2, i", "u=2, i", "u=3"}, "1 3 1 3 1 3"},
		{"both kinds", []string{"u=2", "u=2, i", "u=2", "u=2, i"}, "3 1 7 1 3 1"},
	} {
		r := with(t, c.priorities...)
		if got := r.turns(6); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		r.empty()
	}
}

func TestTurnsMoveOn(t *testing.T) {
	r := with(t, "u=3", "u=3", "u=3", "u=1")
	if got := r.turns(1); got != "7" {
		t.Error(got)
	}
	r.s.Unready(r.s.Find(7))
	if got := r.turns(2); got != "1 1" {
		t.Error(got)
	}
	r.s.Unready(r.s.Find(1))
	if got := r.turns(2); got != "3 3" {
		t.Error(got)
	}
	r.s.Ready(r.s.Find(1), false) // again, in front of 3
	if got := r.turns(2); got != "1 1" {
		t.Error(got)
	}
	r.s.Ready(r.s.Find(5), true) // an end costs nothing
	if got := r.turns(2); got != "5 5" {
		t.Error(got)
	}
	r.s.Ready(r.s.Find(5), false)
	r.s.Reset(r.s.Find(1), ErrCancel)
	if got := r.turns(1); got != "3" {
		t.Error(got)
	}
	r.respond(3, 200, true)
	if got := r.turns(1); got != "5" {
		t.Error(got)
	}
	r.raw(7, framePriorityUpdate, 0, 0, "\x00\x00\x00\x05u=7")
	r.raw(10, framePriorityUpdate, 0, 0, "\x00\x00\x00\x09u=0, i")
	r.headers(9, true, append(getFields[:8:8], "priority", "u=6")...)
	r.feed()
	if nine := r.streams.At(r.s.Find(9)); nine.urgency != 0 || nine.flags&streamIncremental == 0 {
		t.Error("a priority that came before its stream was forgotten")
	}
	r.s.Ready(r.s.Find(7), false)
	r.s.Prioritize(r.s.Find(7), []byte("u=6"))
	if got := r.turns(1); got != "7" {
		t.Error(got)
	}
	r.empty()
	if r.s.waiting != 0 || r.s.queued != 0 || r.s.queues != [queueCount]uint32{} {
		t.Error("somebody is left in a queue")
	}
}

func TestStreamsWithoutWindow(t *testing.T) {
	r := with(t, "u=1", "u=3", "u=3, i")
	one, three := r.s.Find(1), r.s.Find(3)
	r.s.AppendDataHeader(nil, one, 16384, false)
	r.fr.WriteSettings(xnet.Setting{ID: xnet.SettingInitialWindowSize, Val: 10000})
	r.want()
	if got := r.turns(2); got != "5 3" && got != "3 5" {
		t.Errorf("a stream without window holds others up: %s", got)
	}
	if r.s.Stalled() != 1 || !r.s.StalledStream(one) || r.s.StalledStream(three) {
		t.Errorf("%d are stalled", r.s.Stalled())
	}
	r.s.Ready(one, true)
	if got := r.turns(1); got != "1" || r.s.Stalled() != 0 {
		t.Errorf("an end is held up by a window: %s", got)
	}
	r.s.Ready(one, false)
	r.turns(1)
	r.fr.WriteWindowUpdate(1, 6384)
	r.want()
	if got := r.turns(1); got == "1" || r.s.Stalled() != 1 {
		t.Error("a window of 0 is none")
	}
	r.fr.WriteWindowUpdate(1, 1)
	r.want()
	if got := r.turns(1); got != "1" || r.s.Stalled() != 0 {
		t.Errorf("its window was opened: %s", got)
	}
	r.fr.WriteSettings(xnet.Setting{ID: xnet.SettingInitialWindowSize, Val: 0})
	r.want()
	if got := r.turns(2); got != "- -" || r.s.Stalled() != 3 {
		t.Errorf("%s, %d are stalled", got, r.s.Stalled())
	}
	r.s.Unready(three)
	r.fr.WriteSettings(xnet.Setting{ID: xnet.SettingInitialWindowSize, Val: 60000})
	r.want()
	if got := r.turns(1); got != "1" || r.s.Stalled() != 0 {
		t.Errorf("%s, %d are stalled", got, r.s.Stalled())
	}
	// The connection's window.
	for r.s.Sendable(one) > 0 {
		r.s.AppendDataHeader(nil, one, min(16384, r.s.Sendable(one)), false)
	}
	five := r.s.Find(5)
	for r.s.Sendable(five) > 0 {
		r.s.AppendDataHeader(nil, five, min(16384, r.s.Sendable(five)), false)
	}
	if r.s.sendWindow != 0 {
		t.Fatalf("window %d", r.s.sendWindow)
	}
	if got := r.turns(1); got != "-" || !r.s.StalledStream(five) || r.s.Stalled() == 0 {
		t.Error("nobody is stalled by the connection")
	}
	r.s.Ready(three, true)
	if got := r.turns(1); got != "3" {
		t.Errorf("an end is held up by the connection's window: %s", got)
	}
	r.empty()
}

// Random operations against a list that is searched for the next one.
func TestTurnsAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		r := server(t, nil)
		r.s.sendWindow = 1 << 30
		type model struct {
			urgency     int
			incremental bool
			ready       bool
		}
		streams := map[uint32]*model{}
		for i := range uint32(20) {
			m := &model{urgency: rng.IntN(3), incremental: rng.IntN(2) == 0}
			p := fmt.Sprintf("u=%d, i=?%d", m.urgency, map[bool]int{true: 1}[m.incremental])
			r.headers(2*i+1, true, append(getFields[:8:8], "priority", p)...)
			streams[2*i+1] = m
		}
		r.feed()
		for step := range 2000 {
			id := uint32(rng.IntN(20)*2 + 1)
			m := streams[id]
			switch rng.IntN(5) {
			case 0:
				r.s.Ready(r.s.Find(id), false)
				m.ready = true
			case 1:
				r.s.Unready(r.s.Find(id))
				m.ready = false
			case 2:
				m.urgency = rng.IntN(3)
				r.s.Prioritize(r.s.Find(id), fmt.Appendf(nil, "u=%d", m.urgency))
			default:
				i, ok := r.s.NextReady()
				best := 9
				ordered := uint32(0)
				turns := []uint32{}
				for id, m := range streams {
					if m.ready && m.urgency < best {
						best, ordered, turns = m.urgency, 0, nil
					}
					if m.ready && m.urgency == best && m.incremental {
						turns = append(turns, id)
					} else if m.ready && m.urgency == best && (ordered == 0 || id < ordered) {
						ordered = id
					}
				}
				if ok != (best < 9) {
					t.Fatalf("seed %d step %d: ready %v", seed, step, ok)
				}
				if got := uint32(0); ok {
					got = r.streams.At(i).ID
					if got != ordered && !slices.Contains(turns, got) {
						t.Fatalf("seed %d step %d: %d, not %d or one of %v", seed, step, got, ordered, turns)
					}
				}
			}
		}
		r.empty()
	}
}
