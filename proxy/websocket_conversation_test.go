package proxy

import (
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
)

// conversation is what a client sends to an echo server and what it hears until
// the end of the connection, directly and through a proxy.
type conversation struct {
	name   string
	send   string
	want   string
	direct string // if the origin by itself answers otherwise; "-": do not ask it
	offer  string // extensions
	config string // of the route
}

const deflateOffer = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"

// bye is how a client ends what went well.
var bye = clientSays("close", code(1000, ""))

func repeated(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }

func sum(name string, n int) string { return sumOf(name, repeated(n)) }

func sumOf(name, payload string) string {
	return fmt.Sprintf("%s of %d, %08x", name, len(payload), crc32.ChecksumIEEE([]byte(payload)))
}

// failed is the end of a conversation in which a rule was broken.
const failed = "close 1002; end"

// rawFrame is a client's frame with any first byte.
func rawFrame(b0 byte, payload string) string { return string(wsFrame(b0, payload, true)) }

// conversationList collects conversations.
type conversationList []conversation

func (l *conversationList) add(name, send, want string) {
	*l = append(*l, conversation{name: name, send: send, want: want})
}

// odd adds one in which the origin by itself is not as strict.
func (l *conversationList) odd(name, send, want, direct string) {
	*l = append(*l, conversation{name: name, send: send, want: want, direct: direct})
}

func conversations() (l conversationList) {
	l.framing()
	l.pings()
	l.reserved()
	l.fragments()
	l.texts()
	l.closing()
	l.limits()
	l.large()
	l.compressed()
	return l
}

func (l *conversationList) framing() {
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 300_000} {
		for _, kind := range []string{"text", "binary"} {
			want := sum(kind, n)
			if n <= 40 {
				want = fmt.Sprintf("%s %q", kind, repeated(n))
			}
			l.add(fmt.Sprintf("%s of %d", kind, n), clientSays(kind, repeated(n))+bye, want+"; close 1000; end")
		}
	}
	l.odd("length in 16 bits too many", "\x82\xfe\x00\x05\x00\x00\x00\x00hello", failed, "-")
	l.odd("length in 64 bits too many", "\x82\xff\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00hello", failed, "-")
	l.odd("length above 63 bits", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x05", failed, "-")
	l.add("not masked", originSays("text", "hello"), failed)
}

func (l *conversationList) pings() {
	l.add("ping", clientSays("ping", "")+bye, `pong ""; close 1000; end`)
	l.add("ping with a payload", clientSays("ping", "hello")+bye, `pong "hello"; close 1000; end`)
	l.add("ping of bytes", clientSays("ping", "\x00\xff\xfe")+bye, `pong "\x00\xff\xfe"; close 1000; end`)
	l.add("ping of 125", clientSays("ping", repeated(125))+bye, sum("pong", 125)+"; close 1000; end")
	l.add("ping of 126", clientSays("ping", repeated(126))+bye, failed)
	l.add("pong nobody asked for", clientSays("pong", "", "pong", "x", "ping", "y")+bye, `pong "y"; close 1000; end`)
	l.add("ten pings", clientSays("ping", "0", "ping", "1", "ping", "2", "ping", "3", "ping", "4", "ping", "5", "ping", "6", "ping", "7", "ping", "8", "ping", "9")+bye,
		`pong "0"; pong "1"; pong "2"; pong "3"; pong "4"; pong "5"; pong "6"; pong "7"; pong "8"; pong "9"; close 1000; end`)
	l.add("ping and text", clientSays("ping", "a", "text", "b", "ping", "c")+bye, `pong "a"; text "b"; pong "c"; close 1000; end`)
}

func (l *conversationList) reserved() {
	for _, bits := range []byte{0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70} {
		l.add(fmt.Sprintf("reserved bits %02x", bits), clientSays("text", "a")+rawFrame(0x81|bits, "hello")+bye, `text "a"; `+failed)
	}
	l.add("reserved bit of a ping", rawFrame(0xc9, ""), failed)
	l.add("reserved bit of a close", rawFrame(0xc8, ""), failed)
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		l.add(fmt.Sprintf("opcode %x", op), clientSays("text", "a")+rawFrame(0x80|op, "hello")+bye, `text "a"; `+failed)
	}
}

