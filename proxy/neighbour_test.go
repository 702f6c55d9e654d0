package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
)

// onEachLoop dials until every one of the rig's two loops has a client of its
// own, and gives one of each.
func (r *rig) onEachLoop() [2]net.Conn {
	r.t.Helper()
	var of [2]net.Conn
	had := [2]int{}
	for of[0] == nil || of[1] == nil {
		c := r.dial()
		for found := false; !found; {
			for i, rep := range r.reports() {
				if rep.Clients > had[i] {
					had[i], of[i], found = rep.Clients, c, true
				}
			}
		}
	}
	return of
}

// halt is a ReportSink that says that a loop has come to it and holds it until
// it is closed.
type halt chan bool

func (h halt) Deliver(*Report) { h <- true; <-h }

// A neighbour that has no time to read its mail has a connection all the same.
func TestNeighbourIsAskedUntilItHears(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := answeringOrigin(t, ok2)
		r := start(t, io_, 2, yaml(origin, "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {max_connections: 1, max_idle: 1}}}\n"), nil)
		of := r.onEachLoop()
		io.WriteString(of[1], simpleGet)
		readHead(of[1])
		for r.reports()[1].Pools[0].Idle == 0 {
			time.Sleep(time.Millisecond)
		}
		busy := make(halt)
		AskReport(r.peers[1].Loop, busy)
		<-busy
		for r.peers[1].Loop.Post(loop.Mail{}) {
		}
		io.WriteString(of[0], simpleGet)
		time.Sleep(50 * time.Millisecond)
		close(busy)
		if head, err := readHead(of[0]); !strings.HasPrefix(head, "HTTP/1.1 200") {
			t.Errorf("got %q, %v; want a 200", head, err)
		}
	})
}
