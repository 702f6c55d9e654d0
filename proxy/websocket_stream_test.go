package proxy

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"zproxy/loop"
	"zproxy/proxy/memory"
)

// An extended CONNECT that is no good is refused, and so is one that the origin
// does not agree to, whatever the origin takes it for.
func TestStreamHandshakes(t *testing.T) {
	const forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno no"
	cases := []struct {
		name, protocol string
		fields         []string
		reply          string // of the origin, a 101 when empty
		status         string
	}{
		{"fine", "websocket", nil, "", "200"},
		{"in any letter case", "WebSocket", nil, "", "200"},
		{"a key of its own", "websocket", []string{"sec-websocket-key: mine"}, "", "200"},
		{"subprotocol", "websocket", []string{"sec-websocket-protocol: chat, superchat"}, wsResponse("Sec-WebSocket-Protocol: superchat"), "200"},
		{"another protocol", "connect-udp", nil, "-", "501"},
		{"two versions", "websocket", []string{"sec-websocket-version: 13"}, "-", "426"},
		{"an offer that is none", "websocket", []string{"sec-websocket-protocol: a b"}, "-", "400"},
		{"refused by the origin", "websocket", nil, forbidden, "403"},
		{"answered like any request", "websocket", nil, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "502"},
		{"no content", "websocket", nil, "HTTP/1.1 204 No Content\r\n\r\n", "502"},
		{"another protocol than asked for", "websocket", nil, strings.Replace(wsResponse(), "Upgrade: websocket", "Upgrade: echo", 1), "502"},
		{"wrong accept", "websocket", nil, strings.Replace(wsResponse(), wsAccept, wsAccept[:27]+"A", 1), "502"},
		{"subprotocol nobody offered", "websocket", nil, wsResponse("Sec-WebSocket-Protocol: chat"), "502"},
		{"extension nobody offered", "websocket", nil, wsResponse("Sec-WebSocket-Extensions: permessage-deflate"), "502"},
		{"redirected", "websocket", nil, "HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", "307"},
	}
	besides(t, func(t *testing.T, io_ loop.IO) {
		for _, tc := range cases {
			t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				origin := startOrigin(t, func(_ int, c net.Conn) {
					head, err := readHead(c)
					if err != nil {
						return
					}
					key := fieldOf(head, "Sec-WebSocket-Key")
					if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 16 {
						t.Errorf("key %q", key)
					}
					reply := tc.reply
					if reply == "" {
						reply = wsResponse()
					}
					io.WriteString(c, strings.Replace(reply, wsAccept+"\r\n", acceptOf(key)+"\r\n", 1))
					readN(c, 1)
				})
				v := versionPair{client: true}
				r := start(t, io_, 1, v.yaml(origin, "", ""), nil)
				w := dialWire(t, r.addr)
				s := w.ask(tc.protocol, tc.fields...)
				if got := s.status(t); got != tc.status {
					t.Fatalf("%s, want %s", got, tc.status)
				}
				if tc.reply == forbidden {
					if b, err := io.ReadAll(s); err != nil || string(b) != "no no" {
						t.Errorf("%q, %v", b, err)
					}
				}
				if tc.status == "426" && s.field("sec-websocket-version") != "13" {
					t.Errorf("%v", s.head)
				}
				if m := r.reports()[0].Metrics; tc.reply == "-" && m.UpstreamConnects != 0 {
					t.Error("the origin was asked")
				}
				w.Conn.Close()
				r.settled()
			})
		}
	})
}

func fieldOf(head, name string) string {
	_, v, _ := strings.Cut(head, "\r\n"+name+": ")
	v, _, _ = strings.Cut(v, "\r\n")
	return v
}

// A route that answers by itself has no WebSocket, and 2xx would say that it has.
func TestStreamToFixedAnswer(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		r := start(t, io_, 1, "listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c]}]\n"+
			"routes: [{path: \"/*\", respond: {status: 200, body: ok}}]\n", nil)
		w := dialWire(t, r.addr)
		if got := w.ask("websocket").status(t); got != "501" {
			t.Errorf("%s, want 501", got)
		}
	})
}

