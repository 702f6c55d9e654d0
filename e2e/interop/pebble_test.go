package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"

	"zproxy/internal/child"
	"zproxy/internal/tlstest"
)

// pebble is a certificate authority that speaks ACME, Let's Encrypt's for tests.
type pebble struct {
	directory, management string
	ca                    string // file with what vouches for the directory
	http, tls             string // addresses where it looks for answers to challenges
	out                   child.Output
	client                *http.Client
	run, stop             func() // what runs anew has forgotten everything
}

var pebbleDir string // where it was built

func removePebble() {
	if pebbleDir != "" {
		os.RemoveAll(pebbleDir)
	}
}

var buildPebble = sync.OnceValues(func() (string, error) {
	var err error
	if pebbleDir, err = os.MkdirTemp("", "zproxy-pebble-"); err != nil {
		return "", err
	}
	bin := filepath.Join(pebbleDir, "pebble")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/letsencrypt/pebble/v2/cmd/pebble").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building pebble: %w\n%s", err, out)
	}
	return bin, nil
})

// startPebble runs an authority whose name server says that all names are on
// 127.0.0.1. more goes into its configuration.
func startPebble(t *testing.T, more map[string]any) *pebble {
	t.Helper()
	bin, err := buildPebble()
	if err != nil {
		t.Fatal(err)
	}
	dns := freeAddr(t)
	names, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{dns}})
	if err != nil {
		t.Fatal(err)
	}
	names.SetDefaultDNSIPv6("")
	go names.Run()
	t.Cleanup(names.Shutdown)

	dir := t.TempDir()
	pair := loopbackCertificate(t)
	cert, key := tlstest.PEM(t, pair)
	p := &pebble{directory: "https://" + freeAddr(t), management: "https://" + freeAddr(t), http: freeAddr(t), tls: freeAddr(t)}
	p.ca = filepath.Join(dir, "cert.pem")
	for name, data := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, httpPort, _ := net.SplitHostPort(p.http)
	_, tlsPort, _ := net.SplitHostPort(p.tls)
	settings := map[string]any{
		"listenAddress": p.directory[len("https://"):], "managementListenAddress": p.management[len("https://"):],
		"certificate": p.ca, "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": json.Number(httpPort), "tlsPort": json.Number(tlsPort), "keyAlgorithm": "ecdsa",
		"domainBlocklist": []string{"blocked.example"}, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": lifetime(90 * 24 * time.Hour),
	}
	for k, v := range more {
		settings[k] = v
	}
	config, err := json.Marshal(map[string]any{"pebble": settings})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 30 * time.Second}
	p.directory += "/dir"
	p.run = func() {
		cmd := exec.Command(bin, "-config", file, "-dnsserver", dns)
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20", "PEBBLE_AUTHZREUSE=0")
		cmd.Stdout, cmd.Stderr = &p.out, &p.out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.stop = sync.OnceFunc(func() { cmd.Process.Kill(); cmd.Wait() })
		t.Cleanup(p.stop)
		p.answers(t)
	}
	p.run()
	return p
}

// answers waits until it does.
func (p *pebble) answers(t *testing.T) {
	t.Helper()
	await(t, 30*time.Second, "pebble answers", func() (bool, string) {
		res, err := p.client.Get(p.directory)
		if err != nil {
			return false, err.Error() + "\n" + p.out.String()
		}
		res.Body.Close()
		return res.StatusCode == 200, res.Status
	})
}

// lifetime is for how long certificates are valid. (Of several profiles pebble takes any
// when an order names none.)
func lifetime(d time.Duration) map[string]any {
	return map[string]any{"default": map[string]any{"description": "the only one", "validityPeriod": int(d.Seconds())}}
}

// loopbackCertificate is one for 127.0.0.1, that has signed itself.
func loopbackCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "directory"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// roots are the authorities that vouch for what it has issued.
func (p *pebble) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	res, err := p.client.Get(p.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(data) {
		t.Fatalf("%v: %s", err, data)
	}
	return pool
}

