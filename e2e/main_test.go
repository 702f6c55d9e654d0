package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/internal/beside"
)

// zproxyBin is the binary under test; backends are those it can use here.
// originBin is the origin of the benchmarks.
var (
	zproxyBin string
	originBin string
	backends  []string
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "zproxy-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	originBin = filepath.Join(dir, "origin")
	builds := [][]string{{"-o", originBin, "zproxy/bench/origin"}}
	if zproxyBin = os.Getenv("ZPROXY_BIN"); zproxyBin == "" {
		zproxyBin = filepath.Join(dir, "zproxy")
		builds = append(builds, []string{"-tags", "giouring", "-ldflags=-checklinkname=0", "-o", zproxyBin, "zproxy/cmd/zproxy"})
	}
	for _, args := range builds {
		build := exec.Command("go", append([]string{"build"}, args...)...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
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
	backends = []string{"epoll"}
	if strings.Contains(string(out), "io_uring usable") {
		backends = append(backends, "uring")
	} else {
		fmt.Fprintf(os.Stderr, "testing epoll only; %s version says:\n%s", zproxyBin, out)
	}
	bodyDir = dir
	beside.AtOnce(4)
	return m.Run()
}

// packages says where the programs come from that the tests need.
var packages = map[string]string{"nginx": "nginx-core", "haproxy": "haproxy", "curl": "curl", "wrk": "wrk", "ss": "iproute2",
	"nghttp": "nghttp2-client", "h2load": "nghttp2-client", "nghttpd": "nghttp2-server", "chromium": "chromium", "node": "nodejs",
	"dnsmasq": "dnsmasq-base", "openssl": "openssl", "gnutls-cli": "gnutls-bin", "python3": "python3", "h2": "python3-h2", "certutil": "libnss3-tools", "java": "default-jdk-headless", "testssl": "testssl.sh", "tmux": "tmux", "promtool": "prometheus", nginxStream: "libnginx-mod-stream"}

// need makes sure that programs are there: without them the test is skipped,
// and fails where CI=true promises a complete machine.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			lacks(t, p)
		}
	}
}

// lacks is the end of a test that needs p.
func lacks(t *testing.T, p string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: apt-get install -y %s", p, packages[p])
	}
	t.Skipf("%s is missing: apt-get install -y %s", p, packages[p])
}

// eachBackend runs test once per usable backend, one after the other: for
// tests that need the CPU.
func eachBackend(t *testing.T, test func(t *testing.T, io string)) {
	t.Helper()
	for _, io := range backends {
		t.Run(io, func(t *testing.T) { test(t, io) })
	}
}

// besides is eachBackend for tests that mostly wait: they run beside others.
func besides(t *testing.T, test func(t *testing.T, io string)) {
	t.Helper()
	t.Parallel()
	for _, io := range backends {
		t.Run(io, func(t *testing.T) {
			t.Parallel()
			test(t, io)
		})
	}
}
