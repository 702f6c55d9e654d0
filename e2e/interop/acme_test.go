package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zproxy/internal/tlstest"
)

// authorized waits until clients who ask for a name are shown an authority's
// certificate, other than one that was there before.
func authorized(t *testing.T, p *pebble, z *running, name string, before *x509.Certificate) *x509.Certificate {
	t.Helper()
	roots := p.roots(t)
	var leaf *x509.Certificate
	await(t, 40*time.Second, "an authority's certificate for "+name, func() (bool, string) {
		l, verified, err := shown(p.tls, name, roots)
		if err != nil {
			return false, err.Error()
		}
		leaf = l
		return verified && (before == nil || !leaf.Equal(before)), leaf.Subject.String() + "\n" + z.out.String()
	})
	return leaf
}

// Both challenges give a certificate for each entry of names. It is kept where nobody
// else reads it, and after a restart nobody is asked for anything.
func TestACME(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"http-01", "tls-alpn-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			eachBackend(t, func(t *testing.T, backend string) {
				t.Parallel()
				p := startPebble(t, nil)
				z := startAuthorized(t, backend, p, fmt.Sprintf(`challenge: %s, email: me@example.com, names: ["A.example www.a.example", b.example]`, challenge))
				if !strings.Contains(z.out.String(), "a self-signed certificate is in use") {
					t.Errorf("nothing is said of the self-signed certificates:\n%s", z.out.String())
				}
				a, b := authorized(t, p, z, "a.example", nil), authorized(t, p, z, "b.example", nil)
				if fmt.Sprint(a.DNSNames) != "[a.example www.a.example]" || fmt.Sprint(b.DNSNames) != "[b.example]" {
					t.Errorf("for %v and %v", a.DNSNames, b.DNSNames)
				}
				await(t, 30*time.Second, "metrics", func() (bool, string) {
					issued, placeholders, failing := z.metric(t, "zproxy_acme_issued_total"), z.metric(t, "zproxy_acme_placeholder"), z.metric(t, "zproxy_acme_failing")
					return issued == 2 && placeholders == 0 && failing == 0, fmt.Sprint(issued, placeholders, failing)
				})
				if days := z.metric(t, "zproxy_tls_certificate_days"); days < 179 || days > 180 {
					t.Errorf("%v days until two certificates expire", days)
				}
				if next := z.metric(t, `zproxy_acme_next_days{certificate="b.example"}`); next < 0.2 || next > 0.3 {
					t.Errorf("there is something to do in %v days", next) // pebble says: ask again after six hours
				}
				if n := z.metric(t, "zproxy_tls_failed_total"); n != 0 {
					t.Errorf("%v handshakes have failed", n)
				}
				private(t, filepath.Join(filepath.Dir(z.file), "store"), 5)

				z.end(t)
				orders := p.orders()
				p.stop()
				z.start(t)
				for name, before := range map[string]*x509.Certificate{"a.example": a, "www.a.example": a, "b.example": b} {
					if leaf, _, err := shown(p.tls, name, nil); err != nil || !leaf.Equal(before) {
						t.Errorf("%s after a restart: %v, another certificate", name, err)
					}
				}
				if orders != 2 || strings.Contains(z.out.String(), "level=ERROR") {
					t.Errorf("%d orders; after the restart:\n%s", orders, z.out.String())
				}
			})
		})
	}
}

// private wants a number of files in a folder and those in it, and that nobody but
// their owner reads them.
func private(t *testing.T, dir string, want int) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if e.IsDir() {
			mode = 0o700
		} else {
			files++
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || files != want {
		t.Errorf("%v: %d files in %s, want %d", err, files, dir, want)
	}
}

// A certificate that has not long to live is replaced in time, and no client notices: all
// are served, those of new connections with a certificate that is valid at that moment.
func TestACMERenewal(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, backend string) {
		t.Parallel()
		p := startPebble(t, map[string]any{"profiles": lifetime(30 * time.Second)})
		z := startAuthorized(t, backend, p, `names: [a.example]`)
		first := authorized(t, p, z, "a.example", nil)
		roots := p.roots(t)
		stop, done := make(chan struct{}), make(chan string)
		for i := range 3 {
			kept := i == 0
			go func() {
				client := clientOf(p.tls, "a.example", roots, kept)
				defer client.CloseIdleConnections()
				asked := 0
				for {
					select {
					case <-stop:
						if asked < 100 {
							done <- fmt.Sprintf("only %d requests", asked)
						}
						done <- ""
						return
					case <-time.After(5 * time.Millisecond):
					}
					if err := ask(client, "a.example"); err != nil {
						done <- fmt.Sprintf("request %d, on a kept connection: %v: %v", asked, kept, err)
						return
					}
					asked++
				}
			}()
		}
		second := authorized(t, p, z, "a.example", first)
		if age := second.NotBefore.Sub(first.NotBefore); age < 9*time.Second || age > 27*time.Second {
			t.Errorf("renewed after %v", age)
		}
		close(stop)
		for range 3 {
			if wrong := <-done; wrong != "" {
				t.Error(wrong)
			}
		}
		if issued, failed := z.metric(t, "zproxy_acme_issued_total"), z.metric(t, "zproxy_acme_failures_total"); issued != 2 || failed != 0 {
			t.Errorf("%v issued, %v failures:\n%s", issued, failed, z.out.String())
		}
	})
}

