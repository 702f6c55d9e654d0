package hostile

import "strings"

// requestLines: RFC 9112 3 has exactly one form for a request line.
func requestLines() []Request {
	line := func(l string) string { return head(l, host) }
	const section = "9112 3"
	return []Request{
		{"line/plain", section, line("GET /a HTTP/1.1"), passes(get("/a")), StaysOpen},
		{"line/empty line before", "9112 2.2-6", "\r\n" + line("GET /a HTTP/1.1"), passes(get("/a")), StaysOpen},
		{"line/many empty lines before", "9112 2.2-6", strings.Repeat("\r\n", 50) + line("GET /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/bare LF before", "9112 2.2-3", "\n" + line("GET /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/space before", section, " " + line("GET /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/two spaces behind the method", section, line("GET  /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/two spaces behind the target", section, line("GET /a  HTTP/1.1"), refused(400), StaysOpen},
		{"line/space behind the version", section, line("GET /a HTTP/1.1 "), refused(400), StaysOpen},
		{"line/HTAB behind the method", section, line("GET\t/a HTTP/1.1"), refused(400), StaysOpen},
		{"line/HTAB behind the target", section, line("GET /a\tHTTP/1.1"), refused(400), StaysOpen},
		{"line/vertical tab behind the target", section, line("GET /a\vHTTP/1.1"), refused(400), StaysOpen},
		{"line/no target", section, line("GET HTTP/1.1"), refused(400), StaysOpen},
		{"line/no version", section, line("GET /a"), refused(400), StaysOpen},
		{"line/no method", section, line("/a HTTP/1.1"), refused(400), StaysOpen},
		{"line/only a word", section, line("hello"), refused(400), StaysOpen},
		{"line/bare LF behind", "9112 2.2-3", "GET /a HTTP/1.1\nHost: h\r\n\r\n", refused(400), StaysOpen},
		{"line/only bare LFs", "9112 2.2-3", "GET /a HTTP/1.1\nHost: h\n\n", refused(400), StaysOpen},
		{"line/bare CR behind", "9112 2.2-4", "GET /a HTTP/1.1\rHost: h\r\n\r\n", refused(400), StaysOpen},
		{"line/CR CR LF", "9112 2.2-4", "GET /a HTTP/1.1\r\r\nHost: h\r\n\r\n", refused(400), StaysOpen},
		{"line/NUL in the method", "9110 9.1", line("G\x00T /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/colon in the method", "9110 9.1", line("GE:T /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/slash in the method", "9110 9.1", line("GET/ /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/method in brackets", "9110 9.1", line("(GET) /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/obs-text in the method", "9110 9.1", line("G\xc9T /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/lower-case method is another one", "9110 9.1", line("get /a HTTP/1.1"), passes(get("/a").method("get")), StaysOpen},
		{"line/unknown method", "9110 9.1", line("M-SEARCH /a HTTP/1.1"), passes(get("/a").method("M-SEARCH")), StaysOpen},
		{"line/endless method", section, strings.Repeat("A", 5000) + " /a HTTP/1.1\r\n", refused(501), StaysOpen},
		{"line/CONNECT", "9110 9.3.6", head("CONNECT h:443 HTTP/1.1", "Host: h:443"), refused(501), StaysOpen},
		{"line/PRI of HTTP/2", "9113 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(505), StaysOpen},
		{"line/TLS hello", section, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", refusedInTLS(), StaysOpen},
		{"line/PROXY header", section, "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + line("GET /a HTTP/1.1"), refused(400), StaysOpen},
		{"line/a response", section, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", refused(400), StaysOpen},
		{"line/byte order mark", section, "\xef\xbb\xbf" + line("GET /a HTTP/1.1"), refused(400), StaysOpen},
	}
}

// targets: the four forms of RFC 9112 3.2, and the path that was routed is the
// path that is forwarded.
func targets() []Request {
	at := func(target string) string { return head("GET "+target+" HTTP/1.1", host) }
	const section = "9112 3.2"
	return []Request{
		{"target/query", section, at("/a?b=c&d"), passes(get("/a?b=c&d")), StaysOpen},
		{"target/double question mark", "3986 3.4", at("/a??b=/c?"), passes(get("/a??b=/c?")), StaysOpen},
		{"target/dot segments", "3986 5.2.4", at("/a/../b"), passes(get("/b")), StaysOpen},
		{"target/encoded dot segments", "3986 6.2.2", at("/a/%2e%2E/b"), passes(get("/b")), StaysOpen},
		{"target/out of the root", "3986 5.2.4", at("/../etc"), refused(400).goesOn(), StaysOpen},
		{"target/out of the root, encoded", "3986 5.2.4", at("/a/%2e%2e/%2e%2e/etc"), refused(400).goesOn(), StaysOpen},
		{"target/encoded slash stays", "3986 2.2", at("/a%2Fb"), passes(get("/a%2Fb")), StaysOpen},
		{"target/encoded NUL", "3986 7.3", at("/a%00b"), refused(400).goesOn(), StaysOpen},
		{"target/encoded CRLF stays encoded", "3986 2.2", at("/a%0d%0aX:%20y"), passes(get("/a%0D%0AX:%20y")), StaysOpen},
		{"target/percent with one digit", "3986 2.1", at("/a%2"), refused(400), StaysOpen},
		{"target/percent without digits", "3986 2.1", at("/a%zz"), refused(400), StaysOpen},
		{"target/overlong UTF-8", "3986 2.1", at("/%c0%ae%c0%ae/a"), passes(get("/%C0%AE%C0%AE/a")), StaysOpen},
		{"target/fragment", section, at("/a#b"), refused(400), StaysOpen},
		{"target/space", section, at("/a b"), refused(400), StaysOpen},
		{"target/HTAB", section, at("/a\tb"), refused(400), StaysOpen},
		{"target/NUL", section, at("/a\x00b"), refused(400), StaysOpen},
		{"target/DEL", section, at("/a\x7fb"), refused(400), StaysOpen},
		{"target/UTF-8 as it is", section, at("/caf\xc3\xa9"), refused(400), StaysOpen},
		{"target/UTF-8 in the query", section, at("/a?caf\xc3\xa9"), refused(400), StaysOpen},
		{"target/UTF-8 escaped", section, at("/caf%c3%a9"), passes(get("/caf%C3%A9")), StaysOpen},
		{"target/obs-text", section, at("/\xe4"), refused(400), StaysOpen},
		{"target/quote", section, at("/\"a"), refused(400), StaysOpen},
		{"target/angle brackets", section, at("/<a>"), refused(400), StaysOpen},
		{"target/bare CR", "9112 2.2-4", at("/a\rb"), refused(400), StaysOpen},
		{"target/bare LF", "9112 2.2-3", at("/a\nb"), refused(400), StaysOpen},
		{"target/no slash", section, at("a"), refused(400), StaysOpen},
		{"target/empty but for a query", section, at("?a"), refused(400), StaysOpen},
		{"target/asterisk with GET", "9112 3.2.4", at("*"), refused(400), StaysOpen},
		{"target/asterisk with OPTIONS", "9112 3.2.4", head("OPTIONS * HTTP/1.1", host), passes(get("*").method("OPTIONS")), StaysOpen},
		{"target/absolute", "9112 3.2.2", at("http://h/a?b"), passes(get("/a?b")), StaysOpen},
		{"target/absolute wins over Host", "9112 3.2.2-8", at("http://other/a"), passes(get("/a").host("other")), StaysOpen},
		{"target/absolute without path", "9112 3.2.1-2", at("http://h"), passes(get("/")), StaysOpen},
		{"target/absolute without path, with query", "9112 3.2.1-2", at("http://h?a"), passes(get("/?a")), StaysOpen},
		{"target/absolute without path, OPTIONS", "9112 3.2.4-2", head("OPTIONS http://h HTTP/1.1", host), passes(get("*").method("OPTIONS")), StaysOpen},
		{"target/absolute with a port", "9112 3.2.2-8", at("http://h:8080/a"), passes(get("/a").host("h:8080")), StaysOpen},
		{"target/absolute with userinfo", "9110 4.2.4", at("http://h@evil/a"), refused(400), StaysOpen},
		{"target/absolute, ftp", "9110 4.2", at("ftp://h/a"), refused(400), StaysOpen},
		{"target/absolute without host", "9110 4.2.1", at("http:///a"), refused(400), StaysOpen},
		{"target/absolute with a backslash", "3986 3.2", at("http://h\\@evil/a"), refused(400), StaysOpen},
		{"target/absolute, bracket not closed", "3986 3.2.2", at("http://[::1/a"), refused(400), StaysOpen},
		{"target/authority with GET", "9112 3.2.3", at("h:80"), refused(400), StaysOpen},
		{"target/two slashes is no authority", section, at("//evil/a"), passes(get("//evil/a")), StaysOpen},
		{"target/longer than allowed", "9112 3-4", at("/" + strings.Repeat("a", 9000)), refused(414), StaysOpen},
		{"target/without end", "9112 3-4", "GET /" + strings.Repeat("a", 100000), refused(414), StaysOpen},
	}
}

// versions: RFC 9112 2.3.
func versions() []Request {
	v := func(version string) string { return head("GET /a "+version, host) }
	const section = "9112 2.3"
	return []Request{
		{"version/1.0", "9110 2.5", v("HTTP/1.0"), passes(get("/a")), StaysOpen},
		{"version/1.0 without Host", "9110 7.2", "GET /a HTTP/1.0\r\n\r\n", passes(Message{Method: "GET", Target: "/a"}), StaysOpen},
		{"version/1.2 is processed as 1.1", "9110 2.5", v("HTTP/1.2"), passes(get("/a")), StaysOpen},
		{"version/2.0", "9110 15.6.6", v("HTTP/2.0"), refused(505), StaysOpen},
		{"version/0.9 in words", "9110 15.6.6", v("HTTP/0.9"), refused(505), StaysOpen},
		{"version/0.9", section, "GET /a\r\n", refused(400), StaysOpen},
		{"version/3", section, v("HTTP/3"), refused(400), StaysOpen},
		{"version/1", section, v("HTTP/1"), refused(400), StaysOpen},
		{"version/1.10", section, v("HTTP/1.10"), refused(400), StaysOpen},
		{"version/01.1", section, v("HTTP/01.1"), refused(400), StaysOpen},
		{"version/1,1", section, v("HTTP/1,1"), refused(400), StaysOpen},
		{"version/lower case", section, v("http/1.1"), refused(400), StaysOpen},
		{"version/mixed case", section, v("Http/1.1"), refused(400), StaysOpen},
		{"version/another protocol", section, v("RTSP/1.1"), refused(400), StaysOpen},
		{"version/letters", section, v("HTTP/1.x"), refused(400), StaysOpen},
		{"version/space inside", section, v("HTTP/1 .1"), refused(400), StaysOpen},
		{"version/minus", section, v("HTTP/-1.1"), refused(400), StaysOpen},
	}
}

// hosts: RFC 9112 3.2, 9110 7.2: one Host, and a valid one.
func hosts() []Request {
	h := func(lines ...string) string { return head(append([]string{"GET /a HTTP/1.1"}, lines...)...) }
	const section = "9112 3.2-6"
	return []Request{
		{"host/none", section, h("X: y"), refused(400), StaysOpen},
		{"host/two, the same", section, h(host, host), refused(400), StaysOpen},
		{"host/two, different", section, h(host, "Host: other"), refused(400), StaysOpen},
		{"host/two, far apart", section, h(host, strings.Repeat("A: b\r\n", 50)+"C: d", "hOST: other"), refused(400), StaysOpen},
		{"host/two in HTTP/1.0", section, head("GET /a HTTP/1.0", host, "Host: other"), refused(400), StaysOpen},
		{"host/empty", "9110 4.2.1", h("Host:"), refused(400), StaysOpen},
		{"host/list", section, h("Host: h, other"), refused(400), StaysOpen},
		{"host/space inside", section, h("Host: h other"), refused(400), StaysOpen},
		{"host/path", section, h("Host: h/a"), refused(400), StaysOpen},
		{"host/userinfo", section, h("Host: user@h"), refused(400), StaysOpen},
		{"host/query", section, h("Host: h?a"), refused(400), StaysOpen},
		{"host/port", "9110 7.2", h("Host: h:8080"), passes(get("/a").host("h:8080")), StaysOpen},
		{"host/port empty", "3986 3.2.3", h("Host: h:"), passes(get("/a").host("h:")), StaysOpen},
		{"host/port no number", section, h("Host: h:http"), refused(400), StaysOpen},
		{"host/port too large", section, h("Host: h:65536"), refused(400), StaysOpen},
		{"host/two ports", section, h("Host: h:80:80"), refused(400), StaysOpen},
		{"host/IPv6", "3986 3.2.2", h("Host: [::1]:80"), passes(get("/a").host("[::1]:80")), StaysOpen},
		{"host/IPv6, bracket not closed", section, h("Host: [::1"), refused(400), StaysOpen},
		{"host/IPv6, no brackets", section, h("Host: ::1"), refused(400), StaysOpen},
		{"host/text behind the bracket", section, h("Host: [::1]evil"), refused(400), StaysOpen},
		{"host/backslash", section, h("Host: h\\evil"), refused(400), StaysOpen},
		{"host/obs-text", section, h("Host: h\xff"), refused(400), StaysOpen},
		{"host/percent without digits", section, h("Host: h%zz"), refused(400), StaysOpen},
		{"host/NUL", section, h("Host: h\x00"), refused(400), StaysOpen},
		{"host/space before the colon", "9112 5.1-2", h("Host : h"), refused(400), StaysOpen},
		{"host/space before the colon beside a good one", "9112 5.1-2", h(host, "Host : other"), refused(400), StaysOpen},
		{"host/indented second one", "9112 2.2-8", h(host, " Host: other"), refused(400), StaysOpen},
		{"host/invalid beside an absolute target", section, head("GET http://h/a HTTP/1.1", "Host: a b"), refused(400), StaysOpen},
		{"host/named in Connection", "9110 7.6.1-7", h(host, "Connection: host"), passes(get("/a")), StaysOpen},
	}
}
