package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/internal/longtest"
)

// refusal is a kind of answer that comes while the client still sends.
type refusal struct {
	name, path, extra string // extra: fields of the head, each with its CRLF
	status            int
	onlyHTTP1         bool
	raw               string // in place of the request line
}

var refusals = []refusal{
	{name: "a bad request", path: "/app", extra: "Bad Field: x\r\n", status: 400, onlyHTTP1: true},
	{name: "content too large", path: "/app", status: 413},
	{name: "a long target", path: "/" + strings.Repeat("t", 9<<10), status: 414, onlyHTTP1: true},
	{name: "long fields", path: "/app", extra: "X-Long: " + strings.Repeat("x", 70<<10) + "\r\n", status: 431, onlyHTTP1: true},
	{name: "no connection to an origin", path: "/full", status: 503},
	{name: "an origin's early answer", path: "/early", status: 413},
	{name: "an HTTP/2 origin's early answer", path: "/early2", status: 413},
	{name: "the proxy's own answer", path: "/own", status: 200},
}

var refusedSizes = []int{100_000, 300_000, 1_000_000, 100_000, 3_000_000, 300_000, 10_000_000}

// sent are the pieces in which clients write.
var sentPieces = []int{1 << 20, 64 << 10, 16<<10 + 1, 1400}

// tryRefusal sends one request as a client does that writes in one thread and
// reads in another, as Go's, Node's and curl's do: a failed write is no reason
// not to read.
func tryRefusal(c net.Conn, r *refusal, n int) error {
	size, piece, chunked := refusedSizes[n%len(refusedSizes)], sentPieces[n/2%len(sentPieces)], n%2 == 1
	c.SetDeadline(time.Now().Add(time.Minute))
	framing := fmt.Sprintf("Content-Length: %d\r\n", size)
	if chunked {
		framing = "Transfer-Encoding: chunked\r\n"
	}
	wrote := make(chan bool)
	go func() {
		defer close(wrote)
		if _, err := io.WriteString(c, "POST "+r.path+" HTTP/1.1\r\nHost: localhost\r\n"+r.extra+framing+"\r\n"); err != nil {
			return
		}
		body := make([]byte, piece)
		for left := size; left > 0; left -= piece {
			out := body[:min(piece, left)]
			if chunked {
				out = []byte(fmt.Sprintf("%x\r\n%s\r\n", len(out), out))
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
		if chunked {
			io.WriteString(c, "0\r\n\r\n")
		}
	}()
	if n%3 == 0 {
		<-wrote // this client reads once all is written
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	var b []byte
	if err == nil {
		b, err = io.ReadAll(res.Body)
	}
	c.Close()
	<-wrote
	switch {
	case err != nil:
		return fmt.Errorf("%d bytes in pieces of %d, chunked %v, read last %v: %w", size, piece, chunked, n%3 == 0, err)
	case res.StatusCode != r.status || len(b) == 0:
		return fmt.Errorf("%s with %d bytes", res.Status, len(b))
	}
	return nil
}

// tryRefusalH2 is the same by HTTP/2.
func tryRefusalH2(c *http.Client, addr string, r *refusal, n int) error {
	size := refusedSizes[n%len(refusedSizes)]
	req, err := http.NewRequest("POST", "http://"+addr+r.path, io.LimitReader(zeros{}, int64(size)))
	if err != nil {
		return err
	}
	if n%2 == 0 {
		req.ContentLength = int64(size)
	}
	res, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("%d bytes: %w", size, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != r.status || len(b) == 0 {
		return fmt.Errorf("%d bytes: %s with %d bytes, %v", size, res.Status, len(b), err)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// tryGoAway breaks the protocol, sends on, and reads to the end: the GOAWAY that
// says why must be there.
func tryGoAway(c net.Conn, n int) error {
	c.SetDeadline(time.Now().Add(time.Minute))
	wrote := make(chan bool)
	go func() {
		defer close(wrote)
		io.WriteString(c, http2.ClientPreface)
		fr := http2.NewFramer(c, nil)
		fr.AllowIllegalWrites = true
		fr.WriteSettings()
		var block strings.Builder
		enc := hpack.NewEncoder(&block)
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/own"}, {Name: ":authority", Value: "h"}} {
			enc.WriteField(f)
		}
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndHeaders: true})
		fr.WriteData(0, false, nil) // RFC 9113 6.1: a connection error
		body := make([]byte, 16<<10)
		for left := refusedSizes[n%len(refusedSizes)]; left > 0; left -= len(body) {
			if fr.WriteData(1, false, body) != nil {
				return
			}
		}
	}()
	if n%3 == 0 {
		<-wrote
	}
	defer func() { c.Close(); <-wrote }()
	for fr := http2.NewFramer(nil, c); ; {
		f, err := fr.ReadFrame()
		if err != nil {
			return fmt.Errorf("no GOAWAY: %w", err)
		}
		if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode == http2.ErrCodeProtocol {
			return nil
		}
	}
}

// answersAreRead makes so many tries of each kind: half of them by HTTP/1 in
// clear, and a quarter each within TLS and by HTTP/2.
func answersAreRead(t *testing.T, tries int) {
	cert, key := selfSigned(t, p256...)
	eachBackend(t, func(t *testing.T, backend string) {
		burn(t, 2)
		config := fmt.Sprintf(`
listeners:
  - {address: LISTEN, protocols: [http1, h2c]}
  - {address: LISTEN2, tls: {certificates: [{cert: %q, key: %q}]}}
upstreams:
  app: {endpoints: [{address: %q}]}
  early: {endpoints: [{address: %q}]}
  early2: {protocol: h2c, endpoints: [{address: %q}]}
  full: {endpoints: [{address: %q}], pool: {max_connections: 1, queue: 0, max_idle: 1}, timeouts: {response: 10m, idle: 10m}}
routes:
  - {path: /app, upstream: app}
  - {path: /early, upstream: early}
  - {path: /early2, upstream: early2}
  - {path: /full, upstream: full}
  - {path: /own, respond: {body: own}}
`, cert, key, startHashing(t).addr, early413(t), early413H2(t), startSilent(t))
		z, strict := start(t, backend, config), start(t, backend, config+"limits: {body_bytes: 10KB}\n")
		holder := dial(t, z.addr) // takes the one connection that there may be
		holder.write("GET /full HTTP/1.1\r\nHost: h\r\n\r\n")
		eventually(t, patience, "the connection is taken", func() (bool, string) {
			n := z.metrics(t).sum("zproxy_endpoint_connections", `upstream="full"`)
			return n == 1, fmt.Sprint(n)
		})
		defer func() { holder.Conn.(*net.TCPConn).SetLinger(0); holder.Close() }()
		for i := range refusals {
			r, z := &refusals[i], z
			if r.name == "content too large" {
				z = strict
			}
			secure, h2 := secondAddr(z), h2Client()
			many(t, r.name, tries, func(n int) error {
				switch {
				case n%4 == 0:
					c, err := tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
					if err != nil {
						return err
					}
					return tryRefusal(c, r, n/4)
				case n%4 == 2 && !r.onlyHTTP1:
					return tryRefusalH2(h2, z.addr, r, n/4)
				}
				c, err := net.Dial("tcp", z.addr)
				if err != nil {
					return err
				}
				return tryRefusal(c, r, n/2)
			})
			h2.CloseIdleConnections()
		}
		many(t, "a GOAWAY", tries, func(n int) error {
			c, err := net.Dial("tcp", z.addr)
			if err != nil {
				return err
			}
			return tryGoAway(c, n)
		})
	})
}

// startSilent is an origin that never answers.
func startSilent(t *testing.T) string {
	return startOrigin(t, func(c *originConn) { io.Copy(io.Discard, c) }).addr
}

func h2Client() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: p}, Timeout: time.Minute}
}

