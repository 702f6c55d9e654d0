package http2

import (
	"fmt"
	"strings"
	"testing"

	xnet "golang.org/x/net/http2"
)

// flood repeats something until the connection ends, at most n times, step
// nanoseconds apart, and tells how often it could.
func (r *rig) flood(n int, step int64, do func(i int)) (times int, end string) {
	for i := range n {
		do(i)
		r.now += step
		if r.end == "" {
			r.feed()
		}
		r.out = nil // a peer that reads
		if r.end != "" {
			return i, r.end
		}
	}
	return n, ""
}

// newFields are n fields that no other k has.
func newFields(k, n int) (fields []string) {
	for i := range n {
		fields = append(fields, fmt.Sprintf("%x-%x", i, k), "")
	}
	return fields
}

func id(i int) uint32 { return uint32(2*i + 1) }

func TestFloodsEndTheConnection(t *testing.T) {
	for _, c := range []struct {
		cause    Abuse
		before   func(*rig)
		do       func(r *rig, i int)
		min, max int
	}{
		{AbuseRapidReset, nil, func(r *rig, i int) { r.get(id(i)); r.fr.WriteRSTStream(id(i), xnet.ErrCodeCancel) }, 900, 1100},
		{AbuseForcedReset, nil, func(r *rig, i int) { r.get(id(i)); r.fr.WriteWindowUpdate(id(i), 0) }, 15, 25},
		{AbuseForcedReset, nil, func(r *rig, i int) { r.get(id(i)); r.fr.WriteWindowUpdate(id(i), maxWindow) }, 15, 25},
		{AbuseForcedReset, nil, func(r *rig, i int) { r.get(id(i)); r.fr.WritePriority(id(i), xnet.PriorityParam{StreamDep: id(i)}) }, 15, 25},
		{AbuseForcedReset, nil, func(r *rig, i int) { r.get(id(i)); r.headers(id(i), true, "x", "y") }, 15, 25},
		{AbuseForcedReset, nil, func(r *rig, i int) { r.headers(id(i), true, ":method", "GET") }, 150, 250},
		{AbuseForcedReset, nil, func(r *rig, i int) { r.post(id(i), "content-length", "1"); r.fr.WriteData(id(i), true, nil) }, 150, 250},
		{AbuseForcedReset, nil, func(r *rig, i int) { r.get(id(i)); r.fr.WriteData(id(i), true, nil) }, 15, 25},
		{AbuseRefused, func(r *rig) {
			for i := range 512 {
				r.get(id(i))
			}
			r.feed()
		}, func(r *rig, i int) { r.get(id(512 + i)) }, 1900, 2100},
		{AbuseContinuation, func(r *rig) { r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}) },
			func(r *rig, i int) { r.fr.WriteContinuation(1, false, []byte{0x84}) }, 50, 150},
		{AbuseContinuation, func(r *rig) { r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}) },
			func(r *rig, i int) { r.fr.WriteContinuation(1, false, make([]byte, 16384)) }, 4, 10},
		{AbuseEmptyHeaders, func(r *rig) { r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}) },
			func(r *rig, i int) { r.fr.WriteContinuation(1, false, nil) }, 50, 150},
		{AbuseSettings, nil, func(r *rig, i int) { r.fr.WriteSettings() }, 150, 250},
		{AbuseSettings, nil, func(r *rig, i int) { r.fr.WriteSettingsAck() }, 150, 250},
		{AbusePing, nil, func(r *rig, i int) { r.fr.WritePing(false, [8]byte{}) }, 900, 1100},
		{AbusePing, nil, func(r *rig, i int) { r.fr.WritePing(true, [8]byte{}) }, 900, 1100},
		{AbuseEmptyData, func(r *rig) { r.post(1); r.feed() }, func(r *rig, i int) { r.fr.WriteData(1, false, nil) }, 400, 600},
		{AbuseEmptyData, func(r *rig) { r.post(1); r.feed() }, func(r *rig, i int) { r.fr.WriteDataPadded(1, false, nil, make([]byte, 9)) }, 400, 600},
		{AbuseWindowUpdate, nil, func(r *rig, i int) { r.fr.WriteWindowUpdate(0, 1) }, 1000, 1300},
		{AbusePriority, nil, func(r *rig, i int) { r.fr.WritePriority(1, xnet.PriorityParam{StreamDep: 3}) }, 1900, 2100},
		{AbusePriority, nil, func(r *rig, i int) { r.raw(7, framePriorityUpdate, 0, 0, "\x00\x00\x00\x01u=1") }, 1900, 2100},
		{AbuseClosedStream, func(r *rig) { r.post(1); r.feed(); r.s.Reset(r.s.Find(1), ErrCancel) },
			func(r *rig, i int) { r.fr.WriteData(1, false, []byte("a")) }, 1900, 2100},
		{AbuseUnknown, nil, func(r *rig, i int) { r.raw(1, 0xbb, 0, 0, "x") }, 1900, 2100},
		{AbuseHeadTooLarge, nil, func(r *rig, i int) {
			r.headers(id(i), true, append(getFields[:8:8], strings.Split(strings.Repeat("a,b,", 201), ",")[:402]...)...)
			r.feed()
			if r.s.Find(id(i)) != 0 {
				r.respond(id(i), 431, true)
			}
		}, 150, 250},
		{AbuseTable, nil, func(r *rig, i int) {
			r.raw(7, frameHeaders, bitEndStream|bitEndHeaders, id(i), "\x20\x82\x87\x84\x01\x01a")
			r.feed()
			if r.s.Find(id(i)) != 0 {
				r.respond(id(i), 204, true)
			}
		}, 900, 1100},
		{AbuseChurn, nil, func(r *rig, i int) {
			r.headers(id(i), true, append(getFields[:8:8], newFields(i, churnFree+1)...)...)
			r.feed()
			if r.s.Find(id(i)) != 0 {
				r.respond(id(i), 204, true)
			}
		}, 490, 520},
	} {
		r := server(t, nil)
		if c.before != nil {
			c.before(r)
		}
		times, end := r.flood(3000, 1000, func(i int) { c.do(r, i) })
		want := "closed ENHANCE_YOUR_CALM: " + abuses[c.cause].fault.Reason
		if end != want || times < c.min || times > c.max {
			t.Errorf("%s: %q after %d, want %q after %d to %d", c.cause.Name(), end, times, want, c.min, c.max)
		}
		if r.s.Abuse[c.cause] == 0 {
			t.Errorf("%s is not counted", c.cause.Name())
		}
		r.empty()
	}
}

