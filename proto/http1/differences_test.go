package http1

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"zproxy/proto"
)

// differences from net/http as a reader of requests, each with an example.
// What is taken here and refused there is valid; what is refused here and
// taken there is not, or can be read in two ways.
var differences = []struct {
	what, in string
	here     bool // it is taken here, and not there; false: the other way round
}{
	{"an absolute-form with an IP literal of a future version", "GET http://[v1.a]/ HTTP/1.1\r\nHost: [v1.a]\r\n\r\n", true},
	{"empty lines before the request line (RFC 9112 2.2)", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
	{"a framing field named in Trailer, dropped when it comes (RFC 9110 6.5.1)", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n", true},

	{"a bare LF as line end", "GET / HTTP/1.1\nHost: a\n\n", false},
	{"a folded field line", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", false},
	{"the same Content-Length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", false},
	{"Content-Length beside Transfer-Encoding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false},
	{"Transfer-Encoding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false},
	{"no Host in HTTP/1.1", "GET / HTTP/1.1\r\n\r\n", false},
	{"a Host that is none", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", false},
	{"a space before a colon", "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", false},
	{"a space within a field's name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: a\r\n\r\n", false},
	{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false},
	{"a fragment in the target", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", false},
	{"a target with bytes beyond ASCII", "GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", false},
	{"a user's name in the target", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", false},
	{"a target without scheme and slash", "GET a:b HTTP/1.1\r\nHost: a\r\n\r\n", false},
	{"a target beyond the limit", "GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n", false},
	{"more fields than the limit", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 2000) + "\r\n", false},
}

// takenHere and takenThere say who accepts a request's head.
func takenHere(in string) (bool, *proto.Fault) {
	var h proto.Head
	n, _, f := ParseRequest([]byte(in), Cursor{}, &testLimits, &h)
	return n > 0, f
}

func takenThere(in string) bool {
	_, err := http.ReadRequest(bufio.NewReader(strings.NewReader(in)))
	return err == nil
}

// TestDifferencesFromNetHTTP: the list is what it says it is.
func TestDifferencesFromNetHTTP(t *testing.T) {
	for _, d := range differences {
		here, _ := takenHere(d.in)
		if there := takenThere(d.in); here != d.here || there == d.here {
			t.Errorf("%s: taken here: %v, by net/http: %v, want %v and %v", d.what, here, there, d.here, !d.here)
		}
	}
}

// stricter are the faults for which net/http takes a request: each has an
// example above, or stands for a limit. With any other one it refuses, too.
var stricter = map[proto.FaultCode]bool{
	proto.FaultBareLF: true, proto.FaultBareCR: true, proto.FaultObsFold: true,
	proto.FaultLengthDuplicate: true, proto.FaultLengthAndCoding: true, proto.FaultCodingInOldVersion: true,
	proto.FaultFieldSpaceBeforeColon: true, proto.FaultFieldName: true, proto.FaultVersionUnsupported: true,
	proto.FaultHostMissing: true, proto.FaultHostInvalid: true,
	proto.FaultBadTarget: true, proto.FaultUserinfo: true, proto.FaultBadScheme: true, proto.FaultBadAuthority: true,
	proto.FaultTargetTooLong: true, proto.FaultHeadTooLarge: true, proto.FaultTooManyFields: true,
	proto.FaultMethodTooLong: true, proto.FaultConnectionOptions: true,
}

// FuzzStricterThanNetHTTP: what is refused here and taken by net/http is on
// the list of what is refused on purpose.
func FuzzStricterThanNetHTTP(f *testing.F) {
	for _, d := range differences {
		f.Add([]byte(d.in))
	}
	for _, c := range badRequests {
		f.Add([]byte(c.in))
	}
	for _, c := range badRequestFields {
		f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\n" + c.in + "\r\n"))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if here, fault := takenHere(string(in)); !here && fault != nil && !stricter[fault.Code] && takenThere(string(in)) {
			t.Fatalf("%q is refused (%s); net/http takes it", in, fault.Reason)
		}
	})
}
