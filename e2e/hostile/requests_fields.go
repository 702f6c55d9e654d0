package hostile

import "strings"

// fieldLines: RFC 9112 5.
func fieldLines() []Request {
	with := func(lines string) string { return "GET /a HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n\r\n" }
	const name = "9110 5.1"
	return []Request{
		{"field/every token character", name, with("!#$%&'*+-.^_`|~09azAZ: v"), passes(get("/a").with("!#$%&'*+-.^_`|~09azAZ: v")), StaysOpen},
		{"field/no colon", "9112 5.1", with("nothing"), refused(400), StaysOpen},
		{"field/empty name", name, with(": v"), refused(400), StaysOpen},
		{"field/only a colon", name, with(":"), refused(400), StaysOpen},
		{"field/space before the colon", "9112 5.1-2", with("X : v"), refused(400), StaysOpen},
		{"field/HTAB before the colon", "9112 5.1-2", with("X\t: v"), refused(400), StaysOpen},
		{"field/space in the name", name, with("X Y: v"), refused(400), StaysOpen},
		{"field/NUL in the name", name, with("X\x00: v"), refused(400), StaysOpen},
		{"field/bracket in the name", name, with("X(: v"), refused(400), StaysOpen},
		{"field/slash in the name", name, with("X/Y: v"), refused(400), StaysOpen},
		{"field/quote in the name", name, with("\"X\": v"), refused(400), StaysOpen},
		{"field/obs-text in the name", name, with("X\xe9: v"), refused(400), StaysOpen},
		{"field/DEL in the name", name, with("X\x7f: v"), refused(400), StaysOpen},
		{"field/bare CR in the name", name, with("X\rY: v"), refused(400), StaysOpen},
		{"field/pseudo-field of HTTP/2", name, with(":path: /evil"), refused(400), StaysOpen},
		{"field/folded", "9112 5.2", with("X: a\r\n b"), refused(400), StaysOpen},
		{"field/folded with HTAB", "9112 5.2", with("X: a\r\n\tb"), refused(400), StaysOpen},
		{"field/folded, empty", "9112 5.2", with("X: a\r\n "), refused(400), StaysOpen},
		{"field/first one indented", "9112 2.2-8", "GET /a HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n", refused(400), StaysOpen},
		{"field/space alone on a line", "9112 2.2-8", with("X: a\r\n \r\nY: b"), refused(400), StaysOpen},
		{"field/bare LF behind", "9112 2.2-3", with("X: a\nY: b"), refused(400), StaysOpen},
		{"field/bare LF as empty line", "9112 2.2-3", "GET /a HTTP/1.1\r\nHost: h\r\n\n" + smuggled, refused(400), StaysOpen},
		{"field/CR CR LF as empty line", "9112 2.2-4", "GET /a HTTP/1.1\r\nHost: h\r\n\r\r\n" + smuggled, refused(400), StaysOpen},
		{"field/LF CR LF in a row", "9112 2.2-3", "GET /a HTTP/1.1\r\nHost: h\n\r\n" + smuggled, refused(400), StaysOpen},
		{"field/a request behind a bare CR", "9112 2.2-4", with("X: a\r\rGET /smuggled HTTP/1.1\rHost: h\r\r"), refused(400), StaysOpen},
		{"field/empty value", "9110 5.5", with("X:"), passes(get("/a").with("X: ")), StaysOpen},
		{"field/same name twice", "9110 5.3", with("X: a\r\nX: b"), passes(get("/a").with("X: a", "X: b")), StaysOpen},
	}
}