// A peer that makes this side answer and does not read.
func TestAnswersNobodyReads(t *testing.T) {
	r := server(t, nil)
	var last Event
	for range 10_000 {
		r.fr.WritePing(false, [8]byte{})
		b := r.in.Bytes()
		r.s.Next(b, r.now, &last)
		r.in.Reset()
		r.now += 1e8 // no score gets anywhere
		if last.Kind == EventClosed {
			break
		}
	}
	if last.Kind != EventClosed || last.Code != ErrEnhanceYourCalm || last.Cause != AbuseOutput || len(r.s.Output()) > outMax+100 {
		t.Errorf("%+v, %d bytes wait", last, len(r.s.Output()))
	}
}

// What ordinary peers do in bursts, and for long, costs them nothing.
func TestOrdinaryBursts(t *testing.T) {
	for name, burst := range bursts {
		r := server(t, nil)
		if strings.HasPrefix(name, "origin: ") {
			r = client(t, nil)
		}
		burst(r)
		if r.end != "" || r.s.doomed != AbuseNone {
			t.Errorf("%s: the connection ended: %s", name, r.end)
		}
		r.empty()
	}
}

var bursts = map[string]func(*rig){
	"a browser leaves a page with a hundred requests, again and again": func(r *rig) {
		for n := range 20 {
			for k := range 100 {
				r.headers(id(100*n+k), true, append(getFields[:8:8], "priority", "u=2, i")...)
			}
			r.feed()
			for k := range 100 {
				r.fr.WriteRSTStream(id(100*n+k), xnet.ErrCodeCancel)
			}
			r.feed()
			r.now += 1e9
		}
	},
	"a gRPC client cancels all streams there are": func(r *rig) {
		for k := range 512 {
			r.post(id(k))
		}
		r.feed()
		for k := range 512 {
			r.fr.WriteRSTStream(id(k), xnet.ErrCodeCancel)
		}
		r.feed()
	},
	"uploads that are refused go on for a while": func(r *rig) {
		for k := range 10 {
			r.post(id(k))
			r.feed()
			r.respond(id(k), 413, true)
			r.s.Reset(r.s.Find(id(k)), ErrNo)
			for range 64 {
				r.fr.WriteData(id(k), false, make([]byte, 16384))
			}
			r.feed()
		}
	},
	"a window update for each frame and level": func(r *rig) {
		r.get(1)
		r.feed()
		r.respond(1, 200, false)
		for _, size := range []int{300, 16384} {
			for range 10_000 {
				r.out = r.s.AppendDataHeader(r.out[:0], r.s.Find(1), size, false)
				r.fr.WriteWindowUpdate(0, uint32(size))
				r.fr.WriteWindowUpdate(1, uint32(size))
				r.feed()
			}
		}
	},
	"an hour of pings every second, and of settings every minute": func(r *rig) {
		for k := range 3600 {
			r.fr.WritePing(false, [8]byte{})
			if k%60 == 0 {
				r.fr.WriteSettings()
			}
			r.now += 1e9
			r.feed()
		}
	},
	"heads of the largest size, in full frames": func(r *rig) {
		for k := range 50 {
			big := r.block(append(getFields[:8:8], "cookie", strings.Repeat("~", 50_000))...)
			r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: id(k), BlockFragment: big[:16384], EndStream: true})
			for big = big[16384:]; len(big) > 16384; big = big[16384:] {
				r.fr.WriteContinuation(id(k), false, big[:16384])
			}
			r.fr.WriteContinuation(id(k), true, big)
			r.feed()
			r.respond(id(k), 200, true)
			r.now += 1e8
		}
	},
	"a proxy of somebody else's, whose clients' fields all go into its table": func(r *rig) {
		for k := range 5000 {
			r.headers(id(k), true, append(getFields[:8:8], newFields(k, churnFree-1)...)...)
			r.feed()
			r.respond(id(k), 200, true)
		}
	},
	"heads of many fields, the same ones each time": func(r *rig) {
		for k := range 5000 {
			r.headers(id(k), true, append(getFields[:8:8], newFields(0, 100)...)...)
			r.feed()
			r.respond(id(k), 200, true)
		}
	},
	"origin: refuses much": func(r *rig) {
		for k := range 5000 {
			r.request(1, "GET", true)
			r.out = nil
			r.fr.WriteRSTStream(id(k), xnet.ErrCodeRefusedStream)
			r.feed()
		}
	},
	"origin: answers are cancelled while they are on their way": func(r *rig) {
		for k := range 200 {
			i := r.request(1, "GET", true)
			r.headers(id(k), false, ":status", "200")
			r.feed()
			r.s.Reset(i, ErrCancel)
			for range 60 {
				r.fr.WriteData(id(k), false, make([]byte, 1000))
			}
			r.feed()
			r.out = nil
		}
	},
}

