package interop

import (
	"crypto/tls"
	"fmt"
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

	"zproxy/internal/beside"
	"zproxy/internal/child"
	"zproxy/internal/tlstest"
)

var (
	zproxyBin string
	standIn   = os.Getenv("ZPROXY_STANDIN")
	backends  = []string{"epoll"}
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Getenv(caseVariable) != "" {
		return runGRPCCase()
	}
	beside.AtOnce(8)
	defer removePebble()
	if standIn != "" {
		backends = []string{standIn}
		return m.Run()
	}
	if zproxyBin = os.Getenv("ZPROXY_BIN"); zproxyBin == "" {
		dir, err := os.MkdirTemp("", "zproxy-interop-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		zproxyBin = filepath.Join(dir, "zproxy")
		build := exec.Command("go", "build", "-tags", "giouring", "-ldflags=-checklinkname=0", "-o", zproxyBin, "./cmd/zproxy")
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n%s", strings.Join(build.Args, " "), err, out)
			return 1
		}
	}
	out, err := exec.Command(zproxyBin, "version").Output()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s version: %v\n", zproxyBin, err)
		return 1
	}
	if strings.Contains(string(out), "io_uring usable") {
		backends = append(backends, "uring")
	}
	return m.Run()
}

// eachBackend runs test once per usable backend.
func eachBackend(t *testing.T, test func(t *testing.T, backend string)) {
	for _, b := range backends {
		t.Run(b, func(t *testing.T) { test(t, b) })
	}
}

// eachWire runs test once per backend in clear and once within TLS, on both sides of the proxy.
func eachWire(t *testing.T, test func(t *testing.T, backend, wire string)) {
	eachBackend(t, func(t *testing.T, backend string) {
		for _, wire := range []string{"h2c", "h2"} {
			t.Run(wire, func(t *testing.T) { test(t, backend, wire) })
		}
	})
}

func freeAddr(t *testing.T) string { return child.FreeAddr(t).String() }

// Protocols are named as in the configuration: http1, h2c and, within TLS, h2.
const zproxyConfig = `
io: %s
listeners: [{address: %q, protocols: [%s]%s}]
upstreams: {app: {protocol: %s%s, endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
admin: {address: %q}
limits: {request_header_timeout: 2s}
`

const haproxyConfig = `
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 10s
  timeout http-request 2s
  option abortonclose
frontend f
  bind %s%s
  default_backend b
backend b
  server s %s%s
`

// secure says whether TLS is spoken.
func secure(protocols string) bool { return strings.HasSuffix(protocols, "h2") }

var made struct {
	sync.Once
	pair tls.Certificate
}

// pair is the certificate of every listener and origin within TLS.
func pair(t *testing.T) tls.Certificate {
	made.Do(func() { made.pair = tlstest.Certificate(t, "ecdsa") })
	return made.pair
}

// keyFiles writes it to files. HAProxy finds the key by the name of the certificate.
func keyFiles(t *testing.T) (cert, key string) {
	t.Helper()
	cert = filepath.Join(t.TempDir(), "cert.pem")
	key = cert + ".key"
	c, k := tlstest.PEM(t, pair(t))
	for file, b := range map[string][]byte{cert: c, key: k} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// startProxy runs the proxy under test before one origin.
func startProxy(t *testing.T, backend, protocols, protocol, origin string) (addr string) {
	t.Helper()
	if standIn == "none" {
		if protocols != protocol {
			t.Skip("without a proxy one protocol cannot become another: unset ZPROXY_STANDIN, which is none")
		}
		return origin
	}
	addr, admin := freeAddr(t), freeAddr(t)
	var cmd *exec.Cmd
	config := filepath.Join(t.TempDir(), "config")
	var text string
	cert, key := keyFiles(t)
	if standIn == "" {
		front, back := "", ""
		if secure(protocols) {
			front = fmt.Sprintf(", tls: {certificates: [{cert: %q, key: %q}]}", cert, key)
		}
		if secure(protocol) {
			back = fmt.Sprintf(", tls: {ca: %q, server_name: %s}", cert, tlstest.Name)
		}
		text = fmt.Sprintf(zproxyConfig, backend, addr, protocols, front, protocol, back, origin, admin)
		cmd = exec.Command(zproxyBin, "run", "-c", config)
	} else {
		option := func(protocols, secured string) string {
			switch {
			case protocols == "h2c":
				return " proto h2"
			case secure(protocols):
				return " ssl alpn h2 " + secured
			}
			return ""
		}
		text = fmt.Sprintf(haproxyConfig, addr, option(protocols, "crt "+cert), origin, option(protocol, "verify required ca-file "+cert+" sni str("+tlstest.Name+")"))
		cmd = exec.Command("haproxy", "-f", config)
	}
	launch(t, cmd, config, text, addr, admin)
	return addr
}

// startZproxy runs zproxy with a configuration in which ADDR stands for the
// address to listen on. No other proxy can stand in for it.
func startZproxy(t *testing.T, backend, text string) (addr string) {
	t.Helper()
	if standIn != "" {
		t.Skip("the configuration is zproxy's: unset ZPROXY_STANDIN")
	}
	addr, admin := freeAddr(t), freeAddr(t)
	config := filepath.Join(t.TempDir(), "config")
	text = fmt.Sprintf("io: %s\nadmin: {address: %q}\n", backend, admin) + strings.ReplaceAll(text, "ADDR", addr)
	launch(t, exec.Command(zproxyBin, "run", "-c", config), config, text, addr, admin)
	return addr
}

// launch writes the configuration of a proxy, starts it, waits until it serves,
// and at the test's end wants it to end with status 0.
func launch(t *testing.T, cmd *exec.Cmd, config, text, addr, admin string) {
	t.Helper()
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out child.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); standIn == "" && err != nil {
			t.Errorf("after SIGTERM: %v; zproxy printed:\n%s", err, out.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if standIn != "" {
			if c, err := net.Dial("tcp", addr); err == nil {
				c.Close()
				return
			}
			continue
		}
		if res, err := http.Get("http://" + admin + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == 200 {
				return
			}
		}
	}
	t.Fatalf("the proxy does not start:\n%s\nwith\n%s", out.String(), text)
}
