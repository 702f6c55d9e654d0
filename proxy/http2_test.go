package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"zproxy/loop"
)

// versionPairs are what client and origin may speak.
var versionPairs = []versionPair{
	{"h1-h1", false, false}, {"h2-h1", true, false}, {"h1-h2", false, true}, {"h2-h2", true, true},
}

// pair is a worker between net/http's client and server, each speaking one
// version.
type pair struct {
	*rig
	client *http.Client
	base   string
	h2     struct{ client, origin bool }
}

// onPairs runs a test with every pair of versions, on every backend.
func onPairs(t *testing.T, extra string, serve http.HandlerFunc, f func(t *testing.T, p *pair)) {
	for _, v := range versionPairs {
		t.Run(v.name, func(t *testing.T) {
			onBackends(t, func(t *testing.T, io loop.IO) { withPair(t, io, v, "", extra, serve, f) })
		})
	}
}

// pairsBeside is onPairs with settings of the upstream, for tests that mostly
// wait and whose origin keeps nothing: all pairs side by side.
func pairsBeside(t *testing.T, upstream, extra string, serve http.HandlerFunc, f func(t *testing.T, p *pair)) {
	for _, v := range versionPairs {
		t.Run(v.name, func(t *testing.T) {
			besides(t, func(t *testing.T, io loop.IO) { withPair(t, io, v, upstream, extra, serve, f) })
		})
	}
}

// withPair runs f with one pair, which has come to rest at the end.
func withPair(t *testing.T, io loop.IO, v versionPair, upstream, extra string, serve http.HandlerFunc, f func(t *testing.T, p *pair)) {
	origin := startServer(t, v, serve)
	withOrigins(t, io, v, []string{origin}, upstream, extra, f)
}

// startServer is an origin by net/http.
func startServer(t *testing.T, v versionPair, serve http.HandlerFunc) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	origin := &http.Server{Handler: serve, Protocols: protocols(v.origin)}
	go origin.Serve(l)
	t.Cleanup(func() { origin.Close() })
	return l.Addr().String()
}

// withOrigins is withPair with endpoints of the caller's.
func withOrigins(t *testing.T, io loop.IO, v versionPair, origins []string, upstream, extra string, f func(t *testing.T, p *pair)) {
	endpoints := ""
	for _, addr := range origins {
		endpoints += fmt.Sprintf("{address: %q}, ", addr)
	}
	pool := ", pool: {prewarm: 0}"
	if strings.Contains(upstream, "pool:") {
		pool = ""
	}
	protocol := "http1"
	if v.origin {
		protocol = "h2c"
	}
	if !strings.Contains(extra, "forwarding:") {
		extra += "\nforwarding: {via: z}\n"
	}
	text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n"+
		"upstreams: {app: {protocol: %s, endpoints: [%s]%s%s}}\n%s", protocol, endpoints, pool, upstream, extra)
	if !strings.Contains(extra, "routes:") {
		text += "\nroutes: [{path: \"/*\", upstream: app}]\n"
	}
	tr := &http.Transport{Protocols: protocols(v.client), MaxIdleConnsPerHost: 100}
	t.Cleanup(tr.CloseIdleConnections)
	r := start(t, io, 1, text, nil)
	p := &pair{rig: r, base: "http://" + r.addr, client: &http.Client{Transport: tr, Timeout: patience}}
	p.h2.client, p.h2.origin = v.client, v.origin
	f(t, p)
	tr.CloseIdleConnections()
	r.settled()
}

func protocols(h2 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetUnencryptedHTTP2(h2)
	return p
}

// echo is an origin that says what it got.
func echo(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex() // HTTP/1 stops reading otherwise
	switch r.URL.Path {
	case "/empty":
		w.WriteHeader(204)
		return
	case "/early":
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
	case "/trailers":
		w.Header().Set("Trailer", "X-Sum")
	}
	w.Header().Set("X-Proto", r.Proto)
	w.Header().Set("X-Via", r.Header.Get("Via"))
	w.Header().Set("X-Cookie", strings.Join(r.Header.Values("Cookie"), "|"))
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if r.URL.Path == "/trailers" {
		w.Header().Set("X-Sum", fmt.Sprintf("%x %d %s", sum.Sum(nil), n, r.Trailer.Get("X-Client-Sum")))
	}
}

