package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
)

// Unix sockets on both sides, and origins by name.
func TestSockets(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		path, sum := bodyFile(t, mib, "1MiB")
		dir := t.TempDir()
		local := startNginxAt(t, "unix:"+filepath.Join(dir, "origin"), bodyDir)
		tcp := startNginx(t, bodyDir)
		_, port, _ := net.SplitHostPort(tcp.addr)
		listener := filepath.Join(dir, "proxy")
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}, {address: "unix:%s"}]
upstreams:
  local: {endpoints: [{address: %q}]}
  named: {endpoints: [{address: "localhost:%s"}]}
routes:
  - {host: local, path: "/*", upstream: local}
  - {host: named, path: "/*", upstream: named}
`, listener, local.addr, port))
		for _, host := range []string{"local", "named"} {
			for _, over := range [][]string{nil, {"--unix-socket", listener}} {
				to := filepath.Join(t.TempDir(), "copy")
				args := append([]string{"--fail", "-H", "Host: " + host, "-o", to}, over...)
				curl(t, append(args, z.url(path))...)
				sameFile(t, to, sum)
			}
		}
	})
}
