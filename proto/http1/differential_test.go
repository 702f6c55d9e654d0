package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"zproxy/proto"
)

// Against net/http as a second reader: what this package accepts net/http
// accepts too, and understands the same way. Valid input that net/http refuses
// and this package does not:
//
//   - absolute-form, authority-form and asterisk-form: net/url has its own idea
//     of some hosts and refuses them
//   - Host with an IP literal or percent-encoding, for the same reason
//   - HTTP/1.2 to 1.9, processed as 1.1 here (RFC 9110 section 2.5)
//   - empty lines before the request line (RFC 9112 section 2.2)
//   - a Trailer field that names a framing field: such trailers are dropped
//     here when they come
//   - whitespace between chunk size and extension (RFC 9112 section 7.1.1)
//
// Refused here and accepted there, besides much else: bare LF, folded lines,
// equal Content-Length twice, Content-Length with Transfer-Encoding, most
// invalid Host values, "#" or non-ASCII bytes in targets, a status line without
// HTTP version 1.
func acceptedByNetHTTP(t *testing.T, in []byte, h *proto.Head) *http.Request {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
	if err == nil {
		return req
	}
	tolerated := h.Form != proto.OriginForm || bytes.ContainsAny(h.Bytes(h.Host), "%[") ||
		!bytes.HasPrefix(in, h.Bytes(h.MethodName)) || strings.Contains(err.Error(), "trailer") ||
		!bytes.Contains(in[:h.Target.End()+9], []byte(" HTTP/1.1")) && !bytes.Contains(in[:h.Target.End()+9], []byte(" HTTP/1.0"))
	if !tolerated {
		t.Fatalf("net/http refuses %q: %v", in, err)
	}
	return nil
}

func FuzzRequestAgainstNetHTTP(f *testing.F) {
	for _, c := range goodRequests {
		f.Add([]byte(c.in))
	}
	for _, c := range badRequestFields {
		f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\n" + c.in + "\r\n"))
	}
	f.Add([]byte(browserHead))
	f.Fuzz(func(t *testing.T, in []byte) {
		var h proto.Head
		n, _, _ := ParseRequest(in, Cursor{}, &testLimits, &h)
		if n == 0 {
			return
		}
		req := acceptedByNetHTTP(t, in, &h)
		if req == nil {
			return
		}
		defer req.Body.Close()
		if req.Method != str(&h, h.MethodName) || req.RequestURI != str(&h, h.Target) || !strings.EqualFold(req.Host, str(&h, h.Host)) {
			t.Fatalf("%q: %s %q %q there, %s here", in, req.Method, req.RequestURI, req.Host, describe(&h))
		}
		chunked := len(req.TransferEncoding) > 0
		if chunked != (h.Body == proto.BodyChunked) || !chunked && req.ContentLength != max(h.Length, 0) {
			t.Fatalf("%q: coding %q, length %d there, %s here", in, req.TransferEncoding, req.ContentLength, describe(&h))
		}
		if h.Minor == 1 && req.Close != h.ConnClose {
			t.Fatalf("%q: close %v there, %v here", in, req.Close, h.ConnClose)
		}
		sameAsHeader(t, in, &h, req.Header)
	})
}

// sameAsHeader compares the fields with net/http's, which takes some out.
func sameAsHeader(t *testing.T, in []byte, h *proto.Head, header http.Header) {
	seen := map[string]int{}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token == proto.TokenHost || f.Token == proto.TokenTransferEncoding || f.Token == proto.TokenTrailer {
			continue
		}
		name := http.CanonicalHeaderKey(str(h, f.Name))
		values := header[name]
		if k := seen[name]; k >= len(values) || values[k] != str(h, f.Value) {
			t.Fatalf("%q: %s is %q here, %q there", in, name, h.Bytes(f.Value), values)
		}
		seen[name]++
	}
	for name, values := range header {
		// net/http adds Cache-Control for Pragma: no-cache.
		if len(values) != seen[name] && name != "Host" && name != "Cache-Control" {
			t.Fatalf("%q: %s %q only there", in, name, values)
		}
	}
}

func FuzzResponseAgainstNetHTTP(f *testing.F) {
	f.Add([]byte(nginxHead), false)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), true)
	f.Add([]byte("HTTP/1.1 200\r\n\r\n"), false)
	f.Add([]byte("HTTP/1.0 304 x\r\nContent-Length: 3\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		method := proto.GET
		if head {
			method = proto.HEAD
		}
		var h proto.Head
		n, _, _ := ParseResponse(in, Cursor{}, method, &testLimits, &h)
		if n == 0 {
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), &http.Request{Method: method.String()})
		if err != nil {
			if strings.Contains(err.Error(), "trailer") {
				return
			}
			t.Fatalf("net/http refuses %q: %v", in, err)
		}
		defer res.Body.Close()
		if res.StatusCode != int(h.Status) {
			t.Fatalf("%q: status %d there, %d here", in, res.StatusCode, h.Status)
		}
		noContent := head || h.Status < 200 || h.Status == 204 || h.Status == 304
		switch {
		case noContent:
			if h.Body != proto.BodyNone {
				t.Fatalf("%q: content here", in)
			}
		case h.Body == proto.BodyLength:
			if res.ContentLength != h.Length {
				t.Fatalf("%q: length %d there, %d here", in, res.ContentLength, h.Length)
			}
		default:
			if res.ContentLength != -1 || (len(res.TransferEncoding) > 0) != (h.Body == proto.BodyChunked) {
				t.Fatalf("%q: length %d, coding %q there, %v here", in, res.ContentLength, res.TransferEncoding, h.Body)
			}
		}
		sameAsHeader(t, in, &h, res.Header)
	})
}

// Chunked content that is complete here is complete there, with the same data
// and the same rest; net/http's reader allows more (bare LF, spaces, any
// extension), except for whitespace between a chunk size and its extension,
// which the grammar has and it has not.
func FuzzChunkedAgainstHTTPUtil(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"))
	f.Add([]byte("5;a=\"b\"\r\nhello\r\n00\r\nX: y\r\n\r\n"))
	f.Add([]byte("a ;x\r\n0123456789\r\n0;x=y\r\n\r\nGET"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var d Body
		d.Start(proto.BodyChunked, -1)
		var data []byte
		rest := in
		for {
			piece, skip, n, f := d.Next(rest)
			data = append(data, rest[skip:skip+n]...)
			rest = rest[skip+n:]
			if f != nil || piece == PieceMore {
				return
			}
			if piece == PieceTrailers {
				break
			}
		}
		r := bufio.NewReader(bytes.NewReader(in))
		theirs, err := io.ReadAll(httputil.NewChunkedReader(r))
		if err != nil && (bytes.Contains(in, []byte(" ;")) || bytes.Contains(in, []byte("\t;"))) {
			return
		}
		if err != nil {
			t.Fatalf("%q: %q here, there %v", in, data, err)
		}
		left, _ := io.ReadAll(r)
		if !bytes.Equal(theirs, data) || !bytes.Equal(left, rest) {
			t.Fatalf("%q: %q and %q here, %q and %q there", in, data, rest, theirs, left)
		}
	})
}
