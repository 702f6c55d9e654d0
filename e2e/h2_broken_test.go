package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// Why an HTTP/2 connection to an origin is broken off stands in the process log,
// with the origin and what was counted, at a limited rate; metrics and /status
// count it by endpoint.
func TestH2BrokenOrigins(t *testing.T) {
	ways := []struct {
		name   string
		does   func(h *h2conn)
		says   []string
		reason string
	}{
		{"ping", func(h *h2conn) {
			for range 1500 {
				h.fr.WritePing(false, [8]byte{1})
			}
		}, []string{`reason="too many pings"`, `ping 1`, "score=20"}, "http2_ping"},
		{"window", func(h *h2conn) { h.raw(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) },
			[]string{`reason="window update by 0"`}, "frame"},
		{"goaway", func(h *h2conn) { h.fr.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil) },
			[]string{"code=ENHANCE_YOUR_CALM"}, "upstream_goaway"},
	}
	eachBackend(t, func(t *testing.T, backend string) {
		text := "listeners: [{address: LISTEN}]\nloops: 1\nupstreams:\n"
		routes := "routes:\n"
		addrs := map[string]string{}
		for _, way := range ways {
			o := startH2Origin(t, serving(func(h *h2conn, s *h2stream) { way.does(h) }))
			addrs[way.name] = o.addr
			text += fmt.Sprintf("  to_%s: {protocol: h2c, endpoints: [{address: %q}]}\n", way.name, o.addr)
			routes += fmt.Sprintf("  - {path: /%s, upstream: to_%s}\n", way.name, way.name)
		}
		z := start(t, backend, text+routes)
		begun := time.Now()
		const brokenQuiet = 30 * time.Second // the same is spoken of again after it
		lines := func(parts ...string) (n int) {
			for line := range strings.Lines(z.out.String()) {
				all := true
				for _, part := range append(parts, "broken off", "level=WARN") {
					all = all && strings.Contains(line, part)
				}
				if all {
					n++
				}
			}
			return n
		}
		for i, way := range ways {
			for range 1 + 3*i {
				timed(t, z.addr, "/"+way.name)
			}
			endpoint := []string{"upstream=to_" + way.name, "endpoint=" + addrs[way.name]}
			says := append(endpoint, way.says...)
			eventually(t, patience, "the log says "+strings.Join(says, " "), func() (bool, string) {
				return lines(says...) > 0, z.out.String()
			})
			if n := lines(append(endpoint, "open_requests=0")...); n > 0 && way.name != "goaway" {
				t.Errorf("no request was open:\n%s", z.out.String())
			}
			if i == 0 {
				for range 3 {
					timed(t, z.addr, "/"+way.name) // not spoken of again so soon
				}
			}
			labels := []string{fmt.Sprintf("upstream=%q", "to_"+way.name), fmt.Sprintf("endpoint=%q", addrs[way.name]), fmt.Sprintf("reason=%q", way.reason)}
			eventually(t, patience, way.name+" is counted", func() (bool, string) {
				n := z.metrics(t).sum("zproxy_endpoint_http2_broken_total", labels...)
				return n >= float64(1+3*i), fmt.Sprint(n)
			})
		}
		if n := lines("upstream=to_ping"); n != 1 && time.Since(begun) < brokenQuiet {
			t.Errorf("%d lines about the same:\n%s", n, z.out.String())
		}
		eventually(t, patience, "/status has it", func() (bool, string) {
			page := string(z.page(t, "/status"))
			return strings.Contains(page, `"reason": "http2_ping"`), page
		})
	})
}
