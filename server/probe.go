package server

import (
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"zproxy/proxy"
	"zproxy/upstream"
)

// probes is how many endpoints are connected to at a time.
const probes = 16

// prober connects to endpoints that are down, without a request, so that they
// are up again without one. There is one for all loops.
type prober struct {
	s     *Server
	slots chan struct{}
	turns map[*upstream.Endpoint]int
	busy  map[*upstream.Endpoint]bool
	done  chan probed
}

type probed struct {
	c         *upstream.Cluster
	e         *upstream.Endpoint
	err       error
	connected bool
}

func newProber(s *Server) *prober {
	return &prober{s: s, slots: make(chan struct{}, probes), turns: map[*upstream.Endpoint]int{}, busy: map[*upstream.Endpoint]bool{}, done: make(chan probed, probes)}
}

// look begins what is due, and takes in what has ended. failing is what the
// watcher has found: nothing is asked while all is well.
func (p *prober) look(failing map[*upstream.Endpoint]bool) {
	for e := range p.turns {
		if _, known := failing[e]; !known { // its upstream is gone
			delete(p.turns, e)
		}
	}
	some := len(p.busy) > 0
	for _, f := range failing {
		some = some || f
	}
	if !some {
		return
	}
	now, ok := p.s.loopNow()
	if !ok {
		return // the loops are ending
	}
	for len(p.done) > 0 {
		p.end(now, <-p.done)
	}
	for _, c := range p.s.snap().Upstreams() {
		for _, e := range c.Endpoints() {
			if !failing[e] || p.busy[e] {
				continue
			}
			address := e.ProbeAddress(now, p.turns[e])
			if address == "" {
				continue
			}
			select {
			case p.slots <- struct{}{}:
			default:
				return
			}
			p.turns[e]++
			p.busy[e] = true
			go p.connect(c, e, address)
		}
	}
}

func (p *prober) end(now int64, r probed) {
	delete(p.busy, r.e)
	if isLocalShortage(r.err) {
		return
	}
	r.c.Probed(now, r.e.ID, r.connected, rand.Uint64())
}

func (p *prober) connect(c *upstream.Cluster, e *upstream.Endpoint, address string) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	conn, err := net.DialTimeout(network, address, time.Duration(c.ConnectTimeout()))
	if err == nil {
		conn.Close()
	}
	<-p.slots
	p.done <- probed{c, e, err, err == nil}
}

// loopNow is the loops' clock.
func (s *Server) loopNow() (int64, bool) {
	c := make(collector, 1)
	if len(s.peers) == 0 || !proxy.AskTroubles(s.peers[0].Loop, c) {
		return 0, false
	}
	select {
	case r := <-c:
		return r.Now, true
	case <-time.After(reportTimeout):
		return 0, false
	}
}
