package accesslog

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"zproxy/variables"
)

// sample is the request of the lines shown in docs/access-log.md.
func sample() *Record {
	return &Record{
		WallMs: time.Date(2026, 3, 14, 15, 9, 26, 535e6, time.UTC).UnixMilli(),
		Client: netip.MustParseAddrPort("192.0.2.7:51312"),
		Method: []byte("GET"), Target: []byte("/users/42?full=1"), Host: []byte("api.example.com"),
		Minor: 1, Status: 200, BytesIn: 0, BytesOut: 5120,
		DurationNs: 1_834_567, ConnectNs: 212_345, ResponseNs: 1_402_999,
		Route: "/users/:id", Upstream: "app", Endpoint: "10.0.0.5:9000",
		Referer: []byte("https://example.com/"), UserAgent: []byte("Mozilla/5.0 (X11; Linux x86_64)"),
	}
}

func line(f Format, r *Record) string {
	if f == Custom {
		parts, _ := variables.ParseLog(everyField(false))
		return string(appendCustom(nil, new(clocks), parts, r))
	}
	if f == Combined {
		return string(appendCombined(nil, new(clock), r))
	}
	return string(appendJSON(nil, new(clock), r))
}

func TestJSONLine(t *testing.T) {
	refused := &Record{
		WallMs: 1_700_000_000_007, Client: netip.MustParseAddrPort("[2001:db8::1]:443"),
		Status: 400, Minor: 1, Reason: "bare LF", DurationNs: 12_999,
	}
	reused := sample()
	reused.Reused, reused.ConnectNs = true, 0
	for _, c := range []struct {
		name string
		r    *Record
		want string
	}{
		{"proxied", sample(), `{"time":"2026-03-14T15:09:26.535Z","client":"192.0.2.7:51312","method":"GET","target":"/users/42?full=1","host":"api.example.com","protocol":"HTTP/1.1","status":200,"bytes_in":0,"bytes_out":5120,"duration_us":1834,"route":"/users/:id","upstream":"app","endpoint":"10.0.0.5:9000","reused":false,"connect_us":212,"response_us":1402,"referer":"https://example.com/","user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}`},
		{"reused", reused, `{"time":"2026-03-14T15:09:26.535Z","client":"192.0.2.7:51312","method":"GET","target":"/users/42?full=1","host":"api.example.com","protocol":"HTTP/1.1","status":200,"bytes_in":0,"bytes_out":5120,"duration_us":1834,"route":"/users/:id","upstream":"app","endpoint":"10.0.0.5:9000","reused":true,"response_us":1402,"referer":"https://example.com/","user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}`},
		{"refused", refused, `{"time":"2023-11-14T22:13:20.007Z","client":"[2001:db8::1]:443","method":"","target":"","host":"","protocol":"HTTP/1.1","status":400,"bytes_in":0,"bytes_out":0,"duration_us":12,"reason":"bare LF"}`},
		{"unix socket, clock not set", &Record{WallMs: -5000, Method: []byte("GET"), Target: []byte("/")}, `{"time":"1970-01-01T00:00:00.000Z","client":"unix:","method":"GET","target":"/","host":"","protocol":"HTTP/1.0","status":0,"bytes_in":0,"bytes_out":0,"duration_us":0}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := line(JSON, c.r); got != c.want+"\n" {
				t.Errorf("got  %swant %s", got, c.want)
			}
		})
	}
}

func TestCombinedLine(t *testing.T) {
	odd := sample()
	odd.Target = []byte("/a\"b\\c\x00\x1b[2J\x7f\xc3\xa9\n")
	odd.UserAgent, odd.Referer = []byte("\" 200 1 \""), nil
	odd.Client = netip.MustParseAddrPort("[::ffff:192.0.2.7]:1")
	for _, c := range []struct {
		name string
		r    *Record
		want string
	}{
		{"proxied", sample(), `192.0.2.7 - - [14/Mar/2026:15:09:26 +0000] "GET /users/42?full=1 HTTP/1.1" 200 5120 "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64)"`},
		{"escaped", odd, `192.0.2.7 - - [14/Mar/2026:15:09:26 +0000] "GET /a\x22b\x5Cc\x00\x1B[2J\x7F\xC3\xA9\x0A HTTP/1.1" 200 5120 "-" "\x22 200 1 \x22"`},
		{"refused", &Record{WallMs: 1_700_000_000_007, Client: netip.MustParseAddrPort("[2001:db8::1]:443"), Status: 400}, `2001:db8::1 - - [14/Nov/2023:22:13:20 +0000] "-" 400 0 "-" "-"`},
		{"unix socket, no status", &Record{Method: []byte("GET"), Target: []byte("/")}, `unix: - - [01/Jan/1970:00:00:00 +0000] "GET / HTTP/1.0" 000 0 "-" "-"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := line(Combined, c.r); got != c.want+"\n" {
				t.Errorf("got  %swant %s", got, c.want)
			}
		})
	}
}

