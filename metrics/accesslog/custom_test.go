package accesslog

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"zproxy/variables"
)

func layout(t testing.TB, text string) []variables.LogPart {
	t.Helper()
	parts, err := variables.ParseLog(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return parts
}

func customLine(t testing.TB, text string, r *Record) string {
	return string(appendCustom(nil, new(clocks), layout(t, text), r))
}

// everyField is a text with all fields, each in a column of its own. quoted: between
// quotation marks.
func everyField(quoted bool) string {
	if quoted {
		return `"{` + strings.Join(variables.FieldNames(), "}\"\t\"{") + `}"`
	}
	return "{" + strings.Join(variables.FieldNames(), "}\t{") + "}"
}

func TestCustomLine(t *testing.T) {
	named := sample()
	named.SetClient(netip.MustParseAddr("2001:db8::1"))
	named.User = []byte("joe")
	named.RequestID, named.UpstreamHost, named.UpstreamTarget, named.Reason = []byte("id"), []byte("app.internal"), []byte("/u"), "why"
	named.CloseCode, named.ClosedBy, named.Cut = 1001, "origin", true
	named.TLSVersion, named.TLSSuite, named.SNI, named.Resumed = "1.3", "TLS_AES_128_GCM_SHA256", "api.example.com", true
	named.CertSubject, named.CertSerial, named.CertFingerprint = "CN=a b", "0a", "ff00"
	behindUnix := &Record{Method: []byte("GET"), Target: []byte("/")}
	behindUnix.SetClient(netip.MustParseAddr("192.0.2.9"))
	odd := sample()
	odd.Target, odd.UserAgent = []byte("/a|b c\"d\\\n"), []byte("x y|z\"")
	for _, c := range []struct {
		name, text string
		r          *Record
		want       string
	}{
		{"as nginx", `{client_ip} - - [{time_clf}] "{request}" {status} {bytes_out} "{referer}" "{user_agent}" {duration_s} {response_s}`, sample(),
			`192.0.2.7 - - [14/Mar/2026:15:09:26 +0000] "GET /users/42?full=1 HTTP/1.1" 200 5120 "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64)" 1.834 1.402`},
		{"every field", everyField(false), named, strings.ReplaceAll(`2026-03-14T15:09:26.535Z 14/Mar/2026:15:09:26_+0000 2001:db8::1 2001:db8::1 192.0.2.7:51312 GET_/users/42?full=1_HTTP/1.1 GET /users/42?full=1 api.example.com HTTP/1.1 200 0 5120 1834567 1.834 /users/:id app 10.0.0.5:9000 app.internal /u false 212345 0.212 1402999 1.402 why 1001 origin https://example.com/ Mozilla/5.0\x20(X11;\x20Linux\x20x86_64) id joe true 1.3 TLS_AES_128_GCM_SHA256 api.example.com true CN=a\x20b 0a ff00`, " ", "\t")},
		{"nothing to say", everyField(false), &Record{}, strings.ReplaceAll(`1970-01-01T00:00:00.000Z 01/Jan/1970:00:00:00_+0000 unix: unix: - - - - - HTTP/1.0 000 0 0 0 0.000 - - - - - - - - - - - - - - - - - false - - - - - - -`, " ", "\t")},
		{"a peer by a unix socket", "{client} {peer}", behindUnix, "192.0.2.9 unix:"},
		{"outside of quotation marks", "{target}|{user_agent}|{status}", odd, `/a\x7Cb\x20c\x22d\x5C\x0A|x\x20y\x7Cz\x22|200`},
		{"inside", `"{target}"|"{user_agent}"|{status}`, odd, `"/a|b c\x22d\x5C\x0A"|"x y|z\x22"|200`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := *c.r
			if c.name == "every field" {
				r.DurationNs, r.ConnectNs, r.ResponseNs = 1_834_567_000, 212_345_000, 1_402_999_000
			} else if c.name == "as nginx" {
				r.DurationNs, r.ResponseNs = 1_834_567_000, 1_402_999_000
			}
			got := customLine(t, c.text, &r)
			want := c.want
			if strings.Contains(c.name, "every") || strings.Contains(c.name, "nothing") {
				want = strings.ReplaceAll(want, "_+0000", " +0000")
				want = strings.ReplaceAll(strings.ReplaceAll(want, "GET_/", "GET /"), "1_HTTP", "1 HTTP")
			}
			if got != want+"\n" {
				t.Errorf("got  %swant %s", got, want)
			}
		})
	}
}

