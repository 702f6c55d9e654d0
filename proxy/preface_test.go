package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"zproxy/internal/tlstest"
	"zproxy/loop"
	"zproxy/proto/proxyproto"
)

// startGreeted is an origin, within TLS or not, that wants a header on each connection, says whom
// it has named, and, by a second number, how many requests the connection has brought.
func startGreeted(t *testing.T, secure bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	config := &tls.Config{Certificates: []tls.Certificate{tlstest.Certificate(t, "ecdsa")}}
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				var b []byte
				for {
					one := make([]byte, 1)
					if _, err := io.ReadFull(raw, one); err != nil {
						return
					}
					b = append(b, one[0])
					n, h, err := proxyproto.Parse(b)
					if err != nil {
						return
					}
					if n > 0 {
						serveGreeted(raw, &h, secure, config)
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func serveGreeted(raw net.Conn, h *proxyproto.Header, secure bool, config *tls.Config) {
	if secure {
		raw = tls.Server(raw, config)
	}
	br := bufio.NewReader(raw)
	for n := 1; ; n++ {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		text := fmt.Sprintf("%s by %d, request %d, %s", h.Source.Addr(), h.Version, n, h.Destination)
		fmt.Fprintf(raw, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
}

// Each request goes to the origin on a connection that names its client, whatever clients there are
// besides, by either protocol.
func TestSendProxy(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		for version := 1; version <= 2; version++ {
			for _, secure := range []bool{false, true} {
				section := ""
				if secure {
					section = ", tls: {verify: false}"
				}
				r := start(t, backend, 1, strings.Replace(yaml(startGreeted(t, secure), fmt.Sprintf(`
upstreams: {app: {send_proxy: v%d%s, pool: {max_connections: 3}, endpoints: [{address: "ORIGIN"}]}}
`, version, section)), `8080"`, `8080", protocols: [http1, h2c]`, 1), nil)
				var all sync.WaitGroup
				for i := range 6 {
					all.Add(1)
					go func() {
						defer all.Done()
						from := net.IPv4(127, 0, 0, byte(2+i/2))
						tr := &http.Transport{Protocols: protocols(i%2 == 0), DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
							return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext(ctx, network, addr)
						}}
						defer tr.CloseIdleConnections()
						want := fmt.Sprintf("%s by %d, request 1, %s", from, version, r.addr)
						for range 10 {
							resp, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second}).Post("http://"+r.addr+"/", "text/plain", strings.NewReader("body"))
							if err != nil {
								t.Error(err)
								return
							}
							b, err := io.ReadAll(resp.Body)
							resp.Body.Close()
							if string(b) != want || err != nil {
								t.Errorf("%s: %q, %v, want %q", resp.Status, b, err, want)
							}
						}
					}()
				}
				all.Wait()
			}
		}
	})
}
