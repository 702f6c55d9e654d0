package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"zproxy/internal/longtest"
)

// burn keeps the CPUs busy until the test ends.
func burn(t *testing.T, n int) {
	stop := make(chan bool)
	t.Cleanup(func() { close(stop) })
	for range n {
		go func() {
			for x := 1; ; x++ {
				if x%(1<<20) == 0 {
					select {
					case <-stop:
						return
					default:
					}
				}
			}
		}()
	}
}

// early413 is an origin that answers at the head and closes later, whatever still
// comes: not before its answer has been read, which a reset would throw away.
func early413(t *testing.T) string {
	return startOrigin(t, func(c *originConn) {
		if _, err := http.ReadRequest(c.br); err != nil {
			return
		}
		c.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 10\r\nConnection: close\r\n\r\ntoo large\n")
		select {
		case <-time.After(5 * time.Second):
		case <-t.Context().Done():
		}
	}).addr
}

// early413H2 is the same by HTTP/2, which resets the stream behind its answer.
func early413H2(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(413)
		io.WriteString(w, "too large\n")
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// An answer that comes before its upload has ended reaches curl, by HTTP/2 and
// by HTTP/1.1, whoever gives it, also when the CPUs are busy.
func TestEarlyAnswerReachesCurl(t *testing.T) { earlyAnswerReachesCurl(t, 4) }

func TestLengthyEarlyAnswerReachesCurl(t *testing.T) {
	longtest.Need(t)
	earlyAnswerReachesCurl(t, 50)
}

func earlyAnswerReachesCurl(t *testing.T, tries int) {
	need(t, "curl")
	body := writeFile(t, filepath.Join(t.TempDir(), "body"), string(make([]byte, 3_000_000)))
	eachBackend(t, func(t *testing.T, backend string) {
		burn(t, 2)
		for name, s := range map[string]struct{ protocol, addr, extra, want string }{
			"HTTP/1 origin": {"http1", early413(t), "", "413 too large\n"},
			"HTTP/2 origin": {"h2c", early413H2(t), "", "413 too large\n"},
			"the proxy":     {"http1", startHashing(t).addr, "limits: {body_bytes: 1MB}", "413 413 Content Too Large\n"},
		} {
			z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {protocol: %s, endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
%s
`, s.protocol, s.addr, s.extra))
			out := filepath.Join(t.TempDir(), "out")
			for _, sized := range []bool{true, false} {
				for i := range tries {
					file := body
					if !sized {
						file = "-"
					}
					cmd := exec.Command("curl", "--http2-prior-knowledge", "--silent", "--show-error", "--max-time", "30", "--header", "Expect:",
						"--output", out, "--write-out", "%{response_code} ", "--upload-file", file, "http://"+z.addr+"/x")
					in, err := os.Open(body)
					if err != nil {
						t.Fatal(err)
					}
					cmd.Stdin = in
					said, err := cmd.CombinedOutput()
					in.Close()
					b, _ := os.ReadFile(out)
					if got := string(said) + string(b); err != nil || got != s.want {
						t.Errorf("%s, with a length %v, try %d: %q, %v; want %q", name, sized, i, got, err, s.want)
						break
					}
				}
			}
		}
	})
}