// fieldValues: RFC 9110 5.5.
func fieldValues() []Request {
	with := func(value string) string { return head("GET /a HTTP/1.1", host, "X: "+value) }
	const section = "9110 5.5-5"
	return []Request{
		{"value/obs-text", "9110 5.5-4", with("\x80\xff"), passes(get("/a").with("X: \x80\xff")), StaysOpen},
		{"value/HTAB inside", "9110 5.5", with("a\tb"), passes(get("/a").with("X: a\tb")), StaysOpen},
		{"value/space around", "9112 5.1", with(" \t a \t "), passes(get("/a").with("X: a")), StaysOpen},
		{"value/colons", "9110 5.5", with(":a:b:"), passes(get("/a").with("X: :a:b:")), StaysOpen},
		{"value/a field in it, encoded", "9110 5.5", with("a%0d%0aY: b"), passes(get("/a").with("X: a%0d%0aY: b").without("Y")), StaysOpen},
		{"value/NUL", section, with("a\x00b"), refused(400), StaysOpen},
		{"value/SOH", section, with("a\x01b"), refused(400), StaysOpen},
		{"value/BEL", section, with("\a"), refused(400), StaysOpen},
		{"value/BS", section, with("a\bb"), refused(400), StaysOpen},
		{"value/VT", section, with("a\vb"), refused(400), StaysOpen},
		{"value/FF", section, with("a\fb"), refused(400), StaysOpen},
		{"value/ESC", section, with("\x1b[2J"), refused(400), StaysOpen},
		{"value/US", section, with("a\x1fb"), refused(400), StaysOpen},
		{"value/DEL", section, with("a\x7fb"), refused(400), StaysOpen},
		{"value/bare CR", "9112 2.2-4", with("a\rb"), refused(400), StaysOpen},
		{"value/bare CR at the end", "9112 2.2-4", with("a\r"), refused(400), StaysOpen},
		{"value/CR, then a field", section, with("a\rTransfer-Encoding: chunked"), refused(400), StaysOpen},
		{"value/LF, then a field", section, with("a\nTransfer-Encoding: chunked"), refused(400), StaysOpen},
	}
}

