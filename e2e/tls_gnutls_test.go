package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gnutls connects GnuTLS's client, which keeps to priority; log has what it says of its
// handshakes. A line such as ^rekey^ is a command.
func gnutls(t *testing.T, z *zproxy, ca *authority, priority string) (c *piped, log string) {
	t.Helper()
	need(t, "gnutls-cli")
	_, port, err := net.SplitHostPort(z.addr)
	if err != nil {
		t.Fatal(err)
	}
	log = filepath.Join(t.TempDir(), "log")
	return startPiped(t, exec.Command("gnutls-cli", "--port", port, "--x509cafile", ca.file, "--sni-hostname", "a.example", "--verify-hostname", "a.example",
		"--logfile", log, "--priority", priority, "--inline-commands", "127.0.0.1")), log
}

// Every cipher with every group, with keys that change on the way and a session that is
// resumed.
func TestTLSGnuTLS(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z, ca := startVaried(t, backend, "")
		resumed := 0
		small, large := digits(100)+"\n", strings.Repeat(digits(2000)+"\n", 9) // each line makes a record, and each byte received a write
		try := func(version, priority string, described ...string) {
			t.Helper()
			c, log := gnutls(t, z, ca, "NORMAL:-VERS-ALL:+VERS-TLS"+version+":"+priority)
			c.echo(small)
			commands := []string{"^resume^"}
			if version == "1.3" {
				commands = []string{"^resume^", "^rekey1^", "^rekey^"} // in this order: once it has changed keys, GnuTLS 3.8 resumes nothing
			}
			for _, command := range commands {
				c.write(command + "\n")
				c.echo(small)
			}
			if strings.Contains(priority, "X25519") {
				c.echo(large)
			}
			c.in.Close()
			c.ended()
			b, err := os.ReadFile(log)
			for _, want := range append(described, "This is a resumed session") {
				if err != nil || !strings.Contains(string(b), want) {
					t.Errorf("%s %s: no %q in %s", version, priority, want, b)
				}
			}
			resumed++
		}
		for _, version := range []string{"1.2", "1.3"} {
			for _, cipher := range []string{"AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"} {
				for _, group := range []string{"X25519", "SECP256R1", "SECP384R1"} {
					// GnuTLS takes the curve of a certificate for one of the groups as well.
					kx := "ECDHE-ECDSA:+GROUP-SECP256R1"
					if group == "SECP384R1" {
						kx = "ECDHE-RSA"
					}
					try(version, fmt.Sprintf("-CIPHER-ALL:+%s:-GROUP-ALL:+GROUP-%s:-KX-ALL:+%s", cipher, group, kx), "(TLS"+version, cipher, "ECDHE-"+group)
				}
			}
			try(version, "%COMPAT")
			try(version, "%DISABLE_WILDCARDS:%SAFE_RENEGOTIATION")
		}
		m := z.metrics(t)
		if n := m.sum("zproxy_tls_handshakes_total", `resumed="true"`); n != float64(resumed) || m.sum("zproxy_tls_failed_total") != 0 {
			t.Errorf("%v sessions resumed, want %d; %v handshakes failed", n, resumed, m.sum("zproxy_tls_failed_total"))
		}

		c, log := gnutls(t, z, ca, "NORMAL:-VERS-ALL:+VERS-TLS1.2")
		c.echo(small)
		c.write("^renegotiate^\n")
		c.ended()
		if b, err := os.ReadFile(log); err != nil || !strings.Contains(string(b)+c.out.String(), "No renegotiation") {
			t.Errorf("renegotiation: %v\n%s\n%s", err, b, c.out.String())
		}
	})
}
