package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// piped is a program that sends what it reads on stdin within TLS, and writes what it receives
// to stdout. What it prints on stderr is in out.
type piped struct {
	*process
	t          *testing.T
	in, stdout *os.File
	br         *bufio.Reader
}

func startPiped(t *testing.T, cmd *exec.Cmd) *piped {
	t.Helper()
	theirs, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = theirs, out
	// A program that cannot get rid of what it receives reads no more either: what a test lets it
	// receive while it sends has to find room.
	size := 0
	if raw, e := stdout.SyscallConn(); e != nil {
		t.Fatal(e)
	} else if raw.Control(func(fd uintptr) { size, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, mib) }); err != nil || size < mib {
		t.Fatalf("a pipe of %d bytes, %v", size, err)
	}
	c := &piped{process: spawnCmd(t, cmd), t: t, in: in, stdout: stdout}
	c.br = bufio.NewReader(c)
	theirs.Close()
	out.Close()
	t.Cleanup(func() { in.Close(); stdout.Close() })
	return c
}

// Read has patience with each read.
func (c *piped) Read(b []byte) (int, error) {
	_ = c.stdout.SetReadDeadline(time.Now().Add(patience))
	return c.stdout.Read(b)
}

// write waits until the program has read text: a letter behind it is a command only if it
// comes by itself.
func (c *piped) write(text string) {
	c.t.Helper()
	_ = c.in.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.in, text); err != nil {
		c.t.Fatalf("writing: %v\n%s", err, tail(c.out.String()))
	}
	raw, err := c.in.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); c.running(); time.Sleep(time.Millisecond) {
		left := 0
		if e := raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); e != nil || err != nil || left == 0 {
			break
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d bytes are not read\n%s", left, tail(c.out.String()))
		}
	}
}

// answer reads a whole response, and wants it to be a 200 with body.
func (c *piped) answer(body string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("reading a response: %v\n%s", err, tail(c.out.String()))
	}
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || string(got) != body {
		c.t.Fatalf("%s, %d of %d bytes, %v\n%s", res.Status, len(got), len(body), err, tail(c.out.String()))
	}
}

// echo posts body and wants it back.
func (c *piped) echo(body string) {
	c.t.Helper()
	c.write(posting(body) + body)
	c.answer(body)
}

func posting(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n", len(body))
}

// ended gives all that the program has printed, once it has ended.
func (c *piped) ended() string {
	c.t.Helper()
	rest, _ := io.ReadAll(c.br)
	c.wait(c.t, patience)
	return c.out.String() + string(rest)
}

// startEchoing is an origin that answers with the body it got.
func startEchoing(t *testing.T) *origin {
	return startOrigin(t, answering(func(c *originConn, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil {
			c.write(ok(string(b)))
		}
	}))
}

// startVaried runs a proxy before an echoing origin, with two certificates for a.example.
func startVaried(t *testing.T, backend, more string) (z *zproxy, ca *authority) {
	t.Helper()
	ca = newAuthority(t, "ca", nil)
	fast, slow := ca.issue(t, "ecdsa", nil, "a.example"), ca.issue(t, "rsa", nil, "a.example")
	return start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, tls: {certificates: [{cert: %q, key: %q}, {cert: %q, key: %q}]%s}}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
