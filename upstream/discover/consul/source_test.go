package consul

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/upstream/discover"
)

// agent stands in for Consul's: it answers as its documentation says, or as a test does.
type agent struct {
	*httptest.Server

	mu       sync.Mutex
	index    uint64
	body     string
	changed  chan struct{} // closed at the next change
	queries  []url.Values
	tokens   []string
	as       http.HandlerFunc // instead of all that
	filtered bool
	waiting  int // queries that are held
}

func startAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{index: 10, body: "[]", changed: make(chan struct{})}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(func() { a.Server.CloseClientConnections(); a.Server.Close() })
	return a
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	q := r.URL.Query()
	a.queries, a.tokens = append(a.queries, q), append(a.tokens, r.Header.Get("X-Consul-Token"))
	as, changed := a.as, a.changed
	index, _ := strconv.ParseUint(q.Get("index"), 10, 64)
	wait, _ := time.ParseDuration(q.Get("wait"))
	holds := index != 0 && index >= a.index
	if holds && as == nil {
		a.waiting++
	}
	a.mu.Unlock()
	switch {
	case as != nil:
		as(w, r)
		return
	case r.URL.Path != "/v1/health/service/app":
		http.Error(w, "no such path", http.StatusNotFound)
		return
	case holds:
		limit := time.NewTimer(wait)
		defer limit.Stop()
		select {
		case <-changed:
		case <-limit.C:
		case <-r.Context().Done():
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if holds {
		a.waiting--
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-LastContact", "0")
	if a.filtered {
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
	}
	io.WriteString(w, a.body)
}

// become has the agent's state change, and whoever waits for that be answered.
func (a *agent) become(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.changed)
	a.changed = make(chan struct{})
}

// holds waits until a query is held.
func (a *agent) holds(t *testing.T) {
	t.Helper()
	await(t, "a query is held", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.waiting > 0 })
}

// serves has instances at these addresses be all that there are.
func (a *agent) serves(addrs ...string) {
	a.become(func() { a.index++; a.body = instances(addrs...) })
}

func instances(addrs ...string) string {
	var all []string
	for _, at := range addrs {
		host, port, _ := strings.Cut(at, ":")
		all = append(all, fmt.Sprintf(`{"Node": {"Node": "n", "Address": "10.9.9.9", "Datacenter": "dc1"}, "Service": {"ID": "a", "Service": "app", "Address": %q, "Port": %s, "Weights": {"Passing": 1, "Warning": 1}},
			"Checks": [{"Status": "passing"}]}`, host, port))
	}
	return "[" + strings.Join(all, ",") + "]"
}

// asked is how many queries there were for which ok holds.
func (a *agent) asked(ok func(q url.Values) bool) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.queries {
		if ok(q) {
			n++
		}
	}
	return n
}

// told is a Sink that keeps what it is told.
type told struct {
	mu    sync.Mutex
	lists [][]discover.Endpoint
	errs  []string
}

func (s *told) Found(list []discover.Endpoint) {
	s.mu.Lock()
	s.lists = append(s.lists, list)
	s.mu.Unlock()
}
func (s *told) Failed(err error) {
	s.mu.Lock()
	s.errs = append(s.errs, err.Error())
	s.mu.Unlock()
}
func (s *told) Same() {}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// has waits until the last list is of these addresses.
func (s *told) has(t *testing.T, addrs ...string) {
	t.Helper()
	await(t, fmt.Sprint("the endpoints are ", addrs), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.lists) == 0 || len(s.lists[len(s.lists)-1]) != len(addrs) {
			return false
		}
		for i, e := range s.lists[len(s.lists)-1] {
			if e.Address != addrs[i] {
				return false
			}
		}
		return true
	})
}

// fails waits for an error with words in it behind the first n.
func (s *told) fails(t *testing.T, n int, words string) {
	t.Helper()
	await(t, fmt.Sprintf("an error with %q", words), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.errs) > n && !strings.Contains(s.errs[len(s.errs)-1], words) {
			t.Fatalf("it fails with %q, expected %q", s.errs[len(s.errs)-1], words)
		}
		return len(s.errs) > n
	})
}

func (s *told) failures() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.errs) }

func (a *agent) config() *config.DiscoverConsul {
	return &config.DiscoverConsul{Service: "app", URL: a.URL, Health: "passing", QueryWait: time.Minute, ZoneMeta: "zone"}
}

// run has a source run until the test ends.
func run(t *testing.T, c *config.DiscoverConsul, grace time.Duration) *told {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.(*source).grace = grace
	to := new(told)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx, to) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return to
}