// Points go away with time, also when acts come more often than a point does.
func TestScoreDecays(t *testing.T) {
	r := server(t, nil)
	if times, _ := r.flood(20_000, 11e6, func(int) { r.fr.WritePing(false, [8]byte{}) }); times != 20_000 {
		t.Errorf("90 pings a second end the connection after %d", times)
	}
	r = server(t, nil)
	if times, _ := r.flood(20_000, 8e6, func(int) { r.fr.WritePing(false, [8]byte{}) }); times == 20_000 {
		t.Error("125 pings a second do not end the connection")
	}
	r = server(t, nil)
	if times, _ := r.flood(200_000, 6e6, func(int) { r.raw(0, 0xbb, 0, 0, "") }); times != 200_000 {
		t.Errorf("160 unknown frames a second end the connection after %d", times)
	}
}

func TestAbuseNames(t *testing.T) {
	seen := map[string]bool{}
	for a := range Abuse(AbuseCount) {
		if n := a.Name(); n == "" || seen[n] || abuses[a].fault.Reason == "" {
			t.Errorf("%d is called %q", a, n)
		}
		seen[a.Name()] = true
	}
	if Abuse(200).Name() != "unknown" {
		t.Error("200 has a name")
	}
}

// What gRPC does: a ping for each round trip in which data flowed, in either
// role, and calls whose deadline passes. None of it ends a connection, for
// however long it goes on; the same without the traffic does.
func TestGRPCTrafficIsNoAbuse(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(r *rig, i int)
		step int64
		end  string
	}{
		{"a ping for each DATA sent", func(r *rig, i int) {
			if i == 0 {
				r.get(1)
				r.feed()
				r.respond(1, 200, false)
				r.fr.WriteWindowUpdate(0, 1<<30)
				r.fr.WriteWindowUpdate(1, 1<<30)
				r.feed()
			}
			r.s.AppendDataHeader(nil, r.s.Find(1), 4096, false)
			r.fr.WritePing(false, [8]byte{})
		}, 500e3, ""},
		{"pings alone", func(r *rig, i int) { r.fr.WritePing(false, [8]byte{}) }, 500e3, abuses[AbusePing].fault.Reason},
		{"calls that end by a deadline of 20 ms, 1000 a second", func(r *rig, i int) {
			r.get(id(i))
			if i >= 20 {
				r.fr.WriteRSTStream(id(i-20), xnet.ErrCodeCancel)
			}
		}, 1e6, ""},
		{"calls that end by a deadline of 5 ms, 500 a second, among as many that are answered", func(r *rig, i int) {
			r.get(id(2 * i))
			r.get(id(2*i + 1))
			r.feed()
			r.respond(id(2*i), 200, true)
			r.now += 5e5
			r.fr.WriteRSTStream(id(2*i+1), xnet.ErrCodeCancel)
		}, 15e5, ""},
		{"the same with none answered", func(r *rig, i int) {
			r.get(id(i))
			r.feed()
			r.now += 5e5
			r.fr.WriteRSTStream(id(i), xnet.ErrCodeCancel)
		}, 15e5, abuses[AbuseRapidReset].fault.Reason},
	} {
		r := server(t, nil)
		times, end := r.flood(30_000, c.step, func(i int) { c.do(r, i) })
		want := ""
		if c.end != "" {
			want = "closed ENHANCE_YOUR_CALM: " + c.end
		}
		if end != want {
			t.Errorf("%s: %q after %d, want %q", c.what, end, times, want)
		}
	}
}
