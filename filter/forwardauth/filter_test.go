package forwardauth

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/filter"
	"zproxy/filter/verify"
	"zproxy/proto"
	"zproxy/proto/http1"
)

func named(text string) *filter.Name { n := filter.NewName(text); return &n }

func request(t testing.TB, head string) *filter.Request {
	t.Helper()
	h := new(proto.Head)
	lim := http1.Limits{HeadBytes: 1 << 16, Fields: 100, LineBytes: 1 << 16}
	if _, _, f := http1.ParseRequest([]byte(head+"\r\n"), http1.Cursor{}, &lim, h); f != nil {
		t.Fatal(f)
	}
	return &filter.Request{Head: h, Path: h.Bytes(h.Path), Scheme: []byte("http"), Client: netip.MustParseAddr("192.0.2.1")}
}

type waits chan *verify.Verdict

func (w waits) Redeem(answer any) { w <- answer.(*verify.Verdict) }

func newFilter(t testing.TB, change func(*Config), addresses ...string) *Filter {
	t.Helper()
	cfg := Config{
		Endpoints: func() []Endpoint {
			return []Endpoint{{Addresses: addresses, Usable: true}}
		},
		Path: "/check?a=b", Send: []string{"cookie", "authorization"}, Take: []*filter.Name{named("X-User"), named("X-Roles")}, NameField: named("X-User"),
		Timeout: time.Minute, Workers: verify.NewWorkers(4, 100, time.Hour, nil), Entries: 100, Now: time.Now,
	}
	if change != nil {
		change(&cfg)
	}
	f := New(cfg)
	t.Cleanup(f.Close)
	return f
}

func judge(t testing.TB, f *Filter, q *filter.Request) (v *verify.Verdict, hit bool) {
	t.Helper()
	var d verify.Digester
	v, digest := f.Check(q, &d, time.Now().UnixMilli())
	if v != nil {
		return v, true
	}
	w := make(waits, 1)
	if !f.Start(q, &digest, w) {
		t.Fatal("too many wait")
	}
	return <-w, false
}

func fieldsOf(v *verify.Verdict) (text string) {
	for _, f := range v.Fields {
		text += f.Name.String() + "=" + string(f.Value) + ";"
	}
	return text
}

