package router

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"zproxy/proto"
)

// route is "METHODS host/path", as a test writes it: "GET,HEAD a.example/x/:id", "/x" for any host and all methods.
type route string

func (r route) parts() (host, path string, methods []string) {
	text := string(r)
	if m, rest, ok := strings.Cut(text, " "); ok {
		methods, text = strings.Split(m, ","), rest
	}
	slash := strings.IndexByte(text, '/')
	return text[:slash], text[slash:], methods
}

// table builds a Router whose routes have the values 0, 1, 2...
func table(t testing.TB, routes ...route) *Router {
	t.Helper()
	b := NewBuilder()
	for i, r := range routes {
		host, path, methods := r.parts()
		if err := b.Add(host, path, methods, int32(i)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Build()
}

// ask looks a request up and shows the answer: "2 id=7 *=x/y", "405 GET, HEAD" or "404".
func ask(r *Router, method, host, path string) string { return askIf(r, 0, method, host, path) }

func askIf(r *Router, holds uint64, method, host, path string) string {
	m := Match{Holds: holds}
	return answer(r.Lookup([]byte(host), []byte(path), proto.ParseMethod([]byte(method)), []byte(method), &m), path, &m)
}

// askCache is ask by way of a cache.
func askCache(c *Cache, r *Router, method, host, path string) string {
	return askCacheIf(c, r, 0, method, host, path)
}

func askCacheIf(c *Cache, r *Router, holds uint64, method, host, path string) string {
	m := Match{Holds: holds}
	return answer(c.Lookup(r, []byte(host), []byte(path), proto.ParseMethod([]byte(method)), []byte(method), &m), path, &m)
}

func answer(result Result, path string, m *Match) string {
	switch result {
	case Found:
		text := fmt.Sprint(m.Value)
		for _, p := range m.Params[:m.NParams] {
			text += " " + p.Name + "=" + path[p.Off:p.Off+p.Len]
		}
		return text
	case MethodNotAllowed:
		return "405 " + string(m.Allow.AppendAllow(nil))
	}
	return "404"
}

type request struct{ method, host, path, want string }

func check(t *testing.T, r *Router, requests []request) {
	t.Helper()
	for _, q := range requests {
		if got := ask(r, q.method, q.host, q.path); got != q.want {
			t.Errorf("%s %s%s: %s, want %s", q.method, q.host, q.path, got, q.want)
		}
	}
}

func TestPathPrecedence(t *testing.T) {
	r := table(t, // 0...
		"/*",
		"/users/*rest",
		"/users/:id",
		"/users/me",
		"/users/:id/posts",
		"/users/me/settings",
		"/users/:id/:what",
		"/files/*path",
		"/",
		"/users/",
		"/:a/:b/c",
	)
	check(t, r, []request{
		{"GET", "h", "/", "8"},
		{"GET", "h", "/users", "0 *=users"},
		{"GET", "h", "/users/", "9"},
		{"GET", "h", "/users/me", "3"},
		{"GET", "h", "/users/7", "2 id=7"},
		{"GET", "h", "/users/me/settings", "5"},
		{"GET", "h", "/users/me/posts", "4 id=me"},     // back from the literal "me"
		{"GET", "h", "/users/me/x", "6 id=me what=x"},  // likewise
		{"GET", "h", "/users/me/x/y", "1 rest=me/x/y"}, // further back, to the tail
		{"GET", "h", "/users/7/", "1 rest=7/"},         // a parameter is not empty
		{"GET", "h", "/users//posts", "1 rest=/posts"},
		{"GET", "h", "/x/y/c", "10 a=x b=y"},
		{"GET", "h", "/users/7/c", "6 id=7 what=c"}, // the leftmost literal decides
		{"GET", "h", "/files/", "7 path="},
		{"GET", "h", "/files", "0 *=files"},
		{"GET", "h", "/files/a//b", "7 path=a//b"},
		{"GET", "h", "//", "0 *=/"},
	})
}

func TestHostPrecedence(t *testing.T) {
	r := table(t,
		"/x",
		"/only/any",
		"*.example.com/x",
		"*.b.example.com/x",
		"a.b.example.com/x",
		"*.example.com/only/wild/*",
		"[::1]/x",
		"Upper.Example.ORG./x",
		"*.com/only/com",
	)
	check(t, r, []request{
		{"GET", "a.b.example.com", "/x", "4"},
		{"GET", "A.B.Example.Com:8080", "/x", "4"},
		{"GET", "a.b.example.com.", "/x", "4"},
		{"GET", "a.b.example.com.:80", "/x", "4"},
		{"GET", "c.b.example.com", "/x", "3"},
		{"GET", "d.c.b.example.com", "/x", "3"},
		{"GET", "b.example.com", "/x", "2"},
		{"GET", "example.com", "/x", "0"}, // a wildcard is not its own suffix
		{"GET", ".example.com", "/x", "0"},
		{"GET", "xexample.com", "/x", "0"},
		{"GET", "", "/x", "0"},
		{"GET", "other", "/x", "0"},
		{"GET", "a.b.example.com", "/only/any", "1"},
		{"GET", "a.b.example.com", "/only/wild/y", "5 *=y"},
		{"GET", "a.b.example.com", "/only/com", "8"},
		{"GET", "[::1]:8080", "/x", "6"},
		{"GET", "[::1]", "/x", "6"},
		{"GET", "[::2]", "/x", "0"},
		{"GET", "upper.example.org", "/x", "7"},
	})
	check(t, table(t, "a.example/x"), []request{
		{"GET", "b.example", "/x", "404"},
		{"GET", "", "/x", "404"},
	})
}

func TestMethods(t *testing.T) {
	r := table(t,
		"GET /a",
		"POST,PUT /a",
		"HEAD /b",
		"GET /b",
		"/b",
		"GET /c/:id",
		"POST /c/*",
		"GET /c/special",
		"PURGE,GET /d",
		"POST h.example/a",
		"GET,GET /e",
		"DELETE /f",
		"/*any",
		"PUT other.example/q",
	)
	check(t, r, []request{
		{"GET", "", "/a", "0"},
		{"HEAD", "", "/a", "0"},
		{"PUT", "", "/a", "1"},
		{"DELETE", "", "/a", "12 any=a"}, // a route for the method wins over 405
		{"HEAD", "", "/b", "2"},
		{"GET", "", "/b", "3"},
		{"BREW", "", "/b", "4"},
		{"POST", "", "/c/special", "6 *=special"}, // the literal is not there for POST
		{"GET", "", "/c/special", "7"},
		{"PURGE", "", "/d", "8"},
		{"purge", "", "/d", "12 any=d"},
		{"GET", "h.example", "/a", "0"},
		{"POST", "h.example", "/a", "9"},
	})
	check(t, table(t, "GET /a", "POST,PURGE /a", "DELETE /:x", "PUT *.example/a", "PATCH /b", "OPTIONS /*"), []request{
		{"PATCH", "h.example", "/a", "405 GET, HEAD, POST, PUT, DELETE, OPTIONS, PURGE"},
		{"PATCH", "h", "/a", "405 GET, HEAD, POST, DELETE, OPTIONS, PURGE"},
		{"BREW", "h", "/z", "405 DELETE, OPTIONS"},
		{"BREW", "h", "", "404"},
		{"BREW", "h", "*", "404"},
	})
	check(t, table(t, "POST /a/b"), []request{{"POST", "h", "/a", "404"}, {"GET", "h", "/a/b/", "404"}})
	var m Match
	r.Lookup(nil, []byte("/c/x"), proto.TRACE, nil, &m) // found by /*any
	table(t, "GET /c").Lookup(nil, []byte("/c"), proto.POST, nil, &m)
	if m.Allow.Empty() || !m.Allow.Has(proto.HEAD) || m.Allow.Has(proto.POST) || m.Allow.Has(proto.MethodOther) {
		t.Errorf("Allow holds %q", m.Allow.AppendAllow(nil))
	}
	if (MethodSet{}).AppendAllow(nil) != nil || !(MethodSet{}).Empty() {
		t.Error("the empty set is not empty")
	}
}

// A route is written in any spelling that Normalize makes the same.
func TestPatternSpelling(t *testing.T) {
	r := table(t, "/caf\u00e9/%7euser", "/a%2fb", "/x;v=1", "/v1/things:purge", "/%41")
	check(t, r, []request{
		{"GET", "", "/caf%C3%A9/~user", "0"},
		{"GET", "", "/a%2Fb", "1"},
		{"GET", "", "/a/b", "404"},
		{"GET", "", "/x;v=1", "2"},
		{"GET", "", "/v1/things:purge", "3"},
		{"GET", "", "/A", "4"},
	})
}

func TestAddErrors(t *testing.T) {
	deep := strings.Repeat("/a", MaxSegments)
	many := ""
	for i := range MaxParams {
		many += fmt.Sprintf("/:p%d", i)
	}
	extensions := make([]string, MaxExtensions)
	for i := range extensions {
		extensions[i] = fmt.Sprint("X", i)
	}
	for _, c := range []struct {
		before, route route
		want          []string // parts of the error
	}{
		{"/ok", "/a/:id", nil},
		{route(deep), route(many), nil},
		{"/a/:id", "/a/:other/b", nil},
		{"GET /a", "/a", nil},
		{"/a", "GET /a", nil},
		{"GET h/a", "GET /a", nil},
		{"*.h/a", "h/a", nil},
		{"GET /a/:id", "POST,GET /a/:name", []string{"GET /a/:id", "POST,GET /a/:name", "same requests"}},
		{"/a/*", "/a/*rest", []string{"/a/*", "/a/*rest"}},
		{"H.example/a", "h.example./a", []string{"H.example/a", "h.example./a"}},
		{"/caf%c3%a9", "/caf\u00e9", []string{"same requests"}},
		{"/", "/a?b", []string{"has no ?"}},
		{"/", "/a/*x/b", []string{"only the last segment"}},
		{"/", "/a/*/b", []string{"only the last segment"}},
		{"/", "/a*", []string{"whole segments"}},
		{"/", "/:", []string{"name"}},
		{"/", "/:1", []string{"name"}},
		{"/", "/*a.b", []string{"name"}},
		{"/", "/:a/:a", []string{"a is there twice"}},
		{"/", "/:a/*a", []string{"a is there twice"}},
		{"/", "/a/../b", []string{".."}},
		{"/", "/a/%2e%2e", []string{"can't be"}},
		{"/", "/a/%2e", []string{"can't be"}},
		{"/", "/a%", []string{"can't be"}},
		{"/", "/..;x", []string{"can't be"}},
		{"/", route(deep + "/a"), []string{"at most 32 segments"}},
		{"/", route(many + "/*"), []string{"at most 16 parameters"}},
		{"/", "a..b/x", []string{"empty labels"}},
		{"/", "a.*.b/x", []string{"first label"}},
		{"/", "a.b:80/x", []string{"no port"}},
		{"/", "[::1]:80/x", []string{"IPv6"}},
		{"/", "b\u00fccher.example/x", []string{"xn--"}},
		{"/", "a_b.example/x", nil},
		{"/", "a,b/x", []string{"has no ','"}},
		{"/", route(strings.Repeat("a.", 128) + "b/x"), []string{"253"}},
		{"/", "get /a", []string{"write GET"}},
		{"/", "A(B /a", []string{"A(B"}},
		{"/", ", /a", []string{`""`}},
		{route(strings.Join(extensions, ",") + " /"), "PURGE /a", []string{"PURGE", "one too many"}},
	} {
		b := NewBuilder()
		host, path, methods := c.before.parts()
		if err := b.Add(host, path, methods, 1); err != nil {
			t.Fatal(err)
		}
		host, path, methods = c.route.parts()
		err := b.Add(host, path, methods, 2)
		if (err != nil) != (c.want != nil) {
			t.Errorf("%s after %s: %v", c.route, c.before, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s after %s: %v lacks %q", c.route, c.before, err, part)
			}
		}
	}
	if err := NewBuilder().Add("", "relative", nil, 0); err == nil {
		t.Error("a path without its slash was taken")
	}
}

// A route that was refused leaves no trace.
func TestRefusedRouteIsNotThere(t *testing.T) {
	b := NewBuilder()
	for i, r := range []string{"/a/:id", "/a/:name", "/b"} {
		if err := b.Add("", r, nil, int32(i)); (err != nil) != (i == 1) {
			t.Fatal(err)
		}
	}
	r := b.Build()
	check(t, r, []request{{"GET", "", "/a/7", "0 id=7"}, {"GET", "", "/b", "2"}})
	if len(r.targets) != 3 {
		t.Errorf("%d targets", len(r.targets)-1)
	}
}

func TestEmptyTable(t *testing.T) {
	check(t, NewBuilder().Build(), []request{{"GET", "h", "/", "404"}, {"GET", "", "/a/b", "404"}})
}

// Building again after more routes leaves the first Router as it was.
func TestBuildIsASnapshot(t *testing.T) {
	b := NewBuilder()
	if err := b.Add("", "/a", []string{"PURGE"}, 1); err != nil {
		t.Fatal(err)
	}
	first := b.Build()
	if err := b.Add("", "/a", []string{"BAN"}, 2); err != nil {
		t.Fatal(err)
	}
	second := b.Build()
	check(t, first, []request{{"BAN", "", "/a", "405 PURGE"}})
	check(t, second, []request{{"BAN", "", "/a", "2"}, {"GET", "", "/a", "405 PURGE, BAN"}})
}

func TestConcurrentReaders(t *testing.T) {
	r := table(t, "GET a.example/x/:id", "/x/*", "/x/y/:z")
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 1000 {
				check(t, r, []request{
					{"GET", "a.example", "/x/7", "0 id=7"},
					{"GET", "b.example", "/x/7", "1 *=7"},
					{"GET", "b.example", "/x/y/z", "2 z=z"},
				})
			}
		}()
	}
	wg.Wait()
}

func TestLookupAllocatesNothing(t *testing.T) {
	r := table(t, "GET *.example.com/users/:id/posts/*rest", "/users/me/x", "PURGE /users/:id", "POST /p")
	host, path, other := []byte("a.Example.com:80"), []byte("/users/me/posts/1/2"), []byte("/p")
	escaped, dst := []byte("/users/%6de/./posts/1/|"), make([]byte, 0, 128)
	allow := make([]byte, 0, 64)
	var m Match
	n := testing.AllocsPerRun(100, func() {
		norm, _, ok := Normalize(escaped, dst)
		if !ok || r.Lookup(host, norm, proto.GET, nil, &m) != Found || m.NParams != 2 {
			t.Error("not found")
		}
		if r.Lookup(host, path, proto.GET, nil, &m) != Found {
			t.Error("not found")
		}
		if r.Lookup(host, other, proto.MethodOther, []byte("PURGE"), &m) != MethodNotAllowed {
			t.Error("not refused")
		}
		allow = m.Allow.AppendAllow(allow[:0])
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
