package hostile

import "strings"

const (
	okLine = "HTTP/1.1 200 OK"
	length = "Content-Length: 3"
)

func gives(body string) Answer { return Answer{Status: 200, Body: body} }

var badGateway = Answer{Status: 502}

func brokenOff() Answer { return Answer{Status: 200, Cut: true} }

func (a Answer) with(lines ...string) Answer { a.With = append(a.With, lines...); return a }

func (a Answer) without(names ...string) Answer { a.Without = append(a.Without, names...); return a }

// responseFraming: how the end of a response is told (RFC 9112 6.3).
func responseFraming() []Response {
	const invalid = "9112 6.3-2.5"
	h := func(lines ...string) string { return head(append([]string{okLine}, lines...)...) }
	row := func(name, section, bytes string, want Answer) Response {
		return Response{Name: "framing/" + name, Section: section, Bytes: bytes, Want: want}
	}
	closed := func(name, section, bytes string, want Answer) Response {
		return Response{Name: "framing/" + name, Section: section, Bytes: bytes, Want: want, Then: Closes}
	}
	return []Response{
		row("length", "9112 6.3-2.6", h(length)+"abc", gives("abc")),
		row("chunked", "9112 7.1", h(chunked)+"3\r\nabc\r\n"+lastChunk, gives("abc")),
		closed("until close", "9112 6.3-2.8", h()+"abc", gives("abc")),
		closed("HTTP/1.0 until close", "9112 6.3-2.8", head("HTTP/1.0 200 OK")+"abc", gives("abc")),
		row("HTTP/1.0 with length", "9112 6.3", head("HTTP/1.0 200 OK", length)+"abc", gives("abc")),
		row("length with chunked", "9112 6.3-2.3", h(length, chunked)+"3\r\nabc\r\n"+lastChunk, badGateway),
		row("chunked with length", "9112 6.3-2.3", h(chunked, length)+"3\r\nabc\r\n"+lastChunk, badGateway),
		row("two lengths, the same", invalid, h(length, length)+"abc", badGateway),
		row("two lengths, different", invalid, h(length, "Content-Length: 2")+"abc", badGateway),
		row("list of lengths", invalid, h("Content-Length: 3, 3")+"abc", badGateway),
		row("length with a plus sign", invalid, h("Content-Length: +3")+"abc", badGateway),
		row("length with a minus sign", invalid, h("Content-Length: -3")+"abc", badGateway),
		row("hexadecimal length", invalid, h("Content-Length: 0x3")+"abc", badGateway),
		row("empty length", invalid, h("Content-Length:")+"abc", badGateway),
		row("length with text", invalid, h("Content-Length: 3abc")+"abc", badGateway),
		row("length of 2^64 + 3", invalid, h("Content-Length: 18446744073709551619")+"abc", badGateway),
		closed("unknown coding", "9112 6.3-2.4", h("Transfer-Encoding: gzip")+"abc", badGateway),
		closed("identity", "9112 6.3-2.4", h("Transfer-Encoding: identity")+"abc", badGateway),
		row("gzip, chunked", "9112 6.1", h("Transfer-Encoding: gzip, chunked")+"3\r\nabc\r\n"+lastChunk, badGateway),
		row("chunked twice", "9112 6.1", h(chunked, chunked)+"3\r\nabc\r\n"+lastChunk, badGateway),
		row("xchunked", "9112 6.3-2.4", h("Transfer-Encoding: xchunked")+"3\r\nabc\r\n"+lastChunk, badGateway),
		row("space before the colon of the coding", "9112 5.1-3", h("Transfer-Encoding : chunked")+"3\r\nabc\r\n"+lastChunk, badGateway),
		row("chunked in HTTP/1.0", "9112 6.1-16", head("HTTP/1.0 200 OK", chunked)+"3\r\nabc\r\n"+lastChunk, badGateway),
		row("folded coding", "9112 5.2", h("Transfer-Encoding:\r\n chunked")+"3\r\nabc\r\n"+lastChunk, badGateway),
	}
}