access_log: {path: LOGFILE, flush: 10ms}
`, fast.cert, fast.key, slow.cert, slow.key, more, startEchoing(t).addr)), ca
}

func openssl(args ...string) *exec.Cmd { return exec.Command("openssl", args...) }

// sClient connects openssl's client. msg has the handshake messages that pass.
func sClient(t *testing.T, z *zproxy, ca *authority, args ...string) (c *piped, msg string) {
	t.Helper()
	msg = filepath.Join(t.TempDir(), "msg")
	return startPiped(t, openssl(append([]string{"s_client", "-connect", z.addr, "-servername", "a.example", "-CAfile", ca.file,
		"-verify_return_error", "-verify_hostname", "a.example", "-brief", "-msg", "-msgfile", msg}, args...)...)), msg
}

// quit ends s_client with close_notify.
func quit(c *piped) string {
	c.t.Helper()
	c.write("Q\n")
	return c.ended()
}

// Cipher suites as OpenSSL names them: those of TLS 1.3, and of TLS 1.2 by kind of certificate.
var (
	suites13 = []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
	suites12 = []string{"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
		"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"}
)

// groups are those of the openssl at hand, and what it calls them in its summary.
func groups(t *testing.T) map[string]string {
	t.Helper()
	need(t, "openssl")
	g := map[string]string{"X25519": "X25519", "P-256": "prime256v1", "P-384": "secp384r1"}
	// OpenSSL 3.5 and later.
	if out, err := exec.Command("openssl", "list", "-kem-algorithms").Output(); err == nil && bytes.Contains(out, []byte("X25519MLKEM768")) {
		g["X25519MLKEM768"] = "X25519MLKEM768"
	}
	return g
}

// choosing are the options of s_client and s_server for one suite and version.
func choosing(suite string) []string {
	if strings.HasPrefix(suite, "TLS_") {
		return []string{"-tls1_3", "-ciphersuites", suite}
	}
	return []string{"-tls1_2", "-cipher", suite}
}

// digits is a body of n bytes that has no letter which s_client or s_server take for a command.
func digits(n int) string { return strings.Repeat("0123456789", n/10) }

// Every suite with every group, with bodies of many records both ways.
func TestTLSOpenSSLSuites(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z, ca := startVaried(t, backend, "")
		small, large := digits(100), digits(150_000)
		for _, suite := range slices.Concat(suites13, suites12) {
			for group, name := range groups(t) {
				if group == "X25519MLKEM768" && !strings.HasPrefix(suite, "TLS_") {
					continue
				}
				offered := group
				if strings.Contains(suite, "ECDSA") && group != "P-256" {
					offered += ":P-256" // RFC 8422 5.1.1: the certificate's counts as well
				}
				c, _ := sClient(t, z, ca, append(choosing(suite), "-groups", offered)...)
				c.echo(small)
				c.echo(large)
				said := quit(c)
				for _, want := range []string{"Ciphersuite: " + suite, name, "Verification: OK", "Verified peername: a.example"} {
					if !strings.Contains(said, want) {
						t.Errorf("%s, %s: no %q in\n%s", suite, group, want, said)
					}
				}
			}
		}
		if m := z.metrics(t); m.sum("zproxy_tls_failed_total") != 0 {
			t.Errorf("%v handshakes failed", m.sum("zproxy_tls_failed_total"))
		}
	})
}

// What a client may want of the record layer and of the handshake: padding, short records,
// a second ClientHello, another signature; a certificate of its own.
func TestTLSOpenSSLOptions(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z, ca := startVaried(t, backend, "")
		for _, args := range [][]string{
			{"-tls1_3", "-record_padding", "4096"}, {"-tls1_3", "-record_padding", "16384"}, {"-tls1_3", "-max_send_frag", "512"},
			{"-tls1_2", "-max_send_frag", "512"}, {"-tls1_3", "-maxfraglen", "512"}, {"-tls1_2", "-maxfraglen", "512"},
			{"-tls1_3", "-groups", "P-521:X25519"}, {"-tls1_3", "-no_middlebox"}, {"-tls1_2", "-no_ticket"}, {"-tls1_3", "-no_ticket"},
			{"-tls1_3", "-sigalgs", "rsa_pss_rsae_sha512"}, {"-tls1_2", "-sigalgs", "RSA+SHA256"}, {"-tls1_3", "-status"}, {"-tls1_2", "-status"},
			{"-alpn", "http/1.1"}, {"-alpn", "http/1.0,http/1.1"}, {"-tls1_2", "-no_etm"}, {"-tls1_2", "-legacy_renegotiation"},
		} {
			c, _ := sClient(t, z, ca, args...)
			c.echo(digits(10))
			c.echo(digits(50_000))
			quit(c)
		}

		who := ca.issue(t, "rsa", nil, "somebody")
		z, ca = startVaried(t, backend, fmt.Sprintf(", client_auth: {ca: %q}", ca.file))
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			c, _ := sClient(t, z, ca, version, "-cert", who.cert, "-key", who.key)
			c.echo(digits(50_000))
			quit(c)
			c, _ = sClient(t, z, ca, version)
			_, _ = io.WriteString(c.in, posting("")) // it may have ended by now
			if said := c.ended(); !strings.Contains(said, "alert") {
				t.Errorf("%s: without a certificate: %s", version, said)
			}
		}
	})
}

// keyUpdates wants those that openssl has noted in file: sent of its own (>>>), and received
// (<<<) at least one in each of exchanges messages of the proxy's, where it had asked for them. Who is
// asked more than once before it sends may change keys once (RFC 9846 4.7.3).
func keyUpdates(t *testing.T, file string, sent, exchanges, asked int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, in := 0, 0
	for l := range strings.Lines(string(b)) {
		switch {
		case strings.Contains(l, "KeyUpdate") && strings.HasPrefix(l, ">>>"):
			out++
		case strings.Contains(l, "KeyUpdate"):
			in++
		}
	}
	if out != sent || in < exchanges || in > asked {
		t.Errorf("%d KeyUpdates sent, %d received; want %d, and %d to %d", out, in, sent, exchanges, asked)
	}
}

// A client changes its keys, and asks for other ones, between requests, within heads and
// bodies, and while it is sent to.
func TestTLSOpenSSLKeyUpdates(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z, ca := startVaried(t, backend, "")
		for _, suite := range suites13 {
			c, msg := sClient(t, z, ca, choosing(suite)...)
			body := digits(100_000)
			sent, asked := 0, 0
			change := func(letter string) {
				t.Helper()
				c.write(letter + "\n")
				sent++
				if letter == "K" {
					asked++
				}
			}
			for _, letter := range []string{"k", "K"} {
				change(letter)
				c.echo(body)
				head := posting(body)
				c.write(head[:30])
				change(letter)
				c.write(head[30:])
				change(letter)
				c.write(body[:50_000])
				change(letter)
				c.write(body[50_000:])
				c.write(posting(body) + body[:50_000]) // while the answer comes
				change(letter)
				c.answer(body)
				c.write(body[50_000:])
				c.answer(body)
			}
			c.echo(digits(10))
			quit(c)
			keyUpdates(t, msg, sent, 2, asked) // the third answer's may have been asked for before the second began
		}
	})
}

// Sessions are resumed, in both versions and with either hash.
func TestTLSOpenSSLResumes(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z, ca := startVaried(t, backend, "")
		resumed := 0
		for _, suite := range slices.Concat(suites13, suites12) {
			session := filepath.Join(t.TempDir(), "session")
			c, _ := sClient(t, z, ca, append(choosing(suite), "-sess_out", session)...)
			c.echo(digits(10))
			quit(c)
			for range 2 {
				c, _ = sClient(t, z, ca, append(choosing(suite), "-sess_in", session)...)
				c.echo(digits(50_000))
				quit(c)
				resumed++
				if n := z.metrics(t).sum("zproxy_tls_handshakes_total", `resumed="true"`); n != float64(resumed) {
					t.Fatalf("%s: %v sessions resumed, want %d", suite, n, resumed)
				}
			}
		}
		// Five times over, without a request in between.
		c := startPiped(t, openssl("s_client", "-connect", z.addr, "-servername", "a.example", "-CAfile", ca.file, "-tls1_2", "-reconnect"))
		c.write("Q\n")
		if said := c.ended(); strings.Count(said, "Reused, TLSv1.2") != 5 {
			t.Errorf("-reconnect: %s", said)
		}
	})
}

// What is not spoken is refused with an alert, and said in the log; a client that wants to
// negotiate again is told no.
func TestTLSOpenSSLRefused(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z, ca := startVaried(t, backend, "")
		for _, c := range []struct {
			why, alert string
			args       []string
		}{
			{"protocol version", "protocol version", []string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}},
			{"protocol version", "protocol version", []string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}},
			{"no shared cipher suite", "handshake failure", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES256-SHA384:@SECLEVEL=0"}},
			{"no shared cipher suite", "handshake failure", []string{"-tls1_2", "-cipher", "kRSA:DHE:@SECLEVEL=0"}},
			{"no shared cipher suite", "handshake failure", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"}},
			{"no shared cipher suite", "handshake failure", []string{"-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"}},
			{"no shared cipher suite", "handshake failure", []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"}},
			{"no shared group", "handshake failure", []string{"-tls1_3", "-groups", "P-521"}},
			{"no shared signature algorithm", "handshake failure", []string{"-tls1_3", "-sigalgs", "ed25519"}},
			{"protocol version", "inappropriate fallback", []string{"-tls1_2", "-fallback_scsv"}}, // RFC 7507
			{"no shared ALPN protocol", "no application protocol", []string{"-alpn", "smtp"}},
		} {
			before := z.metrics(t).sum("zproxy_tls_failed_total", fmt.Sprintf("reason=%q", c.why))
			p, _ := sClient(t, z, ca, c.args...)
			if said := p.ended(); !strings.Contains(said, c.alert) || strings.Contains(said, "ESTABLISHED") {
				t.Errorf("%v: %s", c.args, said)
			}
			eventually(t, patience, fmt.Sprintf("%v is counted", c.args), func() (bool, string) {
				n := z.metrics(t).sum("zproxy_tls_failed_total", fmt.Sprintf("reason=%q", c.why))
				return n == before+1, fmt.Sprintf("%v before, %v now", before, n)
			})
		}

		// RFC 5746 is obeyed, and no renegotiation made.
		c, msg := sClient(t, z, ca, "-tls1_2")
		c.echo(digits(50_000))
		c.write("R\n")
		if said := c.ended(); !strings.Contains(said, "no renegotiation") {
			t.Errorf("renegotiation: %s", said)
		}
		if b, err := os.ReadFile(msg); err != nil || strings.Count(string(b), ", ServerHello\n") != 1 {
			t.Errorf("renegotiation: %v\n%s", err, b)
		}
		p := startPiped(t, openssl("s_client", "-connect", z.addr, "-servername", "a.example", "-CAfile", ca.file, "-tls1_2", "-comp"))
		if said := quit(p); !strings.Contains(said, "Secure Renegotiation IS supported") || !strings.Contains(said, "Compression: NONE") {
			t.Errorf("%s", said)
		}
	})
}