// What origins of HTTP/2 say to a client of HTTP/1.
func TestSocketsToStreamOrigins(t *testing.T) {
	takes := http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}
	cases := []struct {
		name     string
		settings []http2.Setting
		serve    func(s *wireStream)
		status   string
	}{
		{"fine", []http2.Setting{takes}, func(s *wireStream) { s.agree() }, "101"},
		{"any success", []http2.Setting{takes}, func(s *wireStream) { s.say("", ":status", "204") }, "101"},
		{"a subprotocol nobody offered", []http2.Setting{takes}, func(s *wireStream) { s.agree("sec-websocket-protocol", "chat") }, "502"},
		{"an extension nobody offered", []http2.Setting{takes}, func(s *wireStream) { s.agree("sec-websocket-extensions", "x") }, "502"},
		{"refused", []http2.Setting{takes}, func(s *wireStream) { s.say("no no", ":status", "403", "content-length", "5") }, "403"},
		{"reset", []http2.Setting{takes}, func(s *wireStream) { s.abort() }, "502"},
		{"not taken", nil, func(s *wireStream) { s.agree() }, "502"},
	}
	besides(t, func(t *testing.T, io_ loop.IO) {
		for _, tc := range cases {
			t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				asked := make(chan bool, 10)
				origin := wireServer(t, func(s *wireStream) {
					asked <- true
					tc.serve(s)
					io.Copy(io.Discard, s)
					s.CloseWrite()
				}, tc.settings...)
				v := versionPair{origin: true}
				r := start(t, io_, 1, v.yaml(origin, "", ""), nil)
				c := r.dial()
				io.WriteString(c, wsRequest())
				head, err := readHead(c)
				if !strings.HasPrefix(head, "HTTP/1.1 "+tc.status) {
					t.Fatalf("%q, %v; want %s", head, err, tc.status)
				}
				if tc.status == "101" && (fieldOf(head, "Sec-WebSocket-Accept") != wsAccept || fieldOf(head, "Upgrade") != "websocket" || fieldOf(head, "Connection") != "upgrade") {
					t.Errorf("%q", head)
				}
				if tc.status == "403" {
					if got := readN(c, 5); got != "no no" {
						t.Errorf("%q", got)
					}
				}
				if tc.settings == nil && len(asked) > 0 {
					t.Error("the origin was asked for what it does not take (RFC 8441 3)")
				}
				c.Close()
				r.settled()
			})
		}
	})
}

// say answers with a head, and with content if there is any.
func (s *wireStream) say(content string, pairs ...string) {
	s.w.mu.Lock()
	s.headers(false, pairs...)
	s.w.mu.Unlock()
	if content != "" {
		io.WriteString(s, content)
		s.CloseWrite()
	}
}

// An upgrade to something else than WebSocket has no counterpart in HTTP/2: the
// request goes on without.
func TestOtherUpgradesToStreamOrigins(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := wireServer(t, func(s *wireStream) {
			s.say("plain", ":status", "200", "x-was", s.field(":method")+s.field(":protocol")+s.field("upgrade"))
		}, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
		v := versionPair{origin: true}
		r := start(t, io_, 1, v.yaml(origin, "", ""), nil)
		c := r.dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 200") || fieldOf(head, "X-Was")+fieldOf(head, "x-was") != "GET" {
			t.Errorf("%q, %v", head, err)
		}
	})
}

// What a client sends before it knows that its WebSocket is open waits, and
// arrives first. What there is no window for it keeps.
func TestEarlyFramesOnStreams(t *testing.T) {
	t.Parallel()
	for _, v := range versionPairs {
		if !v.client {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			besides(t, func(t *testing.T, io_ loop.IO) {
				r := v.sockets(t, io_, 1, "", "", nil)
				s := r.connection().ask("websocket")
				early := clientSays("text", "early", "binary", repeated(5000))
				io.WriteString(s, early)
				s.CloseWrite()
				origin := <-r.opened
				if got := origin.rest(); got != `text "early"; `+sum("binary", 5000)+"; end" {
					t.Errorf("the origin hears %s", got)
				}
				origin.say(t, originSays("close", ""))
				origin.Close()
				if got := s.status(t); got != "200" {
					t.Errorf("%s", got)
				}
				b, err := io.ReadAll(s)
				if err != nil || string(b) != originSays("close", "") {
					t.Errorf("%q, %v", b, err)
				}
				r.settled()
			})
		})
	}
	// The stream's window is not opened while nobody takes what it brings.
	t.Run("too_much", func(t *testing.T) {
		besides(t, func(t *testing.T, io_ loop.IO) {
			origin := startOrigin(t, func(_ int, c net.Conn) { readHead(c); time.Sleep(patience) })
			v := versionPair{client: true}
			r := start(t, io_, 1, v.yaml(origin, "", ""), nil)
			w := dialWire(t, r.addr)
			s := w.ask("websocket")
			var sent atomic.Int64
			go func() {
				for range 2 * memory.HighBytes / 1000 {
					n, err := s.Write(make([]byte, 1000))
					if sent.Add(int64(n)); err != nil {
						return
					}
				}
			}()
			time.Sleep(500 * time.Millisecond)
			first := sent.Load()
			time.Sleep(100 * time.Millisecond)
			if last := sent.Load(); first == 0 || last > memory.HighBytes || last != first {
				t.Errorf("%d bytes, and then %d, could be sent early", first, last)
			}
			w.Conn.Close()
			r.settled()
		})
	})
}

