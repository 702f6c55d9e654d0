package upstream

import "testing"

// A budget is a share of what is under way on all loops, and at least a few.
func TestRetryBudget(t *testing.T) {
	cfg := Config{Name: "a", MaxIdle: 100, Retries: RetryBudget{Percent: 20, Least: 2}}
	for _, a := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
		cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{Address: a})
	}
	c, err := NewCluster(cfg, 2)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(now int64) (n int) {
		for c.BeginRetry(now) {
			n++
		}
		for range n {
			c.EndRetry()
		}
		return n
	}
	if n := begin(0); n != 2 {
		t.Errorf("%d retries at rest, want 2", n)
	}
	for i := range 50 {
		if d := c.Pool(i%2).Acquire(0, 1, 0, 0); d.Kind != Dial {
			t.Fatalf("got %+v", d)
		}
	}
	if n := begin(budgetNs - 1); n != 2 {
		t.Errorf("%d retries by an old count, want 2", n)
	}
	if n := begin(budgetNs); n != 10 {
		t.Errorf("%d retries of 50 requests, want 10", n)
	}
	for ep := range 2 {
		for i := range 10 {
			c.Pool(0).PutAddr(budgetNs, uint64(100*ep+i+1), ep, 0)
		}
	}
	if n := begin(2 * budgetNs); n != 6 {
		t.Errorf("%d retries of 30 requests, want 6", n)
	}
	if c.Retrying() != 0 {
		t.Errorf("%d are left", c.Retrying())
	}
}
