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

	"golang.org/x/sys/unix"

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
		if id := r.Header.Get("X-Request-Id"); h.Version == 2 && id != "" && string(h.UniqueID) != id {
			text = fmt.Sprintf("%q is called %q", id, h.UniqueID)
		}
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
upstreams: {app: {send_proxy: v%d%s%s, pool: {max_connections: 3}, endpoints: [{address: "ORIGIN"}]}}
forwarding: {request_id: true}
`, version, map[int]string{2: ", send_proxy_tlvs: [unique_id]"}[version], section)), `8080"`, `8080", protocols: [http1, h2c]`, 1), nil)
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
							resp, err := (&http.Client{Transport: tr, Timeout: patience}).Post("http://"+r.addr+"/", "text/plain", strings.NewReader("body"))
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

// A connection that is dialled for a request, with a header of either version, is dialled without an
// allocation.
func TestSendProxyAllocatesNothing(t *testing.T) {
	onBackends(t, func(t *testing.T, backend loop.IO) {
		for _, version := range []string{"v1", "v2, send_proxy_tlvs: [alpn, authority, ssl, unique_id]"} {
			s := newStepped(t, backend, "upstreams: {app: {send_proxy: "+version+", endpoints: [{address: ORIGIN}]}}", nil)
			file, err := s.accept.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			listener := int(file.Fd())
			unix.SetNonblock(listener, true)
			request, response, b := []byte(getRequest), []byte(okResponse), make([]byte, 4096)
			waiting := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
			accept := func() {
				for range 1000 {
					if n, _ := unix.Poll(waiting, 0); n == 1 {
						s.origin, _, _ = unix.Accept4(listener, unix.SOCK_NONBLOCK)
						return
					}
					s.turn()
				}
				t.Fatal("nobody connects within a thousand turns")
			}
			exchange := func() {
				s.read(s.origin, b)
				unix.Write(s.origin, response)
				s.read(s.client, b)
				unix.Close(s.origin)
				unix.Write(s.client, request)
				accept()
			}
			for range 100 {
				exchange()
			}
			to, err := unix.Getsockname(listener)
			if err != nil {
				t.Fatal(err)
			}
			own := testing.AllocsPerRun(1000, func() { // what accepting costs here
				fd, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				unix.Connect(fd, to)
				accepted, _, _ := unix.Accept4(listener, unix.SOCK_NONBLOCK)
				unix.Close(accepted)
				unix.Close(fd)
			})
			if n := testing.AllocsPerRun(1000, exchange) - own; n != 0 {
				t.Errorf("%s: %v allocations per request, want 0", version, n)
			}
		}
	})
}

// Connections that were made before a reload switched the header on, off, or to the other version
// carry no request that is sent after it.
func TestSendProxySwitched(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		greeted := startGreeted(t, false)
		plain := startServer(t, versionPair{}, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) })
		text := func(send, addr string) string {
			return yaml(addr, "upstreams: {app: {"+send+"endpoints: [{address: ORIGIN}]}}")
		}
		r := start(t, backend, 1, text("", plain), nil)
		ask := func() string {
			resp, err := http.Get("http://" + r.addr + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s, %v: %s", resp.Status, err, b)
			}
			return string(b)
		}
		first := ask()
		if again := ask(); again != first { // it is kept
			t.Fatalf("%s, then %s", first, again)
		}
		for _, c := range []struct{ send, want string }{
			{"send_proxy: v1, ", "127.0.0.1 by 1, request 1, " + r.addr}, {"send_proxy: v2, ", "127.0.0.1 by 2, request 1, " + r.addr},
			{"send_proxy: v1, ", "127.0.0.1 by 1, request 1, " + r.addr},
		} {
			r.adopt(text(c.send, greeted))
			for range 3 {
				if got := ask(); got != c.want {
					t.Errorf("%s: %q, want %q", c.send, got, c.want)
				}
			}
		}
		r.adopt(text("", plain))
		if got := ask(); !strings.HasPrefix(got, "127.0.0.1:") || got == first {
			t.Errorf("%q, and before %q", got, first)
		}
	})
}
