package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
)

// What is wrong with a handshake is answered at once, or refused to the client
// when the origin got it wrong.
func TestWebSocketHandshakes(t *testing.T) {
	replace := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			panic(old)
		}
		return strings.Replace(s, old, new, 1)
	}
	good, fine := wsRequest(), wsResponse()
	const version = "Sec-WebSocket-Version: 13"
	cases := []struct{ name, send, reply, status string }{
		{"fine", good, fine, "101"},
		{"no key", replace(good, "Sec-WebSocket-Key: "+wsKey+"\r\n", ""), "", "400"},
		{"post", replace(replace(good, "GET", "POST"), "Host: h", "Host: h\r\nContent-Length: 0"), "", "400"},
		{"with content", replace(good, "Host: h", "Host: h\r\nContent-Length: 3") + "abc", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"},
		{"version 12", replace(good, version, "Sec-WebSocket-Version: 12"), "", "426"},
		{"key named in Connection", replace(good, "Connection: Upgrade", "Connection: Upgrade, Sec-WebSocket-Key"), "", "400"},
		{"wrong accept", good, replace(fine, wsAccept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOO="), "502"},
		{"no accept", good, replace(fine, "Sec-WebSocket-Accept: "+wsAccept+"\r\n", ""), "502"},
		{"subprotocol nobody offered", good, wsResponse("Sec-WebSocket-Protocol: chat"), "502"},
		{"extension nobody offered", good, wsResponse("Sec-WebSocket-Extensions: permessage-deflate"), "502"},
		{"subprotocol", wsRequest("Sec-WebSocket-Protocol: chat, superchat"), wsResponse("Sec-WebSocket-Protocol: superchat"), "101"},
		{"another protocol than asked for", good, replace(fine, "Upgrade: websocket", "Upgrade: echo"), "502"},
		{"another protocol of several", replace(good, "Upgrade: websocket", "Upgrade: websocket, echo"), replace(fine, "Upgrade: websocket", "Upgrade: echo"), "101"},
		{"two protocols at once", replace(good, "Upgrade: websocket", "Upgrade: websocket, echo"), replace(fine, "Upgrade: websocket", "Upgrade: websocket, echo"), "502"},
		{"refused by the origin", good, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403"},
		{"an offer longer than a block", wsRequest("Sec-WebSocket-Protocol: " + strings.Repeat("a,", 8500) + "b"), "", "431"},
	}
	besides(t, func(t *testing.T, io_ loop.IO) {
		for _, tc := range cases {
			t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				origin := startOrigin(t, func(_ int, c net.Conn) {
					if _, err := readHead(c); err == nil {
						io.WriteString(c, tc.reply)
						readN(c, 1)
					}
				})
				r := start(t, io_, 1, yaml(origin, ""), nil)
				c := r.dial()
				io.WriteString(c, tc.send)
				head, err := readHead(c)
				if !strings.HasPrefix(head, "HTTP/1.1 "+tc.status) {
					t.Fatalf("%q, %v; want %s", head, err, tc.status)
				}
				if tc.status == "426" && !(strings.Contains(head, version+"\r\n") && strings.Contains(head, "Upgrade: websocket\r\n")) {
					t.Errorf("%q", head)
				}
				if m := r.reports()[0].Metrics; tc.reply == "" && m.UpstreamConnects != 0 {
					t.Error("the origin was asked")
				}
				c.Close()
				r.settled()
			})
		}
	})
}

// Frames arrive as they were sent, and a violation ends both sides in order.
func TestWebSocketFailures(t *testing.T) {
	t.Parallel()
	big := string(wsFrame(0x82, repeated(50_000), false))
	cases := []struct {
		name           string
		client, origin []string // pieces that are sent, the client's first, each a while after the one before
		toClient, toOrigin,
		settings string
	}{
		{"client's rule", []string{clientSays("text", "a", "last", "b")}, nil, "close 1002; end", `text "a"; close 1002; end`, ""},
		{"client's text", []string{clientSays("text", "\xff")}, nil, "close 1007; end", "close 1007; end", ""},
		{"origin's rule", nil, []string{originSays("text", "a", "last", "b")}, `text "a"; close 1002; end`, "close 1002; end", ""},
		{"origin masks", nil, []string{clientSays("text", "a")}, `close 1002; end`, "close 1002; end", ""},
		{"origin's text", nil, []string{originSays("text", "all is well", "text", "\xff")}, `text "all is well"; close 1007; end`, "close 1007; end", ""},
		{"origin's message is too big", nil, []string{originSays("text", repeated(101))}, `close 1009; end`, "close 1009; end", "max_message: 100"},
		{"in the middle of a frame that has gone in part", nil, []string{string(wsFrame(0x81, repeated(2000)+"\xff", false))[:1500], string(wsFrame(0x81, repeated(2000)+"\xff", false))[1500:]}, "cut", "close 1007; end", ""},
		{"client's, in the middle", []string{string(wsFrame(0x81, repeated(200)+"\xff", true))[:100], string(wsFrame(0x81, repeated(200)+"\xff", true))[100:]}, nil, "close 1007; end", "cut", ""},
		{"client's, while the origin is in the middle of a frame", []string{"", "", clientSays("last", "")}, []string{big[:30_000], "", "", big[30_000:]}, sum("binary", 50_000) + "; close 1002; end", "close 1002; end", ""},
		{"both", []string{clientSays("last", "")}, []string{originSays("last", "")}, "close 1002; end", "close 1002; end", ""},
		{"half a header and the end", []string{clientSays("text", "a") + "\x81"}, nil, "end", `text "a"; end`, ""},
		{"a tunnel does not look", []string{clientSays("last", "x")}, []string{originSays("last", "y")}, `last "y"; end`, `last "x"; end`, "mode: tunnel"},
	}
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		for _, tc := range cases {
			t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				r := v.sockets(t, io_, 1, tc.settings, "", nil)
				client, origin := r.between()
				before := r.reports()[0].Metrics
				said, replied := before.BytesIn, before.UpstreamBytesIn
				for i := range max(len(tc.client), len(tc.origin)) {
					if i < len(tc.client) {
						client.say(t, tc.client[i])
						said += uint64(len(tc.client[i]))
					}
					if i < len(tc.origin) {
						origin.say(t, tc.origin[i])
						replied += uint64(len(tc.origin[i]))
					}
					r.takes(said, replied)
				}
				toClient := make(chan string)
				go func() {
					client.closeWrite()
					toClient <- client.rest()
				}()
				toOrigin := ""
				if strings.Contains(tc.toOrigin, "close") {
					// It says that it closes when the proxy does, as it should.
					toOrigin = origin.untilClose()
					io.WriteString(origin, originSays("close", code(1002, "")))
				}
				if toOrigin += origin.rest(); toOrigin != tc.toOrigin {
					t.Errorf("the origin hears %s, want %s", toOrigin, tc.toOrigin)
				}
				origin.Close()
				if got := <-toClient; got != tc.toClient {
					t.Errorf("the client hears %s, want %s", got, tc.toClient)
				}
				client.Close()
				r.settled()
			})
		}
	})
}