func (l *conversationList) fragments() {
	l.add("two fragments", clientSays("Text", "fragment1", "last", "fragment2")+bye, `text "fragment1fragment2"; close 1000; end`)
	l.add("empty fragments", clientSays("Text", "", "more", "", "last", "")+bye, `text ""; close 1000; end`)
	l.add("empty, full, empty", clientSays("Binary", "", "more", "middle", "last", "")+bye, `binary "middle"; close 1000; end`)
	l.add("ping between fragments", clientSays("Text", "fragment1", "ping", "hi", "last", "fragment2")+bye, `pong "hi"; text "fragment1fragment2"; close 1000; end`)
	l.add("close between fragments", clientSays("Text", "fragment1")+bye, `close 1000; end`)
	l.add("ping in fragments", rawFrame(0x09, "a")+rawFrame(0x80, "b"), failed)
	l.add("pong in fragments", rawFrame(0x0a, "a")+rawFrame(0x80, "b"), failed)
	l.add("continuation of nothing", clientSays("last", "a")+bye, failed)
	l.add("continuation of nothing, more to come", clientSays("more", "a")+bye, failed)
	l.add("continuation behind a message", clientSays("text", "a", "last", "b")+bye, `text "a"; `+failed)
	l.add("text within fragments", clientSays("Text", "a", "text", "b")+bye, failed)
}

func (l *conversationList) texts() {
	for _, s := range []string{"Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\u0080\u07ff\u0800\uffff", "\U00010000\U0010ffff", "\ufeff\ufffe\ufdd0", "\x00\x7f"} {
		l.add(fmt.Sprintf("text %+q", s), clientSays("text", s)+bye, fmt.Sprintf("text %q; close 1000; end", s))
		fragments := []string{"Text", ""}
		for i := range len(s) {
			fragments = append(fragments, "more", s[i:i+1])
		}
		l.add(fmt.Sprintf("text %+q in fragments", s), clientSays(append(fragments, "last", "")...)+bye, fmt.Sprintf("text %q; close 1000; end", s))
	}
	for _, s := range []string{"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", "\xf8\x88\x80\x80\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xf4\x90\x80\x80",
		"\x80", "\xbf", "\xce", "\xe1\xbd", "\xfe", "\xff", "\xed\xbf\xbf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf"} {
		l.add(fmt.Sprintf("not UTF-8 %x", s), clientSays("text", s), "close 1007; end")
	}
	l.odd("not UTF-8 in a message that goes on", clientSays("Text", "all is well", "more", "\xf4\x90\x80\x80"), "close 1007; end", "-")
	l.add("not UTF-8 in bytes", clientSays("binary", "\xfe\xff")+bye, `binary "\xfe\xff"; close 1000; end`)
}

func (l *conversationList) closing() {
	l.add("close", clientSays("close", ""), "close; end")
	l.odd("close with half a code", clientSays("close", "\x03"), failed, "close; end")
	l.add("close with a reason", clientSays("close", code(1000, "Hello-µ@ßöäüàá-UTF-8!!")), "close 1000; end")
	l.add("close with the longest reason", clientSays("close", code(1000, repeated(123))), "close 1000; end")
	l.add("close too long", clientSays("close", code(1000, repeated(124))), failed)
	l.odd("close with a reason that is not UTF-8", clientSays("close", code(1000, "\xce\xba\xe1\xbd")), "close 1007; end", failed)
	for _, n := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		l.add(fmt.Sprintf("close %d", n), clientSays("close", code(n, "")), fmt.Sprintf("close %d; end", n))
	}
	for _, n := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535} {
		l.add(fmt.Sprintf("close %d, which may not be sent", n), clientSays("close", code(n, "")), failed)
	}
	l.add("text behind a close", bye+clientSays("text", "late", "ping", "later"), "close 1000; end")
	l.add("two closes", bye+bye, "close 1000; end")
}

func (l *conversationList) limits() {
	for _, c := range []conversation{
		{name: "message at its limit", send: clientSays("text", repeated(100)) + bye, want: sum("text", 100) + "; close 1000; end", config: "max_message: 100"},
		{name: "message above its limit", send: clientSays("text", "a", "text", repeated(101)), want: `text "a"; close 1009; end`, config: "max_message: 100"},
		{name: "fragments above the limit", send: clientSays("Text", repeated(60), "last", repeated(60)), want: "close 1009; end", config: "max_message: 100"},
		{name: "frame above its limit", send: clientSays("Binary", repeated(60), "last", repeated(101)), want: "close 1009; end", config: "max_frame: 100"},
		{name: "frames within their limit", send: clientSays("Binary", repeated(100), "last", "") + bye, want: sum("binary", 100) + "; close 1000; end", config: "max_frame: 100"},
	} {
		c.direct = "-"
		*l = append(*l, c)
	}
}

