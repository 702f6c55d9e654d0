package proxy

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/tunnel"
)

// scene is a worker in a simulated world, and its turns.
type scene struct {
	t     *testing.T
	world *sim.World
	w     *Worker
}

func newScene(t *testing.T, text string, serve func(p *sim.Peer)) *scene {
	t.Helper()
	s := &scene{t: t, world: sim.NewWorld(1, sim.Faults{})}
	if serve != nil {
		s.world.Serve("10.2.0.1:80", serve)
	}
	s.w = simWorkerOf(t, s.world, text, 0)
	return s
}

// until lets so many nanoseconds pass, or fewer when until says so.
func (s *scene) until(ns int64, done func() bool) {
	s.t.Helper()
	for end := s.world.Now() + ns; !done(); {
		s.world.RunDue()
		if err := s.w.turn(-1); err != nil {
			s.t.Fatal(err)
		}
		if s.world.Busy() {
			continue
		}
		if !s.world.Advance() || s.world.Now() > end {
			return
		}
	}
}

func readAll(p *sim.Peer) string {
	var b []byte
	for chunk := make([]byte, 64<<10); ; {
		n, err := p.Read(chunk)
		if n == 0 || err != nil {
			return string(b)
		}
		b = append(b, chunk[:n]...)
	}
}

