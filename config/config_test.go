package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// reference uses most of what there is.
const reference = `loops: auto                # one per CPU of the affinity mask; or a number; or a CPU list "0-3,8"
io: auto                   # auto | uring | epoll
buffers: {block: 16KiB, max_per_loop: 64MiB, huge_pages: auto}   # auto | always | never
listeners:
  - address: 127.0.0.1:8080          # host:port, [::]:port, unix:/path
    protocols: [http1]               # and h2c, or both; h2 and others come later
upstreams:
  app:
    balance: round_robin             # also least_conn, p2c (power of two choices); endpoint weights honoured
    protocol: http1                  # or h2c
    endpoints:
      - {address: "127.0.0.1:9000", weight: 1}    # host:port, name:port (re-resolved), unix:/path
    pool: {max_connections: 1024, max_idle: 256, prewarm: 4, idle_timeout: 60s, queue: 1024, queue_timeout: 5s}
    timeouts: {connect: 2s, response: 60s, idle: 60s}
routes:
  - {host: "api.example.com", path: "/users/:id", methods: [GET, HEAD], upstream: app}
  - {path: "/health", respond: {status: 200, body: "ok\n"}}      # a fixed answer; redirect: {to, status} likewise
  - {path: "/*", upstream: app}
limits: {header_bytes: 64KiB, headers: 128, body_bytes: 0, request_header_timeout: 10s, keepalive_timeout: 75s}
admin: {address: 127.0.0.1:9901}
`

func mustParse(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReference(t *testing.T) {
	socket := Socket{NoDelay: true, KeepAlive: time.Minute}
	accepting := socket
	accepting.Backlog = 4096
	want := &Config{
		File: "test.yaml", Loops: Loops{Auto: true}, IO: "auto", BatchWait: BatchWait{Auto: true}, CoreDumps: "auto",
		Buffers: Buffers{Block: 16 << 10, MaxPerLoop: 64 << 20, HugePages: "auto"},
		Listeners: []Listener{{Pos: Pos{5, 5}, Address: "127.0.0.1:8080", Protocols: []string{"http1"}, Interim: "pass",
			Socket: accepting}},
		Upstreams: []Upstream{{Pos: Pos{8, 3}, Name: "app", Balance: "round_robin", Protocol: "http1",
			Endpoints: []Endpoint{{Pos: Pos{12, 9}, Address: "127.0.0.1:9000", Weight: 1}},
			Pool: Pool{MaxConnections: 1024, MaxIdle: 256, Prewarm: 4, IdleTimeout: time.Minute, Queue: 1024,
				QueueTimeout: 5 * time.Second},
			Timeouts: Timeouts{Connect: 2 * time.Second, Response: time.Minute, Idle: time.Minute, Continue: time.Second},
			Retries:  1, Socket: socket}},
		Routes: []Route{
			{Pos: Pos{16, 5}, Host: "api.example.com", Path: "/users/:id", Methods: []string{"GET", "HEAD"}, Upstream: "app", Priority: "normal"},
			{Pos: Pos{17, 5}, Path: "/health", Priority: "normal", Respond: &Respond{Status: 200, Body: "ok\n", ContentType: "text/plain; charset=utf-8"}},
			{Pos: Pos{18, 5}, Path: "/*", Upstream: "app", Priority: "normal"}},
		Limits: Limits{HeaderBytes: 64 << 10, Headers: 128, RequestHeaderTimeout: 10 * time.Second,
			KeepaliveTimeout: 75 * time.Second, RequestBodyTimeout: time.Minute, SendTimeout: time.Minute, MinRate: 128, HalfClose: "serve",
			LingeringTimeout: 5 * time.Second, LingeringTime: 30 * time.Second},
		HTTP2: HTTP2{MaxStreams: 512, StreamWindow: 1 << 20, ConnectionWindow: 16 << 20, HeaderTable: 4 << 10,
			UpstreamStreams: 100, UpstreamConnections: 4, IdleTimeout: 75 * time.Second, AbuseScore: 2000},
		Forwarding: Forwarding{XForwarded: true, MaxHops: 32, Drop: strings.Split(defaultDrop, ", ")},
		AccessLog:  AccessLog{Format: "json", BufferBytes: 64 << 10, Flush: time.Second},
		Log:        Log{Format: "text", Level: "info"},
		Shutdown:   Shutdown{IdleTimeout: time.Second, Grace: 30 * time.Second, UpgradeTimeout: time.Minute},
		DNS:        DNS{Interval: 30 * time.Second},
		Admin:      Admin{Pos: Pos{20, 18}, Address: "127.0.0.1:9901", Series: 100, File: SocketFile{Mode: 0o660}},
	}
	if got := mustParse(t, reference); !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", got, want)
	}
}

