package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// speaking is the set of one protocol: http1 or h2c.
func speaking(protocol string) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(protocol == "http1")
	p.SetUnencryptedHTTP2(protocol == "h2c")
	return p
}

// startGo runs Go's server as an origin.
func startGo(t *testing.T, protocol string, handler http.HandlerFunc) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, Protocols: speaking(protocol)}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// goClient is Go's client, which speaks one protocol. At the end all of its
// connections are closed: CloseIdleConnections would leave those whose last
// stream was cancelled a moment ago.
func goClient(t *testing.T, protocol string) *http.Client {
	var mu sync.Mutex
	var opened []net.Conn
	tr := &http.Transport{Protocols: speaking(protocol), DisableCompression: true}
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			mu.Lock()
			opened = append(opened, c)
			mu.Unlock()
		}
		return c, err
	}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range opened {
			c.Close()
		}
	})
	return &http.Client{Transport: tr, Timeout: 2 * time.Minute}
}

// echoSums answers an upload with its sum, and /N with stream(N).
func echoSums(w http.ResponseWriter, r *http.Request) {
	if r.Method == "PUT" {
		n, sum, err := sumUp(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, uploaded(n, sum, "", r.Trailer.Get("X-Check")))
		w.(http.Flusher).Flush() // with a Content-Length there are no trailers in HTTP/1.1
		w.Header().Set("X-Sum", sum)
		return
	}
	var n int64
	fmt.Sscanf(r.URL.Path, "/%d", &n)
	if r.URL.RawQuery == "length" {
		w.Header().Set("Content-Length", fmt.Sprint(n))
	}
	io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{stream(n)}, make([]byte, 64<<10))
}

// Bodies arrive as they were sent, whatever the protocols of the two sides,
// with their length said or not, and with trailer fields.
func TestH2Bodies(t *testing.T) {
	eachFront(t, func(t *testing.T, backend string) {
		for _, sides := range [][2]string{{"h2c", "http1"}, {"h2c", "h2c"}, {"http1", "h2c"}} {
			t.Run(sides[0]+" to "+sides[1], func(t *testing.T) {
				f := startFront(t, backend, site{listen: sides[0], origin: sides[1], addr: startGo(t, sides[1], echoSums)})
				client := goClient(t, sides[0])
				for _, n := range []int64{0, 1, 16384, mib, 100 * mib} {
					want := sumOfStream(t, n)
					download(t, client, f, n, want, "?length")
					download(t, client, f, n, want, "")
					upload(t, client, f, n, want, true)
					upload(t, client, f, n, want, false)
				}
				manyBodies(t, client, f)
			})
		}
	})
}

func download(t *testing.T, client *http.Client, f *front, n int64, want, query string) {
	t.Helper()
	res, err := client.Get(f.url(fmt.Sprintf("/%d%s", n, query)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("GET: %s", res.Status)
		return
	}
	if query != "" && res.ContentLength != n {
		t.Errorf("%d bytes are announced as %d", n, res.ContentLength)
	}
	if got, sum := sumOf(t, res.Body); got != n || sum != want {
		t.Errorf("%d bytes of %d arrived, sum %s, want %s", got, n, sum, want)
	}
}

func upload(t *testing.T, client *http.Client, f *front, n int64, want string, length bool) {
	t.Helper()
	req, err := http.NewRequest("PUT", f.url("/"), struct{ io.Reader }{stream(n)})
	if err != nil {
		t.Fatal(err)
	}
	check := ""
	if length {
		req.ContentLength = n
	} else {
		check = "whole"
		req.Trailer = http.Header{"X-Check": {check}}
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if expect := uploaded(n, want, "", check); err != nil || string(answer) != expect {
		t.Errorf("the origin received %q, %v; want %q", answer, err, expect)
	}
	if got := res.Trailer.Get("X-Sum"); got != want {
		t.Errorf("trailer field X-Sum: %q, want %q", got, want)
	}
}

// manyBodies has 64 bodies of a MiB under way both ways at once.
func manyBodies(t *testing.T, client *http.Client, f *front) {
	t.Helper()
	want := sumOfStream(t, mib)
	var running sync.WaitGroup
	for i := range 64 {
		running.Go(func() {
			if i%2 == 0 {
				download(t, client, f, mib, want, "")
			} else {
				upload(t, client, f, mib, want, i%4 == 1)
			}
		})
	}
	running.Wait()
}

// Events arrive one by one, when they happen, and the client's leaving is
// noticed by the origin.
func TestH2ServerSentEvents(t *testing.T) {
	origins(t, func(t *testing.T, backend, protocol string) {
		next, left := make(chan int), make(chan bool)
		f := startFront(t, backend, site{origin: protocol, addr: startGo(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			for {
				select {
				case n := <-next:
					fmt.Fprintf(w, "data: %d\n\n", n)
					w.(http.Flusher).Flush()
				case <-r.Context().Done():
					close(left)
					return
				}
			}
		})})
		ctx, leave := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", f.url("/events"), nil)
		res, err := goClient(t, "h2c").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		for i := range 50 {
			next <- i
			n, err := res.Body.Read(b)
			if want := fmt.Sprintf("data: %d\n\n", i); err != nil || string(b[:n]) != want {
				t.Fatalf("event %d: %q, %v", i, b[:n], err)
			}
		}
		leave()
		select {
		case <-left:
		case <-time.After(patience):
			t.Error("the origin does not learn that the client has left")
		}
	})
}

// A client that gives up hundreds of requests, before and in their answers,
// leaves nothing behind, and its connection goes on.
func TestH2ClientCancels(t *testing.T) {
	origins(t, func(t *testing.T, backend, protocol string) {
		var open atomic.Int64
		f := startFront(t, backend, site{origin: protocol, pool: "pool: {max_connections: 512}", addr: startGo(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			open.Add(1)
			defer open.Add(-1)
			if strings.HasPrefix(r.URL.Path, "/never") {
				<-r.Context().Done()
				return
			}
			echoSums(w, r)
		})})
		client := goClient(t, "h2c")
		var running sync.WaitGroup
		for i := range 400 {
			path := "/never"
			if i%2 == 0 {
				path = fmt.Sprintf("/%d", 20*mib)
			}
			if running.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Duration(i%40)*5*time.Millisecond, cancel)
				req, _ := http.NewRequestWithContext(ctx, "GET", f.url(path), nil)
				res, err := client.Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", path, err)
				}
				cancel()
			}); i%50 == 49 {
				running.Wait()
			}
		}
		running.Wait()
		download(t, client, f, mib, sumOfStream(t, mib), "")
		eventually(t, patience, "the origin is asked no more", func() (bool, string) {
			return open.Load() == 0, fmt.Sprintf("%d requests", open.Load())
		})
	})
}
