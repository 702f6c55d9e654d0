package hostile

import "fmt"

// h2Names: RFC 9113 section 8.2.1.
func h2Names() []H2Request {
	row := func(what, name string, want Outcome) H2Request {
		return h2Row("h2 name/"+what, "8.2.1", h2Head("GET", "/a", name, "v"), want)
	}
	return []H2Request{
		row("every token character", "!#$%&'*+-.^_`|~09az", passes(get("/a").with("!#$%&'*+-.^_`|~09az: v"))),
		row("upper case", "X-Upper", refused(400)),
		row("upper case at the end", "x-uppeR", refused(400)),
		row("empty", "", refused(400)),
		row("space", "x y", refused(400)),
		row("space in front", " x", refused(400)),
		row("space behind", "x ", refused(400)),
		row("HTAB", "x\ty", refused(400)),
		row("colon", "x:y", refused(400)),
		row("colon behind", "x:", refused(400)),
		row("colon in front of none", ":", refused(400)),
		row("a field in it", "x: a\r\ny", refused(400)),
		row("a request in it", "x: a\r\n\r\n"+smuggled+"x", refused(400)),
		row("framing in it", "content-length: 0\r\nx", refused(400)),
		row("CR", "x\ry", refused(400)),
		row("LF", "x\ny", refused(400)),
		row("NUL", "x\x00y", refused(400)),
		row("control character", "x\x01y", refused(400)),
		row("DEL", "x\x7fy", refused(400)),
		row("obs-text", "x\xe9y", refused(400)),
		row("bracket", "x(", refused(400)),
		row("slash", "x/y", refused(400)),
		row("quote", "\"x\"", refused(400)),
		row("comma", "x,y", refused(400)),
		row("host in capitals", "Host", refused(400)),
		row("framing in capitals", "Transfer-Encoding", refused(400)),
	}
}

// h2Values: RFC 9113 section 8.2.1, RFC 9110 section 5.5.
func h2Values() []H2Request {
	row := func(what, value string, want Outcome) H2Request {
		return h2Row("h2 value/"+what, "8.2.1", h2Head("GET", "/a", "x", value), want)
	}
	const section = "9110 5.5-5"
	rows := []H2Request{
		row("empty", "", passes(get("/a").with("x: "))),
		row("obs-text", "\x80\xff", passes(get("/a").with("x: \x80\xff"))),
		row("HTAB inside", "a\tb", passes(get("/a").with("x: a\tb"))),
		row("colons", ":a:b:", passes(get("/a").with("x: :a:b:"))),
		row("a field, encoded", "a%0d%0aY: b", passes(get("/a").with("x: a%0d%0aY: b").without("y"))),
		row("NUL", "a\x00b", refused(400)),
		row("CR", "a\rb", refused(400)),
		row("CR behind", "a\r", refused(400)),
		row("LF", "a\nb", refused(400)),
		row("LF in front", "\nb", refused(400)),
		row("a field in it", "a\r\nY: b", refused(400)),
		row("a folded line", "a\r\n b", refused(400)),
		row("framing in it", "a\r\nTransfer-Encoding: chunked", refused(400)),
		row("a request in it", "a\r\n\r\n"+smuggled, refused(400)),
		row("a request in it, bare LF", "a\n\nGET /smuggled HTTP/1.1\nHost: h\n\n", refused(400)),
		row("space in front", " a", refused(400)),
		row("space behind", "a ", refused(400)),
		row("HTAB in front", "\ta", refused(400)),
		row("HTAB behind", "a\t", refused(400)),
		row("nothing but a space", " ", refused(400)),
	}
	for _, c := range []byte{1, 7, 8, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f} {
		r := row(fmt.Sprintf("byte 0x%02x", c), "a"+string([]byte{c})+"b", refused(400))
		r.Section = section
		rows = append(rows, r)
	}
	return append(rows,
		h2Row("h2 value/crumbs of a cookie", "8.2.3", h2Head("GET", "/a", "cookie", "a=1", "cookie", "b=2"), passes(get("/a").with("cookie: a=1; b=2"))),
		h2Row("h2 value/a field in a crumb", "8.2.3", h2Head("GET", "/a", "cookie", "a=1", "cookie", "b=2\r\nY: c"), refused(400)),
	)
}

