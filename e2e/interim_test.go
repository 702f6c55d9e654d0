package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Node's fetch takes a 100 that it did not ask for for a broken answer: such a
// one never reaches it.
func TestUnaskedContinueToNode(t *testing.T) {
	need(t, "node")
	besides(t, func(t *testing.T, backend string) {
		origin := startOrigin(t, func(c *originConn) {
			for c.request() != nil {
				c.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok("from the origin"))
			}
		})
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
`, origin.addr))
		script := `fetch(process.argv[1]).then(r => r.text()).then(t => console.log(t), e => console.log("failed:", e.cause))`
		for range 5 {
			if said := run(t, "node", "-e", script, "http://"+z.addr+"/"); said != "from the origin\n" {
				t.Fatalf("fetch: %q", said)
			}
		}
	})
}

// nginx as an origin of HTTP/2 never answers an Expect: the client, which waits
// for as long as it takes, is told to go on all the same.
func TestExpectBeforeSilentOrigin(t *testing.T) {
	need(t, "nginx", "curl")
	besides(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		body := writeFile(t, filepath.Join(root, "body"), strings.Repeat("0123456789", 100_000))
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {protocol: h2c, endpoints: [{address: %q}], timeouts: {continue: 300ms}}}
routes: [{path: "/*", upstream: app}]
`, startNginxFor(t, "h2c", root).addr))
		for _, version := range []string{"--http1.1", "--http2-prior-knowledge"} {
			said := run(t, "curl", version, "--silent", "--show-error", "--max-time", "120", "--expect100-timeout", "100", "--header", "Expect: 100-continue",
				"--write-out", "%{response_code} %{time_total}", "--upload-file", body, "http://"+z.addr+"/dav/"+version)
			status, took, _ := strings.Cut(said, " ")
			if s, err := strconv.ParseFloat(took, 64); status != "201" || err != nil || s > 60 {
				t.Errorf("curl %s: status and seconds are %s, want 201 before it gets tired of waiting", version, said)
			}
			if stored, err := os.ReadFile(filepath.Join(root, "dav", version)); err != nil || len(stored) != 1_000_000 {
				t.Errorf("curl %s: %d bytes are there, %v", version, len(stored), err)
			}
		}
		// By HTTP/2 some versions of curl do not wait.
		eventually(t, patience, "1 or 2 times the proxy said 100", func() (bool, string) {
			n := z.metrics(t).sum("zproxy_own_continues_total")
			return n == 1 || n == 2, fmt.Sprint(n)
		})
	})
}
