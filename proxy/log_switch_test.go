package proxy

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/loop"
	"zproxy/metrics/accesslog"
)

// A log that there is only since a request began, or a tunnel, has no line for it, and
// none that says something of another request.
func TestLogBeginsInMidRequest(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		let := make(chan bool)
		r := start(t, io_, 1, yaml(startOrigin(t, func(_ int, c net.Conn) {
			head, _ := readHead(c)
			if strings.Contains(head, "Upgrade") {
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n")
				io.Copy(io.Discard, c)
				return
			}
			<-let
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}), ""), nil)
		before, tunnel := r.dial(), r.dial()
		io.WriteString(before, "GET /before HTTP/1.1\r\nHost: h\r\n\r\n")
		io.WriteString(tunnel, "GET /tunnel HTTP/1.1\r\nHost: h\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n")
		if _, err := readHead(tunnel); err != nil {
			t.Fatal(err)
		}
		await(t, "both have begun", func() bool { return r.reports()[0].Exchanges == 2 })

		path := filepath.Join(t.TempDir(), "log")
		log, err := accesslog.Open(accesslog.Options{Path: path, Loops: 1})
		if err != nil {
			t.Fatal(err)
		}
		AskSet(r.peers[0].Loop, &Settings{Log: log.NewBuffer(nil)})
		r.reports() // it has been told
		after := r.dial()
		io.WriteString(after, "GET /after HTTP/1.1\r\nHost: h\r\n\r\n")
		await(t, "the third has begun", func() bool { return r.reports()[0].Exchanges == 3 })
		close(let)
		for _, c := range []net.Conn{before, after} {
			if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 200") {
				t.Errorf("%q, %v", head, err)
			}
		}
		tunnel.Close()
		r.settled()
		r.stop()
		log.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(b), "\n") != 1 || !strings.Contains(string(b), `"target":"/after"`) {
			t.Errorf("the log has\n%s\nwant one line, of /after", b)
		}
	})
}