func TestJSONText(t *testing.T) {
	for in, want := range map[string]string{
		"plain/~":              "plain/~",
		"a\"b\\c":              `a\"b\\c`,
		"\x00\n\r\t\x1f\x7f":   `\u0000\u000a\u000d\u0009\u001f\u007f`,
		"é€\U0001f600":         "é€\U0001f600",
		"\u0085\u009b2J\u00a0": "\\u0085\\u009b2J\u00a0",
		"\xff\xc3":             `\ufffd\ufffd`,
		"\xe2\x82x":            `\ufffd\ufffdx`,
		"\xed\xa0\x80":         `\ufffd\ufffd\ufffd`, // a surrogate is not UTF-8
		"\ufffd":               "\ufffd",
	} {
		if got := string(appendJSONText(nil, []byte(in))); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
		if got := string(appendJSONText(nil, in)); got != want {
			t.Errorf("%q as a string: got %s, want %s", in, got, want)
		}
	}
}

// replaced is what a JSON reader should see of bytes that may not be UTF-8.
func replaced(b []byte) string { return string([]rune(string(b))) }

func FuzzLine(f *testing.F) {
	f.Add([]byte("GET"), []byte("/a\"\\\x00\xff\u009b"), []byte("h\xc3"), []byte("ua\n"))
	f.Add([]byte(""), []byte{}, []byte("\xed\xa0\x80"), bytes.Repeat([]byte{1}, 5000))
	long := bytes.Repeat([]byte("x"), 10_000)
	f.Add(long, []byte("/"), []byte("h"), []byte("u"))
	f.Add([]byte("GET"), long, []byte("h"), []byte("u"))
	f.Add([]byte("GET"), []byte("/"), long, []byte("u"))
	f.Fuzz(func(t *testing.T, method, target, host, agent []byte) {
		r := sample()
		r.Method, r.Target, r.Host, r.UserAgent = method, target, host, agent
		r.Reason = string(host)
		checkJSON(t, r)
		checkCombined(t, r)
	})
}

func checkJSON(t *testing.T, r *Record) {
	t.Helper()
	got := appendJSON(nil, new(clock), r)
	if bytes.IndexByte(got, '\n') != len(got)-1 {
		t.Fatalf("not one line: %q", got)
	}
	if len(got) > maxLine {
		t.Fatalf("%d bytes, more than maxLine", len(got))
	}
	if !utf8.Valid(got) {
		t.Fatalf("not UTF-8: %q", got)
	}
	for _, c := range string(got[:len(got)-1]) {
		if c < 0x20 || c >= 0x7f && c < 0xa0 {
			t.Fatalf("control character %U: %q", c, got)
		}
	}
	var fields struct {
		Method, Target, Host, Reason string
		UserAgent                    string `json:"user_agent"`
		Cut                          bool
	}
	decoder := json.NewDecoder(bytes.NewReader(got))
	if err := decoder.Decode(&fields); err != nil {
		t.Fatalf("%v: %q", err, got)
	}
	for _, c := range []struct {
		got   string
		want  []byte
		limit int
	}{
		{fields.Method, r.Method, maxMethod}, {fields.Target, r.Target, maxTarget}, {fields.Host, r.Host, maxHost},
		{fields.UserAgent, r.UserAgent, maxField}, {fields.Reason, []byte(r.Reason), maxHost},
	} {
		if want := replaced(c.want[:min(len(c.want), c.limit)]); c.got != want {
			t.Fatalf("read back %q, want %q", c.got, want)
		}
		if len(c.want) > c.limit && !fields.Cut {
			t.Fatalf("cut without saying so: %q", got)
		}
	}
}

