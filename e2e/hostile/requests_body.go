package hostile

import "strings"

// chunks: chunk sizes, extensions and the bytes around the data (RFC 9112 7.1).
func chunks() []Request {
	with := func(body string) string { return head(postLine, host, chunked) + body }
	const section = "9112 7.1"
	whole := post("/up", "abc")
	return []Request{
		{"chunk/two chunks", section, with("1\r\na\r\n2\r\nbc\r\n" + lastChunk), passes(whole), StaysOpen},
		{"chunk/upper and lower case digits", section, with("A\r\n0123456789\r\nb\r\n0123456789a\r\n" + lastChunk), passes(post("/up", "01234567890123456789a")), StaysOpen},
		{"chunk/leading zeros", section, with("003\r\nabc\r\n" + lastChunk), passes(whole), StaysOpen},
		{"chunk/many zeros as last", section, with("3\r\nabc\r\n0000\r\n\r\n"), passes(whole), StaysOpen},
		{"chunk/a request as data", section, with("23\r\n" + smuggled + "\r\n" + lastChunk), passes(post("/up", smuggled)), StaysOpen},
		{"chunk/the end of a body as data", section, with("5\r\n0\r\n\r\n\r\n" + lastChunk), passes(post("/up", "0\r\n\r\n")), StaysOpen},
		{"chunk-ext/a token", "9112 7.1.1", with("3;a\r\nabc\r\n" + lastChunk), passes(whole), StaysOpen},
		{"chunk-ext/name and value", "9112 7.1.1", with("3;a=b\r\nabc\r\n0;c=d\r\n\r\n"), passes(whole), StaysOpen},
		{"chunk-ext/a quoted value", "9112 7.1.1", with("3;a=\"b;c\\\"d\"\r\nabc\r\n" + lastChunk), passes(whole), StaysOpen},
		{"chunk-ext/space around", "9112 7.1.1", with("3 ; a = b\r\nabc\r\n" + lastChunk), passes(whole), StaysOpen},
		{"chunk-ext/several", "9112 7.1.1", with("3;a;b=c;d=\"e\"\r\nabc\r\n" + lastChunk), passes(whole), StaysOpen},
		{"chunk-ext/nothing behind the semicolon", "9112 7.1.1", with("3;\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk-ext/bare LF in it", "9112 7.1.1", with("3;a\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk-ext/LF, then a request", "9112 7.1.1", with("2;\nxx\r\n31\r\n0\r\n\r\n" + smuggled + "\r\n0\r\n\r\n"), refused(400), StaysOpen},
		{"chunk-ext/bare CR in it", "9112 7.1.1", with("3;a\rb\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk-ext/CR CR LF", "9112 7.1.1", with("3;a\r\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk-ext/CRLF in quotes", "9112 7.1.1", with("3;a=\"\r\nabc\r\n0\r\n\r\n\"\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk-ext/quotes never closed", "9112 7.1.1", with("3;a=\"b\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk-ext/NUL", "9112 7.1.1", with("3;a\x00\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk-ext/without end", "9112 7.1.1-3", with("3;" + strings.Repeat("a", 20000)), refused(400), StaysOpen},
		{"chunk-ext/a thousand of 200 bytes", "9112 7.1.1-3", with(strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 1000) + lastChunk), refused(400), StaysOpen},
		{"chunk/0x prefix", section, with("0x3\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/plus sign", section, with("+3\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/minus sign", section, with("-3\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/underscore", section, with("0_3\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/no digits", section, with("\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/no digits, an extension", section, with(";a\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/space before the size", section, with(" 3\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/space behind the size", section, with("3 \r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/HTAB behind the size", section, with("3\t\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/letter g", section, with("g\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/NUL behind the size", section, with("3\x00\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/comma", section, with("3,3\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/2^64 + 3", section, with("10000000000000003\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/2^63", section, with("8000000000000000\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/2^32 + 3, cut off", "9112 8", with("100000003\r\nabc\r\n" + lastChunk), cut(), Closes},
		{"chunk/hundreds of zeros", section, with(strings.Repeat("0", 300) + "3\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/bare LF behind the size", section, with("3\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/bare CR behind the size", section, with("3\rabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/CR CR LF behind the size", section, with("3\r\r\nabc\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/bare LF behind the data", section, with("3\r\nabc\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/nothing behind the data", section, with("3\r\nabc" + lastChunk), refused(400), StaysOpen},
		{"chunk/more data than said", section, with("3\r\nabcd\r\n" + lastChunk), refused(400), StaysOpen},
		{"chunk/two other bytes behind the data", section, with("3\r\nabcXX" + lastChunk), refused(400), StaysOpen},
		{"chunk/LF CR behind the data", section, with("3\r\nabc\n\r" + lastChunk), refused(400), StaysOpen},
		{"chunk/bare LF behind the last size", section, with("3\r\nabc\r\n0\n\r\n"), refused(400), StaysOpen},
		{"chunk/fault in the second chunk", section, with("3\r\nabc\r\nZ\r\n"), refused(400), StaysOpen},
		{"chunk/body without chunks", section, with("hello, this is no chunk"), refused(400), StaysOpen},
		{"chunk/ten thousand of one byte", section, with(strings.Repeat("1\r\na\r\n", 10000) + lastChunk), passes(post("/up", strings.Repeat("a", 10000))), StaysOpen},
	}
}

// trailers: fields behind the last chunk (RFC 9112 7.1.2, 9110 6.5).
func trailers() []Request {
	with := func(section string) string {
		return head(postLine, host, "Trailer: X-Sum", chunked) + "3\r\nabc\r\n0\r\n" + section
	}
	const section = "9110 6.5.1"
	whole := post("/up", "abc")
	return []Request{
		{"trailer/one", "9112 7.1.2", with(head("X-Sum: 1")), passes(whole.trailer("X-Sum", "1")), StaysOpen},
		{"trailer/Content-Length is dropped", section, with(head("Content-Length: 5")), passes(whole), StaysOpen},
		{"trailer/Transfer-Encoding is dropped", section, with(head(chunked)), passes(whole), StaysOpen},
		{"trailer/Host is dropped", section, with(head("Host: other")), passes(whole), StaysOpen},
		{"trailer/TE is dropped", section, with(head("TE: trailers")), passes(whole), StaysOpen},
		{"trailer/Authorization is dropped", section, with(head("Authorization: Basic YTpi")), passes(whole), StaysOpen},
		{"trailer/Connection is dropped", section, with(head("Connection: close")), passes(whole), StaysOpen},
		{"trailer/one of two is dropped", section, with(head("Content-Length: 5", "X-Sum: 1")), passes(whole.trailer("X-Sum", "1")), StaysOpen},
		{"trailer/X-Forwarded-For is dropped", section, with(head("X-Forwarded-For: 10.0.0.1")), passes(whole), StaysOpen},
		{"trailer/no colon", "9112 5.1", with(head("nothing")), refused(400), StaysOpen},
		{"trailer/a request instead", "9112 7.1.2", with(smuggled), refused(400), StaysOpen},
		{"trailer/folded", "9112 5.2", with("X-Sum: 1\r\n 2\r\n\r\n"), refused(400), StaysOpen},
		{"trailer/space before the colon", "9112 5.1-2", with(head("X-Sum : 1")), refused(400), StaysOpen},
		{"trailer/bare LF", "9112 2.2-3", with("X-Sum: 1\n\r\n"), refused(400), StaysOpen},
		{"trailer/ended by a bare LF", "9112 2.2-3", with("X-Sum: 1\r\n\n"), refused(400), StaysOpen},
		{"trailer/bare CR in the value", "9112 2.2-4", with("X-Sum: 1\r2\r\n\r\n"), refused(400), StaysOpen},
		{"trailer/NUL in the value", "9110 5.5", with(head("X-Sum: 1\x002")), refused(400), StaysOpen},
		{"trailer/empty name", "9110 5.1", with(head(": 1")), refused(400), StaysOpen},
		{"trailer/without end", "9110 2.3", with(strings.Repeat("X-Sum: 1\r\n", 20000)), refused(431), StaysOpen},
		{"trailer/one line of 100 KB", "9110 2.3", with("X-Sum: " + strings.Repeat("a", 100000)), refused(431), StaysOpen},
		{"trailer/in HTTP/1.1 without Trailer", "9110 6.6.2", head(postLine, host, chunked) + "0\r\n" + head("X-Other: 1"), passes(post("/up", "").trailer("X-Other", "1")), StaysOpen},
	}
}

// cutRequests end before they are whole (RFC 9112 8): the origin must see that.
func cutRequests() []Request {
	const section = "9112 8-2"
	long := strings.Repeat("a", 100000)
	var all []Request
	for _, end := range []struct {
		how  string
		then Ending
	}{{"closed", Closes}, {"reset", Resets}} {
		row := func(name, bytes string) {
			all = append(all, Request{"cut/" + name + ", " + end.how, section, bytes, cut(), end.then})
		}
		row("before the first byte of the body", head(postLine, host, "Content-Length: 3"))
		row("one byte short", head(postLine, host, "Content-Length: 3")+"ab")
		row("one byte short of 100 KB", head(postLine, host, "Content-Length: 100001")+long)
		row("before the first chunk", head(postLine, host, chunked))
		row("in a chunk size", head(postLine, host, chunked)+"3")
		row("in a chunk", head(postLine, host, chunked)+"3\r\nab")
		row("behind a chunk's data", head(postLine, host, chunked)+"3\r\nabc")
		row("between chunks", head(postLine, host, chunked)+"3\r\nabc\r\n")
		row("between large chunks", head(postLine, host, chunked)+"186a0\r\n"+long+"\r\n")
		row("in the last chunk's line", head(postLine, host, chunked)+"3\r\nabc\r\n0\r")
		row("behind the last chunk", head(postLine, host, chunked)+"3\r\nabc\r\n0\r\n")
		row("in the last CRLF", head(postLine, host, chunked)+"3\r\nabc\r\n0\r\n\r")
		row("in the trailers", head(postLine, host, chunked)+"3\r\nabc\r\n0\r\nX-Sum: 1\r\n")
		row("in the request line", "GET /up HT")
		row("behind the request line", "GET /up HTTP/1.1\r\n")
		row("in a field line", "GET /up HTTP/1.1\r\nHost: h\r\nX: ab")
		row("before the empty line", "GET /up HTTP/1.1\r\nHost: h\r\n")
		row("in the empty line", "GET /up HTTP/1.1\r\nHost: h\r\n\r")
	}
	return append(all,
		Request{"cut/stalls in a head", "9110 15.5.9", "GET /up HTTP/1.1\r\nHost: h\r\n", refused(408), StaysOpen},
		Request{"cut/stalls in a body", "9110 15.5.9", head(postLine, host, "Content-Length: 3") + "ab", refused(408), StaysOpen},
		Request{"cut/stalls in a chunk", "9110 15.5.9", head(postLine, host, chunked) + "3\r\nab", refused(408), StaysOpen},
		Request{"cut/stalls behind the last chunk", "9110 15.5.9", head(postLine, host, chunked) + "3\r\nabc\r\n0\r\n", refused(408), StaysOpen},
	)
}
