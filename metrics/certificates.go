package metrics

// CertificateState is a certificate that a listener shows its clients.
type CertificateState struct {
	Listener, File string
	Days           float64 // until it expires
}

// CertificateFiles is what became of the files that a listener's TLS is made from.
type CertificateFiles struct {
	Listener          string
	Reloads, Failures uint64
	Failing           bool
}

func (e *exposition) certificates(s *Snapshot) {
	if len(s.Certificates) == 0 {
		return
	}
	e.family("zproxy_tls_certificate_days", gauge, "Days until the certificate expires, below zero once it has.")
	for i := range s.Certificates {
		c := &s.Certificates[i]
		e.sampleFloat("zproxy_tls_certificate_days", c.Days, Label{"listener", c.Listener}, Label{"certificate", c.File})
	}
	column := func(name string, k kind, help string, value func(*CertificateFiles) uint64) {
		e.family(name, k, help)
		for i := range s.CertificateFiles {
			f := &s.CertificateFiles[i]
			e.sample(name, value(f), Label{"listener", f.Listener})
		}
	}
	column("zproxy_tls_reloads_total", counter, "Times that files of the listener's TLS had changed, were read again and put to use.", func(f *CertificateFiles) uint64 { return f.Reloads })
	column("zproxy_tls_reload_failures_total", counter, "Times that what was read again was no good; the log says why.", func(f *CertificateFiles) uint64 { return f.Failures })
	column("zproxy_tls_reload_failing", gauge, "1 while the files are no good, and what was read before is in use.", func(f *CertificateFiles) uint64 {
		if f.Failing {
			return 1
		}
		return 0
	})
}
