package hostile

import (
	"strings"
	"testing"
)

// judge is the one that zproxy is held to.
var judge = Oracle{}

// What the judge must not let pass: were it lenient, the tables would prove
// nothing.
func TestOracleRefusesWhatIsAmbiguous(t *testing.T) {
	request := "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	post := func(fields, body string) string { return "POST / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body }
	for name, bytes := range map[string]string{
		"bare LF":              "GET / HTTP/1.1\nHost: h\r\n\r\n",
		"bare CR":              "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
		"HTTP/1.0":             "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
		"two spaces":           "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
		"absolute-form":        "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
		"control in target":    "GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n",
		"no Host":              "GET / HTTP/1.1\r\n\r\n",
		"two Hosts":            "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n",
		"Host with a space":    "GET / HTTP/1.1\r\nHost: h i\r\n\r\n",
		"Host without bracket": "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
		"folded":               "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
		"space before colon":   "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
		"NUL in a value":       "GET / HTTP/1.1\r\nHost: h\r\nX: \x00\r\n\r\n",
		"length and coding":    post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
		"two lengths":          post("Content-Length: 0\r\nContent-Length: 0\r\n", ""),
		"plus sign":            post("Content-Length: +0\r\n", ""),
		"other coding":         post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
		"length in Connection": post("Connection: content-length\r\n", ""),
		"chunk extension":      post("Transfer-Encoding: chunked\r\n", "0;a\r\n\r\n"),
		"hexadecimal prefix":   post("Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n"),
		"chunk ends in LF":     post("Transfer-Encoding: chunked\r\n", "1\r\na\n0\r\n\r\n"),
		"no CRLF behind data":  post("Transfer-Encoding: chunked\r\n", "1\r\nab\r\n0\r\n\r\n"),
		"framing as trailer":   post("Transfer-Encoding: chunked\r\n", "0\r\nContent-Length: 1\r\n\r\n"),
	} {
		if m, n, err := judge.ParseRequest(bytes); err == nil {
			t.Errorf("%s: %q is taken for %+v, %d bytes", name, bytes, m, n)
		}
	}
	for _, bytes := range []string{request, post("Content-Length: 2\r\n", "ab"), post("Transfer-Encoding: chunked\r\n", "2\r\nab\r\n0\r\nX: y\r\n\r\n")} {
		if _, n, err := judge.ParseRequest(bytes); err != nil || n != len(bytes) {
			t.Errorf("%q: %d of %d bytes, %v", bytes, n, len(bytes), err)
		}
		if _, n, err := judge.ParseRequest(bytes + request); err != nil || n != len(bytes) {
			t.Errorf("%q and a request: %d bytes, %v", bytes, n, err)
		}
		for i := range bytes {
			if _, n, err := judge.ParseRequest(bytes[:i]); err != nil || n != 0 {
				t.Errorf("%q: %d bytes, %v; want it to go on", bytes[:i], n, err)
			}
		}
	}
}

func TestOracleRefusesResponsesThatAreAmbiguous(t *testing.T) {
	for name, bytes := range map[string]string{
		"HTTP/0.9":          "<html>\r\n\r\n",
		"HTTP/1.0":          "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"no space":          "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		"four digits":       "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
		"split by CR":       "HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 0\r\n\r\n",
		"split by LF":       "HTTP/1.1 200 OK\r\nX: a\nY: b\r\nContent-Length: 0\r\n\r\n",
		"length and coding": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"204 with length":   "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
	} {
		if r, n, err := judge.ParseResponse(bytes, "GET"); err == nil {
			t.Errorf("%s: %q is taken for %+v, %d bytes", name, bytes, r, n)
		}
	}
	whole := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
	if r, n, err := judge.ParseResponse(whole+"X", "GET"); err != nil || n != len(whole) || r.Body != "a" {
		t.Errorf("%+v, %d of %d bytes, %v", r, n, len(whole), err)
	}
	if r, _, err := judge.ParseResponse("HTTP/1.1 200 OK\r\n\r\nabc", "GET"); err != nil || !r.ToClose || r.Body != "abc" {
		t.Errorf("%+v, %v; want a body that goes on to the end", r, err)
	}
}

// Rows have names of their own, a section and an outcome that can be told from
// the others.
func TestTablesAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	row := func(name, section string) {
		if name == "" || !strings.Contains(name, "/") || seen[name] || strings.ContainsAny(name, "|\n") {
			t.Errorf("row %q: a name is theme/case, and each is there once", name)
		}
		if seen[name] = true; !strings.Contains(section, " ") {
			t.Errorf("row %q: section %q is not an RFC and a section", name, section)
		}
	}
	for _, r := range Requests() {
		row(r.Name, r.Section)
		if r.Want.Cut == (len(r.Want.Got) > 0 || r.Want.Status > 0) && !strings.HasPrefix(r.Name, "pipeline/") {
			t.Errorf("row %q: outcome %+v", r.Name, r.Want)
		}
	}
	for _, r := range Responses() {
		row("response "+r.Name, r.Section)
		if r.Want.Status == 0 {
			t.Errorf("row %q: no outcome", r.Name)
		}
	}
}
