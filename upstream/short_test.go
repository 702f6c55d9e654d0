package upstream

import (
	"testing"
	"time"
)

func TestShort(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 8, MaxIdle: 8, Queue: 9}, 2)
	p, q := c.Pool(0), c.Pool(1)
	dialled(t, p, 5)
	if p.Short() || q.Short() {
		t.Error("short with three of eight left")
	}
	dialled(t, p, 1)
	if !p.Short() || !q.Short() {
		t.Error("not short with two of eight left")
	}
	p.Put(1, 1, 0)
	if q.Short() {
		t.Error("short with two left and one idle")
	}
	c = mustCluster(t, Config{Endpoints: endpoints(1)}, 1)
	dialled(t, c.Pool(0), 50)
	if c.Pool(0).Short() {
		t.Error("short without a limit")
	}
	c = mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 1, Queue: 9}, 1)
	if c.Pool(0).Short() {
		t.Error("short with all of one left")
	}
	dialled(t, c.Pool(0), 1)
	if !c.Pool(0).Short() {
		t.Error("not short with none left")
	}
}

// Who was seen on one loop to hold a connection is known on all, for a minute.
func TestSlowClients(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1)}, 2)
	now := int64(time.Hour)
	if c.Pool(0).IsSlow(now, 7) {
		t.Error("slow without a reason")
	}
	c.Pool(0).Slow(now, 7)
	for l := range 2 {
		if p := c.Pool(l); !p.IsSlow(now+slowNs/2, 7) || p.IsSlow(now+slowNs/2, 8) || p.IsSlow(now+slowNs, 7) {
			t.Errorf("loop %d: not slow within a minute, or after it, or another is", l)
		}
	}
}
