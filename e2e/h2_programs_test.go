package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// curl speaks HTTP/2 and, where the listener has both, HTTP/1.1 to one port.
func TestH2WithCurl(t *testing.T) {
	origins(t, func(t *testing.T, backend, protocol string) {
		root := t.TempDir()
		writeFile(t, filepath.Join(root, "page.txt"), strings.Repeat("a page\n", 1000))
		f := startFront(t, backend, site{listen: "http1, h2c", origin: protocol, addr: startNginxFor(t, protocol, root).addr})
		for version, option := range map[string]string{"2": "--http2-prior-knowledge", "1.1": "--http1.1"} {
			ask := func(want string, args ...string) (head, body string) {
				t.Helper()
				args = append([]string{option, "--output", filepath.Join(root, "got"), "--write-out", "%{http_version} %{response_code}"}, args...)
				head, said := curlHead(t, args...)
				if said != version+" "+want {
					t.Errorf("curl %v: HTTP/%s, want HTTP/%s %s", args, said, version, want)
				}
				b, _ := os.ReadFile(filepath.Join(root, "got"))
				os.Remove(filepath.Join(root, "got"))
				return head, string(b)
			}
			if _, body := ask("200", f.url("/hello")); body != "hello\n" {
				t.Errorf("GET: %q", body)
			}
			head, body := ask("200", "--head", f.url("/page.txt"))
			if !strings.Contains(strings.ToLower(head), "content-length: 7000\r\n") || strings.Contains(body, "a page") {
				t.Errorf("HEAD: %q with %d bytes", head, len(body))
			}
			etag := regexp.MustCompile(`(?i)etag: (.*)\r\n`).FindStringSubmatch(head)
			if etag == nil {
				t.Fatalf("no ETag in %q", head)
			}
			if _, body := ask("304", "--header", "If-None-Match: "+etag[1], f.url("/page.txt")); body != "" {
				t.Errorf("304 with %d bytes", len(body))
			}
			if _, body := ask("206", "--range", "7-13", f.url("/page.txt")); body != "a page\n" {
				t.Errorf("a range: %q", body)
			}
			ask("404", f.url("/nothing"))
			name := "/dav/" + protocol + strings.ReplaceAll(version, ".", "")
			ask("201", "--upload-file", filepath.Join(root, "page.txt"), f.url(name))
			ask("204", "--upload-file", filepath.Join(root, "page.txt"), "--header", "Expect: 100-continue", f.url(name))
			if stored, err := os.ReadFile(filepath.Join(root, name)); err != nil || len(stored) != 7000 {
				t.Errorf("PUT: %d bytes are there, %v", len(stored), err)
			}
		}
	})
}

// A listener for one protocol does not speak the other.
func TestH2ListenerSpeaksOnlyItsOwn(t *testing.T) {
	onlyZproxy(t)
	besides(t, func(t *testing.T, backend string) {
		origin := startOrigin(t, slowAnswer(t, atOnce))
		only := startFront(t, backend, site{listen: "h2c", origin: "http1", addr: origin.addr})
		c := dial(t, only.addr)
		c.write("GET / HTTP/1.1\r\nHost: e2e\r\n\r\n")
		for {
			b := make([]byte, 512)
			n, err := c.Read(b)
			if strings.Contains(string(b[:n]), "200 OK") {
				t.Error("HTTP/1.1 is answered where only h2c is spoken")
			}
			if err != nil {
				break
			}
		}
		old := startFront(t, backend, site{listen: "http1", origin: "http1", addr: origin.addr})
		h := dialH2(t, old.addr)
		if err := h.within(patience, func() bool { return len(h.settings) > 0 }); err == nil {
			t.Error("HTTP/2 is answered where only http1 is spoken")
		}
	})
}

// startNghttpd runs nghttpd as an origin that serves root.
func startNghttpd(t *testing.T, root string, args ...string) (addr string) {
	t.Helper()
	need(t, "nghttpd")
	for try := 1; ; try++ {
		addr = freeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		p := spawn(t, "nghttpd", append(append([]string{"--no-tls", "--address=127.0.0.1", "--htdocs=" + root}, args...), port)...)
		if p.listens("tcp", addr) {
			return addr
		}
		if try == startTries {
			t.Fatalf("nghttpd does not start:\n%s", tail(p.out.String()))
		}
	}
}

var nghttpLine = regexp.MustCompile(`(?m)^ *\d+ +\+\S+ +\+\S+ +\S+ +(\d+) +(\S+) +/`)

