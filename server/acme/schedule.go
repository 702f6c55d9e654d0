package acme

import (
	"crypto/x509"
	"time"
)

// advice is when the authority would have a certificate renewed (RFC 9773), as far as it was asked.
type advice struct {
	Serial string    `json:"serial"`          // of the certificate it is about, in hexadecimal
	Start  time.Time `json:"start,omitzero"`  // of the window; zero: it has no opinion
	End    time.Time `json:"end,omitzero"`    // of the window
	Chosen time.Time `json:"chosen,omitzero"` // within it, once for each window
	Ask    time.Time `json:"ask"`             // not to be asked again before
}

// RFC 9773 4.3.3: how often to ask, within reason, whatever the authority says.
const (
	minAsk     = time.Minute
	maxAsk     = 24 * time.Hour
	defaultAsk = 6 * time.Hour
)

// askAfter is when to ask again, given what the authority says; zero: nothing.
func askAfter(now, says time.Time) time.Time {
	if says.IsZero() {
		return now.Add(defaultAsk)
	}
	return now.Add(min(max(says.Sub(now), minAsk), maxAsk))
}

// choose picks a time in the window, by a number in [0, 1).
func (a *advice) choose(r float64) {
	a.Chosen = a.Start.Add(time.Duration(r * float64(a.End.Sub(a.Start))))
}

// renewal is when a certificate is renewed. Without advice that is when so many percent of its lifetime are left, less
// up to a tenth of them: r in [0, 1) says how much. An advice holds within bounds: not at once when it was only just
// issued, or an authority that always says "now" would be asked without end; and not in its last moments, when there
// may not be the time for an attempt.
func renewal(leaf *x509.Certificate, percent int, a *advice, r float64) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	if a == nil || a.Chosen.IsZero() {
		left := life / 100 * time.Duration(percent)
		return leaf.NotAfter.Add(-left - time.Duration(r*float64(left)/10))
	}
	first, last := leaf.NotBefore.Add(min(life/3, time.Hour)), leaf.NotAfter.Add(-max(life/20, min(life/4, attemptLimit)))
	switch {
	case a.Chosen.Before(first):
		return first
	case a.Chosen.After(last):
		return last
	}
	return a.Chosen
}

// Attempts that fail are repeated 2, 8, 26, 80 minutes later and so on, at most every six hours: fewer than the five
// failures of an hour that Let's Encrypt allows for a name.
const (
	firstPause = 2 * time.Minute
	lastPause  = 6 * time.Hour
	// longestWait bounds what an authority may ask for instead.
	longestWait = 7 * 24 * time.Hour
)

// pause is how long to wait after so many attempts have failed, give or take a quarter: r is in [0, 1). Of a
// certificate that does not live long, it is not a large part.
func pause(failed int, r float64, life time.Duration) time.Duration {
	p := firstPause
	for range failed - 1 {
		if p *= 3; p > lastPause {
			p = lastPause
			break
		}
	}
	if life > 0 {
		p = min(p, max(life/20, minPause))
	}
	return time.Duration(float64(p) * (0.75 + r/2))
}

// minPause is between two attempts, whatever the reason for the second.
const minPause = 10 * time.Second
