package tunnel

import (
	"bytes"
	"testing"
)

// What counts as movement, and until when a tunnel may go without any.
func TestDeadlines(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rules *Rules
		say   func(r *rig)
		want  int64 // from the last movement on, 0: nothing has moved
	}{
		{"the upstream's", &Rules{Frames: true}, func(r *rig) { r.says(Client, text(Client, "a"), testBlock) }, 60 * second},
		{"the route's", &Rules{Frames: true, IdleNs: 7 * second}, func(r *rig) { r.says(Origin, text(Origin, "a"), testBlock) }, 7 * second},
		{"of another protocol", nil, func(r *rig) { r.says(Origin, []byte("a"), testBlock) }, 60 * second},
		{"a part of a header", &Rules{Frames: true}, func(r *rig) { r.says(Client, []byte{0x81}, testBlock) }, 60 * second},
		{"what has left", &Rules{Frames: true}, func(r *rig) { r.drained(pingBytes+1, 0) }, 60 * second},
		{"what may be a ping", &Rules{Frames: true}, func(r *rig) { r.drained(pingBytes, pingBytes) }, 0},
		{"what has left of another protocol", nil, func(r *rig) { r.drained(1, 0) }, 60 * second},
		{"behind a Close frame", &Rules{Frames: true}, func(r *rig) {
			r.says(Client, closing(Client, 1000), testBlock)
			r.now += second
			r.deadline = 0
			r.says(Client, text(Client, "a"), testBlock)
		}, 0},
		{"once both have closed", &Rules{Frames: true, IdleNs: 7 * second}, func(r *rig) {
			r.says(Client, closing(Client, 1000), testBlock)
			r.says(Origin, closing(Origin, 1000), testBlock)
		}, CloseNs},
		{"a second later", &Rules{Frames: true}, func(r *rig) {
			r.says(Client, closing(Client, 1000), testBlock)
			r.says(Origin, closing(Origin, 1000), testBlock)
			r.now += second
			r.drained(pingBytes+1, 0)
		}, CloseNs - second},
		{"once one has broken a rule", &Rules{Frames: true}, func(r *rig) { r.says(Client, frame(Client, 0x83, ""), testBlock) }, failNs},
		{"and the other goes on", &Rules{Frames: true}, func(r *rig) {
			r.says(Client, frame(Client, 0x83, ""), testBlock)
			r.now += second
			r.says(Origin, text(Origin, "a"), testBlock)
		}, failNs - second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.rules)
			tc.say(r)
			got := int64(0)
			if r.deadline != 0 {
				got = r.deadline - r.now
			}
			if got != tc.want {
				t.Errorf("%d s, want %d", got/second, tc.want/second)
			}
			if due := r.ts.Due(r.i, r.env()); tc.want != 0 && due != r.deadline {
				t.Errorf("due in %d s", (due-r.now)/second)
			}
			r.isEmpty()
		})
	}
}

// Both sides are pinged, with payloads that nobody can guess; what answers that stays
// here, and is no movement, and pongs of their own pass.
func TestPings(t *testing.T) {
	for _, size := range []int{testBlock, 1} {
		r := newRig(t, &Rules{Frames: true, PingNs: 5 * second})
		if at := r.ts.NextPing(r.i, r.env()); at != r.now+5*second {
			t.Errorf("the first ping is due in %d s", (at-r.now)/second)
		}
		r.says(Client, frame(Client, 0x8a, "12345678"), size)
		r.ping(true)
		for _, side := range []Side{Client, Origin} {
			p := r.pings(side)
			if len(p) != 1 {
				t.Fatalf("side %d hears %q", side, r.heard(side))
			}
			r.deadline = 0
			before := len(r.sent[side.Other()])
			r.says(side, frame(side, 0x8a, p[0]), size)
			if len(r.sent[side.Other()]) != before {
				t.Errorf("the pong passes: %q", r.heard(side.Other()))
			}
			if r.deadline != 0 && size > 1 {
				t.Error("it counts as movement")
			}
			r.says(side, bytes.Join([][]byte{text(side, "a"), frame(side, 0x8a, p[0]), text(side, "b"), frame(side, 0x8a, "x")}, nil), size)
		}
		r.ping(true) // all have answered
		if got := r.heard(Client); got != "ping; text a; text b; pong x; ping" {
			t.Errorf("the client hears %q", got)
		}
		if a, b := r.pings(Client)[0], r.pings(Origin)[0]; a != b || a == "12345678" {
			t.Errorf("payloads %q, %q", a, b)
		}
		r.isEmpty()
	}
}

func (r *rig) ping(want bool) {
	r.t.Helper()
	if got := r.ts.PingDue(r.i, [2]bool{true, true}, r.env()); got != want {
		r.t.Errorf("pings go on: %v", got)
	}
	r.pull()
}