// connections: fields of one hop (RFC 9110 7.6) end at that hop.
func connections() []Request {
	with := func(lines ...string) string {
		return head(append([]string{"GET /a HTTP/1.1", host}, lines...)...)
	}
	const section = "9110 7.6.1"
	const claimSection = "7239 8.1" // who may say who asks
	return []Request{
		{"hop/close", "9112 9.6", with("Connection: close"), passes(get("/a").without("Connection")), StaysOpen},
		{"hop/named field is removed", section, with("Connection: X-A", "X-A: 1", "X-B: 2"), passes(get("/a").with("X-B: 2").without("X-A", "Connection")), StaysOpen},
		{"hop/named in a second Connection", section, with("Connection: close", "Connection: x-a", "X-A: 1"), passes(get("/a").without("X-A", "Connection")), StaysOpen},
		{"hop/Keep-Alive", "9110 7.6.1-9", with("Keep-Alive: timeout=5"), passes(get("/a").without("Keep-Alive")), StaysOpen},
		{"hop/Proxy-Connection", "9110 7.6.1-9", with("Proxy-Connection: keep-alive"), passes(get("/a").without("Proxy-Connection")), StaysOpen},
		{"hop/TE", "9110 10.1.4", with("TE: gzip;q=0.5"), passes(get("/a").without("TE")), StaysOpen},
		{"hop/Upgrade without Connection", "9110 7.8", with("Upgrade: websocket"), passes(get("/a").without("Upgrade")), StaysOpen},
		{"hop/Upgrade to h2c", "9113 3.1", with("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"), passes(get("/a").without("Upgrade", "HTTP2-Settings", "Connection")), StaysOpen},
		{"hop/settings of an upgrade, not named", "7540 3.2.1", with("HTTP2-Settings: AAMAAABk"), passes(get("/a").without("HTTP2-Settings")), StaysOpen},
		{"hop/Upgrade in HTTP/1.0", "9110 7.8-15", head("GET /a HTTP/1.0", host, "Connection: upgrade", "Upgrade: websocket"), passes(get("/a").without("Upgrade")), StaysOpen},
		{"hop/Upgrade with a body", "9110 7.8", head(postLine, host, "Connection: upgrade", "Upgrade: websocket", "Content-Length: 3") + "abc", passes(post("/up", "abc").without("Upgrade")), StaysOpen},
		{"hop/Cookie named in Connection stays", "9110 7.6.1-7", with("Connection: Cookie", "Cookie: a=b"), passes(get("/a").with("Cookie: a=b")), StaysOpen},
		{"hop/X-Forwarded-For named in Connection", section, with("Connection: X-Forwarded-For", "X-Forwarded-For: 10.0.0.1"), passes(get("/a").with("X-Forwarded-For: 127.0.0.1")), StaysOpen},
		{"hop/X-Forwarded-For of a stranger", "7239 8.1", with("X-Forwarded-For: 10.0.0.1"), passes(get("/a").with("X-Forwarded-For: 127.0.0.1")), StaysOpen},
		{"hop/33 entries of Via", "9110 7.6.3", with("Via: " + strings.Repeat("1.1 a,", 32) + "1.1 b"), refused(508).goesOn(), StaysOpen},
		{"hop/33 entries of CDN-Loop", "8586 2", with("CDN-Loop: " + strings.Repeat("a,", 32) + "b"), refused(508).goesOn(), StaysOpen},
		{"hop/Max-Forwards of OPTIONS", "9110 7.6.2", head("OPTIONS /a HTTP/1.1", host, "Max-Forwards: 007"), passes(get("/a").method("OPTIONS").with("Max-Forwards: 6")), StaysOpen},
		{"hop/Max-Forwards of TRACE that is no number", "9110 7.6.2", head("TRACE /a HTTP/1.1", host, "Max-Forwards: 1 "+"\t2"), refused(400).goesOn(), StaysOpen},
		{"hop/Max-Forwards twice", "9110 7.6.2", head("OPTIONS /a HTTP/1.1", host, "Max-Forwards: 1", "Max-Forwards: 0"), refused(400).goesOn(), StaysOpen},
		{"claim/X-Real-IP of a stranger", claimSection, with("X-Real-IP: 10.0.0.1"), passes(get("/a").without("X-Real-IP")), StaysOpen},
		{"claim/X-Real-IP named in Connection", claimSection, with("Connection: X-Real-IP", "X-Real-IP: 10.0.0.1"), passes(get("/a").without("X-Real-IP")), StaysOpen},
		{"claim/with underscores", claimSection, with("X_Forwarded_For: 10.0.0.1", "X_REAL_IP: 10.0.0.1", "x-forwarded_proto: https"), passes(get("/a").without("X_Forwarded_For", "X_REAL_IP", "x-forwarded_proto")), StaysOpen},
		{"claim/a certificate", claimSection, with("X-Forwarded-Client-Cert: Hash=00", "X-SSL-Client-Verify: SUCCESS", "Client-Cert: :AA==:"), passes(get("/a").without("X-Forwarded-Client-Cert", "X-SSL-Client-Verify", "Client-Cert")), StaysOpen},
		{"claim/httpoxy", claimSection, with("Proxy: http://evil/"), passes(get("/a").without("Proxy")), StaysOpen},
		{"claim/another target", claimSection, with("X-Original-URL: /smuggled", "X-Rewrite-URL: /smuggled"), passes(get("/a").without("X-Original-URL", "X-Rewrite-URL")), StaysOpen},
		{"claim/in trailers", claimSection, head(postLine, host, chunked) + "3\r\nabc\r\n0\r\nTrue-Client-IP: 10.0.0.1\r\nx_real_ip: 10.0.0.1\r\nX: y\r\n\r\n", passes(post("/up", "abc").trailer("X", "y")), StaysOpen},
		{"hop/hundreds of options", section, with("Connection: " + strings.Repeat("a,", 300) + "b"), refused(400), StaysOpen},
		{"hop/Expect: 100-continue", "9110 10.1.1", head(postLine, host, "Expect: 100-continue", "Content-Length: 3") + "abc", passes(post("/up", "abc")), StaysOpen},
		{"hop/Expect: 100-continue without content", "9110 10.1.1", with("Expect: 100-continue"), passes(get("/a")), StaysOpen},
	}
}

