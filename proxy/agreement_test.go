package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"zproxy/config"
	"zproxy/internal/tlstest"
	"zproxy/loop"
)

// agreeToHTTP2 is what a server does before it compiles.
func agreeToHTTP2(cfg *config.Config) {
	for i := range cfg.Upstreams {
		if u := &cfg.Upstreams[i]; u.Protocol == "auto" {
			u.Agreed = "h2"
		}
	}
}

// rest is what is to be read; of a reader that is known by nothing else nobody knows how long it is.
type rest interface{ Read(b []byte) (int, error) }

// fickle is an origin within TLS that offers HTTP/2 as long as it likes, and says by what it was asked.
type fickle struct {
	*httptest.Server
	http1 atomic.Bool
}

func startFickle(t *testing.T) *fickle {
	f := new(fickle)
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(w, "%s %s %s %s%d %s", r.Proto, r.Method, r.RequestURI, r.Header.Get("X-Own"), len(r.Header.Get("X-Long")), b)
	}))
	f.EnableHTTP2 = true
	both := &tls.Config{Certificates: []tls.Certificate{tlstest.Certificate(t, "ecdsa")}, NextProtos: []string{"h2", "http/1.1"}}
	f.TLS = both.Clone()
	f.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		own := both.Clone()
		if f.http1.Load() {
			own.NextProtos = []string{"http/1.1"}
		}
		return own, nil
	}
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

// An origin that has agreed to HTTP/2 and does so no more gets the requests by HTTP/1.1, those that
// were begun for HTTP/2 among them: none fails.
func TestOriginLosesHTTP2(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		f := startFickle(t)
		r := start(t, backend, 1, strings.Replace(yaml(f.Listener.Addr().String(), `
upstreams: {app: {protocol: auto, retries: 0, tls: {verify: false}, endpoints: [{address: "ORIGIN"}]}}
routes: [{path: "/*", upstream: app}]
`), "8080\"", "8080\", protocols: [http1, h2c]", 1), nil)
		text := strings.Repeat("text ", 20_000)
		long := strings.Repeat("long", 10_000) // more than a block
		asked := []struct{ method, body string }{{"GET", ""}, {"POST", text}, {"PUT", ""}, {"POST", "chunked"}, {"GET", long}, {"POST", long}}
		ask := func(h2 bool, by string, first int) error {
			tr := &http.Transport{Protocols: protocols(h2)}
			defer tr.CloseIdleConnections()
			for i := range asked {
				q := asked[(first+i)%len(asked)]
				field, body := 0, rest(strings.NewReader(q.body))
				if q.body == long {
					field = len(long)
				}
				if q.method == "GET" {
					q.body, body = "", nil
				}
				if q.body == "chunked" {
					body = struct{ rest }{body}
				}
				req, err := http.NewRequest(q.method, "http://"+r.addr+"/some/path?q=1", body)
				if err != nil {
					return err
				}
				req.Header.Set("X-Own", "value")
				if field > 0 {
					req.Header.Set("X-Long", long)
				}
				resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(req)
				if err != nil {
					return fmt.Errorf("h2 %v: %s: %w", h2, q.method, err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				want := fmt.Sprintf("%s %s /some/path?q=1 value%d %s", by, q.method, field, q.body)
				if err != nil || resp.StatusCode != 200 || string(got) != want {
					return fmt.Errorf("h2 %v: %s: %d, %.200q, %v", h2, q.method, resp.StatusCode, got, err)
				}
			}
			return nil
		}
		for _, h2 := range []bool{false, true} {
			if err := ask(h2, "HTTP/2.0", 0); err != nil {
				t.Error(err)
			}
		}
		f.http1.Store(true)
		f.CloseClientConnections()
		failed := make(chan error)
		for i := range 20 {
			go func() { failed <- ask(i%2 == 0, "HTTP/1.1", i/2) }()
		}
		for range 20 {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if lost := r.snap.Lost(); len(lost) != 1 || lost[0] != "app" {
			t.Errorf("lost: %q", lost)
		}
	})
}
