package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"zproxy/internal/longtest"
	"zproxy/internal/mixedload"
)

// reload has the proxy read text as its configuration, with what start adds, and waits until
// it has said what became of it.
func (z *zproxy) reload(t *testing.T, text string) (done bool) {
	t.Helper()
	count := func() (done, failed float64) {
		m := z.metrics(t)
		done = m.sum("zproxy_reloads_total", `outcome="done"`)
		return done, m.sum("zproxy_reloads_total") - done
	}
	was, failed := count()
	head, _, _ := strings.Cut(z.config, "listeners:")
	writeFile(t, z.file, head+text)
	z.signal(t, syscall.SIGHUP)
	eventually(t, patience, "the configuration is read again", func() (bool, string) {
		d, f := count()
		done = d > was
		return d+f > was+failed, tail(z.out.String())
	})
	return done
}

// reloads is a proxy that many use while its configuration changes.
type reloads struct {
	*zproxy
	origins [2]string
	second  string    // the address of a listener that comes and goes
	loaded  [2]string // addresses of the origin of a mixed load, the second of which comes and goes
	secure  string    // the address of a listener with TLS
	pair    issued
}

func (r *reloads) text(i int) string {
	more, routes, endpoints := "", "", fmt.Sprintf("{address: %q}", r.loaded[0])
	if i%4 > 1 {
		endpoints += fmt.Sprintf(", {address: %q}", r.loaded[1])
	}
	if i%3 == 1 {
		more = fmt.Sprintf("  - {address: %q, protocols: [http1, h2c]}\n", r.second)
	}
	if i%2 == 1 {
		routes = fmt.Sprintf("  - {path: /only/%d, respond: {status: 204}}\n", i)
	}
	return fmt.Sprintf(`listeners:
  - {address: %q, protocols: [http1, h2c]}
  - {address: %q, tls: {certificates: [{cert: %q, key: %q}]}}
%supstreams:
  loaded: {endpoints: [%s]}
  calls: {protocol: h2c, endpoints: [%s]}
  turns: {endpoints: [{address: %q}], timeouts: {idle: %ds}}
  stays: {endpoints: [{address: %q}]}
routes:
%s  - {path: "/*", upstream: turns}
  - {path: /stays, upstream: stays}
  - {path: /echo, upstream: loaded}
  - {path: /ws, upstream: loaded}
  - {path: /grpc, upstream: calls}
limits: {keepalive_timeout: %ds}
reload: {grace: never}
shutdown: {grace: 20s, idle_timeout: 19s}
`, r.addr, r.secure, r.pair.cert, r.pair.key, more, endpoints, endpoints, r.origins[i%2], 30+i%5, r.origins[0], routes, 60+i%2)
}

// Configurations change under load: no request fails, no connection that is kept is closed, a
// WebSocket and a connection of HTTP/2 go on, and what changed is served at once.
func TestReload(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		changes(t, backend, 12, mixedload.Clients{Each: 2, Pauses: []time.Duration{20 * time.Millisecond, 500 * time.Millisecond}})
	})
}

func TestLengthyReload(t *testing.T) {
	longtest.Need(t)
	eachBackend(t, func(t *testing.T, backend string) {
		changes(t, backend, 1000, mixedload.Clients{Each: 8, Pauses: lengthyPauses})
	})
}