// nghttp asks for the same page 100 times at once, on one connection.
func TestH2WithNghttp(t *testing.T) {
	need(t, "nghttp")
	eachFront(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		writeFile(t, filepath.Join(root, "hello"), "hello\n")
		for _, settings := range [][]string{nil, {"--header-table-size=0"}, {"--window-bits=10", "--connection-window-bits=16"}} {
			f := startFront(t, backend, site{origin: "h2c", addr: startNghttpd(t, root)})
			out := run(t, "nghttp", append(settings, "--null-out", "--stat", "--multiply=100", "--timeout=20s", f.url("/hello"))...)
			lines := nghttpLine.FindAllStringSubmatch(out, -1)
			if len(lines) != 100 {
				t.Fatalf("nghttp %v: %d answers:\n%s", settings, len(lines), tail(out))
			}
			for _, l := range lines {
				if l[1] != "200" || l[2] != "6" {
					t.Errorf("nghttp %v: status %s, %s bytes", settings, l[1], l[2])
				}
			}
		}
	})
}

// h2loadResult is what h2load prints at its end.
type h2loadResult struct {
	done, succeeded, failed, errored int
	text                             string
}

var h2loadLine = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored`)

func h2load(t *testing.T, args ...string) (r h2loadResult) {
	t.Helper()
	out, err := exec.Command("h2load", args...).CombinedOutput()
	r.text = string(out)
	m := h2loadLine.FindStringSubmatch(r.text)
	if err != nil || m == nil {
		t.Fatalf("h2load %v: %v\n%s", args, err, tail(r.text))
	}
	for i, n := range []*int{&r.done, &r.succeeded, &r.failed, &r.errored} {
		fmt.Sscan(m[i+1], n)
	}
	return r
}

// h2load asks for thousands of pages, hundreds of them at once.
func TestH2WithH2load(t *testing.T) {
	need(t, "h2load")
	origins(t, func(t *testing.T, backend, protocol string) {
		root := t.TempDir()
		writeFile(t, filepath.Join(root, "page.txt"), strings.Repeat("a page\n", 10_000))
		f := startFront(t, backend, site{origin: protocol, addr: startNginxFor(t, protocol, root).addr, pool: "pool: {max_connections: 512, queue: 8192, queue_timeout: 20s}"})
		for _, c := range []struct{ n, clients, streams, path string }{
			{"5000", "8", "64", "/hello"},
			{"4000", "1", "512", "/hello"},
			{"500", "4", "32", "/page.txt"},
		} {
			r := h2load(t, "-n"+c.n, "-c"+c.clients, "-m"+c.streams, f.url(c.path))
			if fmt.Sprint(r.succeeded) != c.n || r.failed+r.errored > 0 {
				t.Errorf("%v: %d done, %d succeeded, %d failed, %d errored:\n%s", c, r.done, r.succeeded, r.failed, r.errored, tail(r.text))
			}
		}
	})
}

// The origin is restarted while h2load asks it: GETs are asked again or wait,
// and none fails but those, very few, whose answer the origin had begun when it
// was killed: nobody can ask for the rest of it.
func TestH2OriginRestartsUnderLoad(t *testing.T) {
	need(t, "h2load")
	onlyZproxy(t)
	eachBackend(t, func(t *testing.T, backend string) {
		origin := startNginxFor(t, "h2c", t.TempDir())
		f := startFront(t, backend, site{origin: "h2c", addr: origin.addr, pool: "pool: {queue: 8192, queue_timeout: 20s}"})
		done := make(chan h2loadResult)
		go func() { done <- h2load(t, "-D4", "-c4", "-m32", f.url("/hello")) }()
		for range 4 {
			time.Sleep(400 * time.Millisecond)
			run(t, "nginx", "-c", origin.config, "-p", origin.dir, "-s", "reload")
			time.Sleep(200 * time.Millisecond)
			origin.restart(200 * time.Millisecond)
		}
		r := <-done
		f.z.rests(t)
		f.z.signal(t, syscall.SIGTERM) // which writes what the log has
		if status := f.z.wait(t, stopLimit); status != 0 {
			t.Errorf("exit status %d", status)
		}
		cut := 0
		for _, l := range logged(t, f.z.log) {
			if l.Status == 200 && l.Reason == "body cut short" {
				cut++
			}
		}
		if max(r.failed, r.errored) > cut || r.succeeded < 1000 || cut > r.succeeded/1000 {
			t.Errorf("%d succeeded, %d failed, %d errored, %d answers were cut by the origin:\n%s", r.succeeded, r.failed, r.errored, cut, tail(r.text))
		}
	})
}
