package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/upstream/discover"
)

// step is what a server does with one request.
type step func(w http.ResponseWriter, r *http.Request)

// server stands in for the API server: requests are answered by its steps in turn, and those that come when there are none are held.
type server struct {
	*httptest.Server

	mu      sync.Mutex
	steps   []step
	queries []url.Values
	tokens  []string
}

func startServer(t *testing.T, steps ...step) *server {
	t.Helper()
	s := &server{steps: steps}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.queries, s.tokens = append(s.queries, r.URL.Query()), append(s.tokens, r.Header.Get("Authorization"))
	does := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	switch {
	case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices" || r.URL.Query().Get("labelSelector") != "kubernetes.io/service-name=app":
		does = refuse(404, "no such path")
	case len(s.steps) > 0:
		does, s.steps = s.steps[0], s.steps[1:]
	}
	s.mu.Unlock()
	does(w, r)
}

// asked waits for the i-th request, and gives its parameters as "a=b".
func (s *server) asked(t *testing.T, i int) []string {
	t.Helper()
	await(t, fmt.Sprintf("request %d", i), func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.queries) > i })
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for key, values := range s.queries[i] {
		if key != "labelSelector" && key != "timeoutSeconds" && key != "allowWatchBookmarks" {
			all = append(all, key+"="+values[0])
		}
	}
	slices.Sort(all)
	return all
}

func refuse(code int, message string) step {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": %q, "code": %d}`, message, code)
	}
}

// list is a page of a list.
func list(version, next string, all ...string) step {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind": "EndpointSliceList", "metadata": {"resourceVersion": %q, "continue": %q}, "items": [%s]}`, version, next, strings.Join(all, ","))
	}
}

// watch sends texts, one after the other, and ends as it should; "HOLD" is to stay as it is, "CUT" to break off.
func watch(texts ...string) step {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for _, text := range texts {
			switch text {
			case "HOLD":
				<-r.Context().Done()
				return
			case "CUT":
				panic(http.ErrAbortHandler)
			}
			io.WriteString(w, text)
			w.(http.Flusher).Flush()
		}
	}
}

// sliceOf has ready endpoints on port 80.
func sliceOf(name, version string, addrs ...string) string {
	var all []string
	for _, addr := range addrs {
		all = append(all, fmt.Sprintf(`{"addresses": [%q], "conditions": {"ready": true}}`, addr))
	}
	return fmt.Sprintf(`{"metadata": {"name": %q, "resourceVersion": %q}, "addressType": "IPv4", "ports": [{"name": "", "port": 80, "protocol": "TCP"}], "endpoints": [%s]}`,
		name, version, strings.Join(all, ","))
}

func eventOf(kind, object string) string {
	return fmt.Sprintf(`{"type": %q, "object": %s}`+"\n", kind, object)
}

func bookmark(version string) string {
	return eventOf("BOOKMARK", fmt.Sprintf(`{"kind": "EndpointSlice", "metadata": {"resourceVersion": %q}}`, version))
}

// told is a Sink that keeps what it is told.
type told struct {
	mu    sync.Mutex
	lists [][]discover.Endpoint
	errs  []string
	same  int
}

func (s *told) Found(list []discover.Endpoint) {
	s.mu.Lock()
	s.lists = append(s.lists, list)
	s.mu.Unlock()
}
func (s *told) Failed(err error) { s.mu.Lock(); s.errs = append(s.errs, err.Error()); s.mu.Unlock() }
func (s *told) Same()            { s.mu.Lock(); s.same++; s.mu.Unlock() }

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
	var got []string
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		s.mu.Lock()
		got = nil
		n := len(s.lists)
		if n > 0 {
			for _, e := range s.lists[n-1] {
				got = append(got, e.Address)
			}
		}
		errs := slices.Clone(s.errs)
		s.mu.Unlock()
		slices.Sort(got)
		if n > 0 && slices.Equal(got, addrs) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the endpoints are %v, expected %v; errors: %v", got, addrs, errs)
		}
	}
}

// fails waits for the n-th error, which has these words.
func (s *told) fails(t *testing.T, n int, words string) {
	t.Helper()
	await(t, fmt.Sprintf("an error with %q", words), func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.errs) > n })
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(s.errs[n], words) {
		t.Errorf("it fails with %q, expected %q", s.errs[n], words)
	}
}

func (s *told) failed() []string { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.errs) }

