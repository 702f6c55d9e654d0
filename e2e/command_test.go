package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command runs zproxy to its end.
func command(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := exec.Command(zproxyBin, args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// A wrong configuration is refused with every error, where it is and what
// would be right, by check and by run.
func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	file := writeFile(t, filepath.Join(t.TempDir(), "wrong.yaml"), `loops: many
listeners:
  - address: 127.0.0.1:99999
upstreams:
  app:
    endpoint: [{address: "127.0.0.1:9000"}]
routes:
  - {path: "/*", upstream: ap}
limits: {header_bytes: 1}
`)
	for _, sub := range []string{"check", "run"} {
		status, out, errOut := command(t, sub, "-c", file)
		if status != 1 || out != "" {
			t.Errorf("%s: exit status %d, stdout %q; want 1 and nothing", sub, status, out)
		}
		for _, at := range []string{":1:8:", ":3:14:", ":6:5:", ":8:28:", ":9:24:"} {
			if !strings.Contains(errOut, file+at) {
				t.Errorf("%s does not name %s:\n%s", sub, at, errOut)
			}
		}
		for _, word := range []string{`many`, "endpoints", "app", "1KiB"} {
			if !strings.Contains(errOut, word) {
				t.Errorf("%s does not say %s:\n%s", sub, word, errOut)
			}
		}
	}
	status, _, errOut := command(t, "run", "-c", file+".not")
	if status != 1 || !strings.Contains(errOut, file+".not") {
		t.Errorf("a file that is not there: %d %q", status, errOut)
	}
	if status, _, errOut := command(t, "walk"); status != 2 || !strings.Contains(errOut, "zproxy run") {
		t.Errorf("an unknown command: %d %q", status, errOut)
	}
}

// The examples are valid to the binary, too.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	// Their folders are the service's, which not every machine has.
	folder := t.TempDir()
	service := strings.NewReplacer("/run/zproxy", folder, "/var/log/zproxy", folder)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f := writeFile(t, filepath.Join("../examples", ".e2e-"+filepath.Base(name)), service.Replace(string(text)))
		defer os.Remove(f)
		if status, out, errOut := command(t, "check", "-c", f); status != 0 || !strings.Contains(out, "valid") {
			t.Errorf("%s: exit status %d\n%s%s", f, status, out, errOut)
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	status, out, _ := command(t, "version")
	for _, word := range []string{"zproxy ", "go1.", "kernel", "backends epoll", "io_uring"} {
		if status != 0 || !strings.Contains(out, word) {
			t.Errorf("version: %d, no %q in %q", status, word, out)
		}
	}
	status, out, _ = command(t, "help")
	for _, word := range []string{"run", "check", "version", "SIGTERM", "SIGUSR1"} {
		if status != 0 || !strings.Contains(out, word) {
			t.Errorf("help: %d, no %q in %q", status, word, out)
		}
	}
}

// A port that somebody else has is an error that says so, whoever it is:
// another program, or another zproxy, with which SO_REUSEPORT could share it.
func TestPortTaken(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		other, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		z := start(t, backend, "listeners: [{address: LISTEN}]\nroutes: [{path: \"/*\", respond: {body: ok}}]")
		for _, k := range []struct{ listener, admin, taken string }{
			{other.Addr().String(), freeAddr(t), other.Addr().String()},
			{z.addr, freeAddr(t), z.addr},
			{freeAddr(t), z.admin, z.admin},
		} {
			file := writeFile(t, filepath.Join(t.TempDir(), "taken.yaml"), fmt.Sprintf(
				"io: %s\nlisteners: [{address: %q}]\nadmin: {address: %q}\nroutes: [{path: \"/*\", respond: {body: ok}}]\n", backend, k.listener, k.admin))
			begin := time.Now()
			status, _, errOut := command(t, "run", "-c", file)
			if status != 1 || !strings.Contains(errOut, k.taken) || !strings.Contains(errOut, "another process") {
				t.Errorf("exit status %d: %q", status, errOut)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("refused after %v", took)
			}
		}
		c := dial(t, z.addr)
		if body := c.get("/"); body != "ok" {
			t.Errorf("body %q", body)
		}
		c.Close()
	})
}