// TestEveryKeyReachesItsField sets every leaf of the table to something else than its default and sees exactly that
// field of the structs change, so that no two keys share a place and none has none.
func TestEveryKeyReachesItsField(t *testing.T) {
	leaves := 0
	var walk func(fields []field, make func() any)
	walk = func(fields []field, make func() any) {
		for i := range fields {
			f := &fields[i]
			if f.kind == kindSection || f.kind == kindSections || f.kind == kindNamed {
				inner := func() any { return f.at(make()) }
				if f.grow != nil {
					inner = func() any { return f.grow(f.at(make()), 1)(0, "name", Pos{1, 1}) }
				}
				walk(f.fields, inner)
				continue
			}
			leaves++
			parent := make()
			before := fmt.Sprintf("%+v", parent)
			target := reflect.ValueOf(f.at(parent)).Elem()
			switch v := target.Addr().Interface().(type) {
			case *string:
				*v = "changed"
			case *bool:
				*v = !*v
			case *[]string:
				*v = []string{"changed"}
			case *[]netip.Prefix:
				*v = []netip.Prefix{{}}
			case *[]Pair:
				*v = []Pair{{}}
			case *map[int]ErrorPage:
				*v = map[int]ErrorPage{404: {}}
			case *Labels:
				*v = Labels{"changed": "yes"}
			case *Loops:
				v.N = 77
			case *uint32:
				*v += 77
			case *BatchWait:
				v.Time = 77
			default:
				target.SetInt(target.Int() + 77)
			}
			if after := fmt.Sprintf("%+v", parent); after == before {
				t.Errorf("%s: its place is not in the struct it is a key of", f.key)
			}
			for j := range fields {
				if other := &fields[j]; i != j && other.kind != kindSection && f.at(parent) == other.at(parent) {
					t.Errorf("%s and %s share a place", f.key, other.key)
				}
			}
			if f.doc == "" {
				t.Errorf("%s: no documentation", f.key)
			}
		}
	}
	walk(table(), func() any { return new(Config) })
	if leaves < 60 {
		t.Errorf("only %d keys seen", leaves)
	}
}