// An origin that has closed its side while bytes waited for it is let go as soon
// as it has taken them, and not when nobody waits any more.
func TestLingeringOriginThatHasTakenAll(t *testing.T) {
	var origin *sim.Peer
	s := newScene(t, yaml("10.2.0.1:80", "routes: [{path: \"/*\", upstream: app, websocket: {mode: frames}}]\n"), func(p *sim.Peer) { origin = p })
	never := func() bool { return false }
	p := s.world.Connect(simListen, simListen)
	p.Write([]byte("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	s.until(1e9, never)
	readAll(origin)
	origin.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"))
	s.until(1e9, never)
	if s.w.m.Tunnels != 1 {
		t.Fatalf("no WebSocket: %q", readAll(p))
	}
	o := s.w.origins.At(1)
	for range 100 {
		v, _ := s.w.pool.Get()
		s.w.l.Send(o.conn, v)
	}
	s.until(1e6, never)
	if s.w.l.Queued(o.conn) == 0 {
		t.Fatal("nothing waits for the origin")
	}
	s.w.tunnels.over(s.w.clients.At(1), s.w.xs.At(1), o, tunnel.Flushed, "a test")
	origin.CloseWrite()
	s.until(1e6, never)
	if o.state != originLinger || o.flags&originEOF == 0 {
		t.Fatalf("state %d, flags %b", o.state, o.flags)
	}
	from := s.world.Now()
	s.until(lingerNs, func() bool { readAll(origin); return s.w.leases.Len() == 0 })
	if took := s.world.Now() - from; s.w.leases.Len() != 0 || took > lingerNs/10 {
		t.Errorf("%d origins are left after %d ms", s.w.leases.Len(), took/1e6)
	}
}

// A client that was not read while it took nothing breaks the protocol: it is
// read on to its end, for bytes that nobody reads would be answered with a reset,
// which overtakes the GOAWAY.
func TestPausedSessionIsReadToItsEnd(t *testing.T) {
	s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c]}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	never := func() bool { return false }
	p := s.world.Connect(simListen, simListen)
	p.Write([]byte(http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	s.until(1e8, never)
	readAll(p)
	se := s.w.h2.At(1)
	s.w.h2.Pause(se)
	p.Write([]byte(strings.Repeat("more that it has to say", 20)))
	var ev http2.Event
	ev.Code = http2.ErrProtocol
	s.w.told.failed(se, &ev)
	s.w.told.pull()
	s.until(1e8, never)
	p.Write([]byte(strings.Repeat("and more", 20)))
	p.CloseWrite()
	from := s.world.Now()
	s.until(2*lingerNs, func() bool { return s.w.m.ClientConns == 0 })
	if took := s.world.Now() - from; took > lingerNs/10 {
		t.Errorf("its end was not read: it was closed after %d ms", took/1e6)
	}
	if n := s.world.Tally.LostToReset; n != 0 {
		t.Errorf("it was closed by a reset, which destroyed %d bytes", n)
	}
}

// So it is with the sockets of either backend: the client reads the GOAWAY, and then
// the end.
func TestPausedSessionEndsInOrder(t *testing.T) {
	onBackends(t, func(t *testing.T, io loop.IO) {
		s := newSteppedBy(t, io, "[h2c]", "", nil, append([]byte(http2.Preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), headRequests(0, 1)...))
		var se *h2conn.Session
		for one := range s.w.h2.Each() {
			if one.Role == http2.Server {
				se = one
			}
		}
		s.w.h2.Pause(se)
		s.turn()
		more := make([]byte, 64<<10)
		unix.Write(s.client, more)
		s.turn()
		bad, _ := s.w.pool.Get() // received before it was paused (RFC 9113 6.1)
		s.w.h2.Received(se, bad.Slice(0, uint32(copy(s.w.pool.Bytes(bad), "\x00\x00\x01\x00\x00\x00\x00\x00\x00x"))))
		s.w.told.pull()
		var heard []byte
		for b := more; ; {
			n, err := unix.Read(s.client, b)
			if err == unix.EAGAIN {
				unix.Write(s.client, []byte("and more"))
				s.turn()
				continue
			}
			if err != nil {
				t.Fatalf("behind %d bytes: %v", len(heard), err)
			}
			if n == 0 {
				break
			}
			heard = append(heard, b[:n]...)
		}
		unix.Shutdown(s.client, unix.SHUT_WR)
		for i := 0; s.w.m.ClientConns > 0; i++ {
			if i == 1000 {
				t.Fatal("the connection does not end with its client's")
			}
			s.turn()
		}
		if _, err := unix.Read(s.client, more); err != nil {
			t.Errorf("it was closed by a reset: %v", err)
		}
		if !strings.Contains(string(heard), "\x07\x00\x00\x00\x00\x00\x00\x00\x00") { // type, flags, stream 0
			t.Errorf("no GOAWAY in %q", heard)
		}
	})
}

// A client, or a session, that goes on sending behind its last answer is read
// until nothing comes for lingering_timeout, or lingering_time is over.
func TestLingeringTimes(t *testing.T) {
	const second = int64(1e9)
	for name, first := range map[string]string{
		"HTTP/1": "BAD\r\n\r\n",
		"HTTP/2": http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x01\x00\x00\x00\x00\x00\x00x", // RFC 9113 6.1
	} {
		for _, tc := range []struct{ pause, sends, closed int64 }{
			{pause: 4, sends: 3, closed: 3*4 + 5},
			{pause: 4, sends: 100, closed: 30},
			{pause: 1, sends: 0, closed: 5},
		} {
			t.Run(fmt.Sprintf("%s, %d times", name, tc.sends), func(t *testing.T) {
				s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
				gone := func() bool { return s.w.m.ClientConns == 0 }
				p := s.world.Connect(simListen, simListen)
				p.Write([]byte(first))
				s.until(second/10, func() bool { return s.w.lingering() == 1 })
				from := s.world.Now()
				for n := int64(0); n < tc.sends && !gone(); n++ {
					s.until(tc.pause*second, gone)
					p.Write([]byte("more"))
				}
				s.until(60*second, gone)
				// Time passes in steps of up to a second, that of housekeeping.
				if took := s.world.Now() - from; took < tc.closed*second || took > (tc.closed+2)*second || s.w.lingering() != 0 {
					t.Errorf("closed after %d ms, %d linger; want %d s", took/1e6, s.w.lingering(), tc.closed)
				}
			})
		}
	}
}

// What a peer may send is promised out of a credit that all sessions share. One that
// only lingers is promised nothing any more, however long it stays.
func TestLingeringSessionHoldsNoCredit(t *testing.T) {
	s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c]}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	credit := s.w.h2.Credit(http2.Server)
	all := credit.Free()
	p := s.world.Connect(simListen, simListen)
	p.Write([]byte(http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	s.until(1e9, func() bool { return credit.Free() < all })
	if credit.Free() == all {
		t.Fatal("a session is promised nothing")
	}
	p.Write([]byte("\x00\x00\x01\x00\x00\x00\x00\x00\x00x")) // RFC 9113 6.1
	s.until(1e9, func() bool { return s.w.lingering() == 1 })
	if left := credit.Free(); s.w.lingering() != 1 || left != all {
		t.Errorf("%d sessions linger, and %d bytes are promised to them", s.w.lingering(), all-left)
	}
}

// However many send on behind their last answers, and however fast, what is thrown
// away is bounded. All have their turns, and those that come to an end are closed in
// order.
func TestLingerersShareABound(t *testing.T) {
	const peers, millisecond = 24, int64(1e6)
	for name, first := range map[string]string{
		"HTTP/1": "BAD\r\n\r\n",
		"HTTP/2": http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x01\x00\x00\x00\x00\x00\x00x", // RFC 9113 6.1
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
			var all [peers]*sim.Peer
			var sent [peers]int
			stop := false
			for i := range all {
				all[i] = s.world.Connect(simListen, simListen)
				all[i].Write([]byte(first))
			}
			s.until(100*millisecond, func() bool { return s.w.lingering() == peers })
			chunk := make([]byte, 1<<20)
			var write func()
			write = func() {
				for i, p := range all {
					n, _ := p.Write(chunk)
					sent[i] += n
				}
				if !stop {
					s.world.After(millisecond/10, write)
				}
			}
			write()
			from, before := s.world.Now(), s.w.m.BytesIn
			s.until(300*millisecond, func() bool { return false })
			stop = true
			spans := (s.world.Now()-from)/discardNs + 1
			if got := int64(s.w.m.BytesIn - before); got > spans*2*discardBytes {
				t.Errorf("%d bytes were read in %d ms", got, (s.world.Now()-from)/1e6)
			}
			for i, p := range all {
				if sent[i] < discardBytes/4 {
					t.Errorf("peer %d could send %d bytes in all that time, all of them %d", i, sent[i], sent)
					break
				}
				p.CloseWrite()
			}
			s.until(10_000*millisecond, func() bool { return s.w.m.ClientConns == 0 })
			if n := s.w.m.ClientConns; n != 0 || s.w.lingering() != 0 || s.w.memory.paused != 0 {
				t.Errorf("%d connections are left, %d linger, %d are paused", n, s.w.lingering(), s.w.memory.paused)
			}
			if n := s.world.Tally.LostToReset; n != 0 {
				t.Errorf("%d were closed by a reset", n)
			}
		})
	}
}

// A client that takes nothing of a response loses its stream, and the worker keeps nothing
// of it.
func TestUntakenStreamIsLetGo(t *testing.T) {
	s := newScene(t, "limits: {send_timeout: 1s}\nlisteners: [{address: \"127.0.0.1:8080\", protocols: [h2c]}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n", nil)
	p := s.world.Connect(simListen, simListen)
	p.Write([]byte(http2.Preface + "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00")) // its windows are closed
	p.Write([]byte("\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x01h"))
	s.until(1e8, func() bool { return s.w.clients.Len() == 1 })
	if s.w.clients.Len() != 1 {
		t.Fatal("it has no stream")
	}
	s.until(10e9, func() bool { return s.w.clients.Len() == 0 })
	if n, m := s.w.clients.Len(), s.w.streams.Len(); n+m != 0 {
		t.Errorf("%d clients and %d streams are left", n, m)
	}
}
