package hostile

import "strings"

const (
	postLine = "POST /up HTTP/1.1"
	host     = "Host: h"
	chunked  = "Transfer-Encoding: chunked"
	// lastChunk ends a chunked body without trailers.
	lastChunk = "0\r\n\r\n"
)

// lengthAndCoding: both framing fields in one request, the oldest way to
// smuggle. RFC 9112 6.1 lets a server take the coding; this one refuses.
func lengthAndCoding() []Request {
	const section = "9112 6.3-2.3"
	return []Request{
		{"cl-te/length first", section, head(postLine, host, "Content-Length: 6", chunked) + lastChunk + "G", refused(400), StaysOpen},
		{"cl-te/coding first", section, head(postLine, host, chunked, "Content-Length: 6") + lastChunk + "G", refused(400), StaysOpen},
		{"cl-te/a request behind the last chunk", section, head(postLine, host, "Content-Length: 40", chunked) + lastChunk + smuggled, refused(400), StaysOpen},
		{"te-cl/a request in a chunk", section, head(postLine, host, "Content-Length: 4", chunked) + "2d\r\n" + smuggled + "00000000\r\n\r\n" + lastChunk, refused(400), StaysOpen},
		{"te-cl/space before the coding's colon", "9112 5.1-2", head(postLine, host, "Content-Length: 4", "Transfer-Encoding : chunked") + "2d\r\n" + smuggled + "00000000\r\n\r\n" + lastChunk, refused(400), StaysOpen},
		{"te-cl/coding on a folded line", "9112 5.2", head(postLine, host, "Content-Length: 4", "Transfer-Encoding:\r\n chunked") + "2d\r\n" + smuggled + "00000000\r\n\r\n" + lastChunk, refused(400), StaysOpen},
		{"te-cl/coding behind a bare CR", "9112 2.2-4", head(postLine, host, "Content-Length: 4", "X: a\rTransfer-Encoding: chunked") + "2d\r\n" + smuggled + "00000000\r\n\r\n" + lastChunk, refused(400), StaysOpen},
		{"te-cl/length 0", section, head(postLine, host, "Content-Length: 0", chunked) + lastChunk + smuggled, refused(400), StaysOpen},
		{"cl-te/both in a GET", section, head("GET / HTTP/1.1", host, "Content-Length: 5", chunked) + lastChunk, refused(400), StaysOpen},
		{"cl-te/length invalid", section, head(postLine, host, "Content-Length: nothing", chunked) + lastChunk, refused(400), StaysOpen},
		{"cl-te/length empty", section, head(postLine, host, "Content-Length:", chunked) + lastChunk, refused(400), StaysOpen},
		{"cl-te/many fields between", section, head(postLine, host, "Content-Length: 6", strings.Repeat("A: b\r\n", 60)+"C: d", chunked) + lastChunk + "G", refused(400), StaysOpen},
		{"cl-te/coding named in Connection", section, head(postLine, host, "Connection: Transfer-Encoding", "Content-Length: 6", chunked) + lastChunk + "G", refused(400), StaysOpen},
		{"cl-te/length named in Connection", section, head(postLine, host, "Connection: Content-Length", "Content-Length: 6", chunked) + lastChunk + "G", refused(400), StaysOpen},
		{"cl-te/identity", section, head(postLine, host, "Content-Length: 3", "Transfer-Encoding: identity") + "abc", refused(400), StaysOpen},
		{"cl-te/coding in HTTP/1.0", "9112 6.1-16", head("POST /up HTTP/1.0", host, "Content-Length: 6", chunked) + lastChunk + "G", refused(400), StaysOpen},
		{"cl-te/in letters of another case", section, head(postLine, host, "CONTENT-LENGTH: 6", "tRANSFER-eNCODING: CHUNKED") + lastChunk + "G", refused(400), StaysOpen},
	}
}