func TestQueriesBlock(t *testing.T) {
	a := startAgent(t)
	a.Start()
	a.serves("10.0.0.1:80")
	s := run(t, a.config(), time.Minute)
	s.has(t, "10.0.0.1:80")
	for i := range 3 {
		a.serves(fmt.Sprintf("10.0.1.%d:80", i), "10.0.0.1:80")
		s.has(t, fmt.Sprintf("10.0.1.%d:80", i), "10.0.0.1:80")
	}
	a.serves()
	s.has(t)
	// Without a change there is no response: each list but the first one has a change behind it.
	s.mu.Lock()
	if len(s.lists) != 5 || len(s.errs) > 0 {
		t.Errorf("there were %d lists and the errors %v", len(s.lists), s.errs)
	}
	s.mu.Unlock()
	if n := a.asked(func(q url.Values) bool { return q.Get("index") == "" }); n != 1 {
		t.Errorf("%d queries were without index, expected the first one", n)
	}
	// A query whose time is over says the same again.
	a.holds(t)
	a.become(func() {})
	await(t, "another list", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.lists) == 6 })
}

func TestIndexes(t *testing.T) {
	for _, c := range []struct{ asked, got, want uint64 }{
		{0, 5, 5}, {5, 5, 5}, {5, 9, 9}, {9, 5, 0}, {0, 0, 1}, {9, 0, 1}, {1, 1, 1}, {0, 1<<64 - 1, 1<<64 - 1},
	} {
		if got := following(c.asked, c.got); got != c.want {
			t.Errorf("a query with %d and a response with %d: %d is next, expected %d", c.asked, c.got, got, c.want)
		}
	}
	// Servers that were restored have lower indexes than before.
	a := startAgent(t)
	a.Start()
	a.serves("10.0.0.1:80")
	s := run(t, a.config(), time.Minute)
	s.has(t, "10.0.0.1:80")
	a.holds(t)
	a.become(func() { a.index = 3; a.body = instances("10.0.0.2:80") })
	s.has(t, "10.0.0.2:80")
	await(t, "it begins anew", func() bool { return a.asked(func(q url.Values) bool { return q.Get("index") == "" }) == 2 })
	a.serves("10.0.0.3:80")
	s.has(t, "10.0.0.3:80")
	// An index of 0 never blocks, and is not asked with.
	a.holds(t)
	a.become(func() { a.index = 0 })
	await(t, "it asks with 1", func() bool { return a.asked(func(q url.Values) bool { return q.Get("index") == "1" }) > 0 })
}

func TestParameters(t *testing.T) {
	a := startAgent(t)
	a.Start()
	token := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	c := a.config()
	c.Tags, c.Filter, c.Datacenter, c.Namespace, c.Partition, c.Stale, c.TokenFile = []string{"a", "b"}, `Node.Meta.r == "1"`, "dc2", "ns2", "p2", true, token
	s := run(t, c, time.Minute)
	s.has(t)
	a.mu.Lock()
	want := url.Values{"tag": {"a", "b"}, "filter": {`Node.Meta.r == "1"`}, "dc": {"dc2"}, "ns": {"ns2"}, "partition": {"p2"}, "stale": {""}, "passing": {"true"}, "wait": {"60000ms"}}
	if got := a.queries[0]; !reflect.DeepEqual(got, want) || a.tokens[0] != "one" {
		t.Errorf("the query is %v with the token %q, expected %v", got, a.tokens[0], want)
	}
	a.mu.Unlock()
	write("two")
	a.serves("10.0.0.1:80") // answers the query with the old token
	s.has(t, "10.0.0.1:80")
	a.serves("10.0.0.2:80")
	s.has(t, "10.0.0.2:80")
	a.mu.Lock()
	if last := a.tokens[len(a.tokens)-1]; last != "two" {
		t.Errorf("when the token's file has another one, %q is sent", last)
	}
	a.mu.Unlock()
	write("\n")
	a.serves()
	s.fails(t, 0, "one line with a token")
	was := s.failures()
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	await(t, "the file is missed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.errs) > was && strings.Contains(s.errs[len(s.errs)-1], "no such file")
	})
	write("three")
	s.has(t)
}

