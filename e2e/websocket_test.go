package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zproxy/internal/longtest"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

// webOrigin serves h on a free port until the end of the test.
func webOrigin(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// A server of each library sends back what it gets.
func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	up := gorilla.Upgrader{EnableCompression: true, Subprotocols: []string{"echo"}, CheckOrigin: func(*http.Request) bool { return true }}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, b, err := c.ReadMessage()
		if err != nil || c.WriteMessage(kind, b) != nil {
			return
		}
	}
}

func coderEcho(w http.ResponseWriter, r *http.Request) {
	c, err := coder.Accept(w, r, &coder.AcceptOptions{Subprotocols: []string{"echo"}, InsecureSkipVerify: true, CompressionMode: coder.CompressionContextTakeover})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for {
		kind, b, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, b) != nil {
			return
		}
	}
}

// talker is a client of either library.
type talker interface {
	talk(text bool, b []byte) ([]byte, error)
	ping() error
	bye(code int) error
}

type gorillaClient struct{ *gorilla.Conn }

func (c gorillaClient) talk(text bool, b []byte) ([]byte, error) {
	kind := gorilla.BinaryMessage
	if text {
		kind = gorilla.TextMessage
	}
	if err := c.WriteMessage(kind, b); err != nil {
		return nil, err
	}
	got, b, err := c.ReadMessage()
	if err == nil && got != kind {
		err = fmt.Errorf("message of kind %d", got)
	}
	return b, err
}

func (c gorillaClient) ping() error {
	ponged := false
	c.SetPongHandler(func(data string) error { ponged = data == "are you there"; return nil })
	c.WriteControl(gorilla.PingMessage, []byte("are you there"), time.Now().Add(patience))
	if _, err := c.talk(true, []byte("behind a ping")); err != nil || !ponged {
		return fmt.Errorf("no pong, or %v", err)
	}
	return nil
}

func (c gorillaClient) bye(code int) error {
	c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, "bye"), time.Now().Add(patience))
	_, _, err := c.ReadMessage()
	if !gorilla.IsCloseError(err, code) {
		return fmt.Errorf("%v, want close code %d", err, code)
	}
	return nil
}

type coderClient struct {
	*coder.Conn
	ctx context.Context
}

func (c coderClient) talk(text bool, b []byte) ([]byte, error) {
	kind := coder.MessageBinary
	if text {
		kind = coder.MessageText
	}
	if err := c.Write(c.ctx, kind, b); err != nil {
		return nil, err
	}
	got, b, err := c.Read(c.ctx)
	if err == nil && got != kind {
		err = fmt.Errorf("message of kind %v", got)
	}
	return b, err
}

func (c coderClient) ping() error {
	go c.Read(c.ctx) // a pong is seen by who reads
	return c.Ping(c.ctx)
}

func (c coderClient) bye(code int) error { return c.Close(coder.StatusCode(code), "bye") }

// libraryClients are ways to open a WebSocket at url.
func libraryClients(ctx context.Context, url string, compressed bool) map[string]func() (talker, string, error) {
	return map[string]func() (talker, string, error){
		"gorilla": func() (talker, string, error) {
			d := gorilla.Dialer{EnableCompression: compressed, Subprotocols: []string{"other", "echo"}}
			c, _, err := d.DialContext(ctx, url, nil)
			if err != nil {
				return nil, "", err
			}
			return gorillaClient{c}, c.Subprotocol(), nil
		},
		"coder": func() (talker, string, error) {
			mode := coder.CompressionDisabled
			if compressed {
				mode = coder.CompressionContextTakeover
			}
			c, _, err := coder.Dial(ctx, url, &coder.DialOptions{Subprotocols: []string{"echo"}, CompressionMode: mode})
			if err != nil {
				return nil, "", err
			}
			c.SetReadLimit(-1)
			return coderClient{c, ctx}, c.Subprotocol(), nil
		},
	}
}

