package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"zproxy/e2e/hostile"
)

// verdicts of one proxy, in the order of the tables.
type verdicts struct {
	requests, responses []verdict
}

// runTables runs both tables through lanes.
func runTables(ls []*lane) verdicts {
	requests, responses := hostile.Requests(), hostile.Responses()
	v := verdicts{make([]verdict, len(requests)), make([]verdict, len(responses))}
	var running sync.WaitGroup
	for li, l := range ls {
		running.Go(func() {
			for i := li; i < len(requests); i += len(ls) {
				v.requests[i] = l.runRequest(&requests[i], i)
			}
			for i := li; i < len(responses); i += len(ls) {
				v.responses[i] = l.runResponse(&responses[i], i)
			}
		})
	}
	running.Wait()
	return v
}

// hostileZproxy starts a zproxy with short time limits and a lane per listener.
func hostileZproxy(t *testing.T, backend string) []*lane {
	t.Helper()
	return startLanes(t, backend, "http1", "limits: {request_header_timeout: 1s, request_body_timeout: 1s}")
}

// startLanes is a zproxy whose listeners speak protocol.
func startLanes(t *testing.T, backend, protocol, limits string) []*lane {
	t.Helper()
	ls := openLanes(t, lanes, hostile.Oracle{})
	listeners := eachLane(ls, func(i int, l *lane) string {
		return fmt.Sprintf("  - {address: %q, protocols: [%s]}\n", l.addr, protocol)
	})
	upstreams := eachLane(ls, func(i int, l *lane) string {
		return fmt.Sprintf("  o%d: {endpoints: [{address: %q}], timeouts: {response: 1s, idle: 1s}}\n", i, l.origin.Addr())
	})
	routes := eachLane(ls, func(i int, l *lane) string {
		return fmt.Sprintf("  - {listener: %q, path: \"/*\", upstream: o%d}\n", l.addr, i)
	})
	start(t, backend, fmt.Sprintf("loops: 1\n%s\naccess_log: {path: LOGFILE}\nlisteners:\n%supstreams:\n%sroutes:\n%s",
		limits, listeners, upstreams, routes))
	return ls
}

// Every hostile message is refused, forwarded in its one unambiguous form, or
// visibly broken off.
func TestHostileBytes(t *testing.T) {
	requests, responses := hostile.Requests(), hostile.Responses()
	if len(requests) < 200 || len(responses) < 60 {
		t.Fatalf("the tables have %d requests and %d responses", len(requests), len(responses))
	}
	themes := map[string]int{}
	for i := range requests {
		theme, _, _ := strings.Cut(requests[i].Name, "/")
		themes[theme]++
	}
	for i := range responses {
		theme, _, _ := strings.Cut(responses[i].Name, "/")
		themes["response "+theme]++
	}
	for _, theme := range []string{"cl-te", "te-cl", "te-te", "cl.0", "0.cl", "chunk-ext", "trailer", "version", "target", "field", "value", "size",
		"pipeline", "cut", "response field", "response queue", "response 1xx", "response framing"} {
		if themes[theme] < 2 {
			t.Errorf("the tables have %d rows on %s", themes[theme], theme)
		}
	}
	t.Logf("rows by theme: %v", themes)
	eachBackend(t, func(t *testing.T, backend string) {
		begun := time.Now()
		v := runTables(hostileZproxy(t, backend))
		for i := range requests {
			if got := v.requests[i]; got.class != asWanted {
				t.Errorf("%s (RFC %s): %s; want %s", requests[i].Name, requests[i].Section, got.label, wanted(&requests[i].Want))
			}
		}
		for i := range responses {
			if got := v.responses[i]; got.class != asWanted {
				t.Errorf("response %s (RFC %s): %s; want %s", responses[i].Name, responses[i].Section, got.label, wantedAnswer(&responses[i].Want))
			}
		}
		t.Logf("%d hostile requests and %d hostile responses in %v", len(requests), len(responses), time.Since(begun).Round(time.Millisecond))
	})
}
