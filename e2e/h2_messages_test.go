package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// messages runs an origin that answers by path, in either protocol, and a
// front before it; got receives what the origin was asked.
func messages(t *testing.T, backend, protocol string) (f *front, got chan http.Header) {
	t.Helper()
	got = make(chan http.Header, 100)
	f = startFront(t, backend, site{origin: protocol, addr: startGo(t, protocol, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := r.Header.Clone()
		h.Set("Seen-Host", r.Host)
		h.Set("Seen-Body", string(body))
		h.Set("Seen-Length", fmt.Sprint(r.ContentLength))
		h.Set("Seen-Trailer", r.Trailer.Get("X-Check"))
		got <- h
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("ETag", `"a"`)
			w.WriteHeader(304)
		case "/hints":
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(103)
			w.WriteHeader(103)
			w.Header().Del("Link")
			io.WriteString(w, "page")
		case "/cookies":
			w.Header()["Set-Cookie"] = []string{"a=1; Path=/", "b=2"}
			io.WriteString(w, "page")
		case "/trailers":
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "page")
			w.Header().Set("X-Sum", "fine")
		case "/empty-trailers":
			w.Header().Set("Trailer", "X-Sum")
			w.(http.Flusher).Flush()
			w.Header().Set("X-Sum", "fine")
		default:
			w.Header().Set("Content-Length", "4")
			io.WriteString(w, "page")
		}
	})})
	return f, got
}

// What HTTP/2 says in a way of its own arrives in the origin's, and back.
func TestH2Messages(t *testing.T) {
	origins(t, func(t *testing.T, backend, protocol string) {
		f, got := messages(t, backend, protocol)
		h := dialH2(t, f.addr)
		id := uint32(1)
		next := func() uint32 { id += 2; return id }
		check := func(s *h2stream, status, body string) *h2stream {
			t.Helper()
			if h.until(fmt.Sprintf("stream %d to end", s.id), s.over); s.status() != status || string(s.body) != body || s.reset {
				t.Errorf("%v, want %s %q", s, status, body)
			}
			return s
		}
		s := check(h.ask(next(), true, "GET", "/x", "accept", "text/plain"), "200", "page")
		if seen := <-got; seen.Get("Seen-Host") != "e2e" || seen.Get("Accept") != "text/plain" || field(s.head, "content-length") != "4" {
			t.Errorf("the origin is given %v, the client %v", seen, s.head)
		}
		s = check(h.ask(next(), true, "HEAD", "/x"), "200", "")
		if <-got; field(s.head, "content-length") != "4" {
			t.Errorf("HEAD: %v", s.head)
		}
		check(h.ask(next(), true, "GET", "/204"), "204", "")
		<-got
		s = check(h.ask(next(), true, "GET", "/304", "if-none-match", `"a"`), "304", "")
		if <-got; field(s.head, "etag") != `"a"` {
			t.Errorf("304: %v", s.head)
		}

		// RFC 9113 8.2.3: crumbs of one cookie are joined.
		s = check(h.ask(next(), true, "GET", "/cookies", "cookie", "a=1", "x-between", "1", "cookie", "b=2", "cookie", "c=3"), "200", "page")
		if seen := <-got; !slices.Equal(seen["Cookie"], []string{"a=1; b=2; c=3"}) {
			t.Errorf("the cookie arrives as %q", seen["Cookie"])
		}
		var set []string
		for _, f := range s.head {
			if f.Name == "set-cookie" {
				set = append(set, f.Value)
			}
		}
		if !slices.Equal(set, []string{"a=1; Path=/", "b=2"}) {
			t.Errorf("Set-Cookie arrives as %q", set)
		}

		// RFC 9110 15.2: interim responses, in order, and the final one.
		s = check(h.ask(next(), true, "GET", "/hints"), "200", "page")
		if <-got; len(s.interims) != 2 || field(s.interims[0], ":status") != "103" || field(s.interims[0], "link") != "</a.css>" {
			t.Errorf("interim responses: %v", s.interims)
		}
		for _, path := range []string{"/trailers", "/empty-trailers"} {
			body := "page"
			if path == "/empty-trailers" {
				body = ""
			}
			s = check(h.ask(next(), true, "GET", path, "te", "trailers"), "200", body)
			if <-got; field(s.trailers, "x-sum") != "fine" {
				t.Errorf("%s: trailer fields %v", path, s.trailers)
			}
		}
		f.logged(t, `"target":"/empty-trailers"`, `"protocol":"HTTP/2`, `"status":200`)
	})
}

