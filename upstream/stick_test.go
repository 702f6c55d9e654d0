package upstream

import (
	"testing"
)

const secret = "0123456789abcdef"

// sticky has n endpoints and tokens, with few endpoints and with many.
func sticky(t *testing.T, f func(t *testing.T, c *Cluster, p *Pool)) {
	for name, n := range map[string]int{"few": 4, "many": 100} {
		t.Run(name, func(t *testing.T) {
			c := mustCluster(t, Config{Name: "app", StickySecret: secret, MaxConnections: 2, MaxIdle: 4, Queue: 1, Endpoints: endpoints(make([]int, n)...)}, 2)
			f(t, c, c.Pool(0))
		})
	}
}

func TestTokens(t *testing.T) {
	sticky(t, func(t *testing.T, c *Cluster, p *Pool) {
		other := mustCluster(t, Config{Name: "other", StickySecret: secret, Endpoints: endpoints(1, 1)}, 1)
		rekeyed := mustCluster(t, Config{Name: "app", StickySecret: secret + "x", Endpoints: endpoints(1, 1)}, 1)
		again := mustCluster(t, Config{Name: "app", StickySecret: secret, Endpoints: endpoints(make([]int, 2)...)}, 1)
		for ep := range c.eps {
			text := string(Token(p, ep))
			if len(text) != TokenBytes || Sticks(p, []byte(text)) != ep+1 || Sticks(c.Pool(1), []byte(text)) != ep+1 {
				t.Fatalf("the token of %d, %q, is for %d", ep, text, Sticks(p, []byte(text)))
			}
			for _, no := range []string{text[:TokenBytes-1], text + "A", "", text[:8] + "AAAAAAAAAAAA", "AAAAAAAA" + text[8:]} {
				if at := Sticks(p, []byte(no)); at != 0 {
					t.Fatalf("%q is taken for the token of %d", no, at)
				}
			}
			if Sticks(other.Pool(0), []byte(text)) != 0 || Sticks(rekeyed.Pool(0), []byte(text)) != 0 {
				t.Fatal("a token holds for another upstream, or with another secret")
			}
		}
		if ep := Sticks(again.Pool(0), Token(p, 1)); ep != 2 {
			t.Errorf("in another process the token of 1 is for %d", ep-1)
		}
		none := mustCluster(t, Config{Name: "app", Endpoints: endpoints(1, 1)}, 1)
		if Sticks(none.Pool(0), Token(p, 0)) != 0 {
			t.Error("a cluster without tokens knows one")
		}
	})
}

// stuckAt acquires with the token of ep.
func stuckAt(p *Pool, waiter uint32, ep int, tried Tried) Decision {
	return p.AcquireFor(1, &Request{Waiter: waiter, Tried: tried, Stick: ep + 1})
}

func TestStick(t *testing.T) {
	sticky(t, func(t *testing.T, c *Cluster, p *Pool) {
		for range 2 { // whosever turn it is
			if d := stuckAt(p, 1, 2, 0); d.Kind != Dial || d.Endpoint != 2 {
				t.Fatalf("%+v, want a connection to 2", d)
			}
			p.DialOK(1, 2)
		}
		// It is full: another serves, and the next that comes back finds it again.
		d := stuckAt(p, 1, 2, 0)
		if d.Kind != Dial || d.Endpoint == 2 {
			t.Fatalf("%+v, want a connection to another than 2, which is full", d)
		}
		if !Holds(p, 1, 2, 0) {
			t.Error("one that is full is given up")
		}
		if !p.Put(1, 7, 2) {
			t.Fatal("it is not kept")
		}
		if d := stuckAt(p, 1, 2, 0); d.Kind != Reuse || d.Endpoint != 2 || d.Conn != 7 {
			t.Fatalf("%+v, want the connection to 2", d)
		}
		// It has failed this request.
		tried := c.AddTried(0, 2)
		if d := stuckAt(p, 1, 2, tried); d.Endpoint == 2 || Holds(p, 1, 2, tried) {
			t.Errorf("%+v, what has failed is tried again", d)
		}
		// It is down.
		c.eps[3].health.hold(holdChecks)
		if d := stuckAt(p, 1, 3, 0); d.Kind != Dial || d.Endpoint == 3 || Holds(p, 1, 3, 0) {
			t.Errorf("%+v, what is down serves", d)
		}
	})
}

// A drained endpoint serves who has its token, and nobody else; one that is drained and down serves nobody.
func TestStickToDrained(t *testing.T) {
	sticky(t, func(t *testing.T, c *Cluster, p *Pool) {
		if err := c.SetWeight(c.eps[1].Address, 0); err != nil {
			t.Fatal(err)
		}
		for k := range 2 * len(c.eps) {
			if d := p.Acquire(1, 1, 0, uint64(k)); d.Kind == Dial && d.Endpoint == 1 {
				t.Fatal("a drained endpoint gets new clients")
			}
		}
		if Sticks(p, Token(p, 1)) != 2 || !Holds(p, 1, 1, 0) {
			t.Fatal("its token is good no more")
		}
		for range 2 {
			if d := stuckAt(p, 1, 1, 0); d.Kind != Dial || d.Endpoint != 1 {
				t.Fatalf("%+v, want a connection to 1", d)
			}
		}
		p.DialOK(1, 1)
		c.eps[1].health.hold(holdChecks)
		if Holds(p, 1, 1, 0) {
			t.Error("it is drained and down, and holds")
		}
		c.eps[1].health.unhold(holdChecks)
		if !Holds(p, 1, 1, 0) {
			t.Error("it is only drained again, and does not hold")
		}
	})
}

// Endpoints that come and go keep their tokens, which are good while they are there.
func TestTokensOfSlots(t *testing.T) {
	c := mustCluster(t, Config{Name: "app", StickySecret: secret, Slots: 3}, 1)
	p, list := c.Pool(0), endpoints(1, 1, 1)
	c.SetEndpoints(list[:2])
	if at := Sticks(p, tokenText(list[1].Address)); at != 2 {
		t.Fatalf("the second is %d", at)
	}
	c.SetEndpoints(list[:1])
	if at := Sticks(p, tokenText(list[1].Address)); at != 0 {
		t.Fatalf("one that is gone is %d", at)
	}
	c.SetEndpoints(list[1:])
	if at := Sticks(p, tokenText(list[1].Address)); at != 2 {
		t.Fatalf("one that is back is %d", at)
	}
}

func tokenText(address string) []byte {
	t := tokenOf(secret, "app", address)
	return t.text[:]
}

func TestSticksAllocatesNothing(t *testing.T) {
	sticky(t, func(t *testing.T, c *Cluster, p *Pool) {
		text := Token(p, 3)
		if n := testing.AllocsPerRun(100, func() {
			if Sticks(p, text) != 4 {
				t.Fatal("it is for another")
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