func (p *pair) do(method, path string, body io.Reader, set func(*http.Request)) (*http.Response, []byte) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.base+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	if set != nil {
		set(req)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatalf("%s %s: body: %v", method, path, err)
	}
	return resp, got
}

func TestVersionsMeet(t *testing.T) {
	t.Parallel()
	pairsBeside(t, "", "", echo, func(t *testing.T, p *pair) {
		want := "HTTP/1.1"
		if p.h2.origin {
			want = "HTTP/2.0"
		}
		resp, got := p.do("GET", "/a?b=c", nil, nil)
		if resp.StatusCode != 200 || len(got) != 0 || resp.Header.Get("X-Proto") != want || resp.Header.Get("X-Via") == "" {
			t.Errorf("GET: %v %v %q", resp.Status, resp.Header, got)
		}
		if len(resp.Header.Values("Set-Cookie")) != 2 || resp.Header.Get("Date") == "" {
			t.Errorf("GET: %v", resp.Header)
		}
		if (resp.ProtoMajor == 2) != p.h2.client {
			t.Errorf("the client was answered in %s", resp.Proto)
		}
		if resp, got := p.do("HEAD", "/a", nil, nil); resp.StatusCode != 200 || len(got) != 0 {
			t.Errorf("HEAD: %v %q", resp.Status, got)
		}
		if resp, got := p.do("GET", "/empty", nil, nil); resp.StatusCode != 204 || len(got) != 0 {
			t.Errorf("204: %v %q", resp.Status, got)
		}
		resp, _ = p.do("GET", "/", nil, func(r *http.Request) { r.Header["Cookie"] = []string{"x=1", "y=2"} })
		if c := resp.Header.Get("X-Cookie"); c != "x=1; y=2" && (p.h2.client || c != "x=1|y=2") {
			t.Errorf("cookies arrive as %q", c)
		}
		early := 0
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 && h.Get("Link") == "</a>" {
				early++
			}
			return nil
		}}
		p.do("GET", "/early", nil, func(r *http.Request) { *r = *r.WithContext(httptrace.WithClientTrace(r.Context(), trace)) })
		if early != 1 {
			t.Errorf("%d interim responses arrived", early)
		}
	})
}

func TestBodiesOfAnySizeBetweenVersions(t *testing.T) {
	t.Parallel()
	pairsBeside(t, "", "", echo, func(t *testing.T, p *pair) {
		for _, n := range []int{1, 1000, 16383, 16384, 16385, 100_000, 5 << 20} {
			body := make([]byte, n)
			for i := range body {
				body[i] = byte(i * 31 >> 3)
			}
			// With a length, and without.
			_, got := p.do("POST", "/", bytes.NewReader(body), nil)
			if !bytes.Equal(got, body) {
				t.Fatalf("%d bytes with a length: %d came back, or others", n, len(got))
			}
			_, got = p.do("POST", "/", struct{ io.Reader }{bytes.NewReader(body)}, nil)
			if !bytes.Equal(got, body) {
				t.Fatalf("%d bytes without a length: %d came back, or others", n, len(got))
			}
		}
	})
}

func TestTrailersBetweenVersions(t *testing.T) {
	t.Parallel()
	pairsBeside(t, "", "", echo, func(t *testing.T, p *pair) {
		resp, got := p.do("POST", "/trailers", struct{ io.Reader }{strings.NewReader("hello")}, func(r *http.Request) {
			r.Trailer = http.Header{"X-Client-Sum": {"42"}}
		})
		want := fmt.Sprintf("%x 5 42", sha256.Sum256([]byte("hello")))
		if string(got) != "hello" || resp.Trailer.Get("X-Sum") != want {
			t.Errorf("%q, trailers %v", got, resp.Trailer)
		}
	})
}

