package http2

import (
	"strings"
	"testing"

	"zproxy/proto"
)

// What a request must be to be taken (RFC 9113 sections 8.2, 8.3, 8.5). Fields
// of pairs are "name: value", one a line; want begins the event.
func TestRequestSections(t *testing.T) {
	const get = ":method: GET\n:scheme: https\n:authority: a.example\n:path: /\n"
	const post = ":method: POST\n:scheme: https\n:authority: a.example\n:path: /\n"
	const ok = "head 1 GET https a.example / END"
	reset := func(c proto.FaultCode) string {
		return "reset 1 PROTOCOL_ERROR local: " + proto.RequestFault(c).Reason
	}
	pseudo, value := reset(proto.FaultPseudoField), reset(proto.FaultFieldValue)
	for _, c := range []struct{ name, fields, want string }{
		{"least", get, ok},
		{"any token", get + "!#$%&'*+-.^_`|~09az: v\n", "head 1 GET https a.example / [!#$%&'*+-.^_`|~09az: v] END"},
		{"order is kept", get + "b: 1\na: 2\nb: 3\n", "head 1 GET https a.example / [b: 1] [a: 2] [b: 3] END"},

		// 8.2.1
		{"upper case", get + "X-a: 1\n", "reset 1 PROTOCOL_ERROR local: upper-case field name"},
		{"upper case, known", get + "accepT: 1\n", "reset 1 PROTOCOL_ERROR local: upper-case field name"},
		{"no name", get + ": 1\n", reset(proto.FaultFieldName)},
		{"space in a name", get + "a b: 1\n", reset(proto.FaultFieldName)},
		{"colon in a name", get + "a:b: 1\n", reset(proto.FaultFieldName)},
		{"colon at the end of a name", get + "host:: a\n", reset(proto.FaultFieldName)},
		{"NUL in a name", get + "a\x00: 1\n", reset(proto.FaultFieldName)},
		{"DEL in a name", get + "a\x7f: 1\n", reset(proto.FaultFieldName)},
		{"obs-text in a name", get + "\xe9: 1\n", reset(proto.FaultFieldName)},
		{"CR in a value", get + "a: b\rc\n", value},
		{"LF in a value", get + "a: b\x01LFc\n", value},
		{"NUL in a value", get + "a: b\x00c\n", value},
		{"DEL in a value", get + "a: b\x7fc\n", value},
		{"HTAB in a value", get + "a: b\tc\n", "head 1 GET https a.example / [a: b\tc] END"},
		{"obs-text in a value", get + "a: \xe9\n", "head 1 GET https a.example / [a: \xe9] END"},
		{"space before a value", get + "a:  b\n", value},
		{"space behind a value", get + "a: b \n", value},
		{"HTAB behind a value", get + "a: b\t\n", value},
		{"only a space", get + "a:  \n", value},
		{"empty value", get + "a: \n", "head 1 GET https a.example / [a: ] END"},

		// 8.2.2
		{"connection", get + "connection: close\n", reset(proto.FaultConnectionField)},
		{"proxy-connection", get + "proxy-connection: x\n", reset(proto.FaultConnectionField)},
		{"keep-alive", get + "keep-alive: 5\n", reset(proto.FaultConnectionField)},
		{"transfer-encoding", get + "transfer-encoding: chunked\n", reset(proto.FaultConnectionField)},
		{"upgrade", get + "upgrade: h2c\n", reset(proto.FaultConnectionField)},
		{"te", get + "te: trailers\n", "head 1 GET https a.example / [te: trailers] END"},
		{"te gzip", get + "te: gzip\n", "reset 1 PROTOCOL_ERROR local: te is not trailers"},
		{"te both", get + "te: trailers, gzip\n", "reset 1 PROTOCOL_ERROR local: te is not trailers"},

		// 8.2.3
		{"crumbs", get + "cookie: a=1\nx: y\ncookie: b=2\ncookie: c=3\n", "head 1 GET https a.example / [cookie: a=1; b=2; c=3] [x: y] END"},
		{"one crumb", get + "x: y\ncookie: a=1\n", "head 1 GET https a.example / [x: y] [cookie: a=1] END"},

		// 8.3
		{"pseudo behind", ":method: GET\n:scheme: https\n:path: /\na: b\n:authority: a.example\n", pseudo},
		{"unknown pseudo", get + ":foo: bar\n", pseudo},
		{"bare colon", get + ":: bar\n", pseudo},
		{"status", get + ":status: 200\n", pseudo},
		{"protocol", get + ":protocol: websocket\n", pseudo},
		{"upper-case pseudo", ":Method: GET\n:scheme: https\n:authority: a.example\n:path: /\n", pseudo},
		{"method twice", get + ":method: GET\n", pseudo},
		{"path twice", get + ":path: /\n", pseudo},
		{"scheme twice", get + ":scheme: https\n", pseudo},
		{"authority twice", get + ":authority: a.example\n", pseudo},
		{"no method", ":scheme: https\n:authority: a.example\n:path: /\n", pseudo},
		{"no scheme", ":method: GET\n:authority: a.example\n:path: /\n", pseudo},
		{"no path", ":method: GET\n:scheme: https\n:authority: a.example\n", pseudo},
		{"nothing", "", pseudo},
		{"empty method", ":method: \n:scheme: https\n:authority: a.example\n:path: /\n", reset(proto.FaultBadMethod)},
		{"method with a space", ":method: GET /x\n:scheme: https\n:authority: a.example\n:path: /\n", reset(proto.FaultBadMethod)},
		{"method of its own", ":method: brew\n:scheme: https\n:authority: a.example\n:path: /\n", "head 1 brew https a.example / END"},
		{"scheme ftp", ":method: GET\n:scheme: ftp\n:authority: a.example\n:path: /\n", reset(proto.FaultBadScheme)},
		{"scheme with a line", ":method: GET\n:scheme: http\r\n:authority: a.example\n:path: /\n", reset(proto.FaultBadScheme)},
		{"empty scheme", ":method: GET\n:scheme: \n:authority: a.example\n:path: /\n", reset(proto.FaultBadScheme)},
		{"empty path", ":method: GET\n:scheme: https\n:authority: a.example\n:path: \n", reset(proto.FaultBadTarget)},
		{"path without slash", ":method: GET\n:scheme: https\n:authority: a.example\n:path: a\n", reset(proto.FaultBadTarget)},
		{"absolute path", ":method: GET\n:scheme: https\n:authority: a.example\n:path: http://b.example/\n", reset(proto.FaultBadTarget)},
		{"path with a space", ":method: GET\n:scheme: https\n:authority: a.example\n:path: / HTTP/1.1\n", reset(proto.FaultBadTarget)},
		{"path with a CR", ":method: GET\n:scheme: https\n:authority: a.example\n:path: /\rx\n", reset(proto.FaultBadTarget)},
		{"path with a fragment", ":method: GET\n:scheme: https\n:authority: a.example\n:path: /#x\n", reset(proto.FaultBadTarget)},
		{"star for GET", ":method: GET\n:scheme: https\n:authority: a.example\n:path: *\n", reset(proto.FaultBadTarget)},
		{"star for OPTIONS", ":method: OPTIONS\n:scheme: https\n:authority: a.example\n:path: *\n", "head 1 OPTIONS https a.example * END"},
		{"two stars", ":method: OPTIONS\n:scheme: https\n:authority: a.example\n:path: **\n", reset(proto.FaultBadTarget)},
		{"query", ":method: GET\n:scheme: https\n:authority: a.example:8443\n:path: /a?b?c\n", "head 1 GET https a.example:8443 /a?b?c END"},
		{"userinfo", ":method: GET\n:scheme: https\n:authority: u@a.example\n:path: /\n", reset(proto.FaultBadAuthority)},
		{"authority with a path", ":method: GET\n:scheme: https\n:authority: a.example/x\n:path: /\n", reset(proto.FaultBadAuthority)},
		{"authority with a line", ":method: GET\n:scheme: https\n:authority: a\rb\n:path: /\n", reset(proto.FaultBadAuthority)},
		{"empty authority", ":method: GET\n:scheme: https\n:authority: \n:path: /\n", reset(proto.FaultBadAuthority)},

		// 8.3.1: host
		{"host alone", ":method: GET\n:scheme: https\n:path: /\nhost: b.example\n", "head 1 GET https b.example / END"},
		{"host agrees", get + "host: A.example\n", ok},
		{"host differs", get + "host: b.example\n", "reset 1 PROTOCOL_ERROR local: host differs from :authority"},
		{"host with the scheme's port", get + "host: a.example:443\n", ok},
		{"host with the scheme's port and zeros", get + "host: A.example:00443\n", ok},
		{"host with an empty port", get + "host: a.example:\n", ok},
		{"host without the scheme's port", ":method: GET\n:scheme: http\n:authority: svc:80\n:path: /\nhost: svc\n", "head 1 GET http svc:80 / END"},
		{"empty port beside the scheme's", ":method: GET\n:scheme: HTTP\n:authority: svc:\n:path: /\nhost: svc:80\n", "head 1 GET HTTP svc: / END"},
		{"IPv6 with and without", ":method: GET\n:scheme: http\n:authority: [::A]:80\n:path: /\nhost: [::a]\n", "head 1 GET http [::A]:80 / END"},
		{"host with the other scheme's port", get + "host: a.example:80\n", "reset 1 PROTOCOL_ERROR local: host differs from :authority"},
		{"host with another port", get + "host: a.example:8443\n", "reset 1 PROTOCOL_ERROR local: host differs from :authority"},
		{"another port beside none", ":method: GET\n:scheme: http\n:authority: svc:81\n:path: /\nhost: svc\n", "reset 1 PROTOCOL_ERROR local: host differs from :authority"},
		{"host with no port there is", get + "host: a.example:65979\n", "reset 1 PROTOCOL_ERROR local: host differs from :authority"},
		{"host empty", get + "host: \n", "reset 1 PROTOCOL_ERROR local: host differs from :authority"},
		{"host twice", get + "host: a.example\nhost: a.example\n", reset(proto.FaultHostDuplicate)},
		{"no host at all", ":method: GET\n:scheme: https\n:path: /\n", reset(proto.FaultHostMissing)},
		{"host invalid", ":method: GET\n:scheme: https\n:path: /\nhost: a b\n", reset(proto.FaultHostInvalid)},

		// 8.1.1: content-length
		{"length without content", get + "content-length: 0\n", "head 1 GET https a.example / [content-length: 0] END"},
		{"length of what does not come", get + "content-length: 1\n", reset(proto.FaultLengthDiffers)},
		{"length twice", get + "content-length: 0\ncontent-length: 0\n", reset(proto.FaultLengthDuplicate)},
		{"length as a list", get + "content-length: 0,0\n", reset(proto.FaultLengthDuplicate)},
		{"length signed", get + "content-length: +0\n", reset(proto.FaultLengthInvalid)},
		{"length empty", get + "content-length: \n", reset(proto.FaultLengthInvalid)},
		{"length too large", get + "content-length: 9223372036854775808\n", reset(proto.FaultLengthInvalid)},

		// 8.5
		{"CONNECT", ":method: CONNECT\n:authority: a.example:443\n", "head 1 CONNECT  a.example:443 a.example:443 END"},
		{"CONNECT without a port", ":method: CONNECT\n:authority: a.example\n", reset(proto.FaultBadAuthority)},
		{"CONNECT with a path", ":method: CONNECT\n:authority: a.example:443\n:path: /\n", pseudo},
		{"CONNECT with a scheme", ":method: CONNECT\n:authority: a.example:443\n:scheme: https\n", pseudo},
		{"CONNECT without authority", ":method: CONNECT\nhost: a.example:443\n", pseudo},
		{"CONNECT, no port beside one", ":method: CONNECT\n:authority: a.example:443\nhost: a.example\n", "reset 1 PROTOCOL_ERROR local: host differs from :authority"},
		{"CONNECT, another host", ":method: CONNECT\n:authority: a.example:443\nhost: b.example:443\n", "reset 1 PROTOCOL_ERROR local: host differs from :authority"},
		{"expect", post + "expect: 100-continue\n", "head 1 POST https a.example / [expect: 100-continue] END"},
	} {
		r := server(t, nil)
		r.headers(1, true, pairs(c.fields)...)
		got := strings.Join(r.feed(), ", ")
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := r.sent(); strings.HasPrefix(c.want, "reset") != (len(got) == 1 && got[0] == "RST 1 PROTOCOL_ERROR") {
			t.Errorf("%s: sent %q", c.name, got)
		}
		r.get(3)
		r.want("head 3 GET https a.example / END")
		r.empty()
	}
}

