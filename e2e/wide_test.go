package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// manyOrigins are servers on addresses of their own.
type manyOrigins struct {
	addrs   []string
	servers []*http.Server
	mu      sync.Mutex
	served  map[string]int // by address
}

func startMany(t *testing.T, n int) *manyOrigins {
	t.Helper()
	m := &manyOrigins{served: map[string]int{}}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr := r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
		m.mu.Lock()
		m.served[addr]++
		m.mu.Unlock()
		w.Header().Set("X-Served-By", addr)
		fmt.Fprint(w, "ok")
	})
	for i := range n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.%d.%d:0", 1+i/250, 1+i%250))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: answer}
		m.addrs, m.servers = append(m.addrs, l.Addr().String()), append(m.servers, server)
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
	}
	return m
}

func (m *manyOrigins) config() string {
	var b strings.Builder
	for _, addr := range m.addrs {
		fmt.Fprintf(&b, "{address: %q}, ", addr)
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// asked sends n requests, and says how many endpoints have served them, and the least and
// the most that one of them has.
func (m *manyOrigins) asked(t *testing.T, c *client, n int) (endpoints, least, most int) {
	t.Helper()
	m.mu.Lock()
	clear(m.served)
	m.mu.Unlock()
	for range n {
		c.SetDeadline(time.Now().Add(patience))
		if got := c.get("/"); got != "ok" {
			t.Fatalf("got %q", got)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	least = n
	for _, k := range m.served {
		least, most = min(least, k), max(most, k)
	}
	return len(m.served), least, most
}

// Hundreds of endpoints have their turns, and no request fails when half of them are gone.
func TestHundredsOfEndpoints(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		for _, balance := range []string{"round_robin", "p2c", "least_conn"} {
			const all = 300
			m := startMany(t, all)
			z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
loops: 1
upstreams: {app: {balance: %s, endpoints: [%s]}}
routes: [{path: "/*", upstream: app}]
`, balance, m.config()))
			c := dial(t, z.addr)
			n, least, most := m.asked(t, c, 3*all)
			if balance == "round_robin" && (n != all || least != 3 || most != 3) || n < all*9/10 {
				t.Errorf("%s: %d endpoints have served the requests, each %d to %d", balance, n, least, most)
			}
			for i := 0; i < all; i += 2 {
				m.servers[i].Close()
			}
			if n, _, _ := m.asked(t, c, 3*all); n < all*9/20 || n > all/2 {
				t.Errorf("%s: %d endpoints of %d have served the requests", balance, n, all/2)
			}
			c.Close()
		}
	})
}
