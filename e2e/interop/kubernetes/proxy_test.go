package kubernetes

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zproxy/internal/child"
)

var (
	zproxyBin string
	backends  = []string{"epoll"}
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if zproxyBin = os.Getenv("ZPROXY_BIN"); zproxyBin == "" {
		dir, err := os.MkdirTemp("", "zproxy-kubernetes-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		zproxyBin = filepath.Join(dir, "zproxy")
		build := exec.Command("go", "build", "-tags", "giouring", "-ldflags=-checklinkname=0", "-o", zproxyBin, "./cmd/zproxy")
		build.Dir = "../../.."
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

// proxy is a zproxy that runs.
type proxy struct {
	addr, admin string
	out         child.Output
}

// startProxy runs zproxy with a configuration in which ADDR stands for the address to listen on.
func startProxy(t *testing.T, backend, text string) *proxy {
	t.Helper()
	p := &proxy{addr: child.FreeAddr(t).String(), admin: child.FreeAddr(t).String()}
	config := filepath.Join(t.TempDir(), "config")
	text = fmt.Sprintf("io: %s\nadmin: {address: %q}\n", backend, p.admin) + strings.ReplaceAll(text, "ADDR", p.addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(zproxyBin, "run", "-c", config)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGINT: %v; zproxy printed:\n%s", err, p.out.String())
		}
	})
	await(t, "the proxy starts", func() (bool, string) {
		res, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false, p.out.String()
		}
		res.Body.Close()
		return res.StatusCode == 200, p.out.String()
	})
	return p
}

// await waits until ok, which also says how it is.
func await(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		is, how := ok()
		if is {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s; %s", what, how)
		}
	}
}

// get is the body of a page.
func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