// Where memory is plenty the window is wide, and all that it lets through waits.
func TestEarlyWindowOfFrames(t *testing.T) {
	onBackends(t, func(t *testing.T, io_ loop.IO) {
		gate, opened := make(chan bool), make(chan *socketConn, 1)
		addr := wireServer(t, func(s *wireStream) {
			<-gate
			s.agree()
			opened <- &socketConn{s, bufio.NewReader(s)}
		}, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
		r := start(t, io_, 1, versionPair{client: true, origin: true}.yaml(addr, "", "buffers: {max_per_loop: 512MiB}"), nil)
		s := dialWire(t, r.addr).ask("websocket")
		const size = memory.HighBytes + memory.HighBytes/2
		io.WriteString(s, clientSays("binary", repeated(size)))
		s.CloseWrite()
		time.Sleep(100 * time.Millisecond) // it has come as far as it comes
		close(gate)
		select {
		case origin := <-opened:
			if got := origin.rest(); got != sum("binary", size)+"; end" {
				t.Errorf("the origin hears %.200s", got)
			}
			origin.Close()
		case <-time.After(patience):
			t.Errorf("the WebSocket is not opened: %s", s.status(t))
		}
		r.settled()
	})
}

// A reset of one side is a reset of the other, and no orderly end.
func TestStreamResets(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "mode: tunnel", "", nil)
		client, origin := r.between()
		client.say(t, clientSays("text", "a"))
		origin.want(t, `text "a"`)
		client.abort()
		if got := origin.rest(); got != "reset" {
			t.Errorf("the origin hears %s of a client that has broken off", got)
		}
		client, origin = r.between()
		origin.say(t, originSays("text", "b"))
		client.want(t, `text "b"`)
		origin.abort()
		if got := client.rest(); got != "reset" {
			t.Errorf("the client hears %s of an origin that has broken off", got)
		}
		client.Close()
		r.settled()
	})
}

// Many WebSockets share a connection, and one that nobody reads holds up none
// of the others.
func TestManySocketsOnStreams(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		if !v.client && !v.origin {
			return
		}
		const sockets, messages = 100, 20
		r := v.sockets(t, io_, 1, "", "", nil)
		stuck, deaf := r.between()
		go func() { // into a side that does not read
			for n := 0; n < 8<<20; n += 50_000 {
				if _, err := io.WriteString(stuck, clientSays("binary", repeated(50_000))); err != nil {
					return
				}
			}
		}()
		var running sync.WaitGroup
		for i := range sockets {
			client, origin := r.between()
			running.Go(func() {
				for j := range messages {
					text := fmt.Sprintf("%d of %d %s", j, i, repeated(j*i))
					client.say(t, clientSays("text", text))
					if got, err := origin.next(); err != nil || !strings.HasPrefix(got, "text") {
						t.Errorf("socket %d: %s, %v", i, got, err)
						return
					}
					origin.say(t, originSays("text", text))
					want := fmt.Sprintf("text %q", text)
					if len(text) > 40 {
						want = sumOf("text", text)
					}
					if got, err := client.next(); err != nil || got != want {
						t.Errorf("socket %d: %s, %v, want %s", i, got, err, want)
						return
					}
				}
				client.closeWrite()
				origin.closeWrite()
				client.rest()
			})
		}
		running.Wait()
		stuck.abort()
		deaf.abort()
		m := r.settled()[0].Metrics
		if want := uint64(1); v.client && m.Accepted != want {
			t.Errorf("%d connections, want %d", m.Accepted, want)
		}
		if v.origin && m.UpstreamConnects > 2 {
			t.Errorf("%d connections to the origin, want one and one for what is stuck", m.UpstreamConnects)
		}
	})
}
