package server

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"zproxy/config"
	"zproxy/metrics"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport/credentials"
)

const (
	// keeperInterval is how often the files are looked at. What has changed is read
	// when it has not changed since the last look: whoever writes it may not be done.
	keeperInterval = time.Second
	// keeperPatience is for how long a certificate that does not fit its key is taken
	// for one that is being exchanged, and nothing is said.
	keeperPatience = 5 * time.Second
)

// keeper reads the files again that TLS listeners are made from, and has their
// handshakes use what is there.
type keeper struct {
	s           *Server
	stop, ended chan struct{}
	now         chan chan error // to read them at once
	got         chan struct{}   // holds one: there are other certificates of an authority
	ring        []*keptListener
}

// keptListener is what is known of the files of one listener.
type keptListener struct {
	snapshot.Credentials
	files  []string
	holds  [32]byte    // hash of what is in use
	good   *config.TLS // what the files held then
	used   string      // how the files looked that are in use
	seen   string      // when they were looked at last
	since  time.Time
	failed string // what was said of them
	behind string // why an authority's certificates are not in use, "": they are

	reloads, failures atomic.Uint64
	failing           atomic.Bool
}

// keep begins to watch the files of what is to be in force; nil where no listener speaks TLS.
// What before, which has been closed, knows of handshakes that stay as they are, is kept.
func (s *Server) keep(of *serving, before *keeper) *keeper {
	k := &keeper{s: s, stop: make(chan struct{}), ended: make(chan struct{}), now: make(chan chan error), got: make(chan struct{}, 1)}
	if before != nil {
		<-before.ended
	}
	for _, c := range of.snap.Credentials() {
		l := &keptListener{Credentials: c}
		if before != nil {
			if i := slices.IndexFunc(before.ring, func(old *keptListener) bool { return old.Store == c.Store }); i >= 0 {
				l = before.ring[i]
				l.Credentials = c
				k.ring = append(k.ring, l)
				continue
			}
		}
		for _, name := range c.Listener.TLS.Files() {
			l.files = append(l.files, of.cfg.Path(name))
		}
		l.holds, l.good = contents(c.Listener.TLS), c.Listener.TLS
		k.ring = append(k.ring, l)
	}
	if len(k.ring) == 0 {
		return nil
	}
	go k.run()
	return k
}

func (k *keeper) close() { close(k.stop) }

func (k *keeper) run() {
	defer close(k.ended)
	tick := time.NewTicker(keeperInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, l := range k.ring {
				k.look(l, now)
				if l.behind != "" {
					k.renew(l, now)
				}
				l.Store.Rotate(now)
			}
		case done := <-k.now:
			var all []error
			for _, l := range k.ring {
				l.seen = l.look()
				if err := k.read(l, time.Now()); err != nil {
					k.fail(l, err)
					all = append(all, fmt.Errorf("%s: %w", l.Listener.Address, err))
				}
			}
			done <- errors.Join(all...)
		case <-k.got:
			for _, l := range k.ring {
				k.renew(l, time.Now())
			}
		case <-k.stop:
			return
		}
	}
}

func (l *keptListener) look() string { return looks(l.files) }

// looks is how files look: which ones they are, and when they were written. Names are
// followed, so that a link that was turned counts.
func looks(files []string) string {
	var b strings.Builder
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s;", err)
			continue
		}
		fmt.Fprintf(&b, "%d %d", info.Size(), info.ModTime().UnixNano())
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			fmt.Fprintf(&b, " %d %d", st.Ino, st.Ctim.Nano())
		}
		b.WriteByte(';')
	}
	return b.String()
}

// look reads the files of a listener when they have changed, and no longer change.
func (k *keeper) look(l *keptListener, now time.Time) {
	looks := l.look()
	if looks != l.seen {
		l.seen, l.since = looks, now
		return
	}
	if looks == l.used {
		return
	}
	if err := k.read(l, now); err != nil && now.Sub(l.since) >= keeperPatience {
		k.fail(l, err)
	}
}

// read makes a set of what the files hold and puts it in the place of the last
// one. An error leaves that in use.
func (k *keeper) read(l *keptListener, now time.Time) error {
	t, err := l.Listener.TLS.ReadAgain(func(name string) ([]byte, error) { return os.ReadFile(k.s.cfg().Path(name)) })
	if err != nil {
		return err
	}
	// What clients are shown has been counted.
	changed, err := k.use(l, t, now, func() {
		l.recovered()
		l.reloads.Add(1)
	})
	if err != nil {
		return err
	}
	l.used = l.seen
	l.recovered()
	if changed {
		k.s.about("tls").Info("certificates were read again", "listener", l.Listener.Address)
	}
	return nil
}