// holder names who listens on a port of 127.0.0.1, if anybody does.
func holder(port int) string {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		l.Close()
		return ""
	}
	out, err := exec.Command("ss", "-Hltnp", fmt.Sprintf("sport = :%d", port)).CombinedOutput()
	if err != nil {
		return "somebody (install iproute2 to see who)"
	}
	if m := regexp.MustCompile(`users:\(.*\)`).Find(out); m != nil {
		return string(m)
	}
	return "a process of another user"
}

// zproxy run without a configuration answers where the documentation says.
func TestQuickstart(t *testing.T) {
	for _, port := range []int{8080, 8081, 9901} {
		eventually(t, patience, "the ports are free that zproxy run without -c needs", func() (bool, string) {
			who := holder(port)
			return who == "", fmt.Sprintf("127.0.0.1:%d is held by %s: stop that to test it", port, who)
		})
	}
	z := &zproxy{addr: "127.0.0.1:8080", admin: "127.0.0.1:9901", config: "no configuration"}
	z.process = spawn(t, zproxyBin, "run")
	if !z.ready(t) {
		t.Fatalf("zproxy run:\n%s", z.out.String())
	}
	t.Cleanup(func() { z.finish(t) })
	head, body := curlHead(t, z.url("/"))
	if !strings.HasPrefix(head, "HTTP/1.1 200") || !strings.Contains(body, "Hello") {
		t.Errorf("%q %q", head, body)
	}
	// One request is the client's, one the proxy's to its own origin.
	z.counts(t, 2, "zproxy_requests_total")
	z.counts(t, 1, "zproxy_upstream_connects_total")
	for _, path := range []string{"/healthz", "/readyz", "/status", "/metrics"} {
		if res, err := http.Get("http://" + z.admin + path); err != nil || res.StatusCode != 200 {
			t.Errorf("%s: %v", path, err)
		} else {
			res.Body.Close()
		}
	}
	eventually(t, patience, "it says what to try", func() (bool, string) {
		out := z.out.String()
		return strings.Contains(out, "curl -i http://127.0.0.1:8080/"), out
	})
	// It is never without clients: it is its own, on the connection to its
	// origin. SIGTERM ends that as well.
	z.signal(t, syscall.SIGTERM)
	if status := z.wait(t, stopLimit); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// A signal that comes while it starts is obeyed, not died of.
func TestSignalWhileStarting(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		for pause := range 10 {
			z := launch(t, zproxyBin, backend, "listeners: [{address: LISTEN}]\nroutes: [{path: \"/*\", respond: {body: ok}}]")
			eventually(t, patience, "it listens", func() (bool, string) {
				c, err := net.Dial("tcp", z.addr)
				if err == nil {
					c.Close()
				}
				return err == nil, z.out.String()
			})
			time.Sleep(time.Duration(pause) * 200 * time.Microsecond)
			z.signal(t, syscall.SIGTERM)
			if status := z.wait(t, stopLimit); status != 0 {
				t.Fatalf("exit status %d:\n%s", status, z.out.String())
			}
		}
	}
}

// When the reader of its messages is gone it goes on, and drains on SIGTERM.
func TestNobodyReadsItsMessages(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	file := writeFile(t, filepath.Join(t.TempDir(), "zproxy.yaml"), fmt.Sprintf(
		"listeners: [{address: %q}]\nroutes: [{path: \"/*\", respond: {body: ok}}]\n", addr))
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(zproxyBin, "run", "-c", file)
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(2*patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	writer.Close()
	reader.Close()
	eventually(t, patience, "it listens", func() (bool, string) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil, ""
	})
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v, want status 0", err)
	}
}