// sizes: what never ends is ended (RFC 9110 2.3, 6585 5).
func sizes() []Request {
	const section = "6585 5"
	return []Request{
		{"size/value of 30 KB", "9110 2.3", head("GET /a HTTP/1.1", host, "X: "+strings.Repeat("a", 30000)), passes(get("/a").with("X: " + strings.Repeat("a", 30000))), StaysOpen},
		{"size/value of 100 KB", section, head("GET /a HTTP/1.1", host, "X: "+strings.Repeat("a", 100000)), refused(431), StaysOpen},
		{"size/value without end", section, "GET /a HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("a", 1<<20), refused(431), StaysOpen},
		{"size/name without end", section, "GET /a HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("a", 1<<20), refused(431), StaysOpen},
		{"size/fields without end", section, "GET /a HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: a\r\n", 100000), refused(431), StaysOpen},
		{"size/1000 fields", section, head("GET /a HTTP/1.1", host, strings.Repeat("X: a\r\n", 1000)+"Y: b"), refused(431), StaysOpen},
		{"size/100 fields", "9110 2.3", head("GET /a HTTP/1.1", host, strings.Repeat("X: a\r\n", 100)+"Y: b"), passes(get("/a").with("Y: b")), StaysOpen},
		{"size/empty lines without end", "9112 2.2-6", strings.Repeat("\r\n", 100000), refused(400), StaysOpen},
	}
}

// pipelines: several requests in one go; each is answered in its turn (RFC
// 9112 9.3.2), and nothing behind a refused one is looked at.
func pipelines() []Request {
	a, b := "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
	const section = "9112 9.3.2"
	return []Request{
		{"pipeline/two", section, a + b, passes(get("/a"), get("/b")), StaysOpen},
		{"pipeline/twenty", section, strings.Repeat(a, 20), passes(repeat(get("/a"), 20)...), StaysOpen},
		{"pipeline/empty line between", "9112 2.2-6", a + "\r\n" + b, passes(get("/a"), get("/b")), StaysOpen},
		{"pipeline/behind content", section, head(postLine, host, "Content-Length: 3") + "abc" + b, passes(post("/up", "abc"), get("/b")), StaysOpen},
		{"pipeline/behind chunks", section, head(postLine, host, chunked) + "3\r\nabc\r\n" + lastChunk + b, passes(post("/up", "abc"), get("/b")), StaysOpen},
		{"pipeline/behind HEAD", section, head("HEAD /a HTTP/1.1", host) + b, passes(get("/a").method("HEAD"), get("/b")), StaysOpen},
		{"pipeline/behind Connection: close", "9112 9.6-4", head("GET /a HTTP/1.1", host, "Connection: close") + smuggled, passes(get("/a")), StaysOpen},
		{"pipeline/behind HTTP/1.0", "9112 9.3", head("GET /a HTTP/1.0", host) + smuggled, passes(get("/a")), StaysOpen},
		{"pipeline/HTTP/1.0 with keep-alive", "9112 9.3", head("GET /a HTTP/1.0", host, "Connection: keep-alive") + b, passes(get("/a"), get("/b")), StaysOpen},
		{"pipeline/garbage behind", "9112 2.2", a + "\x00\x01\x02\r\n\r\n", passes(get("/a")).then(400), StaysOpen},
		{"pipeline/one byte more than said", "9112 6.3-2.6", head(postLine, host, "Content-Length: 3") + "abcX" + b, passes(post("/up", "abc"), get("/b").method("XGET")), StaysOpen},
		{"pipeline/more than said", "9112 6.3-2.6", head(postLine, host, "Content-Length: 3") + "abc: d\r\n\r\n", passes(post("/up", "abc")).then(400), StaysOpen},
		{"pipeline/behind a refused one", "9112 9.6", head("GET /a HTTP/1.1") + b, refused(400), StaysOpen},
		{"pipeline/behind refused framing", "9112 6.3-2.3", head(postLine, host, "Content-Length: 5", chunked) + lastChunk + smuggled, refused(400), StaysOpen},
		{"pipeline/behind refused chunks", "9112 7.1", head(postLine, host, chunked) + "x\r\n" + smuggled, refused(400), StaysOpen},
		{"pipeline/good, then cut", "9112 8", a + head(postLine, host, "Content-Length: 3") + "ab", Outcome{Got: []Message{get("/a")}, Cut: true}, Closes},
		{"pipeline/good, then ambiguous", "9112 6.3-2.3", a + head(postLine, host, "Content-Length: 5", chunked) + lastChunk + smuggled, passes(get("/a")).then(400), StaysOpen},
	}
}

func repeat(m Message, n int) []Message {
	all := make([]Message, n)
	for i := range all {
		all[i] = m
	}
	return all
}
