package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/internal/longtest"
)

// flapping is an origin that dies again and again with all its connections, and is back after
// a moment. tally is of POSTs: how often each has come, to whatever origin.
type flapping struct {
	addr   string
	tally  *tally
	deaths atomic.Int64
	server *http.Server
}

type tally struct {
	sync.Mutex
	times map[string]int
}

func (f *flapping) live(t *testing.T) {
	at := f.addr
	if at == "" {
		at = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", at)
	for try := 0; err != nil && try < 10_000; try++ { // a client's connection may have the port for a moment
		time.Sleep(time.Millisecond)
		l, err = net.Listen("tcp", at)
	}
	if err != nil {
		t.Errorf("the origin does not come back: %v", err)
		return
	}
	f.addr = l.Addr().String()
	f.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			f.tally.Lock()
			f.tally.times[r.URL.Path]++
			f.tally.Unlock()
		}
		if rand.IntN(4) == 0 { // so that some are under way when it dies
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		}
		io.WriteString(w, "whole")
	})}
	go f.server.Serve(l)
}

// flap has it die and come back until stop; every is about how long it lives.
func (f *flapping) flap(t *testing.T, every time.Duration, stop chan bool) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(rand.N(2 * every)):
		}
		f.server.Close()
		f.deaths.Add(1)
		time.Sleep(rand.N(every))
		f.live(t)
	}
}

// underFlapping sends n requests, every other a POST, from several clients while one of three origins
// dies and comes back.
func underFlapping(t *testing.T, backend string, every time.Duration, n int) {
	posts := &tally{times: map[string]int{}}
	origins := make([]*flapping, 3)
	var ends []string
	for i := range origins {
		origins[i] = &flapping{tally: posts}
		origins[i].live(t)
		t.Cleanup(func() { origins[i].server.Close() })
		ends = append(ends, fmt.Sprintf("{address: %q}", origins[i].addr))
	}
	z := start(t, backend, fmt.Sprintf("listeners: [{address: LISTEN}]\nloops: 2\nupstreams: {app: {retry: {attempts: 2, budget: {percent: 100, min: 100}}, endpoints: [%s]}}\nroutes: [{path: \"/*\", upstream: app}]\n",
		strings.Join(ends, ", ")))
	stop := make(chan bool)
	var flapper, clients sync.WaitGroup
	flapper.Go(func() { origins[0].flap(t, every, stop) })
	begun := time.Now()
	var next, failed, sent atomic.Int64
	for range 8 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 60 * time.Second}
			defer client.CloseIdleConnections()
			for {
				i := next.Add(1)
				if late := time.Since(begun) > patience; i > int64(n) && (origins[0].deaths.Load() > 0 || late) {
					return
				}
				req, _ := http.NewRequest([]string{"GET", "POST"}[i%2], z.url(fmt.Sprintf("/%d", i)), http.NoBody)
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("%s %d: %v", req.Method, i, err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case req.Method == "POST":
					sent.Add(1)
				case resp.StatusCode != 200 || err != nil || string(body) != "whole":
					if failed.Add(1) < 10 {
						t.Errorf("GET %d: status %d, %q, %v", i, resp.StatusCode, body, err)
					}
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	flapper.Wait()
	posts.Lock()
	defer posts.Unlock()
	twice := 0
	for path, times := range posts.times {
		if times > 1 {
			if twice++; twice < 10 {
				t.Errorf("POST %s came %d times", path, times)
			}
		}
	}
	m := z.metrics(t)
	t.Logf("%d requests, %d deaths of an origin, %d GETs failed, %d of %d POSTs came twice; %v tried again", n, origins[0].deaths.Load(), failed.Load(), twice, sent.Load(), m.sum("zproxy_upstream_retries_total"))
	if origins[0].deaths.Load() == 0 {
		t.Error("no origin has died")
	}
}

// One of three origins flaps: no GET fails, and no POST comes twice.
func TestFlappingEndpoint(t *testing.T) {
	besides(t, func(t *testing.T, backend string) { underFlapping(t, backend, 20*time.Millisecond, 2000) })
}

// So at any rate, and however often.
func TestLengthyFlappingEndpoint(t *testing.T) {
	longtest.Need(t)
	for _, every := range []time.Duration{2 * time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) { underFlapping(t, backend, every, 50_000) })
		})
	}
}