// pairs reads lines "name: value"; "\x01LF" stands for a line feed.
func pairs(s string) (out []string) {
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		i := strings.Index(line[1:], ": ") + 1
		out = append(out, strings.ReplaceAll(line[:i], "\x01LF", "\n"), strings.ReplaceAll(line[i+2:], "\x01LF", "\n"))
	}
	return out
}

func TestHeadOfRequest(t *testing.T) {
	r := server(t, nil)
	r.post(1, "content-length", "12", "expect", "100-Continue", "te", "trailers", "cookie", "a", "cookie", "b")
	r.feed()
	h := r.s.Head()
	if h.Method != proto.POST || h.Body != proto.BodyLength || h.Length != 12 || h.ContentLength != 12 || !h.Expect100 || !h.HasTETrailers ||
		!h.H2 || !h.KeepAlive || h.Lines || h.Form != proto.OriginForm || h.Upgrade {
		t.Errorf("%+v", h)
	}
	if v, ok := h.Get(proto.TokenCookie); !ok || string(v) != "a; b" {
		t.Errorf("cookie %q", v)
	}
	r.post(3, "expect", "100-continue", "content-length", "0")
	r.feed()
	if h := r.s.Head(); h.Expect100 || h.Length != 0 || h.Body != proto.BodyLength {
		t.Errorf("%+v", h)
	}
	r.post(5, "expect", "100-continue")
	r.feed()
	if h := r.s.Head(); !h.Expect100 || h.Length != -1 || h.ContentLength != -1 {
		t.Errorf("%+v", h)
	}
}