func (l *conversationList) large() {
	l.add("4 MiB", clientSays("binary", repeated(4<<20))+bye, sum("binary", 4<<20)+"; close 1000; end")
	many, want := "", strings.Repeat(`text "x"; `, 2000)
	for range 2000 {
		many += clientSays("text", "x")
	}
	l.add("many small messages", many+bye, want+"close 1000; end")
	fragments := clientSays("Binary", "")
	for i := range 5000 {
		fragments += clientSays("more", repeated(100_000)[i*16:i*16+16])
	}
	l.add("many small fragments", fragments+clientSays("last", "")+bye, sum("binary", 80_000)+"; close 1000; end")
}

func (l *conversationList) compressed() {
	z := func(name, send, want string) {
		*l = append(*l, conversation{name: name, offer: deflateOffer, send: send, want: want})
	}
	z("compressed text", clientSays("ztext", deflate("hello hello hello"))+bye, `ztext "hello hello hello"; close 1000; end`)
	z("compressed text in fragments", clientSays("zText", deflate(repeated(900))[:9], "ping", "p", "last", deflate(repeated(900))[9:])+bye, `pong "p"; `+sum("ztext", 900)+"; close 1000; end")
	z("text not compressed after all", clientSays("text", "plain")+bye, `ztext "plain"; close 1000; end`)
	*l = append(*l, conversation{name: "reserved bit of a continuation", offer: deflateOffer, send: clientSays("Text", "a") + rawFrame(0xc0, "b"), want: failed, direct: "-"})
	z("reserved bit 2", rawFrame(0xa1, "b"), failed)
}

// Every conversation comes out the same directly and through the proxy, whatever
// versions of HTTP carry it, in whatever pieces it is sent.
func TestWebSocketConversations(t *testing.T) {
	t.Parallel()
	direct := socketEcho(t)
	t.Run("directly", func(t *testing.T) {
		for _, c := range conversations() {
			want := c.direct
			if want == "" {
				want = c.want
			}
			if want == "-" {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				if got := c.run(t, connectionTo(direct), false); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			})
		}
	})
	gate := wireGate(t, direct)
	for _, v := range versionPairs {
		origin, protocol := direct, "http1"
		if v.origin {
			origin, protocol = gate, "h2c"
		}
		t.Run(v.name, func(t *testing.T) {
			besides(t, func(t *testing.T, io_ loop.IO) { conversationsVia(t, io_, origin, protocol, v.client) })
		})
	}
}

// conversationsVia has all conversations with origin; h2: on streams of one
// connection per configuration.
func conversationsVia(t *testing.T, io_ loop.IO, origin, protocol string, h2 bool) {
	type way struct {
		*rig
		wire *wire
	}
	ways := map[string]*way{}
	for _, c := range conversations() {
		if ways[c.config] != nil {
			continue
		}
		text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n"+
			"upstreams: {app: {protocol: %s, endpoints: [{address: %q}]}}\n"+
			"routes: [{path: \"/*\", upstream: app, websocket: {%s}}]\n"+
			"limits: {request_header_timeout: 10m, keepalive_timeout: 10m}\n", // a connection may wait for others' conversations
			protocol, origin, c.config)
		y := &way{rig: start(t, io_, 1, text, nil)}
		if h2 {
			y.wire = dialWire(t, y.addr)
		}
		ways[c.config] = y
	}
	t.Run("all", func(t *testing.T) {
		for _, c := range conversations() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				dial := connectionTo(ways[c.config].addr)
				if h2 {
					dial = ways[c.config].wire.socket
				}
				for _, split := range []bool{false, true} {
					if split && len(c.send) > 1000 {
						continue
					}
					if got := c.run(t, dial, split); got != c.want {
						t.Errorf("split %v: %s, want %s", split, got, c.want)
					}
				}
			})
		}
	})
	for _, y := range ways {
		if y.wire != nil {
			y.wire.Conn.Close()
		}
		y.settled()
	}
}

// dialer opens a WebSocket with more fields in its request.
type dialer func(t testing.TB, fields ...string) *socketConn

func connectionTo(addr string) dialer {
	return func(t testing.TB, fields ...string) *socketConn { return openSocket(t, addr, fields...) }
}

func (c *conversation) run(t *testing.T, dial dialer, split bool) string {
	t.Helper()
	var fields []string
	if c.offer != "" {
		fields = append(fields, "Sec-WebSocket-Extensions: "+c.offer)
	}
	s := dial(t, fields...)
	defer s.Close()
	go func() {
		if !split {
			io.WriteString(s.Conn, c.send)
			return
		}
		for i := range len(c.send) {
			if _, err := s.Write([]byte{c.send[i]}); err != nil {
				return // failed, as it may be meant to be
			}
			if i%16 == 0 {
				time.Sleep(50 * time.Microsecond)
			}
		}
	}()
	got := s.rest()
	// A client that goes on sending to a connection that has ended is reset.
	return strings.Replace(got, "; reset", "; end", 1)
}
