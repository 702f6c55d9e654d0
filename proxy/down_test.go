package proxy

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/loop"
)

// hung are origins of which the first keeps every request, until its client gives it up or it
// is let go.
type hung struct {
	addrs []string
	got   [2]atomic.Int32
	held  chan string // requests that came to the first, by method
	let   chan bool
}

func startHung(t *testing.T, v versionPair) *hung {
	h := &hung{held: make(chan string, 100), let: make(chan bool)}
	for i := range h.got {
		h.addrs = append(h.addrs, startServer(t, v, func(w http.ResponseWriter, r *http.Request) {
			h.got[i].Add(1)
			if i == 0 && r.URL.Path == "/hang" {
				h.held <- r.Method
				select {
				case <-h.let:
				case <-r.Context().Done():
				}
			}
			io.WriteString(w, strconv.Itoa(i))
		}))
	}
	return h
}

// checkDown tells what active checks have found of the addresses of an endpoint.
func (r *rig) checkDown(endpoint int, down ...string) {
	why := "test"
	r.snap.Clusters[0].Shared.Checked(endpoint, func(addr string) bool { return strings.Contains(strings.Join(down, " "), addr) }, &why)
}

// onAllVersions runs a test with every pair of versions, all beside each other.
func onAllVersions(t *testing.T, f func(t *testing.T, io loop.IO, v versionPair)) {
	for _, v := range versionPairs {
		t.Run(v.name, func(t *testing.T) {
			besides(t, func(t *testing.T, io loop.IO) { f(t, io, v) })
		})
	}
}

// Requests at an endpoint that checks find down go on, or end where that is asked for: then
// they are tried elsewhere as after any connection that breaks, and a POST is not.
func TestOnDown(t *testing.T) {
	for _, does := range []string{"keep", "end"} {
		t.Run(does, func(t *testing.T) {
			onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
				h := startHung(t, v)
				withOrigins(t, io, v, h.addrs, ", health_check: {on_down: "+does+"}", "", func(t *testing.T, p *pair) {
					type answer struct{ method, text string }
					answers := make(chan answer, 2)
					p.checkDown(1, h.addrs[1])
					for _, method := range []string{"GET", "POST"} {
						go func() {
							resp, body := p.do(method, "/hang", nil, nil)
							answers <- answer{method, strconv.Itoa(resp.StatusCode) + " " + string(body)}
						}()
						<-h.held
					}
					p.checkDown(1)
					p.checkDown(0, h.addrs[0])
					if _, body := p.do("GET", "/", nil, nil); string(body) != "1" {
						t.Errorf("%s answers, which is down", body)
					}
					want := map[string]string{"GET": "200 1", "POST": "502 502 Bad Gateway\n"}
					if does == "keep" {
						want = map[string]string{"GET": "200 0", "POST": "200 0"}
						close(h.let)
					}
					for range want {
						select {
						case a := <-answers:
							if a.text != want[a.method] {
								t.Errorf("%s: %q, want %q", a.method, a.text, want[a.method])
							}
						case <-time.After(patience):
							t.Fatal("a request hangs on")
						}
					}
					if n := h.got[0].Load(); n != 2 {
						t.Errorf("%d requests came to what is down", n-2)
					}
				})
			})
		})
	}
}

// Of a name's addresses one is down: no more requests go there on connections that there are.
func TestAddressThatIsDown(t *testing.T) {
	onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
		h := startHung(t, v)
		withOrigins(t, io, v, []string{"origin.test:1"}, ", health_check: {}", "", func(t *testing.T, p *pair) {
			p.snap.Clusters[0].Shared.Resolved(0, h.addrs)
			for _, down := range []int{0, 1, 0} {
				p.checkDown(0, h.addrs[down])
				for range 6 {
					if _, body := p.do("GET", "/", nil, nil); string(body) != strconv.Itoa(1-down) {
						t.Fatalf("%s answers, %d is down", body, down)
					}
				}
			}
		})
	})
}