// run has a source run until the test ends.
func run(t *testing.T, s *server, change func(*source)) *told {
	t.Helper()
	src := New(&config.DiscoverKubernetes{Service: "app", Addresses: "any"}).(*source)
	src.access = func() (*access, error) { return &access{url: s.URL, namespace: "ns"}, nil }
	if change != nil {
		change(src)
	}
	to := new(told)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { src.Run(ctx, to) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return to
}

func expectQuery(t *testing.T, s *server, i int, want ...string) {
	t.Helper()
	if got := s.asked(t, i); !slices.Equal(got, want) {
		t.Errorf("request %d has the parameters %v, expected %v", i, got, want)
	}
}

// A list in pages, then a watch; when it ends the next one goes on where it was, which a bookmark says as well.
func TestListAndWatch(t *testing.T) {
	t.Parallel()
	s := startServer(t,
		list("", "more", sliceOf("a", "1", "10.0.0.1")),
		list("7", "", sliceOf("b", "2", "10.0.0.2")),
		watch(eventOf("ADDED", sliceOf("c", "8", "10.0.0.3")), eventOf("MODIFIED", sliceOf("a", "9", "10.0.0.4")), eventOf("DELETED", sliceOf("b", "10"))),
		watch(bookmark("20")),
		watch(eventOf("MODIFIED", sliceOf("a", "21")), "HOLD"))
	to := run(t, s, nil)
	to.has(t, "10.0.0.3:80")
	expectQuery(t, s, 0, "limit=100")
	expectQuery(t, s, 1, "continue=more", "limit=100")
	expectQuery(t, s, 2, "resourceVersion=7", "watch=true")
	expectQuery(t, s, 3, "resourceVersion=10", "watch=true")
	expectQuery(t, s, 4, "resourceVersion=20", "watch=true")
	if errs := to.failed(); len(errs) > 0 {
		t.Errorf("it fails: %v", errs)
	}
	if first := to.lists[0]; len(first) != 2 {
		t.Errorf("the first list is %v: pages are no lists", first)
	}
}

// What ends before its time is gone on with; what cannot be gone on with is listed anew.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	one := sliceOf("a", "1", "10.0.0.1")
	more := eventOf("ADDED", sliceOf("b", "8", "10.0.0.2"))
	gone := eventOf("ERROR", `{"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}`)
	broken := func(text string) step {
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"+text)
			c.Close()
		}
	}
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<p>")
	}
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, c := range []struct {
		what   string
		step   step
		words  string // of the failure, "": it is none
		resume string // the version gone on with, "": it is listed anew
	}{
		{"410", refuse(410, "too old resource version"), "", ""},
		{"an event 410", watch(more, gone), "", ""},
		{"an event of another error", watch(more, eventOf("ERROR", `{"code": 500, "message": "etcd is ill"}`)), "status 500: etcd is ill", "8"},
		{"a cut behind an event", watch(more, "CUT"), "", "8"},
		{"a cut at once", watch("CUT"), "the connection ended within a response", "7"},
		{"half an event", watch(more, `{"type": "ADDED", "obj`), "", "8"},
		{"half an event alone", watch(`{"type": "ADDED", "obj`), "the connection ended within a response", "7"},
		{"a broken chunk", broken("zz\r\n"), "chunk", "7"},
		{"half a chunk", broken("ff\r\n{"), "the connection ended within a response", "7"},
		{"no JSON", watch(more, "<p>"), "makes no sense", ""},
		{"other JSON", watch("[1]"), "makes no sense", ""},
		{"an event without an object", watch(`{"type": "ADDED"}`), "makes no sense", ""},
		{"an event without a version", watch(`{"type": "ADDED", "object": {"metadata": {"name": "a"}}}`), "without name and version", ""},
		{"an event that is not known", watch(eventOf("RENAMED", one)), `an event "RENAMED"`, ""},
		{"an event that is too long", watch(`{"type": "ADDED", "object": {"x": "` + strings.Repeat("x", maxEvent) + `"}}`), "too long", ""},
		{"another server's page", page, `"text/html", expected application/json`, "7"},
		{"no response", silent, "no response in time", "7"},
		{"no end", watch("HOLD"), "does not end in time", "7"},
		{"forbidden", refuse(403, "endpointslices is forbidden"), "status 403: endpointslices is forbidden (list and watch", "7"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			steps := []step{list("7", "", one), c.step}
			want := []string{"resourceVersion=" + c.resume, "watch=true"}
			if c.resume == "" {
				steps = append(steps, list("90", "", one, sliceOf("z", "90", "10.0.0.9")))
				want = []string{"limit=100"}
			} else {
				steps = append(steps, watch(eventOf("ADDED", sliceOf("z", "91", "10.0.0.9")), eventOf("DELETED", sliceOf("b", "92")), "HOLD"))
			}
			s := startServer(t, steps...)
			limit := time.Minute
			if strings.Contains(c.words, "in time") {
				limit = time.Second
			}
			to := run(t, s, func(s *source) { s.watchTime, s.responseTime, s.steadyTime = limit, limit, time.Minute })
			to.has(t, "10.0.0.1:80", "10.0.0.9:80")
			expectQuery(t, s, 2, want...)
			if errs := to.failed(); (c.words == "") != (len(errs) == 0) || c.words != "" && !strings.Contains(errs[0], c.words) {
				t.Errorf("it fails with %q, expected %q", errs, c.words)
			}
		})
	}
}

