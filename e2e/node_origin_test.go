package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nodeOrigin is an HTTP/2 origin by Node: its answers without content end with
// END_STREAM on HEADERS, and say no length.
const nodeOrigin = `
const http2 = require("http2");
const server = http2.createServer({settings: {enableConnectProtocol: true}});
server.on("stream", (stream, fields) => {
  const path = fields[":path"];
  stream.on("error", () => {});
  if (fields[":method"] === "CONNECT") { stream.respond({":status": 403}, {endStream: true}); return; }
  if (path === "/nothing") { stream.respond({":status": 200}, {endStream: true}); return; }
  if (path === "/refused") { stream.respond({":status": 404}, {endStream: true}); return; }
  if (path === "/trailers") { // trailers only, as gRPC has them
    stream.respond({":status": 200, "content-type": "application/grpc", "grpc-status": "12"}, {endStream: true});
    return;
  }
  if (path === "/behind") { // no content, and trailers
    stream.on("wantTrailers", () => stream.sendTrailers({"x-sum": "0"}));
    stream.respond({":status": 200}, {waitForTrailers: true});
    stream.end();
    return;
  }
  stream.respond({":status": 200}); stream.end("content of " + path);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
`

func startNodeOrigin(t *testing.T) string {
	t.Helper()
	need(t, "node")
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	p := spawn(t, "node", writeFile(t, filepath.Join(t.TempDir(), "origin.js"), nodeOrigin), port)
	p.awaitListener(t, addr)
	return addr
}

// Answers of an HTTP/2 origin that have no content and say no length end at
// once for a client of HTTP/1.1 whose connection stays, and do not run into the
// answers behind them.
func TestNodeOriginAnswersWithoutContent(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {protocol: h2c, endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
`, startNodeOrigin(t)))
		const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		requests := []struct {
			method, path, fields string
			status               int
			body                 string
		}{
			{"GET", "/nothing", "", 200, ""},
			{"GET", "/1", "", 200, "content of /1"},
			{"GET", "/refused", "", 404, ""},
			{"POST", "/nothing", "Content-Length: 0\r\n", 200, ""},
			{"GET", "/trailers", "", 200, ""},
			{"GET", "/behind", "TE: trailers\r\nConnection: TE\r\n", 200, ""},
			{"GET", "/socket", handshake, 403, ""},
			{"HEAD", "/nothing", "", 200, ""},
			{"GET", "/2", "", 200, "content of /2"},
		}
		text := func(i int) string {
			r := &requests[i]
			return r.method + " " + r.path + " HTTP/1.1\r\nHost: h\r\n" + r.fields + "\r\n"
		}
		answered := func(t *testing.T, br *bufio.Reader, i int) {
			t.Helper()
			r := &requests[i]
			res, err := http.ReadResponse(br, &http.Request{Method: r.method})
			if err != nil {
				t.Fatalf("%s %s: %v", r.method, r.path, err)
			}
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != r.status || string(b) != r.body || res.Close {
				t.Fatalf("%s %s: %s, %q, %v, closes %v; want %d, %q and a connection that stays", r.method, r.path, res.Status, b, err, res.Close, r.status, r.body)
			}
		}
		connect := func(t *testing.T) (net.Conn, *bufio.Reader) {
			c, err := net.Dial("tcp", z.addr)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(patience)) // keepalive_timeout is 75 s
			return c, bufio.NewReader(c)
		}
		t.Run("one by one", func(t *testing.T) {
			c, br := connect(t)
			defer c.Close()
			for i := range requests {
				io.WriteString(c, text(i))
				answered(t, br, i)
			}
		})
		t.Run("pipelined", func(t *testing.T) {
			c, br := connect(t)
			defer c.Close()
			var all strings.Builder
			for i := range requests {
				all.WriteString(text(i))
			}
			io.WriteString(c, all.String())
			for i := range requests {
				answered(t, br, i)
			}
		})
	})
}
