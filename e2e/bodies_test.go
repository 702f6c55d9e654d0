package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zproxy/internal/longtest"
)

// bodyProxy forwards to one origin with a single loop.
func bodyProxy(t *testing.T, backend, originAddr string) *zproxy {
	t.Helper()
	return start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
`, originAddr))
}

// upload sends stream(n) as one PUT, with Content-Length or in chunks of
// uneven sizes with a trailer, and gives the answer's body.
func (c *client) upload(n int64, chunked bool) string {
	c.t.Helper()
	framing := fmt.Sprintf("Content-Length: %d\r\n", n)
	if chunked {
		framing = "Transfer-Encoding: chunked\r\nTrailer: X-Check\r\n"
	}
	c.write("PUT /up HTTP/1.1\r\nHost: e2e\r\n" + framing + "\r\n")
	var to io.Writer = c.Conn
	var chunks io.WriteCloser
	if chunked {
		chunks = httputil.NewChunkedWriter(c.Conn)
		to = chunks
	}
	body, block := stream(n), make([]byte, 256<<10)
	for size, sent := 1, int64(0); sent < n; size = size*3%len(block) + 1 {
		if !chunked {
			size = len(block)
		}
		m, err := io.ReadFull(body, block[:min(int64(size), n-sent)])
		if err != nil {
			c.t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		if _, err := to.Write(block[:m]); err != nil {
			c.t.Fatalf("after %d bytes of %d: %v", sent, n, err)
		}
		sent += int64(m)
	}
	if chunked {
		chunks.Close()
		c.write("X-Check: whole\r\n\r\n")
	}
	res, answer := c.response("PUT")
	if res.StatusCode != 200 {
		c.t.Fatalf("PUT: %s: %s", res.Status, answer)
	}
	return answer
}

func testUpload(t *testing.T, z *zproxy, n int64, sum string) {
	t.Helper()
	for _, chunked := range []bool{false, true} {
		want := uploaded(n, sum, "length", "")
		if chunked {
			want = uploaded(n, sum, "chunked", "whole")
		}
		if got := dial(t, z.addr).upload(n, chunked); got != want {
			t.Errorf("the origin received %s, want %s", got, want)
		}
	}
}

// A body of 1 MiB arrives byte for byte in both directions and both framings,
// whoever the client is.
func TestBodyOf1MiB(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		path, sum := bodyFile(t, mib, "1MiB")
		file := filepath.Join(bodyDir, path)

		t.Run("download", func(t *testing.T) {
			z := bodyProxy(t, backend, startNginx(t, bodyDir).addr)
			c := dial(t, z.addr)
			for range 3 { // on one connection
				c.write("GET " + path + " HTTP/1.1\r\nHost: e2e\r\n\r\n")
				res := c.head("GET")
				if n, got := sumOf(t, res.Body); n != mib || got != sum || res.ContentLength != mib {
					t.Fatalf("%s: %d bytes, Content-Length %d, SHA-256 %s; want %s", res.Status, n, res.ContentLength, got, sum)
				}
			}
			c.Close()
			if n := z.metrics(t).sum("zproxy_loop_spliced_bytes_total"); n < mib {
				t.Errorf("%v bytes of three bodies were spliced", n)
			}
			to := filepath.Join(t.TempDir(), "copy")
			curl(t, "--fail", "-o", to, z.url(path))
			sameFile(t, to, sum)
			curl(t, "--fail", "--range", "1000-1000000", "-o", to, z.url(path))
			if info, err := os.Stat(to); err != nil || info.Size() != 999001 {
				t.Errorf("a range of 999001 bytes: %v %v", info, err)
			}
		})
		t.Run("upload", func(t *testing.T) {
			testUpload(t, bodyProxy(t, backend, startHashing(t).addr), mib, sum)
		})
		t.Run("upload with curl to nginx", func(t *testing.T) {
			root := t.TempDir()
			z := bodyProxy(t, backend, startNginx(t, root).addr)
			curl(t, "--fail", "-T", file, z.url("/dav/length"))
			curl(t, "--fail", "-T", file, "-H", "Transfer-Encoding: chunked", z.url("/dav/chunked"))
			curl(t, "--fail", "-T", file, "-H", "Expect: 100-continue", z.url("/dav/expect"))
			for _, name := range []string{"length", "chunked", "expect"} {
				sameFile(t, filepath.Join(root, "dav", name), sum)
			}
		})
		t.Run("chunked and until close", func(t *testing.T) {
			z := bodyProxy(t, backend, startOrigin(t, func(c *originConn) { streamingOrigin(c, mib) }).addr)
			for _, path := range []string{"/chunked", "/close"} {
				c := dial(t, z.addr)
				for range 2 {
					c.write("GET " + path + " HTTP/1.1\r\nHost: e2e\r\n\r\n")
					res := c.head("GET")
					if n, got := sumOf(t, res.Body); n != mib || got != sum {
						t.Errorf("%s: %d bytes, SHA-256 %s; want %s", path, n, got, sum)
					}
				}
				// To a client of HTTP/1.0 the end of the body is the end of the connection.
				c = dial(t, z.addr)
				c.write("GET " + path + " HTTP/1.0\r\n\r\n")
				res := c.head("GET")
				if n, got := sumOf(t, res.Body); n != mib || got != sum || len(res.TransferEncoding) > 0 {
					t.Errorf("%s with HTTP/1.0: %d bytes, SHA-256 %s, %v; want %s", path, n, got, res.TransferEncoding, sum)
				}
			}
		})
	})
}

// A body goes up and comes down again at the same time, on one connection: more
// than fits the buffers on the way, so neither direction may wait for the other.
func TestEcho(t *testing.T) {
	const size = 64 * mib
	eachBackend(t, func(t *testing.T, backend string) {
		z := bodyProxy(t, backend, startEcho(t))
		sum := sumOfStream(t, size)
		for _, framing := range []string{fmt.Sprintf("Content-Length: %d", size), "Transfer-Encoding: chunked"} {
			c := dial(t, z.addr)
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(c.Conn, "POST /echo HTTP/1.1\r\nHost: e2e\r\n"+framing+"\r\n\r\n")
				if err == nil && framing[0] == 'C' {
					_, err = io.Copy(c.Conn, stream(size))
				} else if err == nil {
					chunks := httputil.NewChunkedWriter(c.Conn)
					_, err = io.Copy(chunks, stream(size))
					chunks.Close()
					io.WriteString(c.Conn, "\r\n")
				}
				sent <- err
			}()
			res := c.head("POST")
			if n, got := sumOf(t, res.Body); n != size || got != sum {
				t.Errorf("%s: %s, %d bytes, SHA-256 %s; want %s", framing, res.Status, n, got, sum)
			}
			if err := <-sent; err != nil {
				t.Errorf("%s: sending: %v", framing, err)
			}
			c.Close()
		}
		bounded(t, z)
	})
}

// streamingOrigin sends stream(n) without saying how long it is: in chunks, or
// for /close until it closes.
func streamingOrigin(c *originConn, n int64) {
	answering(func(c *originConn, r *http.Request) {
		if r.URL.Path == "/close" {
			c.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
			io.Copy(c.Conn, stream(n))
			c.Close()
			return
		}
		c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		w := httputil.NewChunkedWriter(c.Conn)
		io.CopyBuffer(w, stream(n), make([]byte, 10007))
		w.Close()
		c.write("\r\n")
	})(c)
}

func sameFile(t *testing.T, path, sum string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if n, got := sumOf(t, f); got != sum {
		t.Errorf("%s: %d bytes, SHA-256 %s; want %s", path, n, got, sum)
	}
}

// memoryBound is what the proxy's resident set may come to while a large body
// passes: a queue per direction, not the body.
const memoryBound = 32 * mib

// A large body passes in memory that does not depend on it, also when the
// receiver stops reading again and again.
func TestLengthyBodyOf1GiB(t *testing.T) {
	longtest.Need(t)
	testLargeBody(t, gib, "1GiB")
}

func TestBodyOf256MiB(t *testing.T) { testLargeBody(t, 256*mib, "256MiB") }

func testLargeBody(t *testing.T, size int64, name string) {
	eachBackend(t, func(t *testing.T, backend string) {
		path, sum := bodyFile(t, size, name)
		t.Run("download", func(t *testing.T) {
			z := bodyProxy(t, backend, startNginx(t, bodyDir).addr)
			c := dial(t, z.addr)
			c.write("GET " + path + " HTTP/1.1\r\nHost: e2e\r\n\r\n")
			res := c.head("GET")
			c.SetDeadline(time.Now().Add(2 * time.Minute))
			if n, got := sumOf(t, &halting{r: res.Body}); n != size || got != sum {
				t.Fatalf("%s: %d bytes, SHA-256 %s; want %s", res.Status, n, got, sum)
			}
			bounded(t, z)
		})
		t.Run("upload", func(t *testing.T) {
			hashing := startHashing(t)
			z := bodyProxy(t, backend, hashing.addr)
			testUpload(t, z, size, sum)
			bounded(t, z)
		})
	})
}

func bounded(t *testing.T, z *zproxy) {
	t.Helper()
	high := z.memory(t, "status", "VmHWM")
	t.Logf("resident set at its highest: %.1f MiB", float64(high)/mib)
	if high > memoryBound {
		t.Errorf("the resident set came to %d bytes, more than %d", high, memoryBound)
	}
}

// halting is a reader that stops for a while every 128 MiB.
type halting struct {
	r io.Reader
	n int
}

func (h *halting) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if before := h.n; before/(128*mib) != (before+n)/(128*mib) {
		time.Sleep(200 * time.Millisecond)
	}
	h.n += n
	return n, err
}