// takes waits until the worker has received so many bytes of clients and of origins,
// or, where it has ended a side, is not going to.
func (r *rig) takes(client, origin uint64) {
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if m := r.reports()[0].Metrics; m.BytesIn >= client && m.UpstreamBytesIn >= origin {
			break
		}
	}
	time.Sleep(quiet)
}

// untilClose describes what comes up to a Close frame, that included.
func (s *socketConn) untilClose() string {
	all := ""
	for {
		f, err := s.next()
		if err != nil {
			return all + err.Error() + "; "
		}
		all += f + "; "
		if strings.HasPrefix(f, "close") {
			return all
		}
	}
}

// Not a byte of a frame is changed on its way, whatever pieces it comes in, and
// frames that come together leave together.
func TestWebSocketBytesPassUnchanged(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "", "", nil)
		client, origin := r.between()
		many := ""
		for i := range 500 {
			many += clientSays("text", fmt.Sprint(i), "ping", "p", "Binary", "", "last", repeated(i%200))
		}
		before := r.reports()[0].Loop.SendCalls
		client.say(t, many)
		got := make([]byte, len(many))
		if _, err := io.ReadFull(origin.in, got); err != nil || string(got) != many {
			t.Fatalf("%v; the bytes differ", err)
		}
		if n := r.reports()[0].Loop.SendCalls - before; n > uint64(len(many)/4096+4) {
			t.Errorf("%d frames of %d bytes left in %d writes", 2000, len(many), n)
		}
		for i, piece := range []byte(many[:3000]) {
			client.say(t, string([]byte{piece}))
			if i%8 == 0 {
				time.Sleep(20 * time.Microsecond)
			}
		}
		if _, err := io.ReadFull(origin.in, got[:2900]); err != nil || string(got[:2900]) != many[:2900] {
			t.Fatalf("%v; the bytes differ byte by byte", err)
		}
	})
}