// advise has it say that a certificate should be renewed between two times (RFC 9773).
func (p *pebble) advise(t *testing.T, leaf *x509.Certificate, start, end time.Time) {
	t.Helper()
	window := fmt.Sprintf(`{"suggestedWindow": {"start": %q, "end": %q}}`, start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
	body, err := json.Marshal(map[string]string{
		"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})), "ARIResponse": window,
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.client.Post(p.management+"/set-renewal-info/", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
		t.Fatalf("%s: %s", res.Status, text)
	}
}

// orders is how many it has heard of.
func (p *pebble) orders() int { return strings.Count(p.out.String(), "Added order ") }

// await waits until a condition holds.
func await(t *testing.T, limit time.Duration, what string, holds func() (bool, string)) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var ok bool
		if ok, last = holds(); ok {
			return
		}
	}
	t.Fatalf("%s: not within %v: %s", what, limit, last)
}

// running is a zproxy that a test may signal, end and start again.
type running struct {
	cmd         *exec.Cmd
	out         *child.Output
	file, admin string
	ended       bool
}

// startAuthorized runs zproxy with an acme section on p's TLS port, whose keys are
// section's beside directory and ca, and a plain listener on its HTTP port.
func startAuthorized(t *testing.T, backend string, p *pebble, section string) *running {
	t.Helper()
	if standIn != "" {
		t.Skip("the configuration is zproxy's: unset ZPROXY_STANDIN")
	}
	z := &running{file: filepath.Join(t.TempDir(), "zproxy.yaml"), admin: freeAddr(t)}
	if !strings.Contains(section, "storage:") {
		section += ", storage: store"
	}
	z.configure(t, fmt.Sprintf(`
io: %s
admin: {address: %q}
shutdown: {grace: 5s}
listeners:
  - address: %q
  - address: %q
    tls: {acme: {directory: %q, ca: %q, accept_terms: true, %s}}
routes: [{path: "/*", respond: {body: "yes\n"}}]
`, backend, z.admin, p.http, p.tls, p.directory, p.ca, section))
	z.start(t)
	return z
}

func (z *running) configure(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(z.file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (z *running) start(t *testing.T) {
	t.Helper()
	z.cmd, z.out, z.ended = exec.Command(zproxyBin, "run", "-c", z.file), new(child.Output), false
	z.cmd.Stdout, z.cmd.Stderr = z.out, z.out
	if err := z.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { z.end(t) })
	await(t, 30*time.Second, "zproxy is ready", func() (bool, string) {
		res, err := http.Get("http://" + z.admin + "/readyz")
		if err != nil {
			return false, z.out.String()
		}
		res.Body.Close()
		return res.StatusCode == 200, z.out.String()
	})
}

// end has it end, and wants that to take no time, and status 0.
func (z *running) end(t *testing.T) {
	t.Helper()
	if z.ended {
		return
	}
	z.ended = true
	kill := time.AfterFunc(20*time.Second, func() { z.cmd.Process.Kill() })
	defer kill.Stop()
	z.cmd.Process.Signal(syscall.SIGTERM)
	if err := z.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v; zproxy printed:\n%s", err, z.out.String())
	}
}

// metric sums the samples whose line begins with a name and labels.
func (z *running) metric(t *testing.T, begin string) (sum float64) {
	t.Helper()
	res, err := http.Get("http://" + z.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, begin) {
			var v float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' '):], &v); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

// shown is the certificate that a client is shown who asks for a name; verified says
// whether roots vouch for it.
func shown(addr, name string, roots *x509.CertPool) (leaf *x509.Certificate, verified bool, err error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return nil, false, err
	}
	defer c.Close()
	chain := c.ConnectionState().PeerCertificates
	more := x509.NewCertPool()
	for _, cert := range chain[1:] {
		more.AddCert(cert)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: more})
	return chain[0], err == nil, nil
}
