package interop

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zproxy/internal/child"
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

func freeAddr(t *testing.T) string { return child.FreeAddr(t).String() }

const zproxyConfig = `
io: %s
listeners: [{address: %q, protocols: [%s]}]
upstreams: {app: {protocol: %s, endpoints: [{address: %q}]}}
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
	text := fmt.Sprintf(zproxyConfig, backend, addr, protocols, protocol, origin, admin)
	if standIn == "" {
		cmd = exec.Command(zproxyBin, "run", "-c", config)
	} else {
		option := func(protocols string) string {
			if protocols == "h2c" {
				return " proto h2"
			}
			return ""
		}
		text = fmt.Sprintf(haproxyConfig, addr, option(protocols), origin, option(protocol))
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
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
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