// The proxy pings both sides and keeps the answers; pongs of their own pass.
func TestWebSocketPings(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "ping_interval: 200ms, idle_timeout: 1200ms", "", nil)
		client, origin := r.between()
		client.say(t, clientSays("pong", "12345678"))
		origin.want(t, `pong "12345678"`)
		began := time.Now()
		ends := make(chan string, 2)
		for _, s := range []*socketConn{client, origin} {
			go func() {
				pings := 0
				for {
					f, err := s.next()
					payload, ok := strings.CutPrefix(f, "ping ")
					if !ok {
						ends <- fmt.Sprintf("%d pings, %s, %v", min(pings, 4), f, err)
						return
					}
					pings++
					var b string
					fmt.Sscanf(payload, "%q", &b)
					io.WriteString(s, saying(s == client, []string{"pong", b}))
				}
			}()
		}
		for range 2 {
			if got := <-ends; got != "4 pings, close 1001, <nil>" {
				t.Errorf("%s, want 4 pings and close 1001", got)
			}
		}
		if d := time.Since(began); d < 1100*time.Millisecond || d > 5*time.Second {
			t.Errorf("it was idle for %v until its end, want 1.2s", d)
		}
	})
}

// A side that answers no pings is gone, and the other hears so.
func TestWebSocketSilentSide(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "ping_interval: 100ms", "", nil)
		client, origin := r.between()
		stop := make(chan bool)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					io.WriteString(client, clientSays("pong", "alive"))
				}
			}
		}()
		if got := client.rest(); !strings.HasSuffix(got, "close 1001; end") {
			t.Errorf("the client hears %s", got)
		}
		close(stop)
		if got := origin.rest(); !strings.Contains(got, "close 1001") {
			t.Errorf("the origin hears %s", got)
		}
		client.Close()
		r.settled()
	})
}

// Before a shutdown cuts it off, a client is told to go away and can finish:
// what it still says arrives, and so does its Close frame.
func TestWebSocketDrain(t *testing.T) {
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "", "shutdown: {grace: 2s}\n", nil)
		client, origin := r.between()
		leaver, left := r.between()
		began := time.Now()
		AskDrain(r.peers[0].Loop)
		time.Sleep(50 * time.Millisecond)
		origin.say(t, originSays("text", "still here"))
		client.want(t, `text "still here"`, "close 1001")
		if d := time.Since(began); d < 900*time.Millisecond {
			t.Errorf("told to go after %v, want half of 2s", d)
		}
		client.say(t, clientSays("text", "last words", "close", code(1001, "")))
		origin.want(t, `text "last words"`, "close 1001")
		origin.say(t, originSays("close", code(1001, "")))
		origin.Close()
		if got := client.rest(); got != "end" {
			t.Errorf("%s, want the end", got)
		}
		client.Close()
		leaver.want(t, "close 1001")
		leaver.Close() // without a word
		left.want(t, "close 1001")
		left.Close()
		r.done.Wait()
		if d := time.Since(began); d > 1900*time.Millisecond {
			t.Errorf("the end came after %v, though all had finished", d)
		}
	})
}

// A side may end its half of the connection, and what the other has to say
// still arrives.
func TestWebSocketHalfClose(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "", "", nil)
		client, origin := r.between()
		client.say(t, clientSays("text", "q"))
		client.closeWrite()
		if got := origin.rest(); got != `text "q"; end` {
			t.Errorf("the origin hears %s", got)
		}
		origin.say(t, originSays("text", "a", "close", code(1000, "")))
		origin.Close()
		if got := client.rest(); got != `text "a"; close 1000; end` {
			t.Errorf("the client hears %s", got)
		}
		r.settled()
	})
}

