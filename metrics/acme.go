package metrics

import (
	"maps"
	"slices"
)

// ACMEState is what is known of a certificate that an authority gives.
type ACMEState struct {
	Certificate string // the first of its names
	Placeholder bool   // there is none yet, and a self-signed one stands for it
	Failing     bool   // the last attempt has failed, or what it gave is not kept
	Issued      uint64
	Failures    map[string]uint64 // by reason
	NextDays    float64           // until there is something to do about it: to ask, to renew, to try again
}

func (e *exposition) authorities(s *Snapshot) {
	if len(s.ACME) == 0 {
		return
	}
	column := func(name string, k kind, help string, value func(*ACMEState) float64) {
		e.family(name, k, help)
		for i := range s.ACME {
			e.sampleFloat(name, value(&s.ACME[i]), Label{"certificate", s.ACME[i].Certificate})
		}
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	column("zproxy_acme_issued_total", counter, "Certificates that the authority has given.", func(a *ACMEState) float64 { return float64(a.Issued) })
	e.family("zproxy_acme_failures_total", counter, "Attempts that gave no certificate, or one that could not be kept; the log says more.")
	for i := range s.ACME {
		a := &s.ACME[i]
		for _, reason := range slices.Sorted(maps.Keys(a.Failures)) {
			e.sample("zproxy_acme_failures_total", a.Failures[reason], Label{"certificate", a.Certificate}, Label{"reason", reason})
		}
	}
	column("zproxy_acme_failing", gauge, "1 while the last attempt has failed.", func(a *ACMEState) float64 { return truth(a.Failing) })
	column("zproxy_acme_placeholder", gauge, "1 while a self-signed certificate is in use, because the authority has given none yet.", func(a *ACMEState) float64 { return truth(a.Placeholder) })
	column("zproxy_acme_next_days", gauge, "Days until the authority is asked for something: when to renew, to renew, or to try again.", func(a *ACMEState) float64 { return a.NextDays })
}
