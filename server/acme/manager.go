package acme

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"zproxy/config"
	"zproxy/metrics"
)

// Config is what a Manager is made of.
type Config struct {
	Listeners []config.Listener   // those without an acme section are passed over
	Path      func(string) string // of files that the configuration names
	Log       *slog.Logger
	UserAgent string
}

// Manager has the certificates of all listeners.
type Manager struct {
	log       *slog.Logger
	sections  []*config.ACME                  // in the order of the listeners
	listeners map[*config.ACME][]*certificate // of sections, by entry of Names
	certs     []*certificate
	answers   *answers
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// Open reads what there is and puts it into the sections' Issued. It asks nobody for anything; files that are no good
// are logged, and passed over.
func Open(c Config) *Manager {
	m := &Manager{log: c.Log, listeners: map[*config.ACME][]*certificate{}, answers: newAnswers(), stop: func() {}}
	issuers, certs := map[folder]*issuer{}, map[string]*certificate{}
	for i := range c.Listeners {
		if c.Listeners[i].TLS == nil || c.Listeners[i].TLS.ACME == nil {
			continue
		}
		s := c.Listeners[i].TLS.ACME
		f := folderOf(c.Path(s.Storage), s.Directory)
		if issuers[f] == nil { // config has found if the sections do not agree about the account
			issuers[f] = &issuer{
				settings: s, path: c.Path, folder: f, userAgent: c.UserAgent, answers: m.answers,
				places: make(chan struct{}, ordersAtOnce),
			}
		}
		for _, names := range s.Groups() {
			file := f.path(certificateFile(names))
			cert := certs[file]
			if cert == nil {
				cert = m.open(names, s, issuers[f], f)
				certs[file] = cert
				m.certs = append(m.certs, cert)
			}
			m.listeners[s] = append(m.listeners[s], cert)
		}
		m.sections = append(m.sections, s)
		s.Issued = m.Issued(s)
	}
	return m
}

// Takes says that the sections of other listeners ask for the same as those that m was opened with. Then it fills in
// their Issued, with what there is by now, and m serves them as well.
func (m *Manager) Takes(listeners []config.Listener) bool {
	var sections []*config.ACME
	for i := range listeners {
		if t := listeners[i].TLS; t != nil && t.ACME != nil {
			sections = append(sections, t.ACME)
		}
	}
	if !slices.EqualFunc(m.sections, sections, same) {
		return false
	}
	for _, s := range sections {
		s.Issued = m.Issued(s)
	}
	return true
}

// same says that two sections ask for the same.
func same(a, b *config.ACME) bool {
	one, other := *a, *b
	one.Issued, other.Issued = nil, nil
	return config.Same(one, other)
}

func (m *Manager) open(names []string, s *config.ACME, i *issuer, f folder) *certificate {
	c := &certificate{
		names: names, settings: s, authority: i, folder: f, again: make(chan struct{}, 1),
		log: m.log.With("name", names[0]),
	}
	if err := c.read(); err != nil {
		c.count(err)
		c.log.Error("the certificate in the folder is no good", "error", err.Error())
	}
	switch h := c.Current(); {
	case h == nil:
		c.log.Warn("a self-signed certificate is in use until the authority has given one", "directory", s.Directory)
	case !c.fits(h):
		c.log.Info("the certificate in the folder has other names or another key than the configuration, and is in use until there is one that fits", "file", h.Cert)
	default:
		c.log.Info("certificate is in the folder", "until", h.leaf.NotAfter.UTC().Format(time.RFC3339), "renewal", c.renewal(h).UTC().Format(time.RFC3339), "file", h.Cert)
	}
	return c
}

// Start begins to get what there is not, and to renew what there is. The names are served by then: to gives the
// answers that prove it. changed is called, from goroutines of the manager, when Issued gives something else.
func (m *Manager) Start(to Answerer, changed func()) {
	m.answers.to = to
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	for _, c := range m.certs {
		c.changed = changed
		m.running.Go(func() { c.run(ctx) })
	}
}

// Stop ends what is under way; Wait returns when it has.
func (m *Manager) Stop() { m.stop() }

// Wait returns when nothing is under way any more, after Stop.
func (m *Manager) Wait() { m.running.Wait() }

// Retry has what failed be tried again at once, and authorities be asked at once when to renew.
func (m *Manager) Retry() {
	for _, c := range m.certs {
		select {
		case c.again <- struct{}{}:
		default: // somebody has asked already
		}
	}
}

// Issued are the certificates of a section, or of one that Takes has found to ask for the same, as its Issued has them.
func (m *Manager) Issued(s *config.ACME) []config.Certificate {
	certs := m.listeners[s]
	if i := slices.IndexFunc(m.sections, func(own *config.ACME) bool { return same(own, s) }); certs == nil && i >= 0 {
		certs = m.listeners[m.sections[i]]
	}
	issued := make([]config.Certificate, len(certs))
	for i, c := range certs {
		if h := c.Current(); h != nil {
			issued[i] = h.Certificate
		}
	}
	return issued
}

// States lists what is known of each certificate.
func (m *Manager) States(now time.Time) []metrics.ACMEState {
	all := make([]metrics.ACMEState, len(m.certs))
	for i, c := range m.certs {
		c.mu.Lock()
		all[i] = c.state
		all[i].Certificate, all[i].Placeholder = c.names[0], c.current == nil
		all[i].Failures = maps.Clone(c.state.Failures)
		all[i].NextDays = max(0, c.next.Sub(now).Hours()/24)
		c.mu.Unlock()
	}
	return all
}