// What goes wrong is told, and asked past: at first at once, then less often, and for what there is now.
func TestFailures(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Consul-Index", "900")
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		what, words string
		as          http.HandlerFunc
		filtered    bool
	}{
		{what: "forbidden", words: "status 403: Permission denied: token", as: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Permission denied: token\nlacks", http.StatusForbidden)
		}},
		{what: "no leader", words: "status 500: No cluster leader", as: answer(500, "No cluster leader")},
		{what: "too many queries", words: "status 429", as: answer(429, "")},
		{what: "another server's page", words: `"text/html", expected application/json`, as: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, "[]")
		}},
		{what: "a redirect", words: "status 302", as: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		{what: "half JSON", words: "the connection ended within a response", as: answer(200, instances("10.0.0.9:80")[:60])},
		{what: "other JSON", words: "a response that makes no sense", as: answer(200, `{"a": 1}`)},
		{what: "a cut body", words: "the connection ended within a response", as: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9000")
			answer(200, instances("10.0.0.9:80"))(w, r)
			panic(http.ErrAbortHandler)
		}},
		{what: "no response", words: "the connection ended within a response", as: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{what: "silence", words: "no response in time", as: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{what: "an instance with a name", words: `"web.example": expected an IP address`, as: answer(200, instances("10.0.0.1:80", "web.example:80"))},
		{what: "an instance without a port", words: "has the port 0", as: answer(200, instances("10.0.0.1:0"))},
		{what: "half an instance", words: "without service or node", as: answer(200, "[{}]")},
		{what: "nothing that may be seen", words: "service:read and node:read", filtered: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			a := startAgent(t)
			a.Start()
			a.serves("10.0.0.1:80")
			cfg := a.config()
			cfg.QueryWait = 10 * time.Millisecond
			s := run(t, cfg, 300*time.Millisecond)
			s.has(t, "10.0.0.1:80")
			lists := func() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.lists) }
			was := s.failures()
			a.become(func() { a.as, a.filtered, a.body = c.as, c.filtered, "[]"; a.index++ })
			s.fails(t, was, c.words)
			n := lists()
			s.fails(t, s.failures(), c.words)
			if lists() != n {
				t.Error("it has found endpoints as well")
			}
			a.become(func() { a.as, a.filtered = nil, false; a.index = 1; a.body = instances("10.0.0.2:80") })
			s.has(t, "10.0.0.2:80")
		})
	}
}

// A server that knows no leader may know no endpoint yet.
func TestStaleWithoutLeader(t *testing.T) {
	a := startAgent(t)
	a.Start()
	body := "[]"
	var mu sync.Mutex
	a.as = func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Consul-KnownLeader", "false")
		io.WriteString(w, body)
	}
	c := a.config()
	c.Stale = true
	s := run(t, c, time.Minute)
	s.fails(t, 0, "knows no leader")
	mu.Lock()
	body = instances("10.0.0.1:80")
	mu.Unlock()
	s.has(t, "10.0.0.1:80")
}

func TestUnreachable(t *testing.T) {
	a := startAgent(t)
	a.Start()
	c := a.config()
	a.Close()
	s := run(t, c, time.Minute)
	s.fails(t, 1, "dial "+strings.TrimPrefix(c.URL, "http://")+": connect: connection refused")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.errs[0] != s.errs[1] {
		t.Errorf("the same trouble is %q and %q", s.errs[0], s.errs[1])
	}
}

func TestTLS(t *testing.T) {
	a := startAgent(t)
	a.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	a.StartTLS()
	a.serves("10.0.0.1:80")
	c := a.config()
	s := run(t, c, time.Minute)
	s.fails(t, 0, "certificate signed by unknown authority")
	c = a.config()
	c.TLS = &config.DiscoverTLS{CAPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), ServerName: "example.com"}
	run(t, c, time.Minute).has(t, "10.0.0.1:80")
	c.TLS.ServerName = "other.test"
	run(t, c, time.Minute).fails(t, 0, "not other.test")
	shown := make(chan int, 100)
	a.become(func() {
		a.as = func(_ http.ResponseWriter, r *http.Request) { shown <- len(r.TLS.PeerCertificates) }
	})
	key, err := x509.MarshalPKCS8PrivateKey(a.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c = a.config()
	c.TLS = &config.DiscoverTLS{CAPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), ServerName: "example.com",
		Client: &config.Certificate{CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})}}
	run(t, c, time.Minute)
	if n := <-shown; n != 1 {
		t.Errorf("%d certificates are shown", n)
	}
	c.TLS.CAPEM = []byte("none")
	if _, err := New(c); err == nil {
		t.Error("authorities without a certificate were accepted")
	}
}

