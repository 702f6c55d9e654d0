package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proxy/snapshot"
	"zproxy/variables"
)

// TestResetClientIsNotTrusted: a client that resets its connection at any moment
// after its request is the client that it is, to its origin and in the log, also
// when another loop has taken it over.
func TestResetClientIsNotTrusted(t *testing.T) {
	t.Parallel()
	const forged = "203.0.113.66"
	for _, loops := range []int{1, 2} {
		onBackends(t, func(t *testing.T, io_ loop.IO) {
			var heads, believed atomic.Int32
			origin := startOrigin(t, func(n int, c net.Conn) {
				for {
					head, err := readHead(c)
					if err != nil {
						return
					}
					heads.Add(1)
					if strings.Contains(head, forged) || !strings.Contains(head, "X-Forwarded-For: 127.0.0.1\r\n") {
						believed.Add(1)
					}
					readN(c, 4)
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			path := filepath.Join(t.TempDir(), "log")
			log, err := accesslog.Open(accesslog.Options{Path: path, Loops: loops})
			if err != nil {
				t.Fatal(err)
			}
			r := start(t, io_, loops, yaml(origin, "forwarding: {forwarded: true}\n"), log)
			for i := range 600 {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %s\r\nForwarded: for=%s\r\nContent-Length: 4\r\n\r\nbody", forged, forged)
				for begin := time.Now(); time.Since(begin) < time.Duration(i%40)*10*time.Microsecond; {
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
			r.settled()
			r.stop()
			log.Close()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), `"client":"unix:`); n > 0 || believed.Load() > 0 {
				t.Errorf("%d of %d requests passed for those of a trusted peer, %d of %d lines have no client",
					believed.Load(), heads.Load(), n, strings.Count(string(b), "\n"))
			}
		})
	}
}

// claims are fields that origins take for the word of a proxy.
var claims = []string{
	"X-Real-IP", "True-Client-IP", "X-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP", "X-Forwarded-Client-Cert", "X-SSL-Client-Verify",
	"X-SSL-Client-S-DN", "X-Envoy-External-Address", "X-Envoy-Original-Path", "Proxy", "X-Forwarded-Port", "X-Forwarded-Ssl", "X-Forwarded-Prefix",
	"X-Forwarded-Server", "X-Original-URL", "X-Rewrite-URL", "Client-Cert",
}

// sent are the fields that the proxy sends itself.
var sent = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// innocent are fields whose names look like those above.
var innocent = []string{"X-Real-IPs", "X-Real", "Proxy-Authorization", "Proxys", "X-Env", "X-Requested-With", "True-Client", "X-SSLClient", "Z-Real-IP", "X-Original-UR"}

// TestClaims: what would make an origin take a client for another, or for a proxy,
// comes from trusted clients alone, in heads and in trailers, however it is spelled.
func TestClaims(t *testing.T) {
	t.Parallel()
	spellings := func(name string) []string {
		return []string{name, strings.ToLower(name), strings.ReplaceAll(name, "-", "_"), strings.Replace(strings.ToUpper(name), "-", "_", 1)}
	}
	for _, trusted := range []bool{false, true} {
		extra := "forwarding: {}\n"
		if trusted {
			extra = "forwarding: {trusted_proxies: [127.0.0.1]}\n"
		}
		t.Run(fmt.Sprintf("trusted=%v", trusted), func(t *testing.T) {
			got := make(chan http.Header, 1)
			onPairs(t, extra, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				h := r.Header.Clone()
				for name, v := range r.Trailer {
					h["trailer "+name] = v
				}
				got <- h
			}, func(t *testing.T, p *pair) {
				for _, list := range [][]string{claims, sent, innocent} {
					for _, name := range list {
						for _, spelled := range spellings(name) {
							h := askWith(t, p, spelled, got)
							_, isOwn := h[http.CanonicalHeaderKey(spelled)]
							passes := trusted && !(strings.Contains(spelled, "_") && slices.Contains(sent, name)) || slices.Contains(innocent, name)
							for _, where := range []string{"", "trailer "} {
								found := slices.Contains(h[where+http.CanonicalHeaderKey(spelled)], "forged") || strings.HasPrefix(h.Get(where+spelled), "forged")
								if wanted := passes && !(where != "" && proto.ForbiddenTrailer(proto.LookupToken(spelled))); found != wanted {
									t.Errorf("%s%s: passed on: %v, want %v", where, spelled, found, wanted)
								}
							}
							if slices.Contains(sent, name) && !strings.Contains(spelled, "_") && !isOwn {
								t.Errorf("%s is not sent", name)
							}
						}
					}
				}
			})
		})
	}
}

// askWith sends a request with a field in its head and in its trailers, and gives
// what its origin got.
func askWith(t *testing.T, p *pair, name string, got chan http.Header) http.Header {
	t.Helper()
	req, err := http.NewRequest("POST", p.base+"/", io.NopCloser(strings.NewReader("content")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header[name] = []string{"forged"}
	req.Trailer = http.Header{name: {"forged"}}
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return <-got
}

// TestTrustIsAdopted: whom a reload trusts no more is not believed any more, on the
// connections that he has open as well.
func TestTrustIsAdopted(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		for _, v := range versionPairs {
			got := make(chan string, 1)
			origin := startServer(t, v, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("X-Forwarded-For") })
			text := "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n" +
				"upstreams: {app: {protocol: " + map[bool]string{false: "http1", true: "h2c"}[v.origin] + ", endpoints: [{address: \"" + origin + "\"}], pool: {prewarm: 0}}}\n" +
				"routes: [{path: \"/*\", upstream: app}]\nforwarding: {trusted_proxies: ["
			r := start(t, backend, 1, text+"127.0.0.1]}\n", nil)
			client := &http.Client{Transport: &http.Transport{Protocols: protocols(v.client)}}
			ask := func(want string) {
				t.Helper()
				req, _ := http.NewRequest("GET", "http://"+r.addr+"/", nil)
				req.Header.Set("X-Forwarded-For", "192.0.2.1")
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if for_ := <-got; for_ != want {
					t.Errorf("%s: the request is for %q, want %q", v.name, for_, want)
				}
			}
			ask("192.0.2.1, 127.0.0.1")
			r.adopt(text + "127.0.0.2]}\n")
			ask("127.0.0.1")
			if n := r.reports()[0].Metrics.Accepted; n != 1 {
				t.Errorf("%s: %d connections, want one", v.name, n)
			}
			client.CloseIdleConnections()
			r.stop()
		}
	})
}

// TestLoopEnds: a request that its origin sends back to the proxy, fields and all,
// ends at the second pass when the proxy notes its name, whatever is spoken; Via
// names what that was.
func TestLoopEnds(t *testing.T) {
	t.Parallel()
	var base atomic.Value
	var passes atomic.Int32
	vias := make(chan string, 100)
	onPairs(t, "", func(w http.ResponseWriter, r *http.Request) {
		passes.Add(1)
		vias <- r.Header.Get("Via")
		again, err := http.NewRequest(r.Method, base.Load().(string)+r.URL.Path, nil)
		if err != nil || passes.Load() > 50 {
			w.WriteHeader(500)
			return
		}
		again.Header = r.Header
		resp, err := http.DefaultClient.Do(again)
		if err != nil {
			w.WriteHeader(500)
			return
		}
		resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
	}, func(t *testing.T, p *pair) {
		base.Store(p.base)
		passes.Store(0)
		resp, err := p.client.Get(p.base + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 508 || passes.Load() != 1 {
			t.Errorf("%s after %d passes, want 508 after one", resp.Status, passes.Load())
		}
		version := map[bool]string{false: "1.1", true: "2.0"}
		if got, want := <-vias, version[p.h2.client]+" z "+snapshot.Instance; got != want {
			t.Errorf("the origin gets Via %q, want %q", got, want)
		}
		if got, want := resp.Header.Get("Via"), version[p.h2.origin]+" z"; got != want {
			t.Errorf("the client gets Via %q, want %q", got, want)
		}
	})
}

// TestRequestIDs: each request has an identifier of its own, and nobody but a
// trusted proxy chooses one.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	onPairs(t, "forwarding: {request_id: true}\n", func(w http.ResponseWriter, r *http.Request) {
		got <- strings.Join(r.Header.Values("X-Request-Id"), "|") + strings.Join(r.Header["X_request_id"], "|")
	}, func(t *testing.T, p *pair) {
		seen := map[string]bool{}
		for range 100 {
			req, _ := http.NewRequest("GET", p.base+"/", nil)
			req.Header.Set("X-Request-ID", "chosen")
			req.Header["X_request_id"] = []string{"chosen"}
			resp, err := p.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			id := <-got
			if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
				t.Fatalf("identifier %q, seen before: %v", id, seen[id])
			}
			seen[id] = true
		}
	})
}