// converse sends text and bytes of each size, pings, and closes with a code of
// its own.
func converse(t *testing.T, name string, dial func() (talker, string, error), sizes ...int) {
	t.Helper()
	c, protocol, err := dial()
	if err != nil || protocol != "echo" {
		t.Fatalf("%s: subprotocol %q, %v", name, protocol, err)
	}
	for _, n := range sizes {
		text := []byte(strings.Repeat("κόσμε text ", n/11+1)[:n])
		text = bytes.ToValidUTF8(text, nil)
		if got, err := c.talk(true, text); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%s: text of %d: %v", name, n, err)
		}
		data, _ := io.ReadAll(stream(int64(n)))
		if got, err := c.talk(false, data); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s: %d bytes: %v", name, n, err)
		}
	}
	_, reads := c.(coderClient) // for a ping alone, which takes another connection then
	if !reads {
		if err := c.ping(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.bye(4321); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if !reads {
		return
	}
	if c, _, err = dial(); err != nil {
		t.Fatal(err)
	}
	if err := c.ping(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	c.(coderClient).CloseNow()
}

// Clients of two libraries talk to servers of both through the proxy, with and
// without compression.
func TestWebSocketLibraries(t *testing.T) {
	servers := map[string]http.HandlerFunc{"gorilla": gorillaEcho, "coder": coderEcho}
	besides(t, func(t *testing.T, backend string) {
		for server, echo := range servers {
			z := bodyProxy(t, backend, webOrigin(t, echo))
			url := "ws://" + z.addr + "/echo"
			ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
			defer cancel()
			for _, compressed := range []bool{false, true} {
				for client, dial := range libraryClients(ctx, url, compressed) {
					name := fmt.Sprintf("%s to %s, compressed %v", client, server, compressed)
					converse(t, name, dial, 0, 1, 125, 126, 5000, 65536, 2<<20)
				}
			}
			m := z.metrics(t)
			if n := m.sum("zproxy_websocket_violations_total"); n != 0 {
				t.Errorf("%s: %v violations", server, n)
			}
			if n := m.sum("zproxy_websockets_total"); n != 6 {
				t.Errorf("%s: %v WebSockets, want 6", server, n)
			}
		}
	})
}

// browserPage opens a WebSocket to where it comes from, says a few things, and
// puts the outcome into its title. It has not finished loading before it has
// asked for /done, which the image waits for.
const browserPage = `<!DOCTYPE html><title>waiting</title><script>
const log = [];
const done = why => { document.title = "done: " + log.join(" ") + " " + why; fetch("/done"); };
const s = new WebSocket(location.origin.replace("http", "ws") + "/echo", ["other", "echo"]);
s.binaryType = "arraybuffer";
s.onopen = () => { log.push("open:" + s.protocol + ":" + s.extensions); s.send("κόσμε"); };
s.onmessage = e => {
	if (typeof e.data == "string" && e.data.length < 100) {
		log.push("text:" + e.data);
		s.send("x".repeat(200000));
	} else if (typeof e.data == "string") {
		log.push("long:" + e.data.length);
		s.send(new Uint8Array([0, 255, 128]));
	} else {
		log.push("bytes:" + new Uint8Array(e.data).join(","));
		s.close(3456, "enough");
	}
};
s.onclose = e => done("close:" + e.code + ":" + e.reason + ":" + e.wasClean);
s.onerror = () => log.push("error");
</script><img src="/wait">`

// waitForPage answers at /wait when /done has been asked for: a page with both has not
// finished loading before.
func waitForPage(mux *http.ServeMux) {
	finished := make(chan bool)
	mux.HandleFunc("/done", func(http.ResponseWriter, *http.Request) { close(finished) })
	mux.HandleFunc("/wait", func(http.ResponseWriter, *http.Request) {
		select {
		case <-finished:
		case <-time.After(3 * patience):
		}
	})
}

// browse has Chromium load a page, and gives its title. What it keeps is in home.
func browse(t *testing.T, home, url string) (title string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	browser := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--user-data-dir="+filepath.Join(home, "profile"), "--timeout=100000", "--dump-dom", url)
	browser.Env = append(os.Environ(), "HOME="+home)
	out, err := browser.Output()
	title, _, _ = strings.Cut(string(out), "</title>")
	_, title, _ = strings.Cut(title, "<title>")
	return title, err
}

// A page in a browser talks to its server through the proxy.
func TestWebSocketBrowser(t *testing.T) {
	need(t, "chromium")
	eachBackend(t, func(t *testing.T, backend string) {
		mux := http.NewServeMux()
		mux.HandleFunc("/echo", gorillaEcho)
		waitForPage(mux)
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, browserPage)
		})
		z := bodyProxy(t, backend, webOrigin(t, mux))
		title, err := browse(t, t.TempDir(), "http://"+z.addr+"/")
		want := "done: open:echo:permessage-deflate text:κόσμε long:200000 bytes:0,255,128 close:3456::true"
		title = strings.Replace(title, "permessage-deflate; server_no_context_takeover; client_no_context_takeover", "permessage-deflate", 1)
		if title != want {
			t.Errorf("the page says %q, %v; want %q", title, err, want)
		}
	})
}

const (
	// idleSockets WebSockets take idleSocketBound bytes of the proxy's memory
	// each, both sides together. Each takes two descriptors, of which a process
	// often may have 20 000.
	idleSockets     = 9_700
	idleSocketBound = 1024
)

// socketAsk is the handshake of a browser.
const socketAsk = "GET /live/updates?channel=42 HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\n" +
	"Origin: https://app.example.com\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"

// A WebSocket on which nothing happens is small.
func TestLengthyWebSocketMemory(t *testing.T) {
	longtest.Need(t)
	enoughFiles(t, idleSockets*2/3)
	eachBackend(t, func(t *testing.T, backend string) {
		o := startOrigin(t, func(c *originConn) {
			if r := c.request(); r == nil || r.Header.Get("Upgrade") != "websocket" {
				return
			}
			c.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi")
			io.Copy(io.Discard, c.br)
		})
		z := start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {max_connections: 9800}, timeouts: {idle: 10m}}}
limits: {connections: 19600}
routes: [{path: "/*", upstream: app}]
`, o.addr))
		open := func() *client {
			c := dial(t, z.addr)
			c.write(socketAsk)
			if res := c.head("GET"); res.StatusCode != 101 {
				t.Fatal(res.Status)
			}
			var hi [4]byte
			if _, err := io.ReadFull(c.br, hi[:]); err != nil || string(hi[2:]) != "hi" {
				t.Fatalf("%q, %v", hi, err)
			}
			return c
		}
		clients := []*client{open()}
		z.metrics(t)
		time.Sleep(1200 * time.Millisecond)
		before := z.memory(t, "smaps_rollup", "Rss")
		for range idleSockets {
			clients = append(clients, open())
		}
		if n := z.metrics(t).sum("zproxy_websockets_open"); n != idleSockets+1 {
			t.Fatalf("%v WebSockets, want %d", n, idleSockets+1)
		}
		var each float64
		for range 10 {
			time.Sleep(500 * time.Millisecond)
			if each = float64(z.memory(t, "smaps_rollup", "Rss")-before) / idleSockets; each <= idleSocketBound {
				break
			}
		}
		t.Logf("an idle WebSocket takes %.0f bytes", each)
		if each > idleSocketBound {
			t.Errorf("an idle WebSocket takes %.0f bytes, more than %d", each, idleSocketBound)
		}
		for _, c := range clients {
			c.Close()
		}
	})
}