func checkCombined(t *testing.T, r *Record) {
	t.Helper()
	got := appendCombined(nil, new(clock), r)
	if len(got) > maxLine {
		t.Fatalf("%d bytes, more than maxLine", len(got))
	}
	for _, c := range got[:len(got)-1] {
		if c < 0x20 || c >= 0x7f {
			t.Fatalf("byte %#x in %q", c, got)
		}
	}
	if quotes := bytes.Count(got, []byte{'"'}); quotes != 6 {
		t.Fatalf("%d quotes, want 6: %q", quotes, got)
	}
}

// A line with every field at its worst must fit where Add puts it.
func TestWorstLineFits(t *testing.T) {
	bad := bytes.Repeat([]byte{0xff}, 100_000)
	r := &Record{
		WallMs: latestMs, Client: netip.AddrPortFrom(netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff%"+strings.Repeat("z", 15)), 65535),
		Method: bad, Target: bad, Host: bad, Minor: 255, Status: 65535, BytesIn: 1<<64 - 1, BytesOut: 1<<64 - 1,
		DurationNs: -1 << 63, ConnectNs: 1<<63 - 1, ResponseNs: 1<<63 - 1, Route: string(bad), Upstream: string(bad),
		Endpoint: string(bad), Reason: string(bad), CloseCode: 65535, ClosedBy: "origin", Referer: bad, UserAgent: bad,
		TLSVersion: "1.3", TLSSuite: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", SNI: string(bad),
		CertSubject: string(bad), CertSerial: string(bad), CertFingerprint: strings.Repeat("f", 64),
		RequestID: bad, User: bad, UpstreamHost: bad, UpstreamTarget: bad, Peer: netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
	}
	checkJSON(t, r)
	r.DurationNs = 1
	checkCombined(t, r)
	if n := len(line(JSON, r)); n < maxLine-1024 {
		t.Errorf("the worst line has %d bytes, maxLine %d is far above", n, maxLine)
	}
}

func TestClockFollowsSeconds(t *testing.T) {
	var c clock
	for _, ms := range []int64{0, 999, 1000, 1999, 500, 1_700_000_000_000} {
		want := time.UnixMilli(ms).UTC().Format(jsonTime)
		if got := string(c.append(nil, ms, jsonTime)); got != want {
			t.Errorf("%d: got %s, want %s", ms, got, want)
		}
	}
}

func TestSamplesAreInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []Format{JSON, Combined} {
		if s := line(f, sample()); !bytes.Contains(manual, []byte("\n"+s)) {
			t.Errorf("docs/access-log.md lacks the line\n%s", s)
		}
	}
	all := sample()
	all.Reason, all.Target = "x", make([]byte, maxTarget+1)
	all.CloseCode, all.ClosedBy = 1000, "client"
	all.TLSVersion, all.TLSSuite, all.SNI, all.CertSubject, all.CertSerial, all.CertFingerprint = "1.3", "s", "n", "CN=c", "01", "ff"
	all.SetClient(netip.MustParseAddr("2001:db8::1"))
	all.User = []byte("joe")
	all.RequestID, all.UpstreamHost, all.UpstreamTarget = []byte("id"), []byte("h"), []byte("/")
	var fields map[string]any
	if err := json.Unmarshal([]byte(line(JSON, all)), &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		if !bytes.Contains(manual, []byte("\n| `"+name+"` |")) {
			t.Errorf("docs/access-log.md does not explain %s", name)
		}
	}
	if rows := bytes.Count(manual, []byte("\n| `")) - bytes.Count(manual, []byte("\n| `{")); rows != len(fields) {
		t.Errorf("docs/access-log.md explains %d fields, a line has %d", rows, len(fields))
	}
}