// A ping waits for the end of the frame that is in its way.
func TestPingBehindAFrame(t *testing.T) {
	for _, cut := range []int{1, 4} { // in the header, in the payload
		r := newRig(t, &Rules{Frames: true, PingNs: second})
		b := text(Origin, "long enough")
		r.says(Origin, b[:cut], testBlock)
		r.ping(true)
		r.says(Origin, append(b[cut:], text(Origin, "more")...), testBlock)
		want := "text long enough; ping; text more"
		if cut == 1 { // of which nothing had gone
			want = "ping; text long enough; text more"
		}
		if got := r.heard(Client); got != want {
			t.Errorf("cut at %d, the client hears %q", cut, got)
		}
		r.isEmpty()
	}
}

// Who has said that it closes need not answer, and is not asked.
func TestNoPingBehindAClose(t *testing.T) {
	r := newRig(t, &Rules{Frames: true, PingNs: second})
	r.says(Client, closing(Client, 1000), testBlock)
	r.ping(true)
	r.ping(true)
	if got := r.heard(Client); got != "" {
		t.Errorf("the client hears %q", got)
	}
	r.isEmpty()
}

// What a block full of answers to pings comes to is not kept at once.
func TestManyPongs(t *testing.T) {
	r := newRig(t, &Rules{Frames: true, PingNs: second})
	r.ping(true)
	pong := frame(Client, 0x8a, r.pings(Client)[0])
	r.says(Client, bytes.Repeat(append(text(Client, "a"), pong...), testBlock/30), testBlock)
	if n := bytes.Count(r.sent[Origin], text(Client, "a")); n != testBlock/30 {
		t.Errorf("%d texts arrive", n)
	}
	if n := cap(r.ts.told); n > 16 {
		t.Errorf("%d events waited at a time", n)
	}
	r.isEmpty()
}

// A side that answers no ping is gone, if it had the chance; what it says is an answer.
func TestSilentSides(t *testing.T) {
	for _, tc := range []struct {
		name   string
		say    func(r *rig)
		listen [2]bool
		end    string
	}{
		{"both", func(*rig) {}, [2]bool{true, true}, "flushed websocket client answered no ping (1006 by proxy)"},
		{"the origin", func(r *rig) { r.says(Client, text(Client, "a"), testBlock) }, [2]bool{true, true}, "flushed websocket origin answered no ping (1006 by proxy)"},
		{"the client is not listening", func(r *rig) { r.says(Origin, text(Origin, "a"), testBlock) }, [2]bool{false, true}, ""},
		{"the client is not read", func(r *rig) {
			r.says(Origin, text(Origin, "a"), testBlock)
			r.ts.Fills(r.i, Origin, 2, 1)
		}, [2]bool{true, true}, ""},
		{"all speak", func(r *rig) {
			r.says(Client, []byte{0x81}, testBlock)
			r.says(Origin, []byte{0x81}, testBlock)
		}, [2]bool{true, true}, ""},
		{"told to go", func(r *rig) { r.away(true) }, [2]bool{true, true}, ""},
		{"who has closed", func(r *rig) {
			r.says(Client, closing(Client, 1000), testBlock)
			r.says(Origin, closing(Origin, 1000), testBlock)
		}, [2]bool{true, true}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, &Rules{Frames: true, PingNs: second})
			r.ping(true)
			tc.say(r)
			r.ts.PingDue(r.i, tc.listen, r.env())
			if r.pull(); r.end != tc.end {
				t.Errorf("it ends: %q, want %q", r.end, tc.end)
			}
			r.isEmpty()
		})
	}
}

// Who sends more than the other takes is read no more, once, and again when little is left.
func TestBackpressure(t *testing.T) {
	r := newRig(t, &Rules{Frames: true})
	for _, step := range []struct {
		queued  int
		pauses  bool
		drained [2]int
		resumes int
	}{
		{queued: 1000, pauses: false},
		{queued: 1001, pauses: true},
		{queued: 2000, pauses: false}, // it is paused
		{drained: [2]int{0, 101}},
		{drained: [2]int{0, 100}, resumes: 1},
		{drained: [2]int{0, 0}},
		{queued: 1001, pauses: true},
	} {
		before := r.resumes
		if step.queued > 0 {
			if got := r.ts.Fills(r.i, Origin, step.queued, 1000); got != step.pauses {
				t.Errorf("%d wait: paused %v", step.queued, got)
			}
			continue
		}
		r.drained(step.drained[Client], step.drained[Origin])
		if r.resumes-before != step.resumes {
			t.Errorf("%d wait: %d times resumed", step.drained[Origin], r.resumes-before)
		}
	}
	if r.ts.Fills(r.i, Client, 1000, 1000) || !r.ts.Fills(r.i, Client, 1001, 1000) {
		t.Error("directions share their marks")
	}
	r.isEmpty()
}
