package hostile

import (
	"fmt"
	"strings"
)

// h2Lengths: RFC 9113 section 8.1.1, RFC 9110 section 8.6.
func h2Lengths() []H2Request {
	row := func(what, length string, want Outcome, body ...string) H2Request {
		r := h2Row("h2 length/"+what, "8.1.1", h2Head("POST", "/a", "content-length", length), want)
		r.Body = body
		return r
	}
	rows := []H2Request{
		row("as announced", "5", passes(post("/a", "hello")), "hello"),
		row("as announced, in pieces", "5", passes(post("/a", "hello")), "he", "", "llo"),
		row("none announced and none there", "0", passes(post("/a", ""))),
		row("less than announced", "6", cut(), "hello"),
		row("more than announced", "4", cut(), "hello"),
		row("a request beyond it", "5", cut(), "hello"+smuggled),
		row("a request beyond it, in a frame of its own", "5", cut(), "hello", smuggled),
		row("none but announced", "5", refused(400)),
		row("0 announced", "0", cut(), smuggled),
		row("two that differ", "5", refused(400), "hello"),
		row("list that differs", "5, 6", refused(400), "hello"),
		row("empty", "", refused(400), "hello"),
		row("a word", "five", refused(400), "hello"),
		row("signed", "+5", refused(400), "hello"),
		row("negative", "-5", refused(400), "hello"),
		row("hexadecimal", "0x5", refused(400), "hello"),
		row("fraction", "5.0", refused(400), "hello"),
		row("larger than 64 bits", "18446744073709551621", refused(400), "hello"),
		row("with a field", "5\r\nTransfer-Encoding: chunked", refused(400), "hello"),
	}
	for i := range rows {
		if strings.HasSuffix(rows[i].Name, "/two that differ") {
			rows[i].Fields = append(rows[i].Fields, Field{"content-length", "6"})
		}
	}
	return rows
}

// h2Bodies: what is content stays content.
func h2Bodies() []H2Request {
	row := func(what string, want Outcome, body ...string) H2Request {
		r := h2Row("h2 body/"+what, "8.1", h2Head("POST", "/a"), want)
		r.Body = body
		return r
	}
	padded := row("padded", passes(post("/a", "hello")), "he", "llo")
	padded.Pad = true
	open := row("that never ends", cut(), "hello")
	open.Open = true
	get := h2Row("h2 body/of a GET", "9110 9.3.1", h2Head("GET", "/a"), passes(post("/a", smuggled).method("GET")))
	get.Body = []string{smuggled}
	return []H2Request{padded, open, get,
		row("a request", passes(post("/a", smuggled)), smuggled),
		row("a last chunk and a request", passes(post("/a", "0\r\n\r\n"+smuggled)), "0\r\n\r\n", smuggled),
		row("empty frames", passes(post("/a", "hello")), "", "hello", ""),
		row("bytes one by one", passes(post("/a", "hello")), "h", "e", "l", "l", "o"),
	}
}

// h2Trailers: RFC 9113 section 8.1, RFC 9110 section 6.5.
func h2Trailers() []H2Request {
	row := func(what, section string, want Outcome, pairs ...string) H2Request {
		r := h2Row("h2 trailer/"+what, section, h2Head("POST", "/a"), want)
		r.Body, r.Trailers = []string{"hello"}, h2Fields(pairs...)
		return r
	}
	whole := post("/a", "hello")
	without := row("that do not end the stream", "8.1", cut(), "x-sum", "1")
	without.Open = true
	length := row("behind a length", "8.1.1", passes(whole), "x-sum", "1")
	length.Fields = append(length.Fields, Field{"content-length", "5"})
	short := row("behind too little", "8.1.1", cut(), "x-sum", "1")
	short.Fields = append(short.Fields, Field{"content-length", "6"})
	return []H2Request{without, length, short,
		row("one", "8.1", passes(whole.trailer("x-sum", "1")), "x-sum", "1"),
		row("content-length is dropped", "9110 6.5.1", passes(whole), "content-length", "5"),
		row("host is dropped", "9110 6.5.1", passes(whole), "host", "evil"),
		row("authorization is dropped", "9110 6.5.1", passes(whole), "authorization", "Basic YTpi"),
		row("x-forwarded-for is dropped", "9110 6.5.1", passes(whole), "x-forwarded-for", "10.0.0.1"),
		row("a claim is dropped", "7239 8.1", passes(whole.trailer("x-sum", "1")), "true-client-ip", "10.0.0.1", "x_real_ip", "10.0.0.1", "x-sum", "1"),
		row("transfer-encoding", "8.2.2", cut(), "transfer-encoding", "chunked"),
		row("connection", "8.2.2", cut(), "connection", "close"),
		row("pseudo-field", "8.3-3", cut(), ":path", "/smuggled"),
		row("pseudo-field behind another", "8.3-3", cut(), "x-sum", "1", ":method", "GET"),
		row("upper case", "8.2.1", cut(), "X-Sum", "1"),
		row("a field in a name", "8.2.1", cut(), "x: 1\r\ny", "2"),
		row("a field in a value", "8.2.1", cut(), "x-sum", "1\r\nY: 2"),
		row("a request in a value", "8.2.1", cut(), "x-sum", "1\r\n\r\n"+smuggled),
		row("NUL", "8.2.1", cut(), "x-sum", "1\x002"),
		row("space in front", "8.2.1", cut(), "x-sum", " 1"),
	}
}

// h2Sizes: RFC 9113 section 10.5.1.
func h2Sizes() []H2Request {
	many := []string{}
	for i := range 500 {
		many = append(many, fmt.Sprintf("x-%d", i), "v")
	}
	crumbs := []string{}
	for i := range 5000 {
		crumbs = append(crumbs, "cookie", fmt.Sprintf("c%d=0123456789", i))
	}
	bytes, bits := []string{}, []string{}
	for range 4000 {
		bytes = append(bytes, "accept-charset", "")
		bits = append(bits, "cookie", "a")
	}
	return []H2Request{
		h2Row("h2 size/value of 40 KB", "10.5.1", h2Head("GET", "/a", "x", strings.Repeat("a", 40000)), passes(get("/a"))),
		h2Row("h2 size/value of 100 KB", "10.5.1", h2Head("GET", "/a", "x", strings.Repeat("a", 100000)), refused(431).goesOn()),
		h2Row("h2 size/name of 100 KB", "10.5.1", h2Head("GET", "/a", strings.Repeat("a", 100000), "x"), refused(431).goesOn()),
		h2Row("h2 size/500 fields", "10.5.1", h2Head("GET", "/a", many...), refused(431).goesOn()),
		h2Row("h2 size/180 crumbs", "8.2.3", h2Head("GET", "/a", crumbs[:2*180]...), passes(get("/a"))),
		h2Row("h2 size/4000 fields of one byte", "10.5.1", h2Head("GET", "/a", bytes...), refused(431).goesOn()),
		h2Row("h2 size/4000 crumbs of one byte", "10.5.1", h2Head("GET", "/a", bits...), refused(431).goesOn()),
		h2Row("h2 size/5000 crumbs", "10.5.1", h2Head("GET", "/a", crumbs...), refused(431).goesOn()),
		h2Row("h2 size/path of 20 KB", "9112 3-5", h2Head("GET", "/"+strings.Repeat("a", 20000)), refused(414).goesOn()),
	}
}