// responseChunks: RFC 9112 7.1 once more, from the other side. The head has
// gone when a fault shows: what is left is to break off.
func responseChunks() []Response {
	row := func(name, body string, want Answer) Response {
		return Response{Name: "chunk/" + name, Section: "9112 7.1", Bytes: head(okLine, chunked) + body, Want: want}
	}
	return []Response{
		row("extensions", "3;a=\"b\"\r\nabc\r\n0;c\r\n\r\n", gives("abc")),
		row("trailers", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", gives("abc")),
		row("Content-Length in the trailers", "3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", gives("abc")),
		row("0x prefix", "0x3\r\nabc\r\n"+lastChunk, brokenOff()),
		row("minus sign", "-3\r\nabc\r\n"+lastChunk, brokenOff()),
		row("no digits", "\r\nabc\r\n"+lastChunk, brokenOff()),
		row("bare LF", "3\nabc\n0\n\n", brokenOff()),
		row("more data than said", "3\r\nabcd\r\n"+lastChunk, brokenOff()),
		row("bare LF in an extension", "3;a\nabc\r\n"+lastChunk, brokenOff()),
		row("2^64 + 3", "10000000000000003\r\nabc\r\n"+lastChunk, brokenOff()),
		row("fault in the second chunk", "3\r\nabc\r\nzz\r\n"+lastChunk, brokenOff()),
		row("folded trailer", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n 2\r\n\r\n", brokenOff()),
		row("trailers without end", "3\r\nabc\r\n0\r\n"+strings.Repeat("X-Sum: 1\r\n", 20000), brokenOff()),
		row("extension without end", "3;"+strings.Repeat("a", 100000), brokenOff()),
		row("no chunks at all", "hello, this is no chunk", brokenOff()),
	}
}

// cutResponses end before they are whole (RFC 9112 8): the client must see it.
func cutResponses() []Response {
	const section = "9112 8-3"
	long := strings.Repeat("a", 300000)
	var all []Response
	for _, end := range []struct {
		how  string
		then Ending
	}{{"closed", Closes}, {"reset", Resets}} {
		row := func(name, bytes string, want Answer) {
			all = append(all, Response{Name: "cut/" + name + ", " + end.how, Section: section, Bytes: bytes, Then: end.then, Want: want})
		}
		row("before the first byte", "", badGateway)
		row("in the status line", "HTTP/1.1 20", badGateway)
		row("in the head", okLine+"\r\nContent-Le", badGateway)
		row("before the empty line", okLine+"\r\nContent-Length: 3\r\n", badGateway)
		row("before the first byte of the body", head(okLine, length), brokenOff())
		row("one byte short", head(okLine, length)+"ab", brokenOff())
		row("one byte short of 300 KB", head(okLine, "Content-Length: 300001")+long, brokenOff())
		row("before the first chunk", head(okLine, chunked), brokenOff())
		row("in a chunk", head(okLine, chunked)+"3\r\nab", brokenOff())
		row("between chunks", head(okLine, chunked)+"3\r\nabc\r\n", brokenOff())
		row("behind the last chunk", head(okLine, chunked)+"3\r\nabc\r\n0\r\n", brokenOff())
		row("in the trailers", head(okLine, chunked)+"3\r\nabc\r\n0\r\nX-Sum: 1\r\n", brokenOff())
	}
	old := head("GET /case HTTP/1.0", host)
	return append(all,
		Response{Name: "cut/until close, reset", Section: section, Bytes: head(okLine) + "abc", Then: Resets, Want: brokenOff()},
		Response{Name: "cut/until close to HTTP/1.0, reset", Section: section, Request: old, Bytes: head(okLine) + "abc", Then: Resets, Want: brokenOff()},
		Response{Name: "cut/chunked to HTTP/1.0, closed", Section: section, Request: old, Bytes: head(okLine, chunked) + "3\r\nabc\r\n", Then: Closes, Want: brokenOff()},
		Response{Name: "cut/chunked to HTTP/1.0, fault", Section: section, Request: old, Bytes: head(okLine, chunked) + "3\r\nabc\r\nzz\r\n", Want: brokenOff()},
		Response{Name: "cut/chunked to HTTP/1.0, whole", Section: "9112 6.3", Request: old, Bytes: head(okLine, chunked) + "3\r\nabc\r\n" + lastChunk, Want: gives("abc")},
		Response{Name: "cut/stalls in the head", Section: "9110 15.6.5", Bytes: okLine + "\r\n", Want: Answer{Status: 504}},
		Response{Name: "cut/stalls in the body", Section: section, Bytes: head(okLine, length) + "ab", Want: brokenOff()},
	)
}

// statusLines: RFC 9112 4.
func statusLines() []Response {
	row := func(name, section, line string, want Answer) Response {
		return Response{Name: "status/" + name, Section: section, Bytes: line + "\r\n" + head(length) + "abc", Want: want}
	}
	const section = "9112 4"
	return []Response{
		row("no reason phrase", section, "HTTP/1.1 200 ", gives("abc")),
		row("no reason phrase, no space", section, "HTTP/1.1 200", gives("abc")),
		row("obs-text in the reason", section, "HTTP/1.1 200 \xe4", gives("abc")),
		row("unknown status", "9110 15", "HTTP/1.1 299 New", Answer{Status: 299, Body: "abc"}),
		row("later minor version", "9110 2.5", "HTTP/1.9 200 OK", gives("abc")),
		row("NUL in the reason", section, "HTTP/1.1 200 O\x00K", badGateway),
		row("bare CR in the reason", "9112 2.2-4", "HTTP/1.1 200 O\rK", badGateway),
		row("bare LF behind", "9112 2.2-3", "HTTP/1.1 200 OK\nX: y", badGateway),
		row("two digits", section, "HTTP/1.1 20 OK", badGateway),
		row("four digits", section, "HTTP/1.1 2000 OK", badGateway),
		row("below 100", "9110 15", "HTTP/1.1 099 OK", badGateway),
		row("no status", section, "HTTP/1.1 OK", badGateway),
		row("minus sign", section, "HTTP/1.1 -20 OK", badGateway),
		row("two spaces", section, "HTTP/1.1  200 OK", badGateway),
		row("HTAB", section, "HTTP/1.1\t200 OK", badGateway),
		row("HTTP/2.0", "9112 2.3", "HTTP/2.0 200 OK", badGateway),
		row("HTTP/0.9 in words", "9112 2.3", "HTTP/0.9 200 OK", badGateway),
		row("lower case", "9112 2.3", "http/1.1 200 OK", badGateway),
		row("another protocol", "9112 2.3", "ICY 200 OK", badGateway),
		row("empty line before", section, "\r\nHTTP/1.1 200 OK", badGateway),
		{Name: "status/HTTP/0.9", Section: "9112 2.3", Bytes: "<html>hello</html>\r\n", Then: Closes, Want: badGateway},
		{Name: "status/garbage", Section: section, Bytes: "\x00\x01\x02\x03", Then: Closes, Want: badGateway},
		{Name: "status/a request", Section: section, Bytes: smuggled, Want: badGateway},
	}
}

// responseFields: bytes in names and values, splitting, fields of the hop.
func responseFields() []Response {
	row := func(name, section, line string, want Answer) Response {
		return Response{Name: "field/" + name, Section: section, Bytes: okLine + "\r\n" + line + "\r\n" + head(length) + "abc", Want: want}
	}
	const name, value = "9110 5.1", "9110 5.5-5"
	return []Response{
		row("bare CR splits", value, "Location: /a\rSet-Cookie: a=b", badGateway),
		row("bare LF splits", value, "Location: /a\nSet-Cookie: a=b", badGateway),
		row("CR LF in a row of their own", "9112 2.2", "Location: /a\r\n\nHTTP/1.1 200 OK", badGateway),
		row("NUL in the value", value, "X: a\x00b", badGateway),
		row("ESC in the value", value, "X: \x1b[2J", badGateway),
		row("folded", "9112 5.2-4", "X: a\r\n b", badGateway),
		row("no colon", name, "nothing", badGateway),
		row("empty name", name, ": v", badGateway),
		row("space before the colon", "9112 5.1-3", "X : v", badGateway),
		row("space in the name", name, "X Y: v", badGateway),
		row("NUL in the name", name, "X\x00: v", badGateway),
		row("indented first", "9112 2.2-8", " X: v", badGateway),
		row("obs-text in the value", "9110 5.5-4", "X: \xff", gives("abc").with("X: \xff")),
		row("fields of the hop", "9110 7.6.1", "Connection: X-A, keep-alive\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x", gives("abc").without("X-A", "Keep-Alive", "Proxy-Connection")),
		row("length named in Connection", "9110 7.6.1-7", "Connection: Content-Length", gives("abc")),
		row("value of 100 KB", "9110 2.3", "X: "+strings.Repeat("a", 100000), badGateway),
		row("1000 fields", "9110 2.3", strings.Repeat("X: a\r\n", 1000)+"Y: b", badGateway),
		{Name: "field/without end", Section: "9110 2.3", Bytes: okLine + "\r\n" + strings.Repeat("X: a\r\n", 100000), Want: badGateway},
	}
}

// interims: 1xx responses (RFC 9110 15.2).
func interims() []Response {
	final := head(okLine, length) + "abc"
	hint := head("HTTP/1.1 103 Early Hints", "Link: </a>")
	row := func(name, section, bytes string, want Answer) Response {
		return Response{Name: "1xx/" + name, Section: section, Bytes: bytes, Want: want}
	}
	return []Response{
		row("103", "8297 2", hint+final, Answer{Status: 200, Body: "abc", Interims: 1}),
		row("100 nobody asked for", "9110 15.2.1", head("HTTP/1.1 100 Continue")+final, Answer{Status: 200, Body: "abc"}),
		row("100 nobody asked for, among others", "9110 15.2.1", hint+strings.Repeat(head("HTTP/1.1 100 Continue"), 3)+hint+final, Answer{Status: 200, Body: "abc", Interims: 2}),
		row("100 nobody asked for, with fields", "9110 15.2.1", head("HTTP/1.1 100 Continue", "Connection: close", "X: a")+final, Answer{Status: 200, Body: "abc"}),
		row("a flood of 100", "9110 15.2.1", strings.Repeat(head("HTTP/1.1 100 Continue"), 10000)+final, badGateway),
		row("three", "9110 15.2", hint+hint+hint+final, Answer{Status: 200, Body: "abc", Interims: 3}),
		row("a flood", "9110 15.2", strings.Repeat(hint, 10000)+final, badGateway),
		row("with Content-Length", "9110 8.6-9", head("HTTP/1.1 103 Early Hints", length)+"abc"+final, badGateway),
		row("with Transfer-Encoding", "9112 6.1-17", head("HTTP/1.1 103 Early Hints", chunked)+lastChunk+final, badGateway),
		row("101 nobody asked for", "9110 15.2.2", head("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket")+"abc", badGateway),
		row("folded field", "9112 5.2-4", head("HTTP/1.1 103 Early Hints", "Link: a\r\n b")+final, badGateway),
		{Name: "1xx/then nothing", Section: "9110 15.2", Bytes: hint, Then: Closes, Want: badGateway},
		{Name: "1xx/to HTTP/1.0", Section: "9110 15.2-2", Request: head("GET /case HTTP/1.0", host), Bytes: hint + final, Want: gives("abc")},
		{Name: "1xx/101 to a POST", Section: "9110 15.2.2", Request: head("POST /case HTTP/1.1", host, length) + "abc", Bytes: head("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: x"), Want: badGateway},
	}
}

// withoutContent: responses that have none, whatever their fields say (RFC
// 9112 6.3 rule 1). The bytes of a body must become nobody's response.
func withoutContent() []Response {
	toHead := head("HEAD /case HTTP/1.1", host)
	return []Response{
		{Name: "none/HEAD", Section: "9110 9.3.2", Request: toHead, Bytes: head(okLine, length), Want: Answer{Status: 200}.with("Content-Length: 3")},
		{Name: "none/HEAD with a body", Section: "9112 6.3-2.1", Request: toHead, Bytes: head(okLine, length) + "abc", Want: Answer{Status: 200}},
		{Name: "none/HEAD with a response as body", Section: "9112 6.3-2.1", Request: toHead, Bytes: head(okLine, "Content-Length: 44") + poison, Want: Answer{Status: 200}},
		{Name: "none/HEAD, chunked", Section: "9112 6.3-2.1", Request: toHead, Bytes: head(okLine, chunked), Want: Answer{Status: 200}},
		{Name: "none/HEAD without length", Section: "9112 6.3-2.1", Request: toHead, Bytes: head(okLine), Want: Answer{Status: 200}},
		{Name: "none/HEAD, both framings", Section: "9112 6.3-2.3", Request: toHead, Bytes: head(okLine, length, chunked), Want: badGateway},
		{Name: "none/204", Section: "9110 15.3.5", Bytes: head("HTTP/1.1 204 No Content"), Want: Answer{Status: 204}},
		{Name: "none/204 with a body", Section: "9110 8.6-9", Bytes: head("HTTP/1.1 204 No Content", length) + "abc", Want: Answer{Status: 204}.without("Content-Length")},
		{Name: "none/204 with chunks", Section: "9112 6.1-17", Bytes: head("HTTP/1.1 204 No Content", chunked) + lastChunk, Want: Answer{Status: 204}.without("Transfer-Encoding")},
		{Name: "none/304", Section: "9110 15.4.5", Bytes: head("HTTP/1.1 304 Not Modified", length), Want: Answer{Status: 304}},
		{Name: "none/304 with a body", Section: "9112 6.3-2.1", Bytes: head("HTTP/1.1 304 Not Modified", length) + "abc", Want: Answer{Status: 304}},
		{Name: "none/304 with a response behind", Section: "9112 6.3-2.1", Bytes: head("HTTP/1.1 304 Not Modified") + poison, Want: Answer{Status: 304}},
		{Name: "none/205 with length 0", Section: "9110 15.3.6", Bytes: head("HTTP/1.1 205 Reset Content", "Content-Length: 0"), Want: Answer{Status: 205}},
	}
}

// poison is the response an attacker wants somebody else to get.
const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

// queuePoison: bytes behind a response belong to no request (RFC 9112 9.2).
func queuePoison() []Response {
	const section = "9112 9.2"
	whole := head(okLine, length) + "abc"
	return []Response{
		{Name: "queue/two responses", Section: section, Bytes: whole + poison, Want: gives("abc")},
		{Name: "queue/ten responses", Section: section, Bytes: whole + strings.Repeat(poison, 10), Want: gives("abc")},
		{Name: "queue/one byte more", Section: section, Bytes: whole + "X", Want: gives("abc")},
		{Name: "queue/CRLF more", Section: section, Bytes: whole + "\r\n", Want: gives("abc")},
		{Name: "queue/behind chunks", Section: section, Bytes: head(okLine, chunked) + "3\r\nabc\r\n" + lastChunk + poison, Want: gives("abc")},
		{Name: "queue/behind length 0", Section: section, Bytes: head(okLine, "Content-Length: 0") + poison, Want: gives("")},
		{Name: "queue/a moment later", Section: section, Bytes: whole, Late: poison, Want: gives("abc")},
		{Name: "queue/behind HEAD, a moment later", Section: section, Request: head("HEAD /case HTTP/1.1", host), Bytes: head(okLine, length), Late: poison, Want: Answer{Status: 200}},
		{Name: "queue/behind 204, a moment later", Section: section, Bytes: head("HTTP/1.1 204 No Content"), Late: poison, Want: Answer{Status: 204}},
		{Name: "queue/Connection: close, then more", Section: "9112 9.6", Bytes: head(okLine, length, "Connection: close") + "abc" + poison, Want: gives("abc")},
	}
}
