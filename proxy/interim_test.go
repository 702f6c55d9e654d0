package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/proxy/snapshot"
)

// interims asks by p and gives the statuses of the interim responses that came.
func (p *pair) interims(path, body string, expect bool) (statuses []int) {
	p.t.Helper()
	p.client.Transport.(*http.Transport).ExpectContinueTimeout = patience // it does not get tired of waiting
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		statuses = append(statuses, code)
		return nil
	}}
	method := "GET"
	if body != "" {
		method = "POST"
	}
	_, got := p.do(method, path, strings.NewReader(body), func(r *http.Request) {
		*r = *r.WithContext(httptrace.WithClientTrace(context.Background(), trace))
		if expect {
			r.Header.Set("Expect", "100-continue")
		}
	})
	if string(got) != "got "+body {
		p.t.Errorf("%s: answer %q, want %q", path, got, "got "+body)
	}
	return statuses
}

// talkative says more than anybody wants to hear.
func talkative(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/late" {
		time.Sleep(2500 * time.Millisecond)
	} else {
		for range 3 {
			w.WriteHeader(100)
		}
	}
	w.Header().Set("Link", "</a>")
	w.WriteHeader(103)
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "got %s", body)
}

// A client gets one 100 (Continue) if it asked for it, from the origin or, where
// that says nothing for a while, from the proxy. Other interim responses
// pass where they may.
func TestInterimResponses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, path, body string
		expect           bool
		want             []int
		own              uint64
	}{
		{"100 that nobody asked for", "/", "", false, []int{103}, 0},
		{"100 that nobody asked for, with a body", "/", "body", false, []int{103}, 0},
		{"100 three times", "/", "body", true, []int{100, 103}, 0},
		{"no 100 in time", "/late", "body", true, []int{100, 103}, 1},
		{"100 alone where others are dropped", "/drop", "body", true, []int{100}, 0},
		{"none where they are dropped", "/drop", "", false, nil, 0},
	}
	routes := "routes: [{path: \"/*\", upstream: app}, {path: /drop, upstream: app, interim: drop}]\n"
	pairsBeside(t, ", timeouts: {continue: 1s}", routes, talkative, func(t *testing.T, p *pair) {
		for _, tc := range cases {
			before := p.reports()[0].Metrics.ContinuesOwn
			if got := p.interims(tc.path, tc.body, tc.expect); !slices.Equal(got, tc.want) {
				t.Errorf("%s: interim responses %v, want %v", tc.name, got, tc.want)
			}
			if own := p.reports()[0].Metrics.ContinuesOwn - before; own != tc.own {
				t.Errorf("%s: %d of the proxy's own, want %d", tc.name, own, tc.own)
			}
		}
	})
}

// What a listener says about interim responses holds for routes that say
// nothing.
func TestInterimOfListenerAndRoute(t *testing.T) {
	for _, listener := range []string{"pass", "drop"} {
		for route, want := range map[string]string{"": listener, "interim: pass": "pass", "interim: drop": "drop"} {
			text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", interim: %s}]\n"+
				"upstreams: {app: {endpoints: [{address: \"127.0.0.1:1\"}]}}\nroutes: [{path: /, upstream: app, %s}]\n", listener, route)
			w := &Worker{snap: compiled(t, text)}
			w.join(gear{})
			w.snaps.all = []*snapshot.Snapshot{w.snap}
			if drops := w.responses.dropsInterim(&client{}, &exchange{}); drops != (want == "drop") {
				t.Errorf("listener %s, route {%s}: dropped %v, want %s", listener, route, drops, want)
			}
		}
	}
}

// compiled is the snapshot of a configuration.
func compiled(t *testing.T, text string) *snapshot.Snapshot {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.NewRegistry(1, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
