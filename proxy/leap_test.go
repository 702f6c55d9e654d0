package proxy

import (
	"strings"
	"testing"

	"zproxy/loop/sim"
	"zproxy/proto/http2"
)

// Who is too slow is ended where the loop often gets no CPU as well: the time between is counted.
func TestRatesCountBetweenLeaps(t *testing.T) {
	const limits = "limits: {request_body_timeout: 1s, send_timeout: 1s, min_rate: 1000}\n"
	body := make([]byte, 64<<10)
	answers := func(s *scene, p *sim.Peer) {
		p.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"))
		var more func()
		more = func() {
			p.Write(body)
			s.world.After(1e7, more)
		}
		more()
	}
	reads := func(p *sim.Peer) { p.Read(make([]byte, 10)) }
	for _, c := range []struct {
		what, protocols, sends string
		serve                  func(s *scene, p *sim.Peer)
		drips                  func(p *sim.Peer)
	}{
		{"content", "http1", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n", func(*scene, *sim.Peer) {}, func(p *sim.Peer) { p.Write([]byte("x")) }},
		{"a response", "http1", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", answers, reads},
		{"a response on a stream", "h2c", http2.Preface + "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff" +
			"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xfe\x00\x00" + "\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x01h", answers, reads},
	} {
		t.Run(c.what, func(t *testing.T) {
			text := strings.Replace(yaml("10.2.0.1:80", limits), "{address: \"127.0.0.1:8080\"}", "{address: \"127.0.0.1:8080\", protocols: ["+c.protocols+"]}", 1)
			var s *scene
			s = newScene(t, text, func(p *sim.Peer) { c.serve(s, p) })
			p := s.world.Connect(simListen, simListen)
			p.Write([]byte(c.sends))
			var drip func()
			drip = func() {
				c.drips(p)
				s.world.After(1e8, drip)
			}
			s.until(1e7, func() bool { return s.w.clients.Len() > 0 && s.w.xs.Len() > 0 })
			if s.w.xs.Len() != 1 {
				t.Fatalf("%d requests are under way", s.w.xs.Len())
			}
			drip()
			ended := func() bool {
				for range s.w.h2.Each() { // the client's, whose stream may have ended
					return false
				}
				return s.w.xs.Len() == 0
			}
			for i := 0; i < 60 && !ended(); i++ {
				s.until(3e8, ended)
				before := s.w.l.Leaps().Last
				s.world.Suspend(25e7)
				if err := s.w.turn(0); err != nil {
					t.Fatal(err)
				}
				if s.w.l.Leaps().Last == before {
					t.Fatal("the clock does not leap")
				}
			}
			if !ended() {
				t.Error("it goes on")
			}
		})
	}
}