// Over a limit the request is told, so that it can be answered, and the table
// follows what was not looked at.
func TestHeadLimits(t *testing.T) {
	r := server(t, func(c *Config) { c.HeadBytes, c.Fields, c.LineBytes = 1000, 5, 100 })
	r.headers(1, true, append(getFields[:8:8], "x-long", strings.Repeat("a", 1000), "x-table", "1")...)
	r.want("head 1 GET https   FAULT head too large END")
	r.headers(3, true, append(getFields[:8:8], "a", "1", "b", "2", "c", "3", "d", "4", "e", "5", "x-table", "1")...)
	r.want("head 3 GET https   [a: 1] [b: 2] [c: 3] [d: 4] [e: 5] FAULT too many fields END")
	if r.s.Abuse[AbuseHeadTooLarge] != 2 {
		t.Errorf("counted %d", r.s.Abuse[AbuseHeadTooLarge])
	}
	r.headers(5, true, ":method", "GET", ":scheme", "https", ":authority", "a.example", ":path", "/"+strings.Repeat("p", 100), "x-table", "1")
	got := r.feed()
	if len(got) != 1 || !strings.HasSuffix(got[0], "[x-table: 1] FAULT request target too long END") {
		t.Errorf("%q", got)
	}
	r.post(7)
	r.headers(7, true, "x-table", "1", "x-long", strings.Repeat("b", 1000))
	r.want("head 7 POST https a.example / chunked", "reset 7 PROTOCOL_ERROR local: head too large")
	r.headers(9, true, append(getFields[:8:8], "x-table", "1")...)
	r.want("head 9 GET https a.example / [x-table: 1] END")
	r.empty()
}

func TestParsePriority(t *testing.T) {
	for in, want := range map[string]struct {
		urgency     uint8
		incremental bool
	}{
		"": {3, false}, "u=0": {0, false}, "u=7, i": {7, true}, "i, u=5": {5, true}, "u=8": {3, false}, "u=-1": {3, false}, "u=22": {3, false},
		"i=?1": {3, true}, "i=?0, u=1": {1, false}, "u=1;x=2, i;q": {1, true}, "foo, bar=2,u=4": {4, false}, "i=1": {3, false}, "u=2,u=6": {6, false},
	} {
		if u, i := parsePriority([]byte(in), defaultUrgency, false); u != want.urgency || i != want.incremental {
			t.Errorf("%q: %d %v", in, u, i)
		}
	}
}