// use has handshakes use t, with what an authority has given by now, as soon as first has
// returned. False: they do already.
func (k *keeper) use(l *keptListener, t *config.TLS, now time.Time, first func()) (changed bool, err error) {
	if t.ACME != nil {
		own, with := *t, *t.ACME
		with.Issued = k.s.acme().Issued(l.Listener.TLS.ACME)
		own.ACME, t = &with, &own
	}
	holds := contents(t)
	if holds == l.holds {
		return false, nil
	}
	set, err := l.Compile(t)
	if err == nil {
		err = worse(l.Store.Set(), set, now)
	}
	if err != nil {
		return false, err
	}
	l.holds, l.good = holds, t
	first()
	l.Store.Replace(set, now)
	return true, nil
}

// renew puts certificates of an authority to use beside what the files held that were
// good. What fails is tried again: a certificate may be valid in a second.
func (k *keeper) renew(l *keptListener, now time.Time) {
	_, err := k.use(l, l.good, now, func() {})
	if err == nil {
		l.behind = ""
		return
	}
	if text := err.Error(); text != l.behind {
		l.behind = text
		k.s.about("tls").Error("the authority's certificates are not used yet, the old ones stay in use", "listener", l.Listener.Address, "error", text)
	}
}

// renewed tells the keeper that there are other certificates of an authority.
func (k *keeper) renewed() {
	select {
	case k.got <- struct{}{}:
	default: // it will see these, too
	}
}

func (l *keptListener) recovered() {
	l.failing.Store(false)
	l.failed = ""
}

// contents tells what files hold apart.
func contents(t *config.TLS) [32]byte {
	var all []byte
	add := func(parts ...[]byte) {
		for _, p := range parts {
			sum := sha256.Sum256(p)
			all = append(all, sum[:]...)
		}
	}
	for i := range t.Certificates {
		c := &t.Certificates[i]
		add(c.CertPEM, c.KeyPEM)
		if c.ClientAuth != nil {
			add(c.ClientAuth.CAPEM, c.ClientAuth.CRLPEM)
		}
	}
	if t.ClientAuth != nil {
		add(t.ClientAuth.CAPEM, t.ClientAuth.CRLPEM)
	}
	if t.ACME != nil {
		for i := range t.ACME.Issued {
			add(t.ACME.Issued[i].CertPEM)
		}
	}
	add(t.TicketKeysData)
	add(t.ECHPEM...)
	return sha256.Sum256(all)
}

// worse says why the certificates of a new set are not to replace those in use:
// one that is not valid now does not take the place of one that is.
func worse(old, set *credentials.Set, now time.Time) error {
	before := old.Leaves()
	for i, leaf := range set.Leaves() {
		why := config.ValidityFault(leaf.Certificate, now)
		if why != "" && i < len(before) && config.ValidityFault(before[i].Certificate, now) == "" {
			return fmt.Errorf("%s: %s", leaf.File, why)
		}
	}
	return nil
}

// fail says, once, that what the files hold is no good.
func (k *keeper) fail(l *keptListener, err error) {
	l.failing.Store(true)
	if text := err.Error(); text != l.failed {
		l.failed = text
		k.s.about("tls").Error("certificates were not read again, the old ones stay in use", "listener", l.Listener.Address, "error", text)
		l.failures.Add(1)
	}
}

// ReadCertificates reads the files of all TLS listeners again, at once, and has
// what an authority has not given yet be asked for again. The error says which
// files were no good: what is in use for them stays.
func (s *Server) ReadCertificates() error {
	s.acme().Retry()
	k := s.keeper()
	if k == nil {
		return nil
	}
	done := make(chan error)
	select {
	case k.now <- done:
		return <-done
	case <-k.stop:
		return nil
	}
}

// report adds to a snapshot what is known of certificates.
func (k *keeper) report(s *metrics.Snapshot, now time.Time) {
	for _, l := range k.ring {
		for _, leaf := range l.Store.Set().Leaves() {
			s.Certificates = append(s.Certificates, metrics.CertificateState{
				Listener: l.Listener.Address, File: leaf.File, Days: leaf.NotAfter.Sub(now).Hours() / 24,
			})
		}
		s.CertificateFiles = append(s.CertificateFiles, metrics.CertificateFiles{
			Listener: l.Listener.Address, Reloads: l.reloads.Load(), Failures: l.failures.Load(), Failing: l.failing.Load(),
		})
	}
}