// A side that does not answer the Close frame of a failed connection is not
// waited for long.
func TestWebSocketFailureOfDeafSide(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "", "", nil)
		client, origin := r.between()
		client.say(t, clientSays("last", ""))
		origin.want(t, "close 1002")
		began := time.Now()
		if got := client.rest(); got != "close 1002; end" {
			t.Errorf("%s", got)
		}
		if d := time.Since(began); d < time.Duration(lingerNs)/2 || d > time.Duration(lingerNs)*2 {
			t.Errorf("waited %v", d)
		}
		client.Close()
		origin.Close()
		r.settled()
	})
}

// max_connections holds over all loops, and a place that comes free is free.
func TestWebSocketMaxConnections(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 2, "max_connections: 3", "", nil)
		var clients []*socketConn
		for range 3 {
			c, _ := r.between()
			clients = append(clients, c)
		}
		for range 2 {
			if got := r.refused(); got != "503" {
				t.Fatalf("%s; want 503", got)
			}
		}
		for _, c := range clients {
			c.abort()
		}
		for _, rep := range r.settled() {
			if rep.Metrics.WebSockets != 0 || rep.Metrics.Tunnels != 0 {
				t.Errorf("%d open", rep.Metrics.WebSockets)
			}
		}
		for range 3 {
			r.between()
		}
	})
}

// socketEnds are ways a WebSocket ends, with who ends it first and the close
// code.
var socketEnds = []struct {
	by   string
	code int
	end  func(t *testing.T, client, origin *socketConn)
}{
	{"client", 1000, func(t *testing.T, client, origin *socketConn) {
		client.say(t, clientSays("text", "hello", "close", code(1000, "")))
		origin.want(t, `text "hello"`, "close 1000")
		origin.say(t, originSays("close", code(1000, "")))
		origin.Close()
		client.rest()
		client.Close()
	}},
	{"origin", 4000, func(t *testing.T, client, origin *socketConn) {
		origin.say(t, originSays("close", code(4000, "")))
		client.want(t, "close 4000")
		client.say(t, clientSays("close", code(4000, "")))
		origin.want(t, "close 4000")
		origin.Close()
		client.rest()
		client.Close()
	}},
	{"proxy", 1002, func(t *testing.T, client, origin *socketConn) {
		client.say(t, clientSays("last", ""))
		origin.want(t, "close 1002")
		origin.Close()
		client.rest()
		client.Close()
	}},
	{"client", 1006, func(t *testing.T, client, origin *socketConn) {
		client.abort()
		origin.rest()
	}},
	{"origin", 1006, func(t *testing.T, client, origin *socketConn) {
		origin.Close()
		client.rest()
		client.Close()
	}},
}

// An end has its line in the log and its place in the metrics.
func TestWebSocketIsCountedAndLogged(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		path := t.TempDir() + "/log"
		log, err := accesslog.Open(accesslog.Options{Path: path, Loops: 1})
		if err != nil {
			t.Fatal(err)
		}
		r := v.sockets(t, io_, 1, "", "", log)
		want := metrics.WebSocket{}
		for _, e := range socketEnds {
			client, origin := r.between("User-Agent: tester", "Referer: there")
			e.end(t, client, origin)
			r.settled()
			want.CountClose(map[string]uint8{"client": 0, "origin": 1, "proxy": 2}[e.by], uint16(e.code))
		}
		want.CountFrame(0, 1, 5)
		for _, from := range []int{0, 0, 1, 1} {
			want.CountFrame(from, 8, 2)
		}
		want.Violations[0][8]++
		if m := r.settled()[0].Metrics; m.WebSocket != want || m.WebSocketsTotal != uint64(len(socketEnds)) || m.WebSockets != 0 {
			t.Errorf("%+v, want %+v", m.WebSocket, want)
		}
		r.stop()
		log.Close()
		checkSocketLog(t, path, v.client)
	})
}

