package journal

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unique"

	"zproxy/config"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/forward"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// compiled is what a configuration compiles to, as the next of r.
func compiled(t *testing.T, r *snapshot.Registry, text string) *snapshot.Snapshot {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte("listeners: [{address: \"127.0.0.1:8080\"}]\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asked is a request from peer to be noted, over room for one.
func asked(t *testing.T, text, peer string) *forward.Request {
	t.Helper()
	h := &proto.Head{Fields: make([]proto.Field, 0, 16)}
	if _, _, f := http1.ParseRequest([]byte(text), http1.Cursor{}, &http1.Limits{HeadBytes: 50_000, Fields: 16, LineBytes: 20_000}, h); f != nil {
		t.Fatal(f)
	}
	f, p, q := new(snapshot.Forwarding), new(forward.Peer), forward.NewRequest()
	if peer == "" {
		p.Set(f, netip.Addr{}, true, nil)
	} else {
		p.Set(f, netip.MustParseAddr(peer), true, nil)
	}
	q.Begin(f, h, p, nil)
	return &q
}

// What is noted of a request is read as it was, or says that it was cut; without a log nothing is.
func TestNote(t *testing.T) {
	const block = 4096
	j := New(new(metrics.Loop), nil)
	plain := asked(t, "GET /a?b HTTP/1.1\r\nHost: h\r\nReferer: r\r\nUser-Agent: u\r\nX-Request-ID: id\r\n\r\n", "192.0.2.1")
	line := func(host, path string) *http2.RequestLine {
		return &http2.RequestLine{Authority: []byte(host), Path: []byte(path)}
	}
	note := j.Note(plain, line("h", "/a?b"), block)
	if r := (accesslog.Record{}); !IsEmpty(note) || NoteLen(note) != uint32(len(note)) || ReadNote(note, &r) {
		t.Errorf("without a log: %v", note)
	}
	log, err := accesslog.Open(accesslog.Options{Path: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	j.Switch(log.NewBuffer(nil))
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		name       string
		q          *forward.Request
		host, path string
		want       string
	}{
		{"as it was", plain, "h", "/a?b", `GET "/a?b" h, r u id, sent on  "", of 192.0.2.1:0, cut: false`},
		{"sent on as another", plain, "internal", "/c", `GET "/a?b" h, r u id, sent on internal "/c", of 192.0.2.1:0, cut: false`},
		{"from nobody", asked(t, "GET / HTTP/1.0\r\nX-Request-ID: id\r\n\r\n", ""), "", "/", `GET "/" ,   id, sent on  "", of invalid AddrPort, cut: false`},
		{"longer than a line has it", asked(t, "GET / HTTP/1.1\r\nHost: h\r\nX-Request-ID: id\r\nReferer: "+long+"\r\n\r\n", ""), "h", "/",
			`GET "/" h, ` + long[:1025] + `  id, sent on  "", of invalid AddrPort, cut: true`},
		{"longer than a block has room for", asked(t, "GET /"+long+" HTTP/1.1\r\nHost: h\r\nX-Request-ID: id\r\n\r\n", ""), "h", "/" + long,
			`GET "/` + long[:block*3/4-noteHeader-NoteTail-len("GET/")] + `" ,   , sent on  "", of invalid AddrPort, cut: true`},
	} {
		note := j.Note(c.q, line(c.host, c.path), block)
		if NoteLen(note[len(note)-NoteTail:]) != uint32(len(note)) || len(note) > block*3/4 {
			t.Errorf("%s: %d bytes, and %d are said", c.name, len(note), NoteLen(note[len(note)-NoteTail:]))
		}
		var r accesslog.Record
		if !ReadNote(note, &r) {
			t.Errorf("%s: nothing was noted", c.name)
		}
		if got := fmt.Sprintf("%s %q %s, %s %s %s, sent on %s %q, of %v, cut: %v", r.Method, r.Target, r.Host, r.Referer, r.UserAgent, r.RequestID,
			r.UpstreamHost, r.UpstreamTarget, r.Client, r.Cut); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { j.Note(plain, &http2.RequestLine{}, block) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A reload goes on counting under the names that stay, wherever they stand, and what began before
// it is counted under its name, if there is one still.
func TestSeriesAreCarried(t *testing.T) {
	const upstreams = "upstreams: {a: {endpoints: [{address: \"127.0.0.1:1\"}]}, b: {endpoints: [{address: \"127.0.0.1:2\"}]}}\n"
	registry, m := snapshot.NewRegistry(1, nil), new(metrics.Loop)
	before := compiled(t, registry, upstreams+"routes: [{path: /a, upstream: a}, {path: /b, upstream: b}]\n")
	after := compiled(t, registry, strings.Replace(upstreams, "a: ", "c: ", 1)+"routes: [{path: /b, upstream: b}, {path: /c, upstream: c}]\n")
	j := New(m, nil)
	j.Adopt(before, new(snapshot.Snapshot))
	count := func(plan, now *snapshot.Snapshot, route int) {
		e := Exchange{Plan: plan, Route: route, Upstream: plan.Routes[route].Cluster, Endpoint: -1, Status: 200}
		e.Cluster = plan.Clusters[e.Upstream]
		j.Count(&e, now)
	}
	for route := range 2 {
		count(before, before, route)
	}
	j.Adopt(after, before)
	for route := range 2 {
		count(before, after, route)
		count(after, after, route)
	}
	j.Count(&Exchange{Plan: after, Route: -1, Status: 499}, after)
	j.Count(&Exchange{Plan: after, Route: -1, Status: 999}, after)
	routes, named, _ := after.SeriesNames()
	got := ""
	for i := range routes {
		got += fmt.Sprintf("%s %d, ", routes[i], m.Routes[i].Classes[2])
	}
	for i := range named {
		got += fmt.Sprintf("%s %d, ", named[i], m.Upstreams[i].Classes[2])
	}
	if want := "/b 3, /c 1, b 3, c 1, "; got != want {
		t.Errorf("%s want %s", got, want)
	}
	if c := m.ResponsesByClass; c[2] != 6 || c[4] != 1 || c[0] != 1 {
		t.Errorf("by class: %v", c)
	}
}

// Each kind of what ends has its line, and without a log there is none.
func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := accesslog.Open(accesslog.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	s := compiled(t, snapshot.NewRegistry(1, nil), "upstreams: {app: {endpoints: [{address: \"127.0.0.1:1\"}]}}\nroutes: [{path: \"/*\", upstream: app}]\n")
	j := New(new(metrics.Loop), nil)
	e := Exchange{Plan: s, Upstream: s.Routes[0].Cluster, Status: 200, BytesIn: 1, BytesOut: 2, Reason: "done"}
	e.Cluster = s.Clusters[e.Upstream]
	peer := Peer{netip.MustParseAddrPort("192.0.2.1:7"), &transport.Session{Name: "h.example", Version: 0x304, Suite: 0x1301,
		Client: unique.Make(credentials.Client{Subject: "CN=c", Serial: "01", Fingerprint: "ff"})}}
	if j.Line(&e, 0, peer) != nil {
		t.Error("there is a line without a log")
	}
	refused := &proto.Fault{Status: 400, Reason: "refused"}
	j.Refused(refused, 1, nil, 0, peer)
	j.Connection("ended", 0, peer)
	if j.Flush(1) != 0 {
		t.Error("lines are due without a log")
	}
	b := log.NewBuffer(nil)
	j.Switch(b)
	j.Switch(b)
	r := j.Line(&e, 0, peer)
	Asked(asked(t, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n", "192.0.2.9"), r)
	j.Add(r)
	j.Refused(refused, 2, nil, 0, Peer{})
	j.Refused(refused, 1, &proto.Head{Buf: []byte("BAD"), MethodName: proto.Span{Len: 3}}, 0, Peer{})
	j.Connection("ended", 0, peer)
	if j.Flush(1) <= 1 {
		t.Error("no lines are due")
	}
	j.Close()
	log.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, wants := range [][]string{
		{`"client":"192.0.2.9"`, `"peer":"192.0.2.1:7"`, `"target":"/x"`, `"status":200`, `"bytes_in":1`, `"bytes_out":2`, `"route":"/*"`, `"upstream":"app"`, `"endpoint":"127.0.0.1:1"`, `"reason":"done"`,
			`"tls_version":"1.3"`, `"tls_sni":"h.example"`, `"client_cert_subject":"CN=c"`},
		{`"HTTP/2`, `"reason":"refused"`}, {`"method":"BAD"`, `"HTTP/1.1"`, `"status":400`}, {`"reason":"ended"`, `"tls_sni":"h.example"`, `"client":"192.0.2.1:7"`},
	} {
		for _, want := range wants {
			if !strings.Contains(lines[i], want) {
				t.Errorf("line %d lacks %s: %s", i, want, lines[i])
			}
		}
	}
}
