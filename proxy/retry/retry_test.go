package retry

import (
	"testing"

	"zproxy/config"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// compiled is an upstream with these keys, and an endpoint.
func compiled(t *testing.T, keys string) *snapshot.Cluster {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte("listeners: [{address: \"127.0.0.1:8080\"}]\n"+
		"upstreams: {app: {endpoints: [{address: \"127.0.0.1:1\"}]"+keys+"}}\nroutes: [{path: /, upstream: app}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.NewRegistry(1, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s.Clusters[s.Routes[0].Cluster]
}

var (
	whole    = State{Whole: true}
	answered = State{Whole: true, Answered: true}
)

// Whether a request may be sent again: as its method says, for the reasons there are, with all of
// it there, and before anything of a response has been passed on.
func TestMay(t *testing.T) {
	cl := compiled(t, ", retry: {on: [connect, reset, \"502-504\"], attempts: 2}")
	const never, unseen, always = upstream.RepeatNever, upstream.RepeatUnseen, upstream.RepeatAlways
	for _, c := range []struct {
		name               string
		repeat             upstream.Repeat
		on                 snapshot.RetryCause
		s                  State
		may, unsent, stale bool
	}{
		{"GET", always, snapshot.OnReset, whole, true, true, true},
		{"GET, for what is no reason", always, snapshot.OnTimeout, whole, false, true, true},
		{"GET, for a status", always, snapshot.OnStatus, whole, true, true, true},
		{"GET, of which something is lost", always, snapshot.OnReset, State{}, false, false, false},
		{"GET, behind an interim response", always, snapshot.OnReset, answered, false, false, false},
		{"PUT", unseen, snapshot.OnReset, whole, false, true, true},
		{"POST", never, snapshot.OnReset, whole, false, true, false},
	} {
		tries := Of(c.repeat)
		if may, unsent, stale := tries.May(&cl.Retry, c.on, c.s), tries.MayUnsent(&cl.Retry, c.s), tries.MayStale(c.s); may != c.may || unsent != c.unsent || stale != c.stale {
			t.Errorf("%s: may be sent again: %v, unsent: %v, after a dead connection: %v", c.name, may, unsent, stale)
		}
	}
}

// How often: tries and dead connections are counted apart, and what may not be repeated any more is
// not for either.
func TestHowOften(t *testing.T) {
	cl := compiled(t, ", retry: {on: [connect, reset], attempts: 2, budget: {min: 100}}")
	tries := Of(upstream.RepeatAlways)
	for n := range 5 {
		if may := tries.May(&cl.Retry, snapshot.OnReset, whole); may != (n < 2) {
			t.Errorf("another one after %d tries: %v", n, may)
		}
		if n < 2 {
			tries.Begin(cl, 0)
		}
	}
	for n := range 5 {
		if stale := tries.MayStale(whole); stale != (n < mostStales) {
			t.Errorf("another one after %d dead connections: %v", n, stale)
		} else if stale {
			tries.Stale()
		}
	}
	if tries.repeat() != upstream.RepeatAlways || tries.attempts() != 2 {
		t.Errorf("counts run into each other: %08b", tries)
	}
	tries.Never()
	if fresh := Of(upstream.RepeatAlways); tries.repeat() != upstream.RepeatNever || tries.attempts() != 2 || !fresh.MayStale(whole) {
		t.Errorf("never: %08b", tries)
	}
}

// The budget counts a request once, however often it is sent again, and gets it back once.
func TestBudget(t *testing.T) {
	cl := compiled(t, ", retry: {attempts: 5, budget: {percent: 0, min: 2}}")
	var requests [3]Tries
	for i := range requests {
		requests[i] = Of(upstream.RepeatAlways)
		for range 3 {
			if begun := requests[i].Begin(cl, 0); begun != (i < 2) {
				t.Errorf("request %d: %v", i, begun)
			}
		}
	}
	if n := cl.Shared.Retrying(); n != 2 {
		t.Errorf("%d are counted, want 2", n)
	}
	for i := range requests {
		requests[i].End(cl)
		requests[i].End(cl)
	}
	if n := cl.Shared.Retrying(); n != 0 {
		t.Errorf("%d are counted when all have ended", n)
	}
	without := compiled(t, ", retries: 2")
	if tries := Of(upstream.RepeatAlways); !tries.Begin(without, 0) || without.Shared.Retrying() != 0 {
		t.Error("a try without a budget is counted")
	}
}

// The beginning of a body is kept for whoever may need it again.
func TestKeepsBody(t *testing.T) {
	for _, c := range []struct {
		name, keys    string
		repeat        upstream.Repeat
		unsent, wants bool
	}{
		{"no bodies are tried again", ", retries: 2", upstream.RepeatAlways, true, false},
		{"a GET with content", ", retry: {attempts: 2}", upstream.RepeatAlways, false, true},
		{"a POST", ", retry: {attempts: 2}", upstream.RepeatNever, true, false},
		{"a POST, while a PROXY header may be refused", ", send_proxy: v1, retry: {attempts: 2}", upstream.RepeatNever, true, true},
		{"a POST, once it has left", ", send_proxy: v1, retry: {attempts: 2}", upstream.RepeatNever, false, false},
		{"on a stream, which may be refused", ", protocol: h2c, retries: 0", upstream.RepeatNever, false, true},
	} {
		if Of(c.repeat).KeepsBody(compiled(t, c.keys), c.unsent) != c.wants {
			t.Errorf("%s: is kept: %v", c.name, !c.wants)
		}
	}
}