// A list that fails is asked for again, and what was known before stays until all of another one is there.
func TestListFails(t *testing.T) {
	t.Parallel()
	one := sliceOf("a", "1", "10.0.0.1")
	s := startServer(t,
		list("", "more", one),
		refuse(410, "The provided continue parameter is too old"),
		list("", "more", one),
		refuse(500, "etcd is ill"),
		list("7", "", one),
		refuse(410, "too old"),
		list("", "more", sliceOf("b", "2", "10.0.0.2")),
		watch("{"),
		list("9", "", sliceOf("b", "2", "10.0.0.2")))
	to := run(t, s, nil)
	to.has(t, "10.0.0.2:80")
	for i, words := range []string{"status 500", "the connection ended within"} {
		to.fails(t, i, words)
	}
	if n := len(to.lists); n != 2 {
		t.Errorf("it has told %d lists, expected 2", n)
	}
	for i, want := range map[int]string{0: "limit=100", 1: "continue=more limit=100", 2: "limit=100", 4: "limit=100", 5: "resourceVersion=7 watch=true", 6: "limit=100", 8: "limit=100"} {
		expectQuery(t, s, i, strings.Fields(want)...)
	}
}

// What cannot be used is a failure until the slices are others, whatever the watch does meanwhile.
func TestUnfitSlices(t *testing.T) {
	t.Parallel()
	names := `{"metadata": {"name": "n", "resourceVersion": "2"}, "addressType": "FQDN", "ports": [{"port": 80}], "endpoints": [{"addresses": ["app.example"]}]}`
	proceed := make(chan struct{})
	s := startServer(t, list("1", "", sliceOf("a", "1", "10.0.0.1")), watch(eventOf("ADDED", names)),
		func(w http.ResponseWriter, r *http.Request) {
			watch(bookmark("3"))(w, r)
			<-proceed
			watch(eventOf("DELETED", names), eventOf("MODIFIED", sliceOf("a", "4", "10.0.0.2")), "HOLD")(w, r)
		})
	to := run(t, s, nil)
	to.fails(t, 0, "EndpointSlice n has addresses of the type FQDN")
	s.asked(t, 2)
	to.mu.Lock()
	same := to.same
	to.mu.Unlock()
	close(proceed)
	to.has(t, "10.0.0.2:80")
	to.mu.Lock()
	defer to.mu.Unlock()
	if same != 1 {
		t.Errorf("it has said %d times that all is as it was, expected 1: when the first watch began", same)
	}
}

// Credentials are read for each attempt, a token for each request.
func TestCredentialsChange(t *testing.T) {
	t.Parallel()
	s := startServer(t, refuse(401, "Unauthorized"), list("7", "", sliceOf("a", "1", "10.0.0.1")), watch(bookmark("8")))
	n := 0
	to := run(t, s, func(src *source) {
		src.access = func() (*access, error) {
			if n++; n == 1 {
				return nil, errors.New("no credentials yet")
			}
			return &access{url: s.URL, namespace: "ns", token: fmt.Sprint("t", n)}, nil
		}
	})
	to.has(t, "10.0.0.1:80")
	to.fails(t, 0, "no credentials yet")
	to.fails(t, 1, "status 401")
	s.asked(t, 3)
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := []string{"Bearer t2", "Bearer t3", "Bearer t3", "Bearer t4"}; !slices.Equal(s.tokens, want) {
		t.Errorf("the tokens were %v, expected %v", s.tokens, want)
	}
}

// Many events at once are told together.
func TestEventsTogether(t *testing.T) {
	t.Parallel()
	var events []string
	for i := range 2000 {
		events = append(events, eventOf("MODIFIED", sliceOf("a", fmt.Sprint(10+i), fmt.Sprintf("10.0.%d.%d", i/250, i%250))))
	}
	s := startServer(t, list("7", "", sliceOf("a", "1", "10.0.0.1")), watch(append(events, "HOLD")...))
	to := run(t, s, nil)
	to.has(t, "10.0.7.249:80")
	to.mu.Lock()
	defer to.mu.Unlock()
	if n := len(to.lists); n > 1000 {
		t.Errorf("2000 events were told as %d lists", n)
	}
}
