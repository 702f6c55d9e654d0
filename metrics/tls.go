package metrics

import (
	"maps"
	"slices"
	"strconv"
)

// TLS counts the handshakes of one loop. The zero value is empty and ready for use.
type TLS struct {
	Done   map[Handshake]uint64        // that ended well
	Failed map[HandshakeFailure]uint64 // the rest
	Time   Histogram                   // ns of clients' handshakes, from their connection's first moment to their end
}

// Sides of the proxy, as labels.
const (
	SideClient   = "client"
	SideUpstream = "upstream"
)

// Handshake is what a handshake has come to. Texts are from fixed sets: each makes a
// sample of its own.
type Handshake struct {
	Side, Version, Suite, Group string
	Resumed                     bool
}

// HandshakeFailure is why one has failed.
type HandshakeFailure struct{ Side, Reason string }

// Count counts a handshake that ended well.
func (t *TLS) Count(h Handshake) {
	if t.Done == nil {
		t.Done = map[Handshake]uint64{}
	}
	t.Done[h]++
}

// CountFailure counts one that did not.
func (t *TLS) CountFailure(f HandshakeFailure) {
	if t.Failed == nil {
		t.Failed = map[HandshakeFailure]uint64{}
	}
	t.Failed[f]++
}

func (t *TLS) copyTo(dst *TLS) {
	dst.Done, dst.Failed = maps.Clone(t.Done), maps.Clone(t.Failed)
	t.Time.copyTo(&dst.Time)
}

func (t *TLS) add(other *TLS) {
	for h, n := range other.Done {
		if t.Done == nil {
			t.Done = map[Handshake]uint64{}
		}
		t.Done[h] += n
	}
	for f, n := range other.Failed {
		if t.Failed == nil {
			t.Failed = map[HandshakeFailure]uint64{}
		}
		t.Failed[f] += n
	}
	t.Time.Merge(&other.Time)
}

// sortedBy lists the keys of m in the order of their texts.
func sortedBy[K comparable](m map[K]uint64, text func(K) string) []K {
	keys := slices.Collect(maps.Keys(m))
	slices.SortFunc(keys, func(a, b K) int {
		if text(a) < text(b) {
			return -1
		}
		return 1
	})
	return keys
}

func (e *exposition) handshakes(s *Snapshot) {
	e.family("zproxy_tls_handshakes_total", counter, "TLS handshakes that ended well, by side, version, suite, group and whether a session was resumed; what never occurred is left out.")
	for n, l := range s.Loops {
		text := func(h Handshake) string {
			return h.Side + h.Version + h.Suite + h.Group + strconv.FormatBool(h.Resumed)
		}
		for _, h := range sortedBy(l.TLS.Done, text) {
			e.sample("zproxy_tls_handshakes_total", l.TLS.Done[h], loopLabel(n), Label{"side", h.Side}, Label{"version", h.Version},
				Label{"suite", h.Suite}, Label{"group", h.Group}, Label{"resumed", strconv.FormatBool(h.Resumed)})
		}
	}
	e.family("zproxy_tls_failed_total", counter, "TLS handshakes that failed, by side and reason; reasons that never occurred are left out.")
	for n, l := range s.Loops {
		for _, f := range sortedBy(l.TLS.Failed, func(f HandshakeFailure) string { return f.Side + f.Reason }) {
			e.sample("zproxy_tls_failed_total", l.TLS.Failed[f], loopLabel(n), Label{"side", f.Side}, Label{"reason", f.Reason})
		}
	}
}
