package proxy

import (
	"fmt"
	"testing"
	"time"

	"zproxy/loop"
)

// await waits until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// An upstream has no more requests under way than it may, wherever they wait; who is refused
// says why, and who has ended makes room.
func TestMaxRequests(t *testing.T) {
	onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
		h := startHung(t, v)
		limits := ", pool: {prewarm: 0, max_connections: 2, max_requests: 3}"
		withOrigins(t, io, v, h.addrs[:1], limits, "", func(t *testing.T, p *pair) {
			answers := make(chan string, 3)
			shared := p.snap.Clusters[0].Shared
			for i := range 3 {
				go func() {
					resp, body := p.do("GET", "/hang", nil, nil)
					answers <- fmt.Sprint(resp.StatusCode, " ", string(body))
				}()
				await(t, "a request is under way", func() bool { return shared.Entered() == i+1 })
			}
			for range 3 {
				if resp, _ := p.do("GET", "/", nil, nil); resp.StatusCode != 503 {
					t.Errorf("status %d beyond the limit", resp.StatusCode)
				}
			}
			close(h.let)
			for range 3 {
				if got := <-answers; got != "200 0" {
					t.Errorf("%s within the limit", got)
				}
			}
			await(t, "all have left", func() bool { return shared.Entered() == 0 })
			if resp, _ := p.do("GET", "/", nil, nil); resp.StatusCode != 200 {
				t.Errorf("status %d with nothing under way", resp.StatusCode)
			}
			if n := p.settled()[0].Metrics.RefusedByReason[codeMaxRequests]; n != 3 {
				t.Errorf("%d are counted as refused, want 3", n)
			}
		})
	})
}