func serve(t testing.TB, handler http.HandlerFunc) (address string) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestAnswers(t *testing.T) {
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := "GET /check?a=b a.example cookie=[c=1 d=2] authorization=[x] x-other=[] method=POST uri=/p%20q?x=y proto=https for=192.0.2.1"
		h := r.Header
		got := fmt.Sprintf("%s %s %s cookie=%v authorization=%v x-other=%v method=%s uri=%s proto=%s for=%s", r.Method, r.RequestURI, r.Host,
			h["Cookie"], h["Authorization"], h["X-Other"], h.Get("X-Forwarded-Method"), h.Get("X-Forwarded-Uri"), h.Get("X-Forwarded-Proto"), h.Get("X-Forwarded-For"))
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		h = w.Header()
		h.Set("X-User", "joe")
		h.Set("X-Secret", "s")
		h.Set("WWW-Authenticate", "Login")
		h.Set("Location", "/login")
		h.Add("Set-Cookie", "a=b")
		h.Add("Set-Cookie", "c=d")
		h.Set("Content-Type", "text/plain")
		w.WriteHeader(int(next.Load()))
		if next.Load() != 204 {
			fmt.Fprint(w, strings.Repeat("body", 100))
			w.(http.Flusher).Flush()
			fmt.Fprint(w, "more")
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	f := newFilter(t, nil, s.Listener.Addr().String())
	const refused = "WWW-Authenticate=Login;Location=/login;Set-Cookie=a=b;Set-Cookie=c=d;"
	for _, c := range []struct {
		status  int32
		outcome verify.Outcome
		answer  uint16
	}{
		{200, verify.Allowed, 0}, {204, verify.Allowed, 0}, {299, verify.Allowed, 0},
		{401, verify.Refused, 401}, {403, verify.Refused, 403}, {302, verify.Refused, 302}, {404, verify.Refused, 404}, {429, verify.Refused, 429},
		{500, verify.Failed, 502}, {503, verify.Failed, 502},
	} {
		next.Store(c.status)
		q := request(t, "POST /p%20q?x=y HTTP/1.1\r\nHost: a.example\r\nCookie: c=1\r\nCookie: d=2\r\nAuthorization: x\r\nX-Other: y\r\nContent-Length: 5\r\n")
		q.Scheme = []byte("https")
		v, _ := judge(t, f, q)
		if v.Outcome != c.outcome || v.Status != c.answer {
			t.Errorf("%d: %+v", c.status, v)
		}
		switch fields := fieldsOf(v); c.outcome {
		case verify.Allowed:
			if fields != "X-User=joe;" || string(v.Name) != "joe" {
				t.Errorf("%d: %s", c.status, fields)
			}
		case verify.Refused:
			for _, one := range strings.SplitAfter(refused, ";") {
				if !strings.Contains(fields, one) || strings.Contains(fields, "X-") {
					t.Errorf("%d: %s", c.status, fields)
				}
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for requests in a row", n)
	}
}

// next is the status that is answered.
var next atomic.Int32

func TestVerdictsAreKept(t *testing.T) {
	var calls atomic.Int32
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.Header.Get("Cookie") == "never" {
			w.Header().Set("Cache-Control", "private, No-Store")
		}
	})
	f := newFilter(t, func(cfg *Config) {
		cfg.Keep, cfg.KeyFields, cfg.KeyParts = time.Minute, []string{"cookie", "x-a"}, PartMethod|PartHost|PartPath|PartQuery|PartClient
	}, address)
	for _, c := range []struct {
		head string
		hit  bool
	}{
		{"GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: c\r\n", false},
		{"GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: c\r\n", true},
		{"GET /a?b HTTP/1.1\r\nHost: a\r\nCOOKIE: c\r\nX-Other: d\r\n", true},
		{"HEAD /a?b HTTP/1.1\r\nHost: a\r\nCookie: c\r\n", false},
		{"GET /a?b HTTP/1.1\r\nHost: b\r\nCookie: c\r\n", false},
		{"GET /ab? HTTP/1.1\r\nHost: a\r\nCookie: c\r\n", false},
		{"GET /a?c HTTP/1.1\r\nHost: a\r\nCookie: c\r\n", false},
		{"GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: d\r\n", false},
		{"GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: c\r\nCookie: d\r\n", false},
		{"GET /a?b HTTP/1.1\r\nHost: a\r\nX-A: c\r\n", false},
		{"GET /a?b HTTP/1.1\r\nHost: a\r\n", false},
		{"GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: never\r\n", false},
		{"GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: never\r\n", false},
	} {
		if _, hit := judge(t, f, request(t, c.head)); hit != c.hit {
			t.Errorf("%q: hit %v", c.head, hit)
		}
	}
	q := request(t, "GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: c\r\n")
	var d verify.Digester
	now := time.Now().UnixMilli()
	f.Check(q, &d, now)
	if n := testing.AllocsPerRun(100, func() {
		if v, _ := f.Check(q, &d, now); v == nil {
			t.Fatal("no hit")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	q.Client = netip.MustParseAddr("192.0.2.2")
	if _, hit := judge(t, f, q); hit {
		t.Error("a verdict of another client")
	}
}

// listen answers each connection by a function, and none more than once.
func listen(t testing.TB, answer func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	return l.Addr().String()
}

// head reads the head of a request.
func head(in *bufio.Reader) bool {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == "\r\n" {
			return true
		}
	}
}

func TestTroubles(t *testing.T) {
	raw := func(text string) string {
		return listen(t, func(c net.Conn) {
			head(bufio.NewReader(c))
			fmt.Fprint(c, text)
			c.Close()
		})
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := closed.Addr().String()
	closed.Close()
	good := raw("HTTP/1.1 200 OK\r\nX-User: joe\r\nContent-Length: 0\r\n\r\n")
	for _, c := range []struct {
		name      string
		addresses []string
		status    uint16
	}{
		{"nobody", nil, 502},
		{"refused", []string{gone}, 502},
		{"the next address", []string{gone, good}, 0},
		{"no response", []string{raw("")}, 502},
		{"half a head", []string{raw("HTTP/1.1 200 OK\r\nX-User: joe\r\n")}, 502},
		{"no HTTP", []string{raw("hello\r\n\r\n")}, 502},
		{"two lengths", []string{raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n")}, 502},
		{"101", []string{raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")}, 502},
		{"interim", []string{raw("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")}, 0},
		{"a long body", []string{raw("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("a", 1<<20))}, 0},
		{"chunks", []string{raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: a\r\n\r\n")}, 0},
		{"a body cut short", []string{raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na")}, 0},
	} {
		f := newFilter(t, nil, c.addresses...)
		v, _ := judge(t, f, request(t, "GET / HTTP/1.1\r\nHost: a\r\n"))
		if v.Status != c.status {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	silent := listen(t, func(c net.Conn) { head(bufio.NewReader(c)) })
	f := newFilter(t, func(cfg *Config) { cfg.Timeout = 20 * time.Millisecond }, silent)
	if v, _ := judge(t, f, request(t, "GET / HTTP/1.1\r\nHost: a\r\n")); v.Status != 504 || v.Reason != ReasonTimeout {
		t.Errorf("%+v", v)
	}
}

// A connection that was closed meanwhile costs a client nothing.
func TestConnectionThatHasEnded(t *testing.T) {
	ended := make(chan struct{}, 100)
	address := listen(t, func(c net.Conn) {
		head(bufio.NewReader(c))
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		c.Close()
		ended <- struct{}{}
	})
	f := newFilter(t, nil, address)
	for range 5 {
		if v, _ := judge(t, f, request(t, "GET / HTTP/1.1\r\nHost: a\r\n")); v.Outcome != verify.Allowed {
			t.Errorf("%+v", v)
		}
		<-ended
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 401 No\r\nContent-Length: 3\r\nWWW-Authenticate: Basic\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &client{cfg: &Config{Take: []*filter.Name{named("X-User")}}}
		r, _, err := c.converse(&conn{Conn: script{in: strings.NewReader(string(data))}}, nil)
		if (r == nil) != (err != nil) {
			t.Error(r, err)
		}
	})
}

// script is a connection that says what it is to say.
type script struct {
	net.Conn
	in *strings.Reader
}

func (s script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s script) Write(p []byte) (int, error) { return len(p), nil }
