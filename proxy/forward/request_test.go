package forward

import (
	"net/netip"
	"strings"
	"testing"
	"unique"

	"zproxy/config"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// compiled is the section forwarding of a configuration.
func compiled(t *testing.T, section string) *snapshot.Forwarding {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte("listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: /, respond: {}}]\nforwarding: {"+section+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.NewRegistry(1, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &s.Forwarding
}

// parsed is the head of a request with the given first line and fields, one a line.
func parsed(t *testing.T, first string, fields ...string) *proto.Head {
	t.Helper()
	h := &proto.Head{Fields: make([]proto.Field, 0, 32)}
	text := first + "\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
	if n, _, f := http1.ParseRequest([]byte(text), http1.Cursor{}, &http1.Limits{HeadBytes: 9000, Fields: 32, LineBytes: 999}, h); f != nil || n != len(text) {
		t.Fatalf("%q: %d bytes, %v", text, n, f)
	}
	return h
}

// from is a request whose connection's other end is addr; "unix": it has no address.
func from(f *snapshot.Forwarding, addr string, h *proto.Head) *Request {
	q, p := NewRequest(), new(Peer)
	if addr == "unix" {
		p.Set(f, netip.Addr{}, true, []byte("http"))
	} else {
		p.Set(f, netip.MustParseAddr(addr), false, []byte("http"))
	}
	q.Begin(f, h, p, nil)
	return &q
}

// goesOn is what an origin of HTTP/1 gets of q: fields that stay, and those that are added.
func goesOn(t *testing.T, f *snapshot.Forwarding, q *Request) string {
	t.Helper()
	http1.MarkHopByHop(q.Head)
	noted, verdict := q.Judge(f)
	if verdict != Pass {
		t.Fatalf("verdict %d", verdict)
	}
	fields := NewFields()
	return shown(q.Head, fields.Request(f, q, &Way{Noted: noted, Upgrade: Upgrades(q.Head, true, false)}))
}

func shown(h *proto.Head, extras []proto.Extra) string {
	var b strings.Builder
	for i := range h.Fields {
		if field := &h.Fields[i]; field.Flags&proto.FlagDrop == 0 && field.Token != proto.TokenHost {
			b.WriteString(strings.ToLower(string(h.Bytes(field.Name))) + ": " + string(h.Bytes(field.Value)) + "\n")
		}
	}
	for _, e := range extras {
		b.WriteString(strings.ToLower(e.Name) + ": " + string(e.Value) + "\n")
	}
	return b.String()
}

// Whom a request is for: the other end, or whom the proxies that are trusted name.
func TestClientOfTrustedProxy(t *testing.T) {
	f := compiled(t, `trusted_proxies: ["10.0.0.0/8", "2001:db8::/32"]`)
	for _, c := range []struct{ name, peer, fields, want string }{
		{"nobody is named", "10.9.9.9", "", "10.9.9.9"},
		{"who names is not trusted", "192.0.2.3", "X-Forwarded-For: 192.0.2.1", "192.0.2.3"},
		{"one", "10.9.9.9", "X-Forwarded-For: 192.0.2.1", "192.0.2.1"},
		{"the last that is not trusted", "10.9.9.9", "X-Forwarded-For: 192.0.2.66, 192.0.2.1, 10.0.0.1", "192.0.2.1"},
		{"over several lines", "10.9.9.9", "X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-For: 192.0.2.1,10.0.0.1\r\nX-Forwarded-For: 10.0.0.2", "192.0.2.1"},
		{"all are trusted", "10.9.9.9", "X-Forwarded-For: 10.0.0.1, 10.0.0.2", "10.0.0.1"},
		{"no address", "10.9.9.9", "X-Forwarded-For: unknown", "10.9.9.9"},
		{"a trusted one behind no address", "10.9.9.9", "X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"},
		{"with a port", "10.9.9.9", "X-Forwarded-For: 192.0.2.1:4711", "192.0.2.1"},
		{"IPv6", "10.9.9.9", "X-Forwarded-For: 2001:470::1, 2001:db8::1", "2001:470::1"},
		{"IPv4 in IPv6", "10.9.9.9", "X-Forwarded-For: ::ffff:192.0.2.1", "192.0.2.1"},
		{"a peer of IPv4 in IPv6", "::ffff:10.9.9.9", "X-Forwarded-For: 192.0.2.1", "192.0.2.1"},
		{"empty", "10.9.9.9", "X-Forwarded-For: ", "10.9.9.9"},
		{"by a unix socket", "unix", "X-Forwarded-For: 192.0.2.1", "192.0.2.1"},
		{"by a unix socket, nobody", "unix", "", "invalid IP"},
		{"Forwarded", "10.9.9.9", "Forwarded: for=\"[2001:470::1]:80\";proto=http, for=10.0.0.1", "2001:470::1"},
		{"both", "10.9.9.9", "Forwarded: for=192.0.2.9\r\nX-Forwarded-For: 192.0.2.1", "192.0.2.1"},
		// The examples of RFC 7239, sections 4, 5.2 and 7.1.
		{"RFC 7239 4, a port", "10.9.9.9", `Forwarded: For="[2001:470:cafe::17]:4711"`, "2001:470:cafe::17"},
		{"RFC 7239 4, obfuscated", "10.9.9.9", `Forwarded: for="_gazonk"`, "10.9.9.9"},
		{"RFC 7239 4, several parameters", "10.9.9.9", `Forwarded: for=192.0.2.60;proto=http;by=203.0.113.43`, "192.0.2.60"},
		{"RFC 7239 4, two nodes", "10.9.9.9", `Forwarded: for=192.0.2.43, for=198.51.100.17`, "198.51.100.17"},
		{"RFC 7239 7.1, two lines", "10.9.9.9", "Forwarded: for=192.0.2.43\r\nForwarded: for=10.51.100.17;by=203.0.113.60;proto=http;host=example.com", "192.0.2.43"},
	} {
		fields := []string{"Host: h"}
		if c.fields != "" {
			fields = append(fields, c.fields)
		}
		q := from(f, c.peer, parsed(t, "GET / HTTP/1.1", fields...))
		if got := q.Client.String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if named := c.want != strings.TrimPrefix(c.peer, "::ffff:") && c.want != "invalid IP"; q.Asker(true).Named() != named {
			t.Errorf("%s: another is named: %v", c.name, !named)
		}
	}
}

// What an origin is told of the client, and of the hop before.
func TestFieldsOfRequests(t *testing.T) {
	const all = "forwarded: true, x_real_ip: true, request_id: true, trusted_proxies: [10.0.0.0/8]"
	for _, c := range []struct{ name, section, peer, fields, want string }{
		{"with Via", "via: zproxy", "192.0.2.1", "",
			"x-forwarded-for: 192.0.2.1\nx-forwarded-proto: http\nx-forwarded-host: h:80\nvia: 1.1 zproxy " + snapshot.Instance + "\n"},
		{"not at all", "x_forwarded: false", "192.0.2.1", "X-Forwarded-For: 198.51.100.1", ""},
		{"who is not trusted is not believed", "forwarded: true", "192.0.2.1", "X-Forwarded-For: 198.51.100.1\r\nForwarded: for=198.51.100.1\r\nX-Forwarded-Proto: https",
			"x-forwarded-for: 192.0.2.1\nx-forwarded-proto: http\nx-forwarded-host: h:80\nforwarded: for=192.0.2.1;host=\"h:80\";proto=http\n"},
		{"an IPv6 address is quoted, RFC 7239 6.1", "x_forwarded: false, forwarded: true", "2001:db8::7", "",
			"forwarded: for=\"[2001:db8::7]\";host=\"h:80\";proto=http\n"},
		{"a unix socket has no address, RFC 7239 6.2", "forwarded: true", "unix", "",
			"x-forwarded-proto: http\nx-forwarded-host: h:80\nforwarded: for=unknown;host=\"h:80\";proto=http\n"},
		{"a trusted proxy's are gone on with", all, "10.1.1.1",
			"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nForwarded: for=198.51.100.1\r\nX-Request-ID: r-1\r\nX-Real-IP: 198.51.100.66",
			"x-forwarded-for: 198.51.100.1, 10.0.0.9, 10.1.1.1\nx-forwarded-proto: https\nx-forwarded-host: public\nx-request-id: r-1\nx-real-ip: 198.51.100.1\n" +
				"forwarded: for=198.51.100.1, for=10.1.1.1;host=\"h:80\";proto=http\n"},
		{"other spellings of what is sent", all, "10.1.1.1", "X_Forwarded_For: 198.51.100.1\r\nX-Request-ID: r-2",
			"x-forwarded-for: 10.1.1.1\nx-forwarded-proto: http\nx-forwarded-host: h:80\nx-request-id: r-2\nx-real-ip: 10.1.1.1\nforwarded: for=10.1.1.1;host=\"h:80\";proto=http\n"},
		{"fields of the hop, RFC 9110 7.6.1", "x_forwarded: false", "192.0.2.1",
			"Connection: close, X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: deflate, trailers\r\nX-Other: 1",
			"x-other: 1\nte: trailers\nconnection: TE\n"},
		{"an upgrade, RFC 9110 7.8", "x_forwarded: false", "192.0.2.1", "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: other\r\nSec-WebSocket-Key: k",
			"sec-websocket-key: k\nupgrade: websocket, other\nconnection: upgrade\n"},
		{"an upgrade to HTTP/2 goes no further", "x_forwarded: false", "192.0.2.1", "Connection: upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABk", ""},
	} {
		fields := []string{"Host: h:80"}
		if c.fields != "" {
			fields = append(fields, c.fields)
		}
		f := compiled(t, c.section)
		if got := goesOn(t, f, from(f, c.peer, parsed(t, "GET / HTTP/1.1", fields...))); got != c.want {
			t.Errorf("%s: the origin gets\n%swant\n%s", c.name, got, c.want)
		}
	}
}

// A client's certificate is told where there is one (RFC 9440 2), and no other.
func TestClientCertificate(t *testing.T) {
	f := compiled(t, "x_forwarded: false")
	within := &transport.Session{Terms: new(credentials.Terms), Client: unique.Make(credentials.Client{Cert: ":AA==:", Chain: ":BB==:"})}
	q := from(f, "192.0.2.1", parsed(t, "GET / HTTP/1.1", "Host: h", "Client-Cert: :CC==:", "Client_Cert_Chain: :CC==:"))
	q.TLS = within
	if got, want := goesOn(t, f, q), "client-cert: :AA==:\nclient-cert-chain: :BB==:\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A request for another host than its connection's goes elsewhere.
func TestMisdirected(t *testing.T) {
	f := compiled(t, "")
	for _, c := range []struct {
		name, host string
		want       bool
	}{
		{"a.example", "a.example", false}, {"a.example", "A.Example:443", false}, {"a.example", "b.example", true},
		{"a.example", "192.0.2.1", true}, {"", "192.0.2.1:443", false}, {"", "[2001:db8::1]", false}, {"", "b.example", true},
	} {
		q := from(f, "192.0.2.1", parsed(t, "GET / HTTP/1.1", "Host: "+c.host))
		if q.Misdirected() {
			t.Errorf("in clear %s is misdirected", c.host)
		}
		q.TLS = &transport.Session{Name: c.name, Terms: new(credentials.Terms)}
		if q.Misdirected() != c.want {
			t.Errorf("within TLS for %q %s is misdirected: %v", c.name, c.host, !c.want)
		}
	}
}

// Each request has an identifier, which stays the same while it is looked at.
func TestIDs(t *testing.T) {
	f := compiled(t, "trusted_proxies: [10.0.0.1]")
	q := from(f, "10.0.0.1", parsed(t, "GET / HTTP/1.1", "Host: h"))
	seen := map[string]bool{}
	for _, c := range []struct{ peer, sent, want string }{
		{"10.0.0.1", "", ""}, {"10.0.0.1", "a-B_3.:=+/", "a-B_3.:=+/"}, {"10.0.0.1", "with space", ""}, {"10.0.0.1", `quote"`, ""},
		{"10.0.0.1", strings.Repeat("x", MaxIDBytes), strings.Repeat("x", MaxIDBytes)}, {"10.0.0.1", strings.Repeat("x", MaxIDBytes+1), ""}, {"192.0.2.1", "mine", ""},
	} {
		p := new(Peer)
		p.Set(f, netip.MustParseAddr(c.peer), false, nil)
		q.Begin(f, parsed(t, "GET / HTTP/1.1", "Host: h", "X-Request-ID: "+c.sent), p, nil)
		id := string(q.ID())
		if id != string(q.ID()) || seen[id] {
			t.Errorf("%q of %s: %q, seen before: %v", c.sent, c.peer, id, seen[id])
		}
		if seen[id] = true; c.want != "" && id != c.want || c.want == "" && (len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "") {
			t.Errorf("%q of %s is called %q", c.sent, c.peer, id)
		}
	}
}

// What is done for every request allocates nothing.
func TestRequestAllocatesNothing(t *testing.T) {
	f := compiled(t, "forwarded: true, x_real_ip: true, request_id: true, trusted_proxies: [10.0.0.1]")
	h := parsed(t, "GET / HTTP/1.1", "Host: h", "X-Forwarded-For: 192.0.2.1", "Via: 1.0 a", "TE: trailers")
	q, fields := from(f, "10.0.0.1", h), NewFields()
	if n := testing.AllocsPerRun(100, func() {
		for i := range h.Fields {
			h.Fields[i].Flags = 0
		}
		q.Begin(f, h, q.Peer, nil)
		noted, _ := q.Judge(f)
		fields.Request(f, q, &Way{Noted: noted})
		fields.ResponseLines(f, h, 1, &Stuck{}, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