// hostileRecord has bytes of a peer's choice in each field that may come from one.
func hostileRecord(b []byte) *Record {
	return &Record{
		WallMs: time.Now().UnixMilli(), Client: netip.MustParseAddrPort("192.0.2.7:1"), Status: 200, Minor: 1,
		Method: b, Target: b, Host: b, Referer: b, UserAgent: b, RequestID: b, User: b, UpstreamHost: b, UpstreamTarget: b,
		Route: string(b), Upstream: string(b), Endpoint: string(b), Reason: string(b), ClosedBy: string(b),
		TLSVersion: "1.3", TLSSuite: string(b), SNI: string(b), CertSubject: string(b), CertSerial: string(b), CertFingerprint: string(b),
	}
}

// Whatever peers send, each field stays in its column, in one line of printable ASCII.
func checkCustom(t *testing.T, b []byte) {
	t.Helper()
	r := hostileRecord(b)
	for _, quoted := range []bool{false, true} {
		got := customLine(t, everyField(quoted), r)
		for i, c := range []byte(got[:len(got)-1]) {
			if c < ' ' && c != '\t' || c >= 0x7f {
				t.Fatalf("byte %#x at %d: %q", c, i, got)
			}
		}
		columns := strings.Split(strings.TrimSuffix(got, "\n"), "\t")
		if len(columns) != len(variables.FieldNames()) || len(got) > maxLine {
			t.Fatalf("%d columns, %d bytes: %q", len(columns), len(got), got)
		}
		for i, column := range columns {
			name := variables.FieldNames()[i]
			if quoted && (len(column) < 3 || column[0] != '"' || column[len(column)-1] != '"' || strings.Count(column, `"`) != 2) {
				t.Fatalf("%s: %q", name, column)
			}
			if spaces := map[string]int{"time_clf": 1, "request": 2}[name]; !quoted && column != "-" && (strings.Count(column, " ") != spaces || strings.Contains(column, `"`)) {
				t.Fatalf("%s: %q", name, column)
			}
		}
	}
}

func TestCustomHostileBytes(t *testing.T) {
	for c := range 256 {
		checkCustom(t, []byte{'a', byte(c), 'b', byte(c)})
	}
	checkCustom(t, nil)
	checkCustom(t, []byte("\" 200 1 \"\t\r\n\x1b[2J\u009b\xff{status}%"))
	checkCustom(t, bytes.Repeat([]byte{0xff}, 100_000))
}

func FuzzCustom(f *testing.F) {
	f.Add([]byte("a b\"c\\\x00\xff"))
	f.Fuzz(func(t *testing.T, b []byte) { checkCustom(t, b) })
}

// The longest text with the longest fields fits where Add puts a line.
func TestWorstCustomLineFits(t *testing.T) {
	text := everyField(true)
	text += strings.Repeat("x", variables.MaxLogText-len(text))
	r := hostileRecord(bytes.Repeat([]byte{0xff}, 100_000))
	r.BytesIn, r.BytesOut, r.DurationNs, r.ConnectNs, r.ResponseNs, r.CloseCode = 1<<64-1, 1<<64-1, 1<<63-1, 1<<63-1, 1<<63-1, 65535
	if n := len(customLine(t, text, r)); n > maxLine || n < maxLine/2 {
		t.Errorf("%d bytes, room for %d", n, maxLine)
	}
}

func TestCustomFieldsAreInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range variables.FieldNames() {
		if !bytes.Contains(manual, []byte("\n| `"+name+"` |")) && !bytes.Contains(manual, []byte("\n| `{"+name+"}` |")) {
			t.Errorf("docs/access-log.md does not explain %s", name)
		}
	}
}
