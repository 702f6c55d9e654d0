package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"

	gorilla "github.com/gorilla/websocket"
	"golang.org/x/net/http2"
)

// streamKinds are clients with streams of HTTP/2, before origins of both
// versions, and with WebSockets.
var streamKinds = []soakKind{
	{"speaks HTTP/2", 2, 5 * time.Millisecond, (*soaking).speaksStreams},
	{"cancels streams", 1, 5 * time.Millisecond, (*soaking).cancelsStreams},
	{"leaves its streams", 1, 10 * time.Millisecond, (*soaking).leavesStreams},
	{"talks by WebSocket", 2, 5 * time.Millisecond, (*soaking).talksBySocket},
	{"leaves its WebSocket", 1, 10 * time.Millisecond, (*soaking).leavesSocket},
}

// h2Transport makes clients of connections.
var h2Transport = &http2.Transport{AllowHTTP: true, DisableCompression: true}

// soakEcho answers like echoSums, and /never when the client has gone.
func soakEcho(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/never") {
		<-r.Context().Done()
		return
	}
	r.URL.Path = r.URL.Path[strings.LastIndexByte(r.URL.Path, '/'):]
	echoSums(w, r)
}

// streamPaths lead to origins of HTTP/1.1 and of HTTP/2.
var streamPaths = []string{"/one", "/two"}

// ask is one stream: a page, a download or an upload.
func (s *soaking) ask(ctx context.Context, cc *http2.ClientConn, rng *rand.Rand) error {
	at := "http://e2e" + streamPaths[rng.IntN(2)]
	method, path, want, body := "GET", "/hello", "hello\n", io.Reader(nil)
	switch rng.IntN(4) {
	case 0:
		at, path, want = "http://e2e", "/own", "own\n"
	case 1:
		size := rng.Int64N(300_000)
		b, err := io.ReadAll(stream(size))
		if err != nil {
			return err
		}
		path, want = fmt.Sprintf("/%d", size), string(b)
	case 2:
		method, path, want, body = "PUT", "/up", uploaded(soakUpload, s.up, "", ""), struct{ io.Reader }{stream(soakUpload)}
	default:
		at = "http://e2e"
	}
	req, err := http.NewRequestWithContext(ctx, method, at+path, body)
	if err != nil {
		return err
	}
	res, err := cc.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, req.URL, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || string(b) != want {
		return fmt.Errorf("%s %s: %s, %d bytes %.40q (%w), want %d bytes %.40q", method, req.URL, res.Status, len(b), b, err, len(want), want)
	}
	return nil
}

// asks has many streams at once; cancelled says after how long the nth is
// cancelled, 0 for one that is not.
func (s *soaking) asks(cc *http2.ClientConn, rng *rand.Rand, many int, cancelled func(n int) time.Duration) error {
	errs := make([]error, many)
	var all sync.WaitGroup
	for n := range many {
		own := rand.New(rand.NewPCG(rng.Uint64(), 0))
		all.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			after := cancelled(n)
			if after > 0 {
				time.AfterFunc(after, cancel)
			}
			if errs[n] = s.ask(ctx, cc, own); after > 0 && errors.Is(errs[n], context.Canceled) {
				errs[n] = nil
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *soaking) speaksStreams(c *wire, rng *rand.Rand) error {
	cc, err := h2Transport.NewClientConn(c.TCPConn)
	if err != nil {
		return err
	}
	defer cc.Close()
	for range 1 + rng.IntN(3) {
		err = errors.Join(err, s.asks(cc, rng, 1+rng.IntN(12), func(int) time.Duration { return 0 }))
	}
	return err
}

// cancelsStreams gives up every other stream, and one that nobody would ever
// answer; the others get all the same what they asked for.
func (s *soaking) cancelsStreams(c *wire, rng *rand.Rand) error {
	cc, err := h2Transport.NewClientConn(c.TCPConn)
	if err != nil {
		return err
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(20))*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://e2e"+streamPaths[rng.IntN(2)]+"/never", nil)
	if err != nil {
		return err
	}
	never := make(chan error, 1)
	go func() {
		res, err := cc.RoundTrip(req)
		if err == nil {
			res.Body.Close()
			err = fmt.Errorf("/never was answered %s", res.Status)
		} else if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		never <- err
	}()
	pauses := make([]time.Duration, 10)
	for n := range pauses {
		if n%2 == 1 {
			pauses[n] = time.Duration(1 + rng.Int64N(int64(20*time.Millisecond)))
		}
	}
	return errors.Join(s.asks(cc, rng, len(pauses), func(n int) time.Duration { return pauses[n] }), <-never)
}

// leavesStreams ends its connection under streams of all kinds.
func (s *soaking) leavesStreams(c *wire, rng *rand.Rand) error {
	cc, err := h2Transport.NewClientConn(c.TCPConn)
	if err != nil {
		return err
	}
	defer cc.Close()
	done := make(chan struct{})
	own := rand.New(rand.NewPCG(rng.Uint64(), 0))
	go func() {
		s.asks(cc, own, 8, func(int) time.Duration { return 0 })
		close(done)
	}()
	time.Sleep(time.Duration(rng.Int64N(int64(10 * time.Millisecond))))
	c.leave(rng)
	<-done
	return nil
}

// socket opens a WebSocket.
func (s *soaking) socket(c *wire) (gorillaClient, error) {
	ws, res, err := gorilla.NewClient(c.TCPConn, &url.URL{Scheme: "ws", Host: "e2e", Path: "/ws"}, nil, 4096, 4096)
	if err != nil {
		return gorillaClient{}, fmt.Errorf("handshake: %w, %v", err, res)
	}
	return gorillaClient{ws}, nil
}

func (s *soaking) talksBySocket(c *wire, rng *rand.Rand) error {
	ws, err := s.socket(c)
	if err != nil {
		return err
	}
	for range 1 + rng.IntN(20) {
		want := bytes.Repeat([]byte{'a' + byte(rng.IntN(26))}, rng.IntN(1<<rng.IntN(17)))
		got, err := ws.talk(rng.IntN(2) == 0, want)
		if err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%d bytes came back as %d (%w)", len(want), len(got), err)
		}
	}
	return errors.Join(ws.ping(), ws.bye(gorilla.CloseNormalClosure))
}

// leavesSocket goes in the middle of what it says, or of what it is told.
func (s *soaking) leavesSocket(c *wire, rng *rand.Rand) error {
	ws, err := s.socket(c)
	if err != nil {
		return err
	}
	if err := ws.WriteMessage(gorilla.BinaryMessage, make([]byte, rng.IntN(200_000))); err != nil {
		return err
	}
	if rng.IntN(2) == 0 {
		err = c.say("\x82\xfe\x40\x00mask" + strings.Repeat("-", rng.IntN(1000)))
	}
	c.leave(rng)
	return err
}

// burstOfStreams is h2load for a second: what wrk is to HTTP/1.1.
func (s *soaking) burstOfStreams() (string, bool) {
	out, err := exec.Command("h2load", "-D1", "-c4", "-m32", s.url("/hello"), s.url("/two/hello")).CombinedOutput()
	m := h2loadLine.FindSubmatch(out)
	bad := err != nil || m == nil || string(m[2]) == "0" || string(m[3]) != "0" || string(m[4]) != "0"
	return fmt.Sprintf("h2load: %v: %s", err, tail(string(out))), !bad
}