// h2Pseudo: RFC 9113 section 8.3.
func h2Pseudo() []H2Request {
	row := func(what, section string, want Outcome, pairs ...string) H2Request {
		return h2Row("h2 pseudo/"+what, section, h2Fields(pairs...), want)
	}
	bad := refused(400)
	return []H2Request{
		row("in another order", "8.3-5", passes(get("/a")), ":authority", "h", ":path", "/a", ":scheme", "http", ":method", "GET"),
		row("no method", "8.3.1", bad, ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("no scheme", "8.3.1", bad, ":method", "GET", ":path", "/a", ":authority", "h"),
		row("no path", "8.3.1", bad, ":method", "GET", ":scheme", "http", ":authority", "h"),
		row("none at all", "8.3.1", bad, "x", "y"),
		row("method twice", "8.3-5", bad, ":method", "GET", ":method", "POST", ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("path twice", "8.3-5", bad, ":method", "GET", ":scheme", "http", ":path", "/a", ":path", "/smuggled", ":authority", "h"),
		row("path twice, the same", "8.3-5", bad, ":method", "GET", ":scheme", "http", ":path", "/a", ":path", "/a", ":authority", "h"),
		row("scheme twice", "8.3-5", bad, ":method", "GET", ":scheme", "http", ":scheme", "https", ":path", "/a", ":authority", "h"),
		row("authority twice", "8.3-5", bad, ":method", "GET", ":scheme", "http", ":path", "/a", ":authority", "h", ":authority", "evil"),
		row("behind a field", "8.3-4", bad, ":method", "GET", ":scheme", "http", ":path", "/a", "x", "y", ":authority", "h"),
		row("path behind a field", "8.3-4", bad, ":method", "GET", ":scheme", "http", ":authority", "h", "x", "y", ":path", "/a"),
		row("unknown", "8.3-3", bad, ":method", "GET", ":scheme", "http", ":path", "/a", ":authority", "h", ":x", "y"),
		row("of a response", "8.3-3", bad, ":method", "GET", ":scheme", "http", ":path", "/a", ":authority", "h", ":status", "200"),
		row("in capitals", "8.2.1", bad, ":Method", "GET", ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("protocol without CONNECT", "8441 4", bad, ":method", "GET", ":scheme", "http", ":path", "/a", ":authority", "h", ":protocol", "websocket"),
		row("method empty", "8.3.1", bad, ":method", "", ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("method with a space", "9110 9.1", bad, ":method", "GET /smuggled", ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("method with a request", "8.2.1", bad, ":method", "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\nGET", ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("method with CR", "8.2.1", bad, ":method", "GET\r", ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("method of no token", "9110 9.1", bad, ":method", "G(T", ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("method nobody knows", "9110 9.1", passes(get("/a").method("PURGE")), ":method", "PURGE", ":scheme", "http", ":path", "/a", ":authority", "h"),
		row("scheme empty", "8.3.1", bad, ":method", "GET", ":scheme", "", ":path", "/a", ":authority", "h"),
		row("scheme with an authority", "8.3.1", bad, ":method", "GET", ":scheme", "http://evil/", ":path", "/a", ":authority", "h"),
		row("scheme with a field", "8.2.1", bad, ":method", "GET", ":scheme", "http\r\nY: b", ":path", "/a", ":authority", "h"),
		row("CONNECT", "8.5", refused(501), ":method", "CONNECT", ":authority", "h:443"),
		row("CONNECT with a path", "8.5", bad, ":method", "CONNECT", ":scheme", "http", ":path", "/a", ":authority", "h:443"),
		row("CONNECT without authority", "8.5", bad, ":method", "CONNECT"),
	}
}

// h2Targets: RFC 9113 section 8.3.1, RFC 9112 section 3.2.
func h2Targets() []H2Request {
	row := func(what, path string, want Outcome) H2Request {
		return h2Row("h2 path/"+what, "8.3.1", h2Head("GET", path), want)
	}
	return []H2Request{
		row("with a query", "/a?b=c&d=/../e", passes(get("/a?b=c&d=/../e"))),
		row("empty", "", refused(400)),
		row("relative", "a", refused(400)),
		row("only a query", "?a", refused(400)),
		row("absolute", "http://h/a", refused(400)),
		row("authority", "h:80", refused(400)),
		row("asterisk with GET", "*", refused(400)),
		h2Row("h2 path/asterisk with OPTIONS", "8.3.1", h2Head("OPTIONS", "*"), passes(get("*").method("OPTIONS"))),
		row("space", "/a b", refused(400)),
		row("space behind", "/a ", refused(400)),
		row("a version", "/smuggled HTTP/1.1", refused(400)),
		row("a field", "/smuggled HTTP/1.1\r\nX: y", refused(400)),
		row("a request", "/a HTTP/1.1\r\nHost: h\r\n\r\nGET /smuggled", refused(400)),
		row("CR", "/a\rb", refused(400)),
		row("LF", "/a\nb", refused(400)),
		row("NUL", "/a\x00b", refused(400)),
		row("HTAB", "/a\tb", refused(400)),
		row("DEL", "/a\x7f", refused(400)),
		row("obs-text", "/\xe9", refused(400)),
		row("fragment", "/a#b", refused(400)),
		row("above the root", "/../evil", refused(400)),
		row("encoded line break", "/a%0D%0Ab", passes(get("/a%0D%0Ab"))),
	}
}

// h2Authorities: RFC 9113 section 8.3.1, RFC 9110 section 7.2.
func h2Authorities() []H2Request {
	row := func(what string, want Outcome, pairs ...string) H2Request {
		return h2Row("h2 authority/"+what, "8.3.1", h2Fields(append([]string{":method", "GET", ":scheme", "http", ":path", "/a"}, pairs...)...), want)
	}
	bad := refused(400)
	return []H2Request{
		row("with a port", passes(get("/a").host("h:80")), ":authority", "h:80"),
		row("IPv6", passes(get("/a").host("[::1]:80")), ":authority", "[::1]:80"),
		row("host alone", passes(get("/a")), "host", "h"),
		row("host agrees", passes(get("/a")), ":authority", "h", "host", "h"),
		row("host differs", bad, ":authority", "h", "host", "evil"),
		row("host with the default port", passes(get("/a")), ":authority", "h", "host", "h:80"),
		row("host without the default port", passes(get("/a").host("h:80")), ":authority", "h:80", "host", "h"),
		row("host with an empty port", passes(get("/a")), ":authority", "h", "host", "h:"),
		row("host with another port", bad, ":authority", "h", "host", "h:81"),
		row("host with the other scheme's port", bad, ":authority", "h", "host", "h:443"),
		row("neither", bad),
		row("two hosts", bad, "host", "h", "host", "evil"),
		row("two hosts beside", bad, ":authority", "h", "host", "h", "host", "evil"),
		row("empty", bad, ":authority", ""),
		row("userinfo", bad, ":authority", "u@h"),
		row("a path", bad, ":authority", "h/smuggled"),
		row("a space", bad, ":authority", "h evil"),
		row("a list", bad, ":authority", "h, evil"),
		row("a field", bad, ":authority", "h\r\nY: b"),
		row("a request", bad, ":authority", "h\r\n\r\n"+smuggled),
		row("NUL", bad, ":authority", "h\x00"),
		row("no number as port", bad, ":authority", "h:8o"),
		row("bracket not closed", bad, ":authority", "[::1"),
		row("host with a field", bad, "host", "h\r\nY: b"),
		row("host with userinfo", bad, "host", "u@h"),
	}
}

// h2ConnectionFields: RFC 9113 section 8.2.2.
func h2ConnectionFields() []H2Request {
	var rows []H2Request
	for _, f := range h2Fields("connection", "close", "connection", "x", "connection", "", "proxy-connection", "keep-alive", "keep-alive", "timeout=5",
		"transfer-encoding", "chunked", "transfer-encoding", "identity", "transfer-encoding", "", "upgrade", "h2c", "upgrade", "websocket",
		"te", "gzip", "te", "trailers, gzip", "te", "chunked") {
		rows = append(rows, h2Row("h2 connection/"+f.Name+": "+f.Value, "8.2.2", h2Head("GET", "/a", f.Name, f.Value), refused(400)))
	}
	coded := h2Row("h2 connection/a request behind a last chunk", "8.2.2", h2Head("POST", "/a", "transfer-encoding", "chunked"), refused(400))
	coded.Body = []string{"0\r\n\r\n" + smuggled}
	return append(rows, coded,
		h2Row("h2 connection/te: trailers", "8.2.2", h2Head("GET", "/a", "te", "trailers"), passes(get("/a"))),
		h2Row("h2 claim/of a stranger", "7239 8.1", h2Head("GET", "/a", "x-real-ip", "10.0.0.1", "x_forwarded_for", "10.0.0.1", "true-client-ip", "10.0.0.1", "proxy", "http://evil/", "x-original-url", "/smuggled"),
			passes(get("/a").without("x-real-ip", "x_forwarded_for", "true-client-ip", "proxy", "x-original-url"))),
		h2Row("h2 connection/settings of an upgrade", "3.1", h2Head("GET", "/a", "http2-settings", "AAMAAABk"), passes(get("/a").without("HTTP2-Settings"))),
	)
}
