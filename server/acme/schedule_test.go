package acme

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-1": 0, "soon": 0, "Fri, 02 Jan 2026 04:04:05 GMT": time.Hour, "Thu, 01 Jan 2026 00:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestAskAfter(t *testing.T) {
	now := time.Now()
	for says, want := range map[time.Duration]time.Duration{0: minAsk, time.Hour: time.Hour, -time.Hour: minAsk, 100 * time.Hour: maxAsk} {
		if got := askAfter(now, now.Add(says)).Sub(now); got != want {
			t.Errorf("%v: %v, want %v", says, got, want)
		}
	}
	if got := askAfter(now, time.Time{}).Sub(now); got != defaultAsk {
		t.Errorf("nothing said: %v", got)
	}
}

func TestRenewalTime(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	leaf := &x509.Certificate{NotBefore: from, NotAfter: from.Add(100 * day)}
	for _, c := range []struct {
		percent int
		chosen  time.Duration // 0: no advice
		r       float64
		want    time.Duration
	}{
		{33, 0, 0, 67 * day},
		{33, 0, 0.5, 67*day - 33*day/20},
		{50, 0, 0, 50 * day},
		{33, 80 * day, 0.5, 80 * day},
		{33, -time.Hour, 0, time.Hour}, // at once: not within the first hour
		{33, 99 * day, 0, 95 * day},    // not in the last moments
	} {
		var a *advice
		if c.chosen != 0 {
			a = &advice{Chosen: from.Add(c.chosen)}
		}
		if got := renewal(leaf, c.percent, a, c.r).Sub(from); got != c.want {
			t.Errorf("%+v: after %v", c, got)
		}
	}
	hour := &x509.Certificate{NotBefore: from, NotAfter: from.Add(time.Hour)}
	if got := renewal(hour, 33, &advice{Chosen: hour.NotAfter}, 0).Sub(from); got != 45*time.Minute {
		t.Errorf("an hour's: after %v", got)
	}
}
