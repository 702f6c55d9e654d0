package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto/proxyproto"
)

const greetingText = `
listeners: [{address: "127.0.0.1:8080"%s, protocols: [http1, %s], proxy_protocol: {%s}}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
`

// greetingRig is a worker before an origin that says what X-Forwarded-For it got.
func greetingRig(t *testing.T, backend loop.IO, secure bool, options string) *rig {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(origin.Close)
	section, h2 := "", "h2c"
	if secure {
		section, h2 = ", tls: {certificates: [{cert: cert.pem, key: key.pem}]}", "h2"
	}
	return start(t, backend, 1, fmt.Sprintf(greetingText, section, h2, options, origin.Listener.Addr()), nil)
}

// greet sends header and a request, in pieces of n bytes, and gives what the origin was told; "": the
// connection ended.
func greet(t *testing.T, r *rig, secure bool, header string, n int) string {
	t.Helper()
	raw, err := net.Dial("tcp", r.addr)
	if errors.Is(err, unix.ECONNRESET) { // already
		return ""
	} else if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	under := &sliced{Conn: raw, n: n, first: []byte(header)}
	c := net.Conn(under)
	if secure {
		c = tls.Client(under, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"); err != nil {
		return ""
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 {
		return resp.Status
	}
	return string(b)
}

// sliced writes in pieces of n bytes, 0: as it comes, and first before everything else.
type sliced struct {
	net.Conn
	n     int
	first []byte
}

func (s *sliced) Write(b []byte) (int, error) {
	whole := append(s.first, b...)
	s.first = nil
	for len(whole) > 0 {
		n := len(whole)
		if s.n > 0 {
			n = min(n, s.n)
		}
		if _, err := s.Conn.Write(whole[:n]); err != nil {
			return 0, err
		}
		whole = whole[n:]
	}
	return len(b), nil
}

// Headers of either version name the client, before requests in clear and before TLS, however
// they are cut; what is none, or wrong, ends the connection and is counted.
func TestProxyProtocol(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		from, to := netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("198.51.100.1:443")
		facts := &proxyproto.Facts{ALPN: "h2", Authority: strings.Repeat("a", 3000), UniqueID: []byte("u")}
		good := string(proxyproto.AppendV2(nil, from, to, facts))
		wrong := []byte(good)
		wrong[40] ^= 1
		for _, secure := range []bool{false, true} {
			r := greetingRig(t, backend, secure, `from: ["127.0.0.0/8"]`)
			for header, want := range map[string]string{
				string(proxyproto.AppendV1(nil, from, to)): "192.0.2.7",
				good:                                 "192.0.2.7",
				"PROXY TCP6 2001:db8::1 ::1 1 2\r\n": "2001:db8::1",
				"PROXY UNKNOWN\r\n":                  "127.0.0.1",
				string(proxyproto.AppendLocal(nil)):  "127.0.0.1",
			} {
				for _, n := range []int{0, 1, 700} {
					if n == 1 && len(header) > 200 {
						n = 97
					}
					if got := greet(t, r, secure, header, n); got != want {
						t.Errorf("secure %v, %.40q in pieces of %d: %q", secure, header, n, got)
					}
				}
			}
			for i, header := range []string{"", "PROXY TCP4 1.2.3.4\r\n", string(wrong)} {
				if got := greet(t, r, secure, header, 0); got != "" {
					t.Errorf("secure %v, %.40q: %q", secure, header, got)
				}
				if n := r.settled()[0].Metrics.RefusedByReason[codeGreeting]; n != uint64(i+1) {
					t.Errorf("secure %v, %.40q: counted %d times", secure, header, n)
				}
			}
		}
	})
}

// Who may not speak for others is refused, or served as who he is; who does not finish his header is
// not waited for.
func TestProxyProtocolStrangers(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		for _, secure := range []bool{false, true} {
			r := greetingRig(t, backend, secure, `from: ["192.0.2.0/24"]`)
			if got := greet(t, r, secure, "", 0); got != "" {
				t.Errorf("a stranger gets %q", got)
			}
			if n := r.settled()[0].Metrics.RefusedByReason[codeStranger]; n != 1 {
				t.Errorf("counted %d times", n)
			}
			r = greetingRig(t, backend, secure, `from: ["192.0.2.0/24"], others: plain`)
			if got := greet(t, r, secure, "", 0); got != "127.0.0.1" {
				t.Errorf("a plain client gets %q", got)
			}
			if got := greet(t, r, secure, "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n", 0); got == "192.0.2.7" {
				t.Error("a stranger is believed")
			}
			r = greetingRig(t, backend, secure, `from: ["127.0.0.1"], timeout: 50ms`)
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, "PROXY TCP4 "); err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 || strings.Contains(err.Error(), "timeout") {
				t.Errorf("a header that does not end: %d, %v", n, err)
			}
			if n := r.settled()[0].Metrics.RefusedByReason[codeGreeting]; n != 1 {
				t.Errorf("counted %d times", n)
			}
		}
	})
}
