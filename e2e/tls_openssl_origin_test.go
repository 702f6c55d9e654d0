package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sServer runs openssl's server in dir. It says nothing of who it talks to, so it must be asked by
// one connection at a time.
func sServer(t *testing.T, i issued, dir string, args ...string) (c *piped, addr string) {
	t.Helper()
	for try := 1; ; try++ {
		addr = freeAddr(t)
		cmd := openssl(append([]string{"s_server", "-accept", addr, "-cert", i.cert, "-key", i.key}, args...)...)
		cmd.Dir = dir
		if c = startPiped(t, cmd); c.listens("tcp", addr) {
			return c, addr
		}
		if try == startTries {
			t.Fatalf("s_server does not start:\n%s", tail(c.out.String()))
		}
	}
}

// received reads on until the server has printed what, without its remarks.
func (c *piped) received(what string) string {
	c.t.Helper()
	var got strings.Builder
	for !strings.HasSuffix(got.String(), what) {
		b, err := c.br.ReadByte()
		if err != nil {
			c.t.Fatalf("no %q: %v\n%s\n%s", what, err, tail(got.String()), tail(c.out.String()))
		}
		got.WriteByte(b)
	}
	return strings.NewReplacer("SSL_do_handshake -> 1\n", "", "Read BLOCK\n", "").Replace(got.String())
}

// startBefore runs a proxy before origins within TLS, one for each path /0/, /1/ and so on.
func startBefore(t *testing.T, backend string, ca *authority, origins ...string) *zproxy {
	t.Helper()
	upstreams, routes := "", ""
	for i, addr := range origins {
		upstreams += fmt.Sprintf("  app%d: {tls: {ca: %q, server_name: a.example}, pool: {prewarm: 0, max_connections: 1}, endpoints: [{address: %q}]}\n", i, ca.file, addr)
		routes += fmt.Sprintf("  - {path: \"/%d/*\", upstream: app%d}\n", i, i)
	}
	return start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams:
%sroutes:
%saccess_log: {path: LOGFILE, flush: 10ms}
`, upstreams, routes))
}

// openssl as an origin, with every suite and every group; and so again, by a session that is
// resumed.
func TestTLSOriginOpenSSLSuites(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		pairs := map[bool]issued{true: ca.issue(t, "rsa", nil, "a.example"), false: ca.issue(t, "ecdsa", nil, "a.example")}
		var origins, names []string
		run := func(args ...string) {
			pair, dir := pairs[strings.Contains(fmt.Sprint(args), "-RSA-")], t.TempDir()
			path := filepath.Join(dir, fmt.Sprint(len(names)))
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(path, "page"), digits(200_000))
			_, addr := sServer(t, pair, dir, append(args, "-WWW")...)
			origins, names = append(origins, addr), append(names, fmt.Sprint(args))
		}
		for _, suite := range slices.Concat(suites13, suites12) {
			run(choosing(suite)...)
		}
		for group := range groups(t) {
			run("-tls1_3", "-groups", group)
			if group != "X25519MLKEM768" {
				run("-tls1_2", "-groups", group)
			}
		}
		run("-tls1_3", "-record_padding", "4096")
		run("-tls1_3", "-max_send_frag", "512")
		run("-tls1_3", "-num_tickets", "10")
		run("-tls1_3", "-no_ticket") // sessions are in the server then
		run("-tls1_2", "-no_ticket")
		z := startBefore(t, backend, ca, origins...)
		for i, name := range names {
			for range 3 {
				c := dial(t, z.addr)
				c.write(fmt.Sprintf("GET /%d/page HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", i))
				if res, body := c.response("GET"); res.StatusCode != 200 || body != digits(200_000) {
					t.Errorf("%s: %s, %d bytes", name, res.Status, len(body))
				}
			}
		}
		if n := z.metrics(t).sum("zproxy_tls_handshakes_total", `side="upstream"`, `resumed="true"`); n < float64(len(names)) {
			t.Errorf("%v sessions resumed", n)
		}
	})
}

// An origin changes its keys, and asks for other ones, between answers, within them and while
// it is sent to.
func TestTLSOriginOpenSSLKeyUpdates(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		pair := ca.issue(t, "ecdsa", nil, "a.example")
		for _, suite := range suites13 {
			msg := filepath.Join(t.TempDir(), "msg")
			s, addr := sServer(t, pair, t.TempDir(), append(choosing(suite), "-msg", "-msgfile", msg)...)
			c := dial(t, startBefore(t, backend, ca, addr).addr)
			body := digits(100_000)
			sent, asked := 0, 0
			change := func(letter string) {
				t.Helper()
				s.write(letter + "\n")
				sent++
				if letter == "K" {
					asked++
				}
			}
			answered := func() {
				t.Helper()
				c.SetDeadline(time.Now().Add(patience))
				if res, got := c.response("GET"); res.StatusCode != 200 || got != body {
					t.Fatalf("%s: %s, %d bytes", suite, res.Status, len(got))
				}
			}
			head := strings.TrimSuffix(ok(body), body)
			for _, letter := range []string{"k", "K", "k", "K"} {
				c.write("GET /0/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
				s.received("\r\n\r\n")
				change(letter)
				s.write(head[:20])
				change(letter)
				s.write(head[20:])
				change(letter)
				s.write(body[:50_000])
				change(letter)
				s.write(body[50_000:])
				answered()
				change(letter)

				c.write(strings.Replace(posting(body+"end."), "POST / ", "POST /0/ ", 1) + body[:50_000])
				s.received("\r\n\r\n0123456789")
				change(letter)
				c.write(body[50_000:] + "end.")
				if got := s.received("end."); got != body[10:]+"end." {
					t.Errorf("%s: the origin got %d bytes, and %q", suite, len(got), strings.FieldsFunc(got, func(r rune) bool { return '0' <= r && r <= '9' }))
				}
				s.write(head + body)
				answered()
			}
			s.write("Q\n")
			s.ended()
			keyUpdates(t, msg, sent, 3, asked) // the last one may come when nothing is left to be sent
		}
	})
}

// An origin that wants to negotiate again is told no.
func TestTLSOriginOpenSSLRenegotiates(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		msg := filepath.Join(t.TempDir(), "msg")
		s, addr := sServer(t, ca.issue(t, "ecdsa", nil, "a.example"), t.TempDir(), "-tls1_2", "-msg", "-msgfile", msg)
		c := dial(t, startBefore(t, backend, ca, addr).addr)
		c.write("GET /0/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
		s.received("\r\n\r\n")
		s.write("r\n")
		eventually(t, patience, "the alert", func() (bool, string) {
			b, _ := os.ReadFile(msg)
			return strings.Contains(string(b), "no_renegotiation"), string(b)
		})
		s.write(ok("0123456789"))
		if res, body := c.response("GET"); res.StatusCode != 200 || body != "0123456789" {
			t.Errorf("%s, %q", res.Status, body)
		}
		s.write("Q\n")
		s.ended()
	})
}