func TestInstances(t *testing.T) {
	text := func(node, service, checks string) string {
		return fmt.Sprintf(`{"Node": {"ID": "x", "Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1"%s}, "Service": {"ID": "a1", "Port": 80%s}, "Checks": [%s]}`, node, service, checks)
	}
	const (
		weights = `, "Weights": {"Passing": 4, "Warning": 2}`
		well    = `{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "c", "Status": "passing"}`
		warns   = `{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "c", "Status": "warning"}`
	)
	is := func(at string, weight int, zone string, labels ...string) discover.Endpoint {
		e := discover.Endpoint{Address: at, Weight: weight, Zone: zone, Labels: map[string]string{"node": "n1"}}
		for i := 0; i < len(labels); i += 2 {
			e.Labels[labels[i]] = labels[i+1]
		}
		return e
	}
	for _, c := range []struct {
		what, health, text string
		want               []discover.Endpoint
	}{
		{"the node's address", "passing", text("", weights, well), []discover.Endpoint{is("10.0.0.1:80", 4, "dc1")}},
		{"its own address", "passing", text("", weights+`, "Address": "10.0.0.2"`, well), []discover.Endpoint{is("10.0.0.2:80", 4, "dc1")}},
		{"IPv6", "passing", text("", weights+`, "Address": "2001:DB8::1"`, well), []discover.Endpoint{is("[2001:db8::1]:80", 4, "dc1")}},
		{"several ports", "passing", text("", `, "Ports": [{"Port": 1}, {"Port": 81, "Default": true}]`, well), []discover.Endpoint{is("10.0.0.1:81", 1, "dc1")}},
		{"no weights", "passing", text("", "", well), []discover.Endpoint{is("10.0.0.1:80", 1, "dc1")}},
		{"no checks", "passing", text("", weights, ""), []discover.Endpoint{is("10.0.0.1:80", 4, "dc1")}},
		{"a warning counts", "warning", text("", weights, warns), []discover.Endpoint{is("10.0.0.1:80", 2, "dc1")}},
		{"a warning does not", "passing", text("", weights, warns), nil},
		{"critical", "warning", text("", weights, warns+`, {"Status": "critical"}`), nil},
		{"in maintenance", "warning", text("", weights, `{"CheckID": "_node_maintenance", "Status": "critical"}`), nil},
		{"a status that is not known", "warning", text("", weights, `{"Status": "other"}`), nil},
		{"zone of the instance", "passing", text(`, "Meta": {"zone": "z2", "v": "1", "rack": "r1"}`, weights+`, "Meta": {"zone": "z1", "v": "2"}`, well),
			[]discover.Endpoint{is("10.0.0.1:80", 4, "z1", "zone", "z1", "v", "2", "rack", "r1")}},
		{"zone of the node", "passing", text(`, "Meta": {"zone": "z2"}`, weights, well), []discover.Endpoint{is("10.0.0.1:80", 4, "z2", "zone", "z2")}},
		{"locality", "passing", text(`, "Locality": {"Region": "r", "Zone": "z3"}`, weights, well), []discover.Endpoint{is("10.0.0.1:80", 4, "z3")}},
		{"tags", "passing", text("", weights+`, "Tags": ["a", "b"]`, well), []discover.Endpoint{is("10.0.0.1:80", 4, "dc1", "tags", "a,b", "a", "true", "b", "true")}},
		{"tags that are labels", "passing", text("", weights+`, "Meta": {"v": "2"}, "Tags": ["stage=canary", "v=3", "node", "=x"]`, well),
			[]discover.Endpoint{is("10.0.0.1:80", 4, "dc1", "tags", "stage=canary,v=3,node,=x", "stage", "canary", "v", "2")}},
		{"nulls", "passing", text(`, "Meta": null`, weights+`, "Tags": null, "Meta": null`, well), []discover.Endpoint{is("10.0.0.1:80", 4, "dc1")}},
		{"registered twice", "warning", text("", weights, warns) + "," + text("", weights, well), []discover.Endpoint{is("10.0.0.1:80", 4, "dc1")}},
	} {
		s := &source{cfg: &config.DiscoverConsul{Health: c.health, ZoneMeta: "zone"}}
		got, err := s.read(json.NewDecoder(strings.NewReader("[" + c.text + "]")))
		if err != nil || !slices.EqualFunc(got, c.want, func(a, b discover.Endpoint) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("%s: got %+v, %v, expected %+v", c.what, got, err, c.want)
		}
	}
}

func FuzzInstances(f *testing.F) {
	f.Add(instances("10.0.0.1:80", "10.0.0.2:80"))
	f.Add("null")
	f.Add(`[{"Node": {}, "Service": {}, "Checks": [null]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		s := &source{cfg: &config.DiscoverConsul{Health: "warning"}}
		list, err := s.read(json.NewDecoder(strings.NewReader(text)))
		for _, e := range list {
			if err == nil && (e.Weight < 1 || e.Address == "") {
				t.Errorf("%q has the endpoint %+v", text, e)
			}
		}
	})
}