// Bodies of requests: of a length that is said, of one that is not, empty,
// with trailer fields, and behind a 100.
func TestH2RequestBodies(t *testing.T) {
	origins(t, func(t *testing.T, backend, protocol string) {
		f, got := messages(t, backend, protocol)
		h := dialH2(t, f.addr)
		id := uint32(1)
		for _, c := range []struct {
			fields        []string
			pieces        []string
			trailer       bool
			body, length  string
			expectForIt   bool
			lastDataEmpty bool
		}{
			{fields: []string{"content-length", "5"}, pieces: []string{"hel", "lo"}, body: "hello", length: "5"},
			{pieces: []string{"hel", "lo"}, body: "hello", length: "-1"},
			{pieces: []string{"h", "", "i"}, body: "hi", length: "-1", lastDataEmpty: true},
			{fields: []string{"content-length", "0"}, lastDataEmpty: true, length: "0"},
			{fields: []string{"trailer", "x-check"}, pieces: []string{"hello"}, trailer: true, body: "hello", length: "-1"},
			{fields: []string{"content-length", "5", "expect", "100-continue"}, pieces: []string{"hello"}, body: "hello", length: "5", expectForIt: true},
		} {
			id += 2
			s := h.ask(id, false, "POST", "/x", c.fields...)
			if c.expectForIt {
				h.until("the 100", func() bool { return len(s.interims) > 0 })
			}
			for i, p := range c.pieces {
				h.data(id, i == len(c.pieces)-1 && !c.trailer && !c.lastDataEmpty, p)
			}
			if c.lastDataEmpty {
				h.data(id, true, "")
			}
			if c.trailer {
				h.headers(id, true, "x-check", "whole")
			}
			if h.until("the answer", s.over); s.status() != "200" || string(s.body) != "page" {
				t.Fatalf("%+v: %v", c, s)
			}
			seen := <-got
			trailer := ""
			if c.trailer {
				trailer = "whole"
			}
			if seen.Get("Seen-Body") != c.body || seen.Get("Seen-Length") != c.length && c.length != "-1" || seen.Get("Seen-Trailer") != trailer {
				t.Errorf("%+v: the origin has seen %v", c, seen)
			}
		}
	})
}

// A request that the origin refused without processing it is asked again,
// whatever its method: RST_STREAM with REFUSED_STREAM, and GOAWAY (RFC 9113
// 8.7).
func TestH2RefusedRequestsAreAskedAgain(t *testing.T) {
	onlyZproxy(t) // others leave it to the client
	eachBackend(t, func(t *testing.T, backend string) {
		for _, how := range []string{"refused", "goaway"} {
			t.Run(how, func(t *testing.T) {
				refusals := make(chan bool, 1)
				refusals <- true
				f := startFront(t, backend, site{origin: "h2c", addr: startH2Origin(t, serving(func(h *h2conn, s *h2stream) {
					select {
					case <-refusals:
						if how == "refused" {
							h.rst(s.id, http2.ErrCodeRefusedStream)
						} else {
							h.write(func(fr *http2.Framer) error { return fr.WriteGoAway(s.id-1, http2.ErrCodeNo, nil) })
						}
					default:
						h.reply(s.id, field(s.head, ":method")+" "+string(s.body))
					}
				})).addr})
				h := dialH2(t, f.addr)
				s := h.ask(1, false, "POST", "/x", "content-length", "5")
				h.data(1, true, "hello")
				if h.until("the answer", s.over); s.status() != "200" || string(s.body) != "POST hello" {
					t.Errorf("%v", s)
				}
			})
		}
	})
}

// A GOAWAY that the proxy is sent ends nothing that is under way.
func TestH2OriginGoesAway(t *testing.T) {
	eachFront(t, func(t *testing.T, backend string) {
		release := make(chan bool)
		o := startH2Origin(t, func(h *h2conn) {
			for h.step() == nil {
				for id, s := range h.streams {
					if !s.ended || field(s.head, ":path") == "" {
						continue
					}
					path := field(s.head, ":path")
					s.head = s.head[:0] // once
					if path != "/slow" {
						h.reply(id, "quick")
						continue
					}
					h.headers(id, false, ":status", "200")
					h.data(id, false, "first")
					h.write(func(fr *http2.Framer) error { return fr.WriteGoAway(id, http2.ErrCodeNo, nil) })
					<-release
					h.data(id, true, "-last")
				}
			}
		})
		f := startFront(t, backend, site{origin: "h2c", addr: o.addr})
		h := dialH2(t, f.addr)
		slow := h.ask(1, true, "GET", "/slow")
		h.until("its beginning", func() bool { return string(slow.body) == "first" })
		if s := h.get(3, "/quick"); string(s.body) != "quick" {
			t.Errorf("%v", s)
		}
		close(release)
		if h.until("its end", slow.over); string(slow.body) != "first-last" || slow.reset {
			t.Errorf("%v", slow)
		}
		if _, total := o.open(); total < 2 {
			t.Errorf("%d connections to an origin of which one went away", total)
		}
	})
}

// What the proxy answers itself has the form of HTTP/2, too.
func TestH2OwnAnswers(t *testing.T) {
	onlyZproxy(t)
	eachBackend(t, func(t *testing.T, backend string) {
		f := startFront(t, backend, site{origin: "h2c", addr: freeAddr(t), pool: "pool: {queue: 0}", more: `limits: {header_bytes: 4KiB, headers: 20, body_bytes: 10}`})
		h := dialH2(t, f.addr)
		many := []string{}
		for i := range 30 {
			many = append(many, fmt.Sprintf("x-%d", i), "v")
		}
		for i, c := range []struct {
			fields []string
			end    bool
			want   string
		}{
			{nil, true, "502"},
			{[]string{"x-long", strings.Repeat("x", 5000)}, true, "431"},
			{many, true, "431"},
			{[]string{"content-length", "1000"}, false, "413"},
		} {
			s := h.ask(uint32(2*i+1), c.end, "GET", "/x", c.fields...)
			if h.until("the answer", func() bool { return s.head != nil }); s.status() != c.want {
				t.Errorf("case %d: %v, want %s", i, s, c.want)
			}
		}
	})
}
