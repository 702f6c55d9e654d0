package proxy

import (
	"testing"

	"zproxy/config"
	"zproxy/loop"
)

// A client that comes by a listener that a reload has taken away, on its way, finds the upstream that the
// same reload has taken away.
func TestUpstreamOfAListenerThatIsGone(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		origin := answeringOrigin(t, ok2)
		r := start(t, io, 1, yaml(origin, ""), nil)
		cfg, err := config.Parse("test.yaml", []byte("listeners: [{address: \"127.0.0.1:8081\"}]\nroutes: [{path: \"/*\", respond: {}}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		snap, err := r.registry.Compile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !AskAdopt(r.peers[0].Loop, snap) {
			t.Fatal("the mailbox is full")
		}
		r.settled() // it has been adopted when it reports
		if got := r.ask(simpleGet); got != "HTTP/1.1 200 OK" {
			t.Error(got)
		}
	})
}
