package proxy

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/loop"
	"zproxy/metrics/accesslog"
)

// TestResetClientIsNotTrusted: a client that resets its connection at any moment
// after its request is the client that it is, to its origin and in the log, also
// when another loop has taken it over.
func TestResetClientIsNotTrusted(t *testing.T) {
	const forged = "203.0.113.66"
	for _, loops := range []int{1, 2} {
		onBackends(t, func(t *testing.T, io_ loop.IO) {
			var heads, believed atomic.Int32
			origin := startOrigin(t, func(n int, c net.Conn) {
				for {
					head, err := readHead(c)
					if err != nil {
						return
					}
					heads.Add(1)
					if strings.Contains(head, forged) || !strings.Contains(head, "X-Forwarded-For: 127.0.0.1\r\n") {
						believed.Add(1)
					}
					readN(c, 4)
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			path := filepath.Join(t.TempDir(), "log")
			log, err := accesslog.Open(accesslog.Options{Path: path, Loops: loops})
			if err != nil {
				t.Fatal(err)
			}
			r := start(t, io_, loops, yaml(origin, "forwarding: {forwarded: true}\n"), log)
			for i := range 600 {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %s\r\nForwarded: for=%s\r\nContent-Length: 4\r\n\r\nbody", forged, forged)
				for begin := time.Now(); time.Since(begin) < time.Duration(i%40)*10*time.Microsecond; {
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
			r.settled()
			r.stop()
			log.Close()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), `"client":"unix:`); n > 0 || believed.Load() > 0 {
				t.Errorf("%d of %d requests passed for those of a trusted peer, %d of %d lines have no client",
					believed.Load(), heads.Load(), n, strings.Count(string(b), "\n"))
			}
		})
	}
}