// clientOf asks whoever listens on addr by a name, on one connection or on a new one each
// time.
func clientOf(addr, name string, roots *x509.CertPool, kept bool) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: name},
		DisableKeepAlives: !kept,
	}}
}

func ask(client *http.Client, name string) error {
	res, err := client.Get("https://" + name + "/")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "yes\n" {
		return fmt.Errorf("%s, %q, %v", res.Status, body, err)
	}
	return nil
}

// An authority says when it wants a certificate to be renewed; who sends SIGHUP has it be
// asked at once.
func TestACMEAdvice(t *testing.T) {
	t.Parallel()
	p := startPebble(t, nil)
	z := startAuthorized(t, "epoll", p, `names: [a.example]`)
	leaf := authorized(t, p, z, "a.example", nil)
	start := time.Now().Add(10 * 24 * time.Hour).Truncate(time.Second)
	p.advise(t, leaf, start, start.Add(time.Hour))
	z.cmd.Process.Signal(syscall.SIGHUP)
	await(t, 30*time.Second, "the renewal moves", func() (bool, string) {
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(z.file), "store", "*", "a.example.json"))
		if len(files) != 1 {
			return false, fmt.Sprint(files)
		}
		data, _ := os.ReadFile(files[0])
		var kept struct{ Chosen time.Time }
		err := json.Unmarshal(data, &kept)
		return err == nil && !kept.Chosen.Before(start) && !kept.Chosen.After(start.Add(time.Hour)), string(data)
	})
	await(t, 30*time.Second, "the log says so", func() (bool, string) {
		return strings.Contains(z.out.String(), "the authority says when to renew"), z.out.String()
	})
}

