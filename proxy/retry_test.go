package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"zproxy/loop"
)

// sick are two origins, of which the one that gets a request first answers as its path says, and
// the other one well.
type sick struct {
	addrs []string
	got   atomic.Int32 // requests since the last response
	last  atomic.Int32 // whose turn was last
}

func startSick(t *testing.T, v versionPair) *sick {
	s := &sick{}
	for i := range 2 {
		s.addrs = append(s.addrs, startServer(t, v, func(w http.ResponseWriter, r *http.Request) {
			first := s.got.Add(1) == 1
			body, _ := io.ReadAll(r.Body)
			same := !first && int(s.last.Load()) == i
			s.last.Store(int32(i))
			if first || strings.HasPrefix(r.URL.Path, "/all") {
				switch r.URL.Path {
				case "/503", "/all503":
					w.WriteHeader(503)
					io.WriteString(w, "busy")
					return
				case "/later", "/all-later":
					w.Header().Set("Retry-After", "7")
					w.WriteHeader(503)
					io.WriteString(w, "later")
					return
				case "/cut":
					panic(http.ErrAbortHandler)
				case "/stall":
					<-r.Context().Done()
					return
				}
			}
			if same {
				io.WriteString(w, "the same one, ")
			}
			fmt.Fprintf(w, "%d", len(body))
		}))
	}
	return s
}

// retryCase is a request and what becomes of it.
type retryCase struct {
	method, path string
	body         int
	keyed        bool
	times        int32 // it is sent
	want         string
}

func (s *sick) run(t *testing.T, p *pair, cases []retryCase) {
	for _, c := range cases {
		s.got.Store(0)
		resp, body := p.do(c.method, c.path, strings.NewReader(strings.Repeat("x", c.body)), func(r *http.Request) {
			if c.keyed {
				r.Header.Set("Idempotency-Key", "1")
			}
		})
		if got := fmt.Sprintf("%d %s", resp.StatusCode, body); got != c.want || s.got.Load() != c.times {
			t.Errorf("%s %s with %d bytes, key %v: %q, sent %d times; want %q, %d times", c.method, c.path, c.body, c.keyed, got, s.got.Load(), c.want, c.times)
		}
		if want := strings.HasSuffix(c.path, "later") && resp.StatusCode == 503; (resp.Header.Get("Retry-After") == "7") != want {
			t.Errorf("%s: Retry-After is %q", c.path, resp.Header.Get("Retry-After"))
		}
	}
}

// What may be sent again is, to the other endpoint, with its body if that was short; what may
// not gets what its one try has brought.
func TestRetries(t *testing.T) {
	onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
		s := startSick(t, v)
		withOrigins(t, io, v, s.addrs, ", retry: {idempotency_key: true}", "", func(t *testing.T, p *pair) {
			s.run(t, p, []retryCase{
				{"GET", "/", 0, false, 1, "200 0"},
				{"GET", "/503", 0, false, 2, "200 0"},
				{"GET", "/cut", 0, false, 2, "200 0"},
				{"GET", "/later", 0, false, 2, "200 0"},
				{"GET", "/all503", 0, false, 2, "503 busy"},
				{"GET", "/all-later", 0, false, 2, "503 later"},
				{"QUERY", "/503", 1000, false, 2, "200 1000"},
				{"QUERY", "/cut", 60 << 10, false, 2, "200 61440"},
				{"QUERY", "/503", 100 << 10, false, 1, "503 busy"},
				{"PUT", "/503", 10, false, 1, "503 busy"},
				{"POST", "/503", 10, false, 1, "503 busy"},
				{"POST", "/503", 10, true, 2, "200 10"},
			})
		})
	})
}

// A try that takes too long is given up for another one where there may be one, else it has
// the time that responses have.
func TestPerTryTimeout(t *testing.T) {
	onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
		s := startSick(t, v)
		withOrigins(t, io, v, s.addrs, ", retry: {per_try_timeout: 50ms, idempotency_key: true}, timeouts: {response: 3s}", "", func(t *testing.T, p *pair) {
			s.run(t, p, []retryCase{
				{"GET", "/stall", 0, false, 2, "200 0"},
				{"POST", "/stall", 10, false, 1, "504 504 Gateway Timeout\n"},
				{"POST", "/stall", 10, true, 2, "200 10"},
			})
			c := p.snap.Clusters[0].Shared
			for range 3 { // which is all that may be
				c.BeginRetry(0)
			}
			s.run(t, p, []retryCase{{"GET", "/stall", 0, false, 1, "504 504 Gateway Timeout\n"}})
			for range 3 {
				c.EndRetry()
			}
		})
	})
}

// PUT, or any method, is sent again only where that is asked for.
func TestRetriesOfMethods(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		v := versionPair{"h1-h1", false, false}
		for methods, times := range map[string][2]int32{"safe": {1, 1}, "idempotent": {2, 1}, "all": {2, 2}} {
			s := startSick(t, v)
			withOrigins(t, io, v, s.addrs, ", retry: {on: [503], methods: "+methods+"}", "", func(t *testing.T, p *pair) {
				for i, method := range []string{"PUT", "POST"} {
					want := map[int32]string{1: "503 busy", 2: "200 5"}[times[i]]
					s.run(t, p, []retryCase{{method, "/503", 5, false, times[i], want}})
				}
				s.run(t, p, []retryCase{{"GET", "/502", 0, false, 1, "200 0"}})
			})
		}
	})
}

// An endpoint that says when to come back is not asked before by the same request, however many
// tries are left; one that does not is asked again.
func TestRetryAfterOfTheOnlyEndpoint(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		v := versionPair{"h1-h1", false, false}
		s := startSick(t, v)
		withOrigins(t, io, v, s.addrs[:1], ", retry: {attempts: 3}", "", func(t *testing.T, p *pair) {
			s.run(t, p, []retryCase{
				{"GET", "/later", 0, false, 1, "503 later"},
				{"GET", "/503", 0, false, 2, "200 the same one, 0"},
				{"GET", "/all503", 0, false, 4, "503 busy"},
			})
		})
	})
}

// Without a budget left nothing is sent again, and what there was of a response is passed on; what
// was spent comes back.
func TestRetryBudget(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		v := versionPair{"h1-h1", false, false}
		s := startSick(t, v)
		withOrigins(t, io, v, s.addrs, ", retry: {budget: {percent: 0, min: 1}}", "", func(t *testing.T, p *pair) {
			s.run(t, p, []retryCase{{"GET", "/503", 0, false, 2, "200 0"}, {"GET", "/503", 0, false, 2, "200 0"}})
			c := p.snap.Clusters[0].Shared
			if c.Retrying() != 0 || !c.BeginRetry(0) {
				t.Fatalf("%d retries are under way", c.Retrying())
			}
			s.run(t, p, []retryCase{{"GET", "/503", 0, false, 1, "503 busy"}})
			c.EndRetry()
			s.run(t, p, []retryCase{{"GET", "/503", 0, false, 2, "200 0"}})
			if m := p.settled()[0].Metrics; m.UpstreamRetriesDenied != 1 || m.UpstreamRetries != 3 {
				t.Errorf("%d retries, %d over the budget; want 3, 1", m.UpstreamRetries, m.UpstreamRetriesDenied)
			}
		})
	})
}
