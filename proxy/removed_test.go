package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
)

const soon = "reload: {grace: 20ms}\n"

// WebSockets whose route, listener, upstream or endpoint is removed hear so from the proxy when the
// grace is over, and end in order.
func TestRemovedWebSockets(t *testing.T) {
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		s := v.sockets(t, io_, 1, "", "", nil)
		text := v.yaml(s.snap.Upstreams()[0].Endpoints()[0].Address, "", "")
		for _, removed := range []struct{ what, now string }{
			{"route", strings.Replace(text, "{path: \"/*\", upstream: app", "{path: \"/other/*\", upstream: app", 1)},
			{"upstream", strings.ReplaceAll(strings.Replace(text, " {app:", " {other:", 1), "upstream: app", "upstream: other")},
			{"endpoint", v.yaml("127.0.0.1:1", "", "")},
			{"listener", strings.Replace(text, ":8080", ":8090", 1)},
		} {
			client, origin := s.between()
			s.adopt(removed.now + "reload: {grace: never}\n")
			client.say(t, clientSays("text", removed.what))
			origin.want(t, fmt.Sprintf("text %q", removed.what))
			s.adopt(removed.now + soon)
			client.want(t, "close 1001")
			client.say(t, clientSays("close", code(1001, "")))
			origin.want(t, "close 1001")
			origin.say(t, originSays("close", code(1001, "")))
			client.Close()
			origin.Close()
			s.wire = nil
			if removed.what != "listener" {
				s.adopt(text)
			}
		}
		if n := s.rig.settled()[0].Metrics.RefusedByReason[codeRemoved]; n != 4 {
			t.Errorf("%d ended because something was removed, want 4", n)
		}
	})
}

// streaming is an origin that gives away each of its connections when it has begun to answer, by
// the path.
func streaming(t *testing.T) (addr string, of func(path string) net.Conn) {
	began := map[string]chan net.Conn{}
	for _, where := range []string{"/gone", "/stays"} {
		for _, what := range []string{"/body", "/tunnel", "/stream", "/late"} {
			began[where+what] = make(chan net.Conn, 1)
		}
	}
	addr = startOrigin(t, func(_ int, c net.Conn) {
		head, err := readHead(c)
		if err != nil {
			return
		}
		path := strings.Fields(head)[1]
		switch {
		case strings.HasSuffix(path, "/tunnel"):
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		case !strings.HasSuffix(path, "/late"):
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		}
		began[path] <- c
		io.Copy(io.Discard, c)
	})
	return addr, func(path string) net.Conn { return <-began[path] }
}

// Bodies, streams of HTTP/2, tunnels and requests without a response end when what they began on has
// been removed for as long as they may, each by itself; others on the same connection, and those that
// lead to the same endpoint by a changed route and upstream, go on.
func TestRemovedStreams(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		addr, of := streaming(t)
		text := "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n" +
			"upstreams: {app: {endpoints: [{address: %q}%s]}, other: {endpoints: [{address: \"127.0.0.1:1\"}]}}\n" +
			"routes: [{path: \"/stays/*\", %s}%s]\n"
		r := start(t, io_, 1, fmt.Sprintf(text, addr, "", "upstream: app", ", {path: \"/gone/*\", upstream: app}"), nil)
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		clients, origins := map[string]net.Conn{}, map[string]net.Conn{}
		streams := map[string]*http.Response{}
		for _, where := range []string{"/gone", "/stays"} {
			for what, more := range map[string]string{"/body": "", "/tunnel": "Connection: upgrade\r\nUpgrade: echo\r\n", "/late": ""} {
				c := r.dial()
				clients[where+what] = c
				fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", where+what, more)
				if what != "/late" {
					readHead(c)
				}
				origins[where+what] = of(where + what)
			}
			resp, err := (&http.Client{Transport: tr}).Get("http://" + r.addr + where + "/stream")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			streams[where] = resp
			origins[where+"/stream"] = of(where + "/stream")
		}
		r.adopt(fmt.Sprintf(text, addr, ", {address: \"127.0.0.1:2\"}", "split: [{upstream: other, weight: 1}, {upstream: app, weight: 1}]", "") + soon)
		if got, closed := hear(clients["/gone/body"], func(string) bool { return false }); !closed || strings.Contains(got, "0\r\n\r\n") {
			t.Errorf("the body: %q, closed %v", got, closed)
		}
		if _, closed := hear(clients["/gone/tunnel"], func(string) bool { return false }); !closed {
			t.Error("the tunnel is not closed")
		}
		if b, err := io.ReadAll(streams["/gone"].Body); err == nil {
			t.Errorf("the stream ends in order, with %q", b)
		}
		if head, err := readHead(clients["/gone/late"]); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
			t.Errorf("what has no response: %q, %v", head, err)
		}
		io.WriteString(origins["/stays/late"], "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		readHead(clients["/stays/late"])
		for _, what := range []string{"/body", "/tunnel", "/late", "/stream"} {
			io.WriteString(origins["/stays"+what], "1\r\nx\r\n")
		}
		for _, what := range []string{"/body", "/tunnel", "/late"} {
			if got := readN(clients["/stays"+what], 6); got != "1\r\nx\r\n" {
				t.Errorf("%s: %q", what, got)
			}
		}
		if n, err := io.ReadFull(streams["/stays"].Body, make([]byte, 1)); n != 1 {
			t.Errorf("the other stream: %v", err)
		}
		m := r.reports()[0].Metrics
		if m.RefusedByReason[codeRemoved] != 4 || m.Sessions != 1 {
			t.Errorf("%d ended because their route was removed, want 4; %d HTTP/2 connections, want 1", m.RefusedByReason[codeRemoved], m.Sessions)
		}
		for _, c := range origins { // a client that closes may still read
			c.Close()
		}
	})
}

// A request that comes by a listener that is gone has as long as those that came before.
func TestRemovedBeforeItBegan(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		addr, _ := streaming(t)
		text := yaml(addr, "routes: [{path: \"/*\", upstream: app}]\nshutdown: {idle_timeout: 1h}\n")
		r := start(t, io_, 1, text, nil)
		c := r.dial()
		for r.reports()[0].Metrics.Accepted == 0 {
			time.Sleep(time.Millisecond)
		}
		r.adopt(strings.Replace(text, ":8080", ":8090", 1) + soon)
		io.WriteString(c, "GET /gone/body HTTP/1.1\r\nHost: h\r\n\r\n")
		if got, closed := hear(c, func(string) bool { return false }); !closed || !strings.HasPrefix(got, "HTTP/1.1 ") {
			t.Errorf("%q, closed %v", got, closed)
		}
		if n := r.settled()[0].Metrics.RefusedByReason[codeRemoved]; n != 1 {
			t.Errorf("%d ended because their listener was removed, want 1", n)
		}
	})
}