// lengths: what Content-Length may say, and what bytes may follow.
func lengths() []Request {
	one := func(value string) string { return head(postLine, host, "Content-Length:"+value) + "abc" }
	const invalid = "9112 6.3-2.5"
	return []Request{
		{"cl/plain", "9110 8.6", one(" 3"), passes(post("/up", "abc")), StaysOpen},
		{"cl/no space", "9112 5.1", one("3"), passes(post("/up", "abc")), StaysOpen},
		{"cl/space and HTAB around", "9112 5.1", one("\t 3 \t"), passes(post("/up", "abc")), StaysOpen},
		{"cl/leading zeros", "9110 8.6", one(" 0003"), passes(post("/up", "abc")), StaysOpen},
		{"cl/zero", "9110 8.6", head(postLine, host, "Content-Length: 0"), passes(post("/up", "")), StaysOpen},
		{"cl/none", "9112 6.3-2.7", head(postLine, host), passes(post("/up", "")), StaysOpen},
		{"cl/in a GET", "9110 9.3.1", head("GET /up HTTP/1.1", host, "Content-Length: 3") + "abc", passes(post("/up", "abc").method("GET")), StaysOpen},
		{"cl/a request as content", "9112 6.3-2.6", head(postLine, host, "Content-Length: 35") + smuggled, passes(post("/up", smuggled)), StaysOpen},
		{"cl.0/GET with a request as content", "9110 9.3.1", head("GET /up HTTP/1.1", host, "Content-Length: 35") + smuggled, passes(post("/up", smuggled).method("GET")), StaysOpen},
		{"cl.0/HEAD with a request as content", "9110 9.3.2", head("HEAD /up HTTP/1.1", host, "Content-Length: 35") + smuggled, passes(post("/up", smuggled).method("HEAD")), StaysOpen},
		{"cl.0/OPTIONS with a request as content", "9110 9.3.7", head("OPTIONS /up HTTP/1.1", host, "Content-Length: 35") + smuggled, passes(post("/up", smuggled).method("OPTIONS")), StaysOpen},
		{"cl.0/DELETE with a request as content", "9110 9.3.5", head("DELETE /up HTTP/1.1", host, "Content-Length: 35") + smuggled, passes(post("/up", smuggled).method("DELETE")), StaysOpen},
		{"cl.0/unknown method with a request as content", "9110 9.1", head("FROB /up HTTP/1.1", host, "Content-Length: 35") + smuggled, passes(post("/up", smuggled).method("FROB")), StaysOpen},
		{"cl.0/length named in Connection", "9110 7.6.1", head("GET /up HTTP/1.1", host, "Connection: Content-Length", "Content-Length: 35") + smuggled, passes(post("/up", smuggled).method("GET")), StaysOpen},
		{"0.cl/GET that expects 100 and has a request as content", "9110 10.1.1", head("GET /up HTTP/1.1", host, "Expect: 100-continue", "Content-Length: 35") + smuggled, passes(post("/up", smuggled).method("GET")), StaysOpen},
		{"0.cl/POST with an expectation nobody knows", "9110 10.1.1-2", head(postLine, host, "Expect: y 100-continue", "Content-Length: 35") + smuggled, passes(post("/up", smuggled)), StaysOpen},
		{"0.cl/length behind an obs-fold", "9112 5.2", head(postLine, host, "X: a", " Content-Length: 35") + smuggled, refused(400), StaysOpen},
		{"0.cl/length with HTAB before the colon", "9112 5.1-2", head(postLine, host, "Content-Length\t: 41") + smuggled, refused(400), StaysOpen},
		{"0.cl/line feed within the name", "9112 2.2", head(postLine, host, "Content\n-Length: 41") + smuggled, refused(400), StaysOpen},
		{"cl/twice, the same", invalid, head(postLine, host, "Content-Length: 3", "Content-Length: 3") + "abc", refused(400), StaysOpen},
		{"cl/twice, different", invalid, head(postLine, host, "Content-Length: 3", "Content-Length: 0") + "abc", refused(400), StaysOpen},
		{"cl/twice, second hides a request", invalid, head(postLine, host, "Content-Length: 35", "Content-Length: 0") + smuggled, refused(400), StaysOpen},
		{"cl/list, the same", invalid, one(" 3, 3"), refused(400), StaysOpen},
		{"cl/list, different", invalid, one(" 3, 0"), refused(400), StaysOpen},
		{"cl/list with an empty element", invalid, one(" 3,"), refused(400), StaysOpen},
		{"cl/plus sign", invalid, one(" +3"), refused(400), StaysOpen},
		{"cl/minus sign", invalid, one(" -3"), refused(400), StaysOpen},
		{"cl/minus zero", invalid, one(" -0"), refused(400), StaysOpen},
		{"cl/hexadecimal", invalid, one(" 0x3"), refused(400), StaysOpen},
		{"cl/decimal point", invalid, one(" 3.0"), refused(400), StaysOpen},
		{"cl/exponent", invalid, one(" 3e0"), refused(400), StaysOpen},
		{"cl/underscore", invalid, one(" 0_3"), refused(400), StaysOpen},
		{"cl/in quotes", invalid, one(` "3"`), refused(400), StaysOpen},
		{"cl/empty", invalid, one(""), refused(400), StaysOpen},
		{"cl/text behind the digits", invalid, one(" 3abc"), refused(400), StaysOpen},
		{"cl/digits apart", invalid, one(" 0 3"), refused(400), StaysOpen},
		{"cl/semicolon", invalid, one(" 3;q=1"), refused(400), StaysOpen},
		{"cl/digits of another script", invalid, one(" \xd9\xa3"), refused(400), StaysOpen},
		{"cl/no-break space", invalid, one(" \xc2\xa03"), refused(400), StaysOpen},
		{"cl/vertical tab", "9110 5.5", one(" \v3"), refused(400), StaysOpen},
		{"cl/form feed", "9110 5.5", one(" 3\f"), refused(400), StaysOpen},
		{"cl/NUL", "9110 5.5", one(" 3\x00"), refused(400), StaysOpen},
		{"cl/2^63", invalid, one(" 9223372036854775808"), refused(400), StaysOpen},
		{"cl/2^64 + 3", invalid, one(" 18446744073709551619"), refused(400), StaysOpen},
		{"cl/2^32 + 3, cut off", "9112 8", one(" 4294967299"), cut(), Closes},
		{"cl/a thousand digits", invalid, one(" " + strings.Repeat("9", 1000)), refused(400), StaysOpen},
	}
}