func TestQuickstart(t *testing.T) {
	c := Quickstart()
	if len(c.Listeners) != 2 || c.Listeners[0].Address != "127.0.0.1:8080" || c.Admin.Address != "127.0.0.1:9901" {
		t.Errorf("got %+v", c)
	}
	// The proxied listener's origin is the other one, which answers by itself.
	first, second := c.Routes[0], c.Routes[1]
	if first.Listener != c.Listeners[0].Address || first.Upstream != "demo" ||
		c.Upstreams[0].Endpoints[0].Address != c.Listeners[1].Address ||
		second.Listener != c.Listeners[1].Address || second.Respond == nil {
		t.Errorf("routes: %+v", c.Routes)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	example, err := os.ReadFile("../examples/quickstart.yaml")
	if err != nil || !bytes.Equal(example, QuickstartYAML()) {
		t.Error("examples/quickstart.yaml is not config/quickstart.yaml:", err)
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	schema := compileSchema(t)
	for _, file := range files {
		c, err := Load(file)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if len(c.Warnings) != 0 {
			t.Errorf("%s: %v", file, c.Warnings)
		}
		for status, page := range c.ErrorPages {
			if page.Body == "" {
				t.Errorf("%s: page %d is empty", file, status)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if text[0] != '#' {
			t.Errorf("%s does not begin with what it is for", file)
		}
		if err := schema.Validate(asJSON(t, text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		again, err := json.Marshal(asJSON(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(file, again); len(c.ErrorPages) == 0 && err != nil {
			t.Errorf("as JSON: %v", err)
		}
	}
}

// compileSchema also checks that the schema is one.
func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON is the value of a YAML text as a JSON Schema sees it.
func asJSON(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return textKeys(v)
}

func textKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = textKeys(value)
		}
	case map[any]any:
		out := map[string]any{}
		for key, value := range v {
			out[fmt.Sprint(key)] = textKeys(value)
		}
		return out
	case []any:
		for i := range v {
			v[i] = textKeys(v[i])
		}
	}
	return v
}

// TestSchemaAgrees holds the schema against the parser: it accepts what the parser accepts, and refuses every mistake
// in keys, kinds, choices and numbers.
func TestSchemaAgrees(t *testing.T) {
	schema := compileSchema(t)
	for _, text := range []string{reference, base, string(QuickstartYAML()), everyKind} {
		mustParse(t, text)
		if err := schema.Validate(asJSON(t, []byte(text))); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
	// What the schema cannot or need not say.
	beyond := []string{"syntax error", "second time", "an empty file", "a second document", "include each other", "merge key", "as a key",
		"size", "duration", "whole seconds", "a power of two", "a multiple", "auto, a whole number", "an address",
		"a host", "a path", "a URL", "a media type", "a network", "at most", "at least stream_window", "the name of", "the address of", "no body",
		"a file name", "found 0x20", "not CONNECT", "a name of letters", "a route with upstream", "mode: frames with it", "decides how a request is read",
		"where there is", "16KiB or more", "without a port", "{client_ip}", "a name in braces", "{client}", "each field once", "one line of text", "{user_agent}", "which has a file",
		"with it (type is", "a regular expression", "the smaller number comes first", "address or port", "timeout in on", "retries or retry", "priority beside backup", "found no weight", "another upstream than", "exactly one of cookie", "a route with split",
		"h2 with discover", "begins with https", "name of an object", "port or port_name", "kubeconfig with it", "the name of a service", "server_name with discover", "port with records", "without hash_on", "none without send_proxy", "the host of a route", "a field name such as X-User", "X-Frame-Options", "printable ASCII on one line"}
	refused := 0
	for _, c := range goldenErrors {
		skip := false
		for _, line := range strings.Split(c.want, "\n") {
			for _, s := range beyond {
				skip = skip || strings.Contains(line, s)
			}
		}
		if skip {
			continue
		}
		if err := schema.Validate(asJSON(t, []byte(c.file))); err == nil {
			t.Errorf("%s: the schema accepts what the parser refuses: %s", c.name, c.want)
		}
		refused++
	}
	if refused < 30 {
		t.Errorf("only %d mistakes compared", refused)
	}
}

// everyKind has values in their less usual spellings.
const everyKind = `
loops: "0-3,8"
listeners:
  - address: "[::]:8080"
    socket: {no_delay: false, keep_alive: 0, receive_buffer: 1 MiB, defer_accept: 0s, congestion: bbr}
  - {address: localhost:8081, protocols: [h2c, http1]}
  - {address: unix:/run/z.sock, protocols: [h2c], socket: {mode: 0660, user: "33", group: www-data}}
upstreams:
  a:
    endpoints: [{address: "[::1]:80"}, {address: "name_with.under-score:80"}, {address: "unix:/run/o.sock"}]
    pool: {max_connections: 8}
    host: "[::1]:80"
  b: {protocol: h2c, endpoints: [{address: "localhost:1"}], host: "example.com"}
routes:
  - {path: /, host: "*.Example.COM", upstream: a}
  - {path: "/a:b/%2Fc//größe/:p-1/*", host: "[::1]", methods: [PROPFIND, M-SEARCH], upstream: b, listener: "127.0.0.1:8081"}
  - {path: "/r", redirect: {to: "http://x/y?z=%20"}}
  - {path: "/ws", upstream: a, websocket: {idle_timeout: 5m, max_message: 1 MiB, max_frame: 0, ping_interval: 30s, max_connections: 100}}
  - {path: "/wt", upstream: a, websocket: {mode: tunnel}}
limits: {body_bytes: 5000, keepalive_timeout: 1m30.5s}
http2: {stream_window: 32MiB, header_table: 0}
forwarding: {trusted_proxies: ["10.0.0.0/8", "::1", "192.168.1.1"]}
error_pages: {404: "a.txt", 500: "b.json", 502: "c.xyz"}
access_log:
admin:
`

func TestValues(t *testing.T) {
	c := mustParse(t, everyKind)
	prefixes := func(s ...string) (out []netip.Prefix) {
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, check := range []struct{ got, want any }{
		{c.Loops, Loops{CPUs: "0-3,8"}},
		{c.Listeners[0].Socket, Socket{RcvBuf: 1 << 20, Backlog: 4096, Congestion: "bbr"}},
		{c.Listeners[1].Address, "127.0.0.1:8081"}, // localhost is a number from here on
		{c.Listeners[1].Protocols, []string{"h2c", "http1"}},
		{c.Listeners[2].Protocols, []string{"h2c"}},
		{c.Upstreams[0].Protocol, "http1"},
		{c.Upstreams[1].Protocol, "h2c"},
		{c.HTTP2.StreamWindow, Size(32 << 20)},
		{c.HTTP2.ConnectionWindow, Size(32 << 20)}, // the default gives way to stream_window
		{c.HTTP2.HeaderTable, Size(0)},
		{c.HTTP2.IdleTimeout, 90*time.Second + 500*time.Millisecond}, // as keepalive_timeout
		{mustParse(t, base+"http2: {idle_timeout: 5s}\n").HTTP2.IdleTimeout, 5 * time.Second},
		{mustParse(t, base+"http2:\n").HTTP2.MaxStreams, 512},
		{c.Routes[1].Listener, "127.0.0.1:8081"},
		{c.Routes[0].Host, "*.example.com"},
		{c.Upstreams[0].Pool.MaxIdle, 8}, // the default gives way to max_connections
		{c.Upstreams[1].Pool.MaxIdle, 256},
		{c.Limits.BodyBytes, Size(5000)},
		{c.Limits.KeepaliveTimeout, 90*time.Second + 500*time.Millisecond},
		{c.Forwarding.TrustedProxies, prefixes("10.0.0.0/8", "::1/128", "192.168.1.1/32")},
		{c.Routes[2].Redirect, &Redirect{To: "http://x/y?z=%20", Status: 302}},
		{c.Routes[3].WebSocket, &WebSocket{Mode: "frames", IdleTimeout: 5 * time.Minute, MaxMessage: 1 << 20, PingInterval: 30 * time.Second, MaxConnections: 100}},
		{c.Routes[4].WebSocket, &WebSocket{Mode: "tunnel"}},
		{c.Routes[2].WebSocket, (*WebSocket)(nil)},
		{c.ErrorPages[404].ContentType, "text/plain; charset=utf-8"},
		{c.ErrorPages[500].ContentType, "application/json"},
		{c.ErrorPages[502].ContentType, "text/html; charset=utf-8"},
		{c.AccessLog.Path, ""},
		{c.Admin.Address, ""},
		{mustParse(t, "loops: 3\n"+base).Loops, Loops{N: 3}},
		{mustParse(t, "batch_wait: auto\n"+base).BatchWait, BatchWait{Auto: true}},
		{mustParse(t, "batch_wait: 50us\n"+base).BatchWait, BatchWait{Time: 50 * time.Microsecond}},
		{mustParse(t, "batch_wait: 0\n"+base).BatchWait, BatchWait{}},
		{mustParse(t, "loops: 0-0\n"+base).Loops, Loops{CPUs: "0-0"}},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("got %+v, want %+v", check.got, check.want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1": 1, "7B": 7, "16KiB": 16384, "16 KiB": 16384, "64MiB": 64 << 20,
		"2GiB": 2 << 30, "1TiB": 1 << 40, "1KB": 1000, "1kB": 1000, "3MB": 3e6, "1GB": 1e9, "1TB": 1e12} {
		got, hint, ok := parseSize(text)
		if !ok || Size(got) != want {
			t.Errorf("%s: %d %v %s", text, got, ok, hint)
		}
		if again, _, ok := parseSize(Size(got).String()); !ok || again != got {
			t.Errorf("%s is shown as %s", text, Size(got))
		}
	}
	for _, text := range []string{"", "-1", "+1", "1e3", "1_000", "01", "1 ", "1  KiB", "KiB", "8EiB", "16kib", "1.5MiB",
		"9223372036854775808", "9007199254740993TiB"} {
		if n, _, ok := parseSize(text); ok {
			t.Errorf("%q is accepted as %d", text, n)
		}
	}
}

// TestJSON has what YAML parsers trip over, and positions.
func TestJSON(t *testing.T) {
	const text = "\r\n\t{\"listeners\": [\n\t\t{\"address\": \"127.0.0.1:8080\"}],\n" +
		"\t\"routes\": [{\"path\": \"\\/*\", \"respond\": {\"status\": 200, \"body\": \"\\ud83d\\ude00 \\u003c\\t\"}}],\n" +
		"\t\"limits\": {\"body_bytes\": 5, \"headers\": 64}, \"forwarding\": {\"x_forwarded\": false}, \"admin\": null}\n"
	c := mustParse(t, text)
	if c.Routes[0].Path != "/*" || c.Routes[0].Respond.Body != "\U0001F600 <\t" || c.Limits.BodyBytes != 5 ||
		c.Limits.Headers != 64 || c.Forwarding.XForwarded || c.Admin.Address != "" {
		t.Errorf("got %+v", c)
	}
	if got := c.Listeners[0].Pos; got != (Pos{3, 3}) {
		t.Errorf("the listener is at %v", got)
	}
	_, err := Parse("j", []byte(strings.Replace(text, "64", "64.5", 1)))
	if want := "j:5:41: limits.headers: found 64.5, expected a whole number from 8 to 1024"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	c := mustParse(t, listener+fixed+"upstreams: {a: {endpoints: [{address: \"h:1\"}]}}\n"+
		"admin: {address: \"0.0.0.0:9901\"}\nforwarding: {trusted_proxies: [0.0.0.0/0]}\n")
	var got []string
	for i := range c.Warnings {
		got = append(got, c.Warnings[i].Error())
	}
	want := `test.yaml:4:18: admin.address: found "0.0.0.0:9901", expected a loopback address, a unix: socket, or tokens: it asks nobody for a password
test.yaml:3:13: upstreams.a: found no route to it, expected a route that names it
test.yaml:5:31: forwarding.trusted_proxies: found 0.0.0.0/0, expected the addresses of your own proxies, for now every client may claim to be another`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got:\n%s\nwant:\n%s", s, want)
	}
	if w := mustParse(t, base+"admin: {address: \"[::1]:9901\"}\n").Warnings; len(w) != 0 {
		t.Errorf("warnings without reason: %v", w)
	}
}

func TestNearest(t *testing.T) {
	keys := keysOf(limitFields())
	for word, want := range map[string]string{"header": "headers", "Body_Bytes": "body_bytes", "body-bytes": "body_bytes",
		"keepalive": "keepalive_timeout", "conections": "connections", "x": "", "timeout": "", strings.Repeat("a", 1000): ""} {
		if got := nearest(word, keys); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if n := levenshtein("kitten", "sitting"); n != 3 {
		t.Errorf("distance %d", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range goldenErrors {
		f.Add([]byte(c.file))
	}
	for _, text := range []string{reference, everyKind, string(QuickstartYAML()), "&a [*a]", "&a {*a : *a}", "routes: &r [*r]",
		"upstreams: &u {a: *u}", `{"a":"\ud800"}`, "- \xef\xbb\xbf", "? ? ?", "!!binary x", "%YAML 9.9\n---\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if (c == nil) == (err == nil) {
			t.Fatal("neither or both of configuration and error")
		}
		if err != nil {
			list := *err.(*Errors)
			for i := range list {
				if line := list[i].Error(); strings.ContainsAny(line, "\n\r\x1b") || list[i].Line < 1 || list[i].Col < 1 {
					t.Fatalf("not a line that can be shown: %q", line)
				}
			}
			return
		}
		if len(c.Listeners) == 0 || len(c.Routes) == 0 || c.Buffers.MaxPerLoop%c.Buffers.Block != 0 {
			t.Fatalf("accepted %+v", c)
		}
	})
}

func BenchmarkParse100000Routes(b *testing.B) {
	var text strings.Builder
	text.WriteString(listener + dial + "routes:\n")
	for i := range 100_000 {
		fmt.Fprintf(&text, "  - {path: \"/service%d/items/:id\", upstream: app}\n", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, text.String())
	}
}

// A status is a number, and is taken as one, beside ranges, which are text.
func TestStatusesAreNumbers(t *testing.T) {
	c, err := Parse("f", []byte(checked+"{status: [200, 301-302, \"404\"]}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Upstreams[0].HealthCheck.Status, " "); got != "200 301-302 404" {
		t.Errorf("got %s", got)
	}
}