// secondAddr is the address of the second listener.
func secondAddr(z *zproxy) string {
	at := strings.Index(z.config, ", tls:")
	begin := strings.LastIndex(z.config[:at], "address: ") + len("address: ")
	return z.config[begin:at]
}

// many makes tries beside each other; every one must end well.
func many(t *testing.T, name string, tries int, try func(n int) error) {
	t.Helper()
	const beside = 8
	var next, lost atomic.Int64
	var first atomic.Value
	var all sync.WaitGroup
	began := time.Now()
	for range beside {
		all.Go(func() {
			for n := int(next.Add(1)) - 1; n < tries; n = int(next.Add(1)) - 1 {
				if err := try(n); err != nil && lost.Add(1) == 1 {
					first.Store(err)
				}
			}
		})
	}
	all.Wait()
	if n := lost.Load(); n > 0 {
		t.Errorf("%s: %d of %d answers were lost; one: %v", name, n, tries, first.Load())
	}
	t.Logf("%s: %d tries, %v", name, tries, time.Since(began).Round(time.Millisecond))
}

// What refuses a request, or answers it early, is read by the client that still
// sends, whatever it sends and however busy the CPUs are.
func TestAnswersAreRead(t *testing.T) { answersAreRead(t, 20) }

func TestLengthyAnswersAreRead(t *testing.T) {
	longtest.Need(t)
	answersAreRead(t, 1000)
}