// codings: what Transfer-Encoding may say. The variants are those by which one
// of two servers has been brought to overlook the field.
func codings() []Request {
	one := func(line string) string { return head(postLine, host, line) + "3\r\nabc\r\n" + lastChunk }
	const section = "9112 6.3-2.4"
	whole := post("/up", "abc")
	return []Request{
		{"te/chunked", "9112 7.1", one(chunked), passes(whole), StaysOpen},
		{"te/letters of another case", "9112 7", one("transfer-ENCODING: ChUnKeD"), passes(whole), StaysOpen},
		{"te/HTAB before the value", "9112 5.1", one("Transfer-Encoding:\tchunked"), passes(whole), StaysOpen},
		{"te/space behind the value", "9112 5.1", one("Transfer-Encoding: chunked \t"), passes(whole), StaysOpen},
		{"te/no space", "9112 5.1", one("Transfer-Encoding:chunked"), passes(whole), StaysOpen},
		{"te/empty list elements", "9110 5.6.1.2", one("Transfer-Encoding: , chunked"), refused(400), StaysOpen},
		{"te-te/twice", section, head(postLine, host, chunked, chunked) + lastChunk, refused(400), StaysOpen},
		{"te-te/identity, then chunked", section, head(postLine, host, "Transfer-Encoding: identity", chunked) + lastChunk, refused(501), StaysOpen},
		{"te-te/chunked, then identity", section, head(postLine, host, chunked, "Transfer-Encoding: identity") + lastChunk, refused(400), StaysOpen},
		{"te-te/chunked, then unknown", section, head(postLine, host, chunked, "Transfer-Encoding: x") + lastChunk, refused(400), StaysOpen},
		{"te-te/chunked, chunked", section, one("Transfer-Encoding: chunked, chunked"), refused(400), StaysOpen},
		{"te-te/chunked, then empty", section, head(postLine, host, chunked, "Transfer-Encoding:") + lastChunk, refused(400), StaysOpen},
		{"te/identity", section, one("Transfer-Encoding: identity"), refused(400), StaysOpen},
		{"te/empty", section, one("Transfer-Encoding:"), refused(400), StaysOpen},
		{"te/gzip alone", section, one("Transfer-Encoding: gzip"), refused(400), StaysOpen},
		{"te/gzip, chunked", "9112 6.1-18", one("Transfer-Encoding: gzip, chunked"), refused(501), StaysOpen},
		{"te/chunked, gzip", section, one("Transfer-Encoding: chunked, gzip"), refused(400), StaysOpen},
		{"te/xchunked", section, one("Transfer-Encoding: xchunked"), refused(400), StaysOpen},
		{"te/chunkedx", section, one("Transfer-Encoding: chunkedx"), refused(400), StaysOpen},
		{"te/chunk", section, one("Transfer-Encoding: chunk"), refused(400), StaysOpen},
		{"te/in quotes", section, one(`Transfer-Encoding: "chunked"`), refused(400), StaysOpen},
		{"te/in apostrophes", section, one("Transfer-Encoding: 'chunked'"), refused(400), StaysOpen},
		{"te/with a parameter", "9112 7.1-4", one("Transfer-Encoding: chunked;q=1"), refused(400), StaysOpen},
		{"te/two words", section, one("Transfer-Encoding: chunked identity"), refused(400), StaysOpen},
		{"te/vertical tab before", "9110 5.5", one("Transfer-Encoding: \vchunked"), refused(400), StaysOpen},
		{"te/form feed behind", "9110 5.5", one("Transfer-Encoding: chunked\f"), refused(400), StaysOpen},
		{"te/NUL behind", "9110 5.5", one("Transfer-Encoding: chunked\x00"), refused(400), StaysOpen},
		{"te/obs-text before", section, one("Transfer-Encoding: \xffchunked"), refused(400), StaysOpen},
		{"te/no-break space", section, one("Transfer-Encoding: \xa0chunked"), refused(400), StaysOpen},
		{"te/kelvin sign", section, one("Transfer-Encoding: chun\xe2\x84\xaaed"), refused(400), StaysOpen},
		{"te/space before the colon", "9112 5.1-2", one("Transfer-Encoding : chunked"), refused(400), StaysOpen},
		{"te/HTAB before the colon", "9112 5.1-2", one("Transfer-Encoding\t: chunked"), refused(400), StaysOpen},
		{"te/NUL in the name", "9110 5.1", one("Transfer\x00-Encoding: chunked"), refused(400), StaysOpen},
		{"te/obs-text in the name", "9110 5.1", one("Transfer-Encoding\xa0: chunked"), refused(400), StaysOpen},
		{"te/folded value", "9112 5.2", one("Transfer-Encoding:\r\n chunked"), refused(400), StaysOpen},
		{"te/folded behind another field", "9112 5.2", one("X: a\r\n Transfer-Encoding: chunked"), refused(400), StaysOpen},
		{"te/bare CR before", "9112 2.2-4", one("X: a\rTransfer-Encoding: chunked"), refused(400), StaysOpen},
		{"te/bare LF before", "9112 2.2-3", one("X: a\nTransfer-Encoding: chunked"), refused(400), StaysOpen},
		{"te/bare CR behind", "9112 2.2-4", one("Transfer-Encoding: chunked\r"), refused(400), StaysOpen},
		{"te/first line of the section indented", "9112 2.2-8", postLine + "\r\n Transfer-Encoding: chunked\r\nHost: h\r\n\r\n" + lastChunk, refused(400), StaysOpen},
		{"te/HTTP/1.0", "9112 6.1-16", head("POST /up HTTP/1.0", host, chunked) + lastChunk, refused(400), StaysOpen},
		{"te/HTTP/1.0 with keep-alive", "9112 6.1-16", head("POST /up HTTP/1.0", host, "Connection: keep-alive", chunked) + lastChunk + smuggled, refused(400), StaysOpen},
		{"te/underscore in the name", "9110 5.1", head(postLine, host, "Transfer_Encoding: chunked", "Content-Length: 3") + "abc", passes(whole), StaysOpen},
		{"te/Content-Encoding is none", "9110 8.4", head(postLine, host, "Content-Encoding: chunked", "Content-Length: 3") + "abc", passes(whole.with("Content-Encoding: chunked")), StaysOpen},
		{"te/GET", "9110 9.3.1", head("GET /up HTTP/1.1", host, chunked) + "3\r\nabc\r\n" + lastChunk, passes(whole.method("GET")), StaysOpen},
		{"te/named in Connection", "9110 7.6.1", head(postLine, host, "Connection: transfer-encoding", chunked) + "3\r\nabc\r\n" + lastChunk, passes(whole), StaysOpen},
	}
}