// loggedLines are those that requests on one connection, whose address is peer,
// leave in a log.
func loggedLines(t *testing.T, io_ loop.IO, o accesslog.Options, extra string, requests ...string) (peer string, lines []string) {
	t.Helper()
	o.Path, o.Loops = filepath.Join(t.TempDir(), "log"), 1
	log, err := accesslog.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, io_, 1, yaml(answeringOrigin(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), extra), log)
	c := r.dial()
	for _, request := range requests {
		io.WriteString(c, request)
		readHead(c)
	}
	r.settled()
	peer = c.LocalAddr().String()
	r.stop()
	log.Close()
	b, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	return peer, strings.Split(string(b), "\n")
}

// TestLogSaysWhatWasAskedFor: the line of a request has what was received, and what
// was sent on beside it where that differs.
func TestLogSaysWhatWasAskedFor(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		peer, lines := loggedLines(t, io_, accesslog.Options{},
			"forwarding: {trusted_proxies: [127.0.0.1]}\nupstreams: {app: {host: internal.example, endpoints: [{address: \"ORIGIN\"}], pool: {prewarm: 0}}}\n",
			"GET /a/../b%7e?q HTTP/1.1\r\nHost: public.example.com\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-ID: req-7\r\nUser-Agent: ua\r\nReferer: re\"f\r\n\r\n",
			"GET /plain HTTP/1.1\r\nHost: internal.example\r\nX: "+strings.Repeat("x", 20_000)+"\r\n\r\n")
		for i, wants := range [][]string{
			{`"client":"192.0.2.7","peer":"` + peer + `"`, `"target":"/a/../b%7e?q"`, `"host":"public.example.com"`, `"request_id":"req-7"`,
				`"upstream_host":"internal.example"`, `"upstream_target":"/b~?q"`, `"user_agent":"ua"`, `"referer":"re\"f"`},
			{`"client":"` + peer + `","method":"GET","target":"/plain","host":"internal.example"`, `"request_id":"`},
		} {
			for _, want := range wants {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d lacks %s: %s", i, want, lines[i])
				}
			}
		}
		if strings.Contains(lines[1], "upstream_target") || strings.Contains(lines[1], "upstream_host") {
			t.Errorf("what was sent on does not differ: %s", lines[1])
		}
	})
}

// TestLogSaysCut: a target that the note of a request has no room for, and one that
// has, in a format of named fields.
func TestLogSaysCut(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		layout, wrong := variables.ParseLog(`{cut} {target} "{user_agent}" {upstream_target} {status}`)
		if wrong != nil {
			t.Fatal(wrong)
		}
		request := func(n int) string {
			return "GET /" + strings.Repeat("x", n) + " HTTP/1.1\r\nHost: h\r\nUser-Agent: a \"\xff|b\r\n\r\n"
		}
		_, lines := loggedLines(t, io_, accesslog.Options{Format: accesslog.Custom, Layout: layout}, "buffers: {block: 4KiB}\n", request(2900), request(3500))
		if want := "false /" + strings.Repeat("x", 2900) + ` "a \x22\xFF|b" - 200`; lines[0] != want {
			t.Errorf("got  %s\nwant %s", lines[0], want)
		}
		if !strings.HasPrefix(lines[1], "true /"+strings.Repeat("x", 2900)) || !strings.HasSuffix(lines[1], ` "-" - 200`) {
			t.Errorf("got %s, which does not say that it was cut", lines[1])
		}
	})
}