// Where there is no certificate the log says why and what to do, and the proxy serves with
// one of its own.
func TestACMEFails(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	defer elsewhere.Close()
	nobody := freeAddr(t)
	at := func(address string) string {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	p := startPebble(t, map[string]any{"httpPort": json.Number(at(elsewhere.Listener.Addr().String())), "tlsPort": json.Number(at(nobody))})
	guarded := startPebble(t, map[string]any{"externalAccountBindingRequired": true})
	stranger := filepath.Join(t.TempDir(), "stranger.pem")
	cert, _ := tlstest.PEM(t, loopbackCertificate(t))
	if err := os.WriteFile(stranger, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("cases", func(t *testing.T) {
		for name, c := range map[string]struct {
			directory, ca, section string
			reason, says           string
		}{
			"blocked":         {p.directory, p.ca, "names: [blocked.example]", "rejectedIdentifier", "the authority gives no certificate for this name"},
			"another server":  {p.directory, p.ca, "names: [a.example], challenge: http-01", "unauthorized", "port 80 of the name is not reached, leads to another server"},
			"nobody":          {p.directory, p.ca, "names: [a.example]", "unauthorized", "port 443 of the name is not reached"},
			"no account":      {guarded.directory, guarded.ca, "names: [a.example]", "externalAccountRequired", "external_account has to say"},
			"untrusted":       {p.directory, stranger, "names: [a.example]", "authority not trusted", "ca names the authorities"},
			"no directory":    {"https://" + nobody + "/dir", p.ca, "names: [a.example]", "network", "directory has to be reachable"},
			"not a directory": {p.directory + "/none", p.ca, "names: [a.example]", "other", "404"},
			"no profile":      {p.directory, p.ca, "names: [a.example], profile: none", "other", "unknown profile name"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				at := &pebble{directory: c.directory, ca: c.ca, http: freeAddr(t), tls: freeAddr(t)}
				z := startAuthorized(t, "epoll", at, c.section)
				await(t, 60*time.Second, "an attempt fails", func() (bool, string) {
					return z.metric(t, "zproxy_acme_failures_total") > 0 && strings.Contains(z.out.String(), "next="), z.out.String()
				})
				log := z.out.String()
				if z.metric(t, "zproxy_acme_failures_total") != 1 || !strings.Contains(log, c.says) || z.metric(t, `zproxy_acme_failures_total{certificate="`) != 1 ||
					!strings.Contains(log, "a self-signed one is in use") || z.metric(t, "zproxy_acme_failing") != 1 || z.metric(t, "zproxy_acme_placeholder") != 1 {
					t.Errorf("%s", log)
				}
				if !strings.Contains(log, fmt.Sprintf("reason=%s ", c.reason)) && !strings.Contains(log, fmt.Sprintf("reason=%q ", c.reason)) {
					t.Errorf("the reason is not %s:\n%s", c.reason, log)
				}
				if _, verified, err := shown(at.tls, "a.example", x509.NewCertPool()); err != nil || verified {
					t.Errorf("a client: %v, verified %v", err, verified)
				}
			})
		}
	})
}

// An authority that has lost its memory, of the account and of what it has issued, is
// asked for an account and a certificate like one that never had any.
func TestACMEForgotten(t *testing.T) {
	t.Parallel()
	p := startPebble(t, nil)
	z := startAuthorized(t, "epoll", p, `names: [a.example]`)
	first := authorized(t, p, z, "a.example", nil)
	z.end(t)
	p.stop()
	p.run()
	text, err := os.ReadFile(z.file)
	if err != nil {
		t.Fatal(err)
	}
	z.configure(t, strings.Replace(string(text), "names: [a.example]", "names: [a.example], key_type: p384", 1))
	z.start(t)
	second := authorized(t, p, z, "a.example", first)
	if key, ok := second.PublicKey.(*ecdsa.PublicKey); !ok || key.Params().BitSize != 384 {
		t.Errorf("the key is a %T", second.PublicKey)
	}
	if n := z.metric(t, "zproxy_acme_failures_total"); n != 0 {
		t.Errorf("%v failures:\n%s", n, z.out.String())
	}
}

// An account that the authority knows by other means is bound to the one here.
func TestACMEExternalAccount(t *testing.T) {
	t.Parallel()
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	p := startPebble(t, map[string]any{"externalAccountBindingRequired": true, "externalAccountMACKeys": map[string]string{"kid-1": key}})
	file := filepath.Join(t.TempDir(), "mac")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	z := startAuthorized(t, "epoll", p, fmt.Sprintf(`names: [a.example], external_account: {key_id: kid-1, key: %q}`, file))
	authorized(t, p, z, "a.example", nil)
}

// Nothing is ordered for a folder that is full; once there is room SIGHUP is enough.
func TestACMEFullDisk(t *testing.T) {
	t.Parallel()
	p := startPebble(t, nil)
	full := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=8k", "none", full).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted to be full: run as root, outside of containers that forbid it: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", full).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	z := startAuthorized(t, "epoll", p, fmt.Sprintf(`names: [a.example], storage: %q`, filepath.Join(full, "store")))
	await(t, 30*time.Second, "the folder is full", func() (bool, string) {
		return z.metric(t, `zproxy_acme_failures_total{certificate="a.example",reason="storage"}`) == 1 && strings.Contains(z.out.String(), "next="), z.out.String()
	})
	if log := z.out.String(); !strings.Contains(log, "no space left on device (make room there, or name another folder as storage)") || p.orders() != 0 {
		t.Errorf("%d orders:\n%s", p.orders(), log)
	}
	if out, err := exec.Command("mount", "-o", "remount,size=1m", full).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	z.cmd.Process.Signal(syscall.SIGHUP)
	authorized(t, p, z, "a.example", nil)
	private(t, filepath.Join(full, "store"), 3)
}

// An authority that does not answer keeps the proxy from ending no longer than a request would.
func TestACMEEnds(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	came := make(chan net.Conn, 1)
	go func() {
		c, err := silent.Accept()
		if err == nil {
			came <- c
		}
	}()
	cert, _ := tlstest.PEM(t, loopbackCertificate(t))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	z := startAuthorized(t, "epoll", &pebble{directory: "https://" + silent.Addr().String() + "/dir", ca: ca, http: freeAddr(t), tls: freeAddr(t)}, "names: [a.example]")
	select {
	case c := <-came:
		defer c.Close()
	case <-time.After(30 * time.Second):
		t.Fatalf("the authority is not asked:\n%s", z.out.String())
	}
	began := time.Now()
	z.end(t)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v:\n%s", took, z.out.String())
	}
}
