package e2e

import (
	"fmt"
	"testing"
	"time"
)

// servedBy sends a request with this field, and says which of many origins has answered it.
func (c *client) servedBy(field string) string {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	c.write("GET / HTTP/1.1\r\nHost: h\r\n" + field + "\r\n\r\n")
	res, _ := c.response("GET")
	if res.StatusCode != 200 {
		c.t.Fatalf("%s: %s", field, res.Status)
	}
	return res.Header.Get("X-Served-By")
}

// Every key stays with its endpoint, whichever loop has the connection and whichever table it is;
// when an endpoint dies its keys alone move, and a reload that takes it out of the file moves few others.
func TestBalanceByKey(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		const endpoints, keys = 6, 200
		for _, balance := range []string{"maglev", "ring_hash"} {
			m := startMany(t, endpoints)
			text := func() string {
				return fmt.Sprintf(`
io: %s
loops: 2
listeners: [{address: LISTEN}]
upstreams: {app: {balance: %s, hash_on: header X-Account, retries: 2, endpoints: [%s]}}
routes: [{path: "/*", upstream: app}]
`, backend, balance, m.config())
			}
			z := startUnixAdmin(t, text())
			where := func() (list [keys]string) {
				c, other := dial(t, z.addr), dial(t, z.addr)
				defer c.Close()
				defer other.Close()
				for i := range list {
					field := fmt.Sprintf("X-Account: %d", i)
					list[i] = c.servedBy(field)
					if again := other.servedBy(field); again != list[i] {
						t.Fatalf("%s: key %d goes to %s and %s", balance, i, list[i], again)
					}
				}
				return list
			}
			// moved counts keys of endpoints that stay.
			moved := func(before, after [keys]string, gone string) (n int) {
				for i := range before {
					if after[i] == gone {
						t.Fatalf("%s: key %d goes to an endpoint that is gone", balance, i)
					}
					if before[i] != gone && before[i] != after[i] {
						n++
					}
				}
				return n
			}
			healthy := where()
			used := map[string]bool{}
			for _, at := range healthy {
				used[at] = true
			}
			if len(used) != endpoints {
				t.Errorf("%s: %d keys go to %d endpoints of %d", balance, keys, len(used), endpoints)
			}
			gone := m.addrs[2]
			m.servers[2].Close()
			if n := moved(healthy, where(), gone); n != 0 {
				t.Errorf("%s: when an endpoint dies %d keys of others move", balance, n)
			}
			m.addrs = append(m.addrs[:2:2], m.addrs[3:]...)
			z.write(t, text())
			expect(t, 0, "upstreams: changed app", "diff", "-c", z.file)
			expect(t, 0, "upstreams: changed app", "reload", "-c", z.file)
			if n := moved(healthy, where(), gone); n > keys/endpoints {
				t.Errorf("%s: when an endpoint is taken out of the file %d keys of others move", balance, n)
			}
		}
	})
}