func changes(t *testing.T, backend string, times int, clients mixedload.Clients) {
	r := &reloads{zproxy: &zproxy{addr: "LISTEN"}, second: freeAddr(t), secure: freeAddr(t), pair: newAuthority(t, "ca", nil).issue(t, "ecdsa", nil, "a.example")}
	origin := loadedOrigin(t)
	r.loaded = [2]string{origin.addr, origin.another(t)}
	for i := range r.origins {
		r.origins[i] = startNumbered(t, i)
	}
	r.zproxy = start(t, backend, r.text(0))
	clients.Clear, clients.Prior, clients.Secure = r.addr, r.addr, r.secure
	mixed := mixedload.Start(clients)
	defer mixed.Stop()
	kept := startLoad(r.addr, "/any", "ok", 12)
	stays := startLoad(r.addr, "/stays", "ok", 4)
	ws, _, err := gorilla.DefaultDialer.Dial("ws://"+r.addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	h := dialH2(t, r.addr)
	var came *client // by the second listener
	for i := 1; i <= times; i++ {
		if !r.reload(t, r.text(i)) {
			t.Fatalf("reload %d failed: %s", i, tail(r.out.String()))
		}
		if i == 1 {
			r.logged(t, "added /only/1")
			r.logged(t, "upstreams=\"changed turns\"")
		}
		if got := get(t, r.url("/which")); got != fmt.Sprint(i%2) {
			t.Errorf("reload %d: origin %s answers", i, got)
		}
		if i%3 != 1 {
			refused(t, r.second)
		} else {
			came = dial(t, r.second)
			came.get("/stays")
		}
		if i%3 == 2 { // a connection outlives its listener by a request, which tells
			came.write("GET /stays HTTP/1.1\r\nHost: e2e\r\n\r\n")
			if res, body := came.response("GET"); body != "ok" || !res.Close {
				t.Errorf("reload %d: a connection whose listener has gone: %s, %q, close %v", i, res.Status, body, res.Close)
			}
			came.Close()
		}
		if resp, err := once.Get(r.url(fmt.Sprintf("/only/%d", i))); err != nil || (resp.StatusCode == 204) != (i%2 == 1) {
			t.Errorf("reload %d: its own route: %v, %v", i, resp, err)
		} else {
			resp.Body.Close()
		}
		if err := ws.WriteMessage(gorilla.TextMessage, []byte(fmt.Sprint("on ", i))); err != nil {
			t.Fatalf("reload %d: WebSocket: %v", i, err)
		}
		if _, b, err := ws.ReadMessage(); err != nil || string(b) != fmt.Sprint("on ", i) {
			t.Fatalf("reload %d: WebSocket: %q, %v", i, b, err)
		}
		h.SetDeadline(time.Now().Add(patience))
		st := h.ask(uint32(2*i-1), true, "GET", "/any")
		h.until("a request is answered", st.over)
		if st.status() != "200" {
			t.Errorf("reload %d: HTTP/2: %v", i, st)
		}
	}
	for _, l := range []*load{kept, stays} {
		if answered, failed, _ := l.stop(t); failed > 0 || answered == 0 {
			t.Errorf("%d answered, %d failed: %v", answered, failed, l.first.Load())
		}
	}
	origin.allWell(t, mixed)
	r.refuses(t, times)
}

// startNumbered runs an origin that says which one it is.
func startNumbered(t *testing.T, number int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch path.Base(q.URL.Path) {
		case "which":
			fmt.Fprint(w, number)
		default:
			io.Copy(io.Discard, q.Body)
			io.WriteString(w, "ok")
		}
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// refuses: a configuration that is wrong, or changes what cannot be changed, or cannot be
// listened for, changes nothing, and the log says why.
func (r *reloads) refuses(t *testing.T, times int) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := r.text(times)
	for _, c := range []struct{ text, says string }{
		{good + "nonsense: true\n", "nonsense"},
		{good + "buffers: {max_per_loop: 32MiB}\n", "buffers"},
		{strings.Replace(good, "listeners:\n", fmt.Sprintf("listeners:\n  - {address: %q}\n", taken.Addr()), 1), taken.Addr().String()},
	} {
		if r.reload(t, c.text) {
			t.Errorf("it was taken:\n%s", c.text)
		}
		r.logged(t, c.says)
		if got := get(t, r.url("/which")); got != fmt.Sprint(times%2) {
			t.Errorf("behind a refused one: origin %s answers", got)
		}
	}
	if m := r.metrics(t); m.sum("zproxy_reload_failing") != 1 {
		t.Error("zproxy_reload_failing is not 1")
	}
	if !r.reload(t, good) {
		t.Error("a good one is not taken behind bad ones")
	}
	m := r.metrics(t)
	for outcome, n := range map[string]float64{"done": float64(times + 1), "invalid": 1, "needs_restart": 1, "failed": 1} {
		if got := m.sum("zproxy_reloads_total", `outcome="`+outcome+`"`); got != n {
			t.Errorf("%v reloads are counted as %s, want %v", got, outcome, n)
		}
	}
	if m.sum("zproxy_reload_failing") != 0 || m.sum("zproxy_reload_last_seconds") == 0 || m.sum("zproxy_reload_duration_seconds") == 0 {
		t.Error("the metrics do not tell of a good one")
	}
}

// logged waits until the process log has text.
func (z *zproxy) logged(t *testing.T, text string) {
	t.Helper()
	eventually(t, patience, "the log says "+text, func() (bool, string) { return strings.Contains(z.out.String(), text), tail(z.out.String()) })
}

// refused waits until nobody listens at addr: the kernel closes a socket in the background on
// which an io_uring accepts.
func refused(t *testing.T, addr string) {
	t.Helper()
	eventually(t, patience, "nobody listens at "+addr, func() (bool, string) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil, "somebody does"
	})
}

// once keeps no connection.
var once = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := once.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// echoMessages sends back the messages of a WebSocket.
func echoMessages(w http.ResponseWriter, q *http.Request) {
	c, err := new(gorilla.Upgrader).Upgrade(w, q, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, b, err := c.ReadMessage()
		if err != nil {
			return
		}
		c.WriteMessage(kind, b)
	}
}
