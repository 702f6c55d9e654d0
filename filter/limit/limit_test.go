package limit

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/filter"
	"zproxy/proto"
	"zproxy/proto/http1"
)

const second = int64(time.Second)

// settingsOf is the filter that text, flow YAML, describes.
func settingsOf[S any](t *testing.T, kind, text string) *S {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte("filters: [{"+kind+": "+text+"}]\nlisteners: [{address: \"127.0.0.1:1\"}]\nroutes: [{path: \"/*\", respond: {status: 200}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return c.Filters[0].Settings.(*S)
}

func newRate(t *testing.T, text string) *Rate {
	t.Helper()
	f, err := NewRate(settingsOf[config.RateLimit](t, "rate_limit", text), 1)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newConcurrency(t *testing.T, text string) *Concurrency {
	t.Helper()
	f, err := NewConcurrency(settingsOf[config.ConcurrencyLimit](t, "concurrency_limit", text), 1)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// request is one from client with the lines of fields.
func request(t testing.TB, client string, lines ...string) *filter.Request {
	t.Helper()
	q := filter.NewRequest()
	q.Begin()
	q.Now = second
	if client != "" {
		q.Client = netip.MustParseAddr(client)
	}
	q.Head = new(proto.Head)
	text := []byte("GET / HTTP/1.1\r\nHost: h\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n")
	if _, _, fault := http1.ParseRequest(text, http1.Cursor{}, &http1.Limits{HeadBytes: 8192, Fields: 64, LineBytes: 4096}, q.Head); fault != nil {
		t.Fatal(fault.Reason)
	}
	return q
}

// added are the fields that the client gets, by their names.
func added(q *filter.Request) map[string]string {
	fields := map[string]string{}
	for _, f := range q.Respond.Apply(nil) {
		fields[f.Name] += string(f.Value)
	}
	return fields
}

// Requests count together however a client spells what they are counted by.
func TestWhatCountsTogether(t *testing.T) {
	type one struct {
		client string
		lines  []string
	}
	for name, c := range map[string]struct {
		filter string
		a, b   one
		same   bool
	}{
		"another address":                 {"", one{client: "192.0.2.1"}, one{client: "192.0.2.2"}, false},
		"IPv4 in IPv6":                    {"", one{client: "192.0.2.1"}, one{client: "::ffff:192.0.2.1"}, true},
		"the same /64":                    {"", one{client: "2001:db8::1"}, one{client: "2001:db8::2:3:4:5"}, true},
		"another /64":                     {"", one{client: "2001:db8::1"}, one{client: "2001:db8:0:1::1"}, false},
		"whole addresses":                 {"ipv6_prefix: 128", one{client: "2001:db8::1"}, one{client: "2001:db8::2"}, false},
		"the same /24":                    {"ipv4_prefix: 24", one{client: "192.0.2.1"}, one{client: "192.0.2.200"}, true},
		"no address":                      {"", one{}, one{}, true},
		"another key":                     {"key: [header.x-key]", one{"192.0.2.1", []string{"X-Key: a"}}, one{"192.0.2.1", []string{"X-Key: b"}}, false},
		"the same key from elsewhere":     {"key: [header.x-key]", one{"192.0.2.1", []string{"X-Key: a"}}, one{"192.0.2.2", []string{"x-KEY:  a "}}, true},
		"the name by CGI":                 {"key: [header.x-key]", one{"192.0.2.1", []string{"X-Key: a"}}, one{"192.0.2.1", []string{"X_Key: a"}}, true},
		"keys that come twice":            {"key: [header.x-key]", one{"192.0.2.1", []string{"X-Key: a", "X-Key: 1"}}, one{"192.0.2.1", []string{"X-Key: a", "x-key: 2"}}, true},
		"a key before another":            {"key: [header.x-key]", one{"192.0.2.1", []string{"X-Key: 1", "X-Key: a"}}, one{"192.0.2.1", []string{"x-key: 2", "X-Key: b"}}, true},
		"a key twice is none of them":     {"key: [header.x-key]", one{"192.0.2.1", []string{"X-Key: a", "X-Key: a"}}, one{"192.0.2.1", []string{"X-Key: a"}}, false},
		"no key":                          {"key: [header.x-key]", one{client: "192.0.2.1"}, one{client: "192.0.2.2"}, true},
		"an empty one":                    {"key: [header.x-key]", one{client: "192.0.2.1"}, one{"192.0.2.2", []string{"X-Key:"}}, true},
		"of two parts the other differs":  {"key: [address, header.x-key]", one{"192.0.2.1", []string{"X-Key: a"}}, one{"192.0.2.2", []string{"X-Key: a"}}, false},
		"parts that run into one another": {"key: [header.a, header.b]", one{"192.0.2.1", []string{"A: xy", "B: z"}}, one{"192.0.2.1", []string{"A: x", "B: yz"}}, false},
	} {
		f := newRate(t, "{name: n, requests: 1, per: 1m, "+c.filter+"}")
		if v := f.Request(request(t, c.a.client, c.a.lines...)); v != filter.Continue {
			t.Errorf("%s: the first request is refused", name)
		}
		if v := f.Request(request(t, c.b.client, c.b.lines...)); (v == filter.Reply) != c.same {
			t.Errorf("%s: verdict %d, counted together is to be %v", name, v, c.same)
		}
	}
}

func TestRoutesAndUsers(t *testing.T) {
	f := newRate(t, "{name: n, requests: 1, per: 1m, key: [route, user]}")
	if f.Class() != filter.ClassRateKnown {
		t.Error("it runs before the user is known")
	}
	ask := func(route uint64, sub string) filter.Verdict {
		q := request(t, "192.0.2.1")
		if q.Route = route; sub != "" {
			q.User = []byte(sub)
		}
		return f.Request(q)
	}
	for _, c := range []struct {
		route uint64
		sub   string
		want  filter.Verdict
	}{{1, "a", filter.Continue}, {1, "b", filter.Continue}, {2, "a", filter.Continue}, {1, "a", filter.Reply}, {1, "", filter.Continue}, {1, "", filter.Reply}} {
		if v := ask(c.route, c.sub); v != c.want {
			t.Errorf("route %d, %q: verdict %d, want %d", c.route, c.sub, v, c.want)
		}
	}
}

func TestWhatClientsAreTold(t *testing.T) {
	f := newRate(t, "{name: login, requests: 2, per: 1m, status: 503}")
	q := request(t, "192.0.2.1")
	if f.Request(q); added(q)["RateLimit-Policy"] != `"login";q=2;w=60` || added(q)["RateLimit"] != `"login";r=1;t=30` || added(q)["Retry-After"] != "" {
		t.Errorf("%v", added(q))
	}
	f.Request(request(t, "192.0.2.1"))
	q = request(t, "192.0.2.1")
	if v := f.Request(q); v != filter.Reply || q.Status != 503 || q.Reason != Exceeded {
		t.Errorf("verdict %d, %d %q", v, q.Status, q.Reason)
	}
	if added(q)["RateLimit"] != `"login";r=0;t=30` || added(q)["Retry-After"] != "30" {
		t.Errorf("%v", added(q))
	}
	f = newRate(t, "{name: n, requests: 1, per: 1m, fields: false, dry_run: true}")
	for i := range 2 {
		q = request(t, "192.0.2.1")
		if v := f.Request(q); v != filter.Continue || q.WouldRefuse != (i == 1) || len(added(q)) > 0 {
			t.Errorf("request %d in a dry run: verdict %d, would refuse %v, %v", i, v, q.WouldRefuse, added(q))
		}
	}
	f = newRate(t, "{name: n, requests: 1, per: 1m, key: [header.x-key], missing: pass}")
	for range 3 {
		if q := request(t, "192.0.2.1"); f.Request(q) != filter.Continue || len(added(q)) > 0 {
			t.Errorf("a request without the key: %v", added(q))
		}
	}
}

func TestConcurrency(t *testing.T) {
	f := newConcurrency(t, "{name: n, requests: 2}")
	a, b := request(t, "192.0.2.1"), request(t, "192.0.2.1")
	if f.Request(a) != filter.Continue || f.Request(b) != filter.Continue || !a.Holds() {
		t.Fatal("requests are refused, or not held")
	}
	q := request(t, "192.0.2.1")
	if v := f.Request(q); v != filter.Reply || q.Status != 429 || q.Reason != Busy || q.Holds() {
		t.Errorf("verdict %d, %d %q", v, q.Status, q.Reason)
	}
	if added(q)["RateLimit-Policy"] != `"n";q=2;qu="concurrent-requests"` {
		t.Errorf("%v", added(q))
	}
	if v := f.Request(request(t, "192.0.2.2")); v != filter.Continue {
		t.Error("another key is refused")
	}
	a.Release()
	a.Release()
	if f.Request(request(t, "192.0.2.1")) != filter.Continue || f.Request(request(t, "192.0.2.1")) != filter.Reply {
		t.Error("one that has ended makes room for more, or less, than one")
	}
	f = newConcurrency(t, "{name: n, requests: 1, dry_run: true}")
	f.Request(request(t, "192.0.2.1"))
	if q := request(t, "192.0.2.1"); f.Request(q) != filter.Continue || !q.WouldRefuse || q.Holds() {
		t.Error("a dry run refuses, or does not count")
	}
	f = newConcurrency(t, "{name: n, requests: 1, max_keys: 1}")
	for k := range 100 {
		q := request(t, netip.AddrFrom4([4]byte{192, 0, 2, byte(k)}).String())
		if f.Request(q) == filter.Reply {
			if q.Reason != Full {
				t.Errorf("%q", q.Reason)
			}
			return
		}
	}
	t.Error("a table for one key has room for a hundred")
}

func TestLimitsAllocateNothing(t *testing.T) {
	f, g := newRate(t, "{name: n, requests: 1000000, key: [address, header.x-key]}"), newConcurrency(t, "{name: n, requests: 10}")
	q := request(t, "2001:db8::1", "X-Key: a")
	if n := testing.AllocsPerRun(1000, func() {
		q.Begin()
		f.Request(q)
		g.Request(q)
		q.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"rate_limit: {name: n}":                                                     "requests",
		"rate_limit: {requests: 1}":                                                 "name",
		"rate_limit: {name: n, requests: 2000, per: 1ms}":                           "at most 1000000 a second",
		"rate_limit: {name: n, requests: 1, per: 8760h, burst: 2}":                  "within a year",
		"rate_limit: {name: n, requests: 1, key: [address, address]}":               "a second time",
		"rate_limit: {name: n, requests: 1, key: [adress]}":                         "header.NAME",
		"rate_limit: {name: n, requests: 1, key: [\"header.a b\"]}":                 "header.NAME",
		"rate_limit: {name: n, requests: 1, status: 200}":                           "one of 403, 429, 503",
		"concurrency_limit: {name: n, requests: 0}":                                 "1",
		"concurrency_limit: {name: n, requests: 1, key: [header.a], missing: skip}": "pass",
	} {
		_, err := config.Parse("test.yaml", []byte("filters: [{"+text+"}]\nlisteners: [{address: \"127.0.0.1:1\"}]\nroutes: [{path: \"/*\", respond: {status: 200}}]\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
