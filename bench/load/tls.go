package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// handshakes is a plan to open connections, each within TLS 1.3 and for one
// request, a few at a time. Clients are goroutines here: a handshake costs far
// more than they do.
type handshakes struct {
	plan
	resume bool // a session, in every connection but one before the time runs
}

// config is what clients of TLS 1.3 that are not browsers offer: one group, with
// the keys that a server of any age takes. The certificate is whatever the server has.
func (h *handshakes) config() *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}
	if h.resume {
		// One for all: the ticket that came last is taken by whoever connects next.
		c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return c
}

func (h *handshakes) run() (*Result, error) {
	debug.SetGCPercent(400) // other plans allocate next to nothing
	config := h.config()
	if h.resume {
		if _, _, err := h.once(config); err != nil {
			return nil, fmt.Errorf("the first connection: %w", err)
		}
	}
	r := &Result{}
	times := hdrhistogram.New(100, int64(longest), 3)
	start := time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	for range h.connections {
		all.Go(func() {
			for time.Since(start) < h.duration {
				took, resumed, err := h.once(config)
				mu.Lock()
				if err != nil || resumed != h.resume {
					r.Errors++
				} else {
					r.Requests++
					times.RecordValue(int64(min(took, longest)))
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	r.Seconds = time.Since(start).Seconds()
	r.quantiles(times)
	return r, nil
}

// once asks over a connection of its own, and says how long that took, and
// whether it resumed a session.
func (h *handshakes) once(config *tls.Config) (took time.Duration, resumed bool, err error) {
	began := time.Now()
	conn, err := net.DialTimeout("tcp4", h.addr.String(), h.patience)
	if err != nil {
		return 0, false, err
	}
	defer conn.Close()
	conn.SetDeadline(began.Add(h.patience))
	c := tls.Client(conn, config)
	if err := c.Handshake(); err != nil {
		return 0, false, err
	}
	if _, err := c.Write(h.message()); err != nil {
		return 0, false, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, false, err
	}
	n, err := io.Copy(io.Discard, answer.Body)
	took = time.Since(began)
	switch {
	case err != nil:
		return 0, false, err
	case answer.StatusCode != 200 || n != answer.ContentLength:
		return 0, false, fmt.Errorf("answered %s with %d bytes, and a length of %d", answer.Status, n, answer.ContentLength)
	}
	// The ticket may come behind the answer; the end is the server's to say.
	if n, err := io.Copy(io.Discard, c); n > 0 || err != nil {
		return 0, false, fmt.Errorf("%d bytes behind the answer: %w", n, err)
	}
	return took, c.ConnectionState().DidResume, nil
}