func TestManyAtOnceBetweenVersions(t *testing.T) {
	t.Parallel()
	pairsBeside(t, "", "", echo, func(t *testing.T, p *pair) {
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				for j := range 20 {
					body := strings.Repeat(fmt.Sprintf("%d-%d ", i, j), 1+i*j)
					req, _ := http.NewRequest("POST", p.base+"/", strings.NewReader(body))
					resp, err := p.client.Do(req)
					if err != nil {
						t.Errorf("%d-%d: %v", i, j, err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || string(got) != body {
						t.Errorf("%d-%d: %d bytes of %d, %v", i, j, len(got), len(body), err)
						return
					}
				}
			})
		}
		all.Wait()
	})
}

// A body that ends early is never passed on as whole, whatever either side speaks.
func TestCutBodiesBetweenVersions(t *testing.T) {
	t.Parallel()
	begun, aborted := make(chan bool, 1), make(chan error, 1)
	onPairs(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			begun <- true
			_, err := io.Copy(io.Discard, r.Body)
			aborted <- err
			return
		}
		w.Write(make([]byte, 100_000))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, p *pair) {
		resp, err := p.client.Get(p.base + "/")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.ReadAll(resp.Body); err == nil {
			t.Error("a response that was cut short ends in order")
		}
		resp.Body.Close()

		ctx, cancel := context.WithCancel(context.Background())
		body, feed := io.Pipe()
		req, _ := http.NewRequestWithContext(ctx, "POST", p.base+"/", body)
		done := make(chan bool)
		go func() {
			if resp, err := p.client.Do(req); err == nil {
				resp.Body.Close()
			}
			close(done)
		}()
		feed.Write(make([]byte, 50_000))
		select {
		case <-begun:
		case <-time.After(patience):
			t.Error("the origin has not got the request")
		}
		cancel()
		feed.CloseWithError(context.Canceled)
		<-done
		select {
		case err := <-aborted:
			if err == nil {
				t.Error("a request that was cut short ends in order")
			}
		case <-time.After(patience):
			t.Error("the origin was not told that the request was cut short")
		}
	})
}

// A client that does not read stops its origin; others are served meanwhile.
func TestSlowReadersBetweenVersions(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	pairsBeside(t, "", "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			io.WriteString(w, "ok")
			return
		}
		block := make([]byte, 64<<10)
		for n := 0; n < size; n += len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}, func(t *testing.T, p *pair) {
		resp, err := p.client.Get(p.base + "/big")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.Sleep(200 * time.Millisecond)
		if rep := p.reports()[0]; rep.Buf.InUse*rep.Buf.BlockBytes > 8<<20 {
			t.Errorf("%d MiB of buffers for one slow client", rep.Buf.InUse*rep.Buf.BlockBytes>>20)
		}
		if _, got := p.do("GET", "/small", nil, nil); string(got) != "ok" {
			t.Errorf("another request got %q", got)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if n != size || err != nil {
			t.Errorf("%d bytes of %d, %v", n, size, err)
		}
	})
}

// An upload that the origin does not take holds no other up, and goes on when
// it does.
func TestStuckUploadsBetweenVersions(t *testing.T) {
	t.Parallel()
	release := make(chan chan bool, 1)
	onPairs(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			goOn := make(chan bool)
			release <- goOn
			<-goOn
		}
		if r.Method == "GET" {
			w.Write(make([]byte, 1<<20))
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}, func(t *testing.T, p *pair) {
		const size = 30 << 20
		stuck := make(chan string)
		go func() {
			resp, err := p.client.Post(p.base+"/stuck", "", struct{ io.Reader }{bytes.NewReader(make([]byte, size))})
			if err != nil {
				stuck <- err.Error()
				return
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			stuck <- string(b)
		}()
		goOn := <-release
		time.Sleep(300 * time.Millisecond)
		for range 10 {
			if _, got := p.do("POST", "/", bytes.NewReader(make([]byte, 1<<20)), nil); string(got) != fmt.Sprint(1<<20) {
				t.Errorf("another upload: %s", got)
			}
			if _, got := p.do("GET", "/", nil, nil); len(got) != 1<<20 {
				t.Errorf("a download has %d bytes", len(got))
			}
		}
		close(goOn)
		select {
		case got := <-stuck:
			if got != fmt.Sprint(size) {
				t.Errorf("the stuck upload: %s", got)
			}
		case <-time.After(patience):
			t.Error("the stuck upload does not go on")
		}
	})
}