func checkSocketLog(t *testing.T, path string, h2 bool) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if len(lines) != len(socketEnds) {
		t.Fatalf("%d lines: %s", len(lines), b)
	}
	for i, e := range socketEnds {
		var rec struct {
			Method                string
			Status                int
			CloseCode             int    `json:"close_code"`
			ClosedBy              string `json:"closed_by"`
			In                    int    `json:"bytes_in"`
			Reason                string
			Target, Host, Referer string
			UserAgent             string `json:"user_agent"`
		}
		if err := json.Unmarshal(lines[i], &rec); err != nil {
			t.Fatal(err)
		}
		method, status := "GET", 101
		if h2 {
			method, status = "CONNECT", 200
		}
		if rec.Method != method || rec.Status != status || rec.CloseCode != e.code || rec.ClosedBy != e.by ||
			rec.Target != "/ws" || rec.Host != "h" || rec.Referer != "there" || rec.UserAgent != "tester" {
			t.Errorf("%s", lines[i])
		}
		if i == 0 && (rec.In != len(clientSays("text", "hello", "close", code(1000, ""))) || rec.Reason != "") {
			t.Errorf("%s", lines[i])
		}
	}
}

// A side that takes nothing stops the other, and holds no more than its share;
// when it goes on, all arrives.
func TestWebSocketBackpressure(t *testing.T) {
	t.Parallel()
	const size = 24 << 20
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "", "", nil)
		client, origin := r.between()
		message := clientSays("binary", repeated(4000))
		sent := make(chan error, 1)
		go func() {
			var err error
			for n := 0; n < size && err == nil; n += len(message) {
				_, err = io.WriteString(client, message)
			}
			sent <- err
		}()
		time.Sleep(300 * time.Millisecond)
		select {
		case <-sent:
			t.Fatalf("%d bytes went to a side that takes none", size)
		default:
		}
		rep := r.reports()[0]
		most := backpressureBlocks(len(message), rep.Buf.BlockBytes)
		if v.client { // whose window may have grown to 4 MiB by the time nobody reads
			most += 4<<20/len(message) + 1
		}
		if n := rep.Buf.InUse - rep.Loop.Posted; n > most {
			t.Errorf("%d blocks are held, want at most %d", n, most)
		}
		got := make([]byte, len(message))
		for n := 0; n < size; n += len(message) {
			if _, err := io.ReadFull(origin.in, got); err != nil || string(got) != message {
				t.Fatalf("%v; a message differs", err)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	})
}

// Sides that stop in the middle of a header or of a control frame hold next to
// nothing.
func TestWebSocketHeldBytes(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, io_ loop.IO, v versionPair) {
		r := v.sockets(t, io_, 1, "", "", nil)
		before := r.reports()[0].Buf.InUse
		var origins []*socketConn
		for range 100 {
			client, origin := r.between()
			client.say(t, clientSays("text", "a", "ping", "b", "ping", repeated(100))[:100])
			origin.want(t, `text "a"`, `ping "b"`)
			origins = append(origins, origin)
		}
		if n := r.reports()[0].Buf.InUse - before; n > 8 {
			t.Errorf("100 sides hold %d blocks", n)
		}
		for _, o := range origins {
			o.Close()
		}
	})
}

// A message allocates nothing.
func TestWebSocketAllocatesNothing(t *testing.T) {
	onBackends(t, func(t *testing.T, io_ loop.IO) {
		s := newStepped(t, io_, "", nil)
		b := make([]byte, 4096)
		s.read(s.origin, b)
		unix.Write(s.origin, []byte(okResponse))
		s.read(s.client, b)
		unix.Write(s.client, []byte(wsRequest()))
		s.read(s.origin, b)
		unix.Write(s.origin, []byte(wsResponse()))
		s.read(s.client, b)
		up, down := []byte(clientSays("text", "hello κόσμε", "ping", "p")), []byte(originSays("text", "hello", "Text", "a", "last", "b"))
		message := func() {
			unix.Write(s.client, up)
			s.read(s.origin, b)
			unix.Write(s.origin, down[:9])
			s.turn()
			unix.Write(s.origin, down[9:])
			s.read(s.client, b)
		}
		for range 100 {
			message()
		}
		if n := testing.AllocsPerRun(1000, message); n != 0 {
			t.Errorf("%v allocations per message, want none", n)
		}
		if m := s.w.m; m.WebSocket.Frames[0][1] < 1000 {
			t.Errorf("%d texts were seen", m.WebSocket.Frames[0][1])
		}
	})
}
