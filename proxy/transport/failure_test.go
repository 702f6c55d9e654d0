package transport

import (
	"testing"

	"zproxy/metrics"
)

// counted is how many handshakes there were, how many of them resumed a session, and how
// many more failed.
func counted(c *metrics.TLS) (done, resumed, failed uint64) {
	for h, n := range c.Done {
		if done += n; h.Resumed {
			resumed += n
		}
	}
	for _, n := range c.Failed {
		failed += n
	}
	return done, resumed, failed
}

// What peers send makes no names of its own in metrics.
func TestAlertReason(t *testing.T) {
	for text, want := range map[string]string{"bad certificate": "alert: bad certificate", "alert(77)": "alert: unknown"} {
		if got := alertReason(text); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}
