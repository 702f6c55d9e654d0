package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"zproxy/admin"
	"zproxy/config"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/proxy"
	"zproxy/proxy/snapshot"
	"zproxy/server/acme"
	"zproxy/upstream/discover"
)

// serving is what is in force. Immutable; a reload puts another one in its place.
type serving struct {
	cfg    *config.Config
	snap   *snapshot.Snapshot
	keeper *keeper           // nil: no listener speaks TLS
	access *accesslog.Logger // nil: none
	acme   *acme.Manager
	found  *discover.Plan
	gate   *admin.Gate // of the admin address, nil: nobody is asked who he is
	looks  string      // how the files looked that cfg was read from, "": nobody watches them
}

func (s *Server) cfg() *config.Config       { return s.serves.Load().cfg }
func (s *Server) snap() *snapshot.Snapshot  { return s.serves.Load().snap }
func (s *Server) keeper() *keeper           { return s.serves.Load().keeper }
func (s *Server) access() *accesslog.Logger { return s.serves.Load().access }
func (s *Server) acme() *acme.Manager       { return s.serves.Load().acme }

// reloads is what became of them.
type reloads struct {
	mu  sync.Mutex
	all metrics.Reloads
}

func (r *reloads) count(outcome metrics.ReloadOutcome, began time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Count(outcome, began)
}

func (r *reloads) gauges() []metrics.Gauge {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Gauges()
}

var (
	errEnding = errors.New("the process is ending")
	errNoFile = errors.New("the configuration is the built-in one: start with -c FILE to have one that can be reloaded")
)

// restartError names what a running process keeps.
type restartError struct {
	file string
	keys []string
}

func (e *restartError) Error() string {
	return fmt.Sprintf("%s: cannot change while the process runs: %s; start a new one for that", e.file, strings.Join(e.keys, ", "))
}

// Load reads a configuration and looks at what it means on this machine.
func Load(file string) (*config.Config, error) { return checked(config.Load(file)) }

func checked(c *config.Config, err error) (*config.Config, error) {
	if err == nil {
		err = Check(c)
	}
	return c, err
}

// Reload reads the configuration's file again, and serves by what it holds what begins from
// now on. When it returns, all loops do. No connection is moved or closed for it but those of
// listeners that are gone, when nothing is under way on them. The error says why nothing at
// all has changed; the log has either. Any goroutine.
func (s *Server) Reload() (*Changed, error) { return s.changeTo(admin.Change{}) }

// Changed says what a change of the configuration has changed, or would change.
type Changed struct {
	Changes
	File     string   `json:"file"`
	Warnings []string `json:"warnings,omitempty"`
	TookMs   int64    `json:"took_ms"`
}

func (s *Server) changeTo(want admin.Change) (*Changed, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	began := time.Now()
	if !want.Dry {
		s.notifier.reloading()
	}
	own := looks([]string{s.cfg().File})
	next, err := s.load(want)
	if err = s.domain.explain(err); err == nil {
		err = s.domain.lacks(next)
	}
	var added, removed []handEndpoint
	if err == nil {
		added, removed = s.hand.apply(next)
	}
	done, err := s.finish(want, began, own, next, err)
	if err == nil && !want.Dry {
		s.hand.keep(added, removed)
	}
	return done, err
}

// finish does what is wanted, with next, or says why there is none. own is how the configuration's
// file looked before.
func (s *Server) finish(want admin.Change, began time.Time, own string, next *config.Config, err error) (*Changed, error) {
	var changes *Changes
	switch {
	case err != nil:
	case want.Dry:
		changes, err = s.tryOut(next)
	default:
		changes, err = s.change(next, want.Text, own)
	}
	if !want.Dry {
		s.reloads.tell(s, began, next, changes, err)
	}
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(next.File)
	if err != nil {
		file = next.File
	}
	done := &Changed{Changes: *changes, File: file, TookMs: time.Since(began).Milliseconds()}
	for _, w := range next.Warnings {
		done.Warnings = append(done.Warnings, w.Error())
	}
	return done, nil
}

// load gives the configuration that is asked for.
func (s *Server) load(want admin.Change) (*config.Config, error) {
	switch file := s.cfg().File; {
	case s.opt.Builtin:
		return nil, errNoFile
	case want.Text == nil:
		return Load(file)
	case !want.Dry || want.Name == "":
		return checked(config.LoadText(file, want.Text))
	default:
		return checked(config.LoadText(want.Name, want.Text))
	}
}

// tell counts a change, and says in the log what became of it.
func (r *reloads) tell(s *Server, began time.Time, next *config.Config, changes *Changes, err error) {
	r.count(outcomeOf(err), began)
	if err != nil {
		s.about("reload").Error("the configuration was not reloaded, the old one stays in force", "error", err.Error())
		if s.state.Load() == stateReady {
			s.notifier.serving("the configuration was not reloaded: " + err.Error())
		}
		return
	}
	for _, w := range next.Warnings {
		s.about("config").Warn(strings.TrimSpace(w.Error()))
	}
	s.about("reload").Info("another configuration is in force", append(changes.attrs(), "took_ms", time.Since(began).Milliseconds())...)
	s.notifier.serving(statusLine(s))
}

func outcomeOf(err error) metrics.ReloadOutcome {
	var wrong *config.Errors
	var restart *restartError
	switch {
	case err == nil:
		return metrics.ReloadDone
	case errors.As(err, &wrong):
		return metrics.ReloadInvalid
	case errors.As(err, &restart):
		return metrics.ReloadRestart
	}
	return metrics.ReloadFailed
}

// tryOut says what cfg would change, and is refused where that can be told without doing it.
func (s *Server) tryOut(cfg *config.Config) (*Changes, error) {
	keepAgreed(s.cfg(), cfg)
	changes := Difference(s.cfg(), cfg)
	_ = s.acme().Takes(cfg.Listeners) // else it is compiled without certificates of an authority
	snap, err := s.registry.Compile(cfg)
	if err != nil {
		return nil, err
	}
	s.registry.Abandon(snap)
	return changes, nil
}

// change puts cfg in force. text, if there is any, is written to its file before, which looked
// like own.
func (s *Server) change(cfg *config.Config, text []byte, own string) (*Changes, error) {
	if s.state.Load() != stateReady {
		return nil, errEnding
	}
	now := s.serves.Load()
	keepAgreed(now.cfg, cfg)
	changes := Difference(now.cfg, cfg)
	if len(changes.Restart) > 0 {
		return nil, &restartError{cfg.File, changes.Restart}
	}
	s.learnFirst(cfg)
	if err := s.adopt(now, cfg, text, own); err != nil {
		return nil, err
	}
	return changes, nil
}

// adopt has cfg take the place of now. Where own is "" it is from the same file as now.
func (s *Server) adopt(now *serving, cfg *config.Config, text []byte, own string) error {
	next, err := prepare(s, now, cfg)
	if err == nil && text != nil {
		if err = replaceFile(cfg.File, text); err != nil {
			next.abandon()
		}
		own = looks([]string{cfg.File})
	}
	if err != nil {
		return err
	}
	if next.looks = now.looks; own != "" {
		next.looks = s.opt.looksOf(cfg, own)
	}
	return next.enforce(now)
}

// post sends mail to each loop, and tries until its mailbox has room. False: the process ends.
func (s *Server) post(ask func(loop int) bool) bool {
	for loop := range s.peers {
		if !s.post1(loop, ask) {
			return false
		}
	}
	return true
}

// post1 is post to one loop.
func (s *Server) post1(loop int, ask func(loop int) bool) bool {
	for !ask(loop) {
		select {
		case <-s.over:
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return true
}

// caughtUp waits until all loops have dealt with the mail that they were sent. False: the
// process ends.
func (s *Server) caughtUp() bool {
	c := make(collector, len(s.peers))
	if !s.post(func(loop int) bool { return proxy.AskTroubles(s.peers[loop].Loop, c) }) {
		return false
	}
	for range s.peers {
		select {
		case <-c:
		case <-s.over:
			return false
		}
	}
	return true
}

// fixed lists the keys that differ of what a running process keeps.
func fixed(now, next *config.Config) (keys []string) {
	for _, k := range []struct {
		key       string
		now, next any
	}{
		{"loops", now.Loops, next.Loops}, {"io", now.IO, next.IO}, {"buffers", now.Buffers, next.Buffers},
		// A process that may not be dumped cannot take that back.
		{"core_dumps", forbidsDumps(now), forbidsDumps(now) && (forbidsDumps(next) || next.CoreDumps == "auto")},
		{"user", now.User, next.User}, {"group", now.Group, next.Group},
		{"landlock", now.Landlock, next.Landlock},
	} {
		if !config.Same(k.now, k.next) {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// answerer answers an authority by what is in force.
type answerer struct{ s *Server }

func (a answerer) AnswerHTTP(tokens map[string]string) { a.s.snap().AnswerHTTP(tokens) }

func (a answerer) AnswerTLS(certs map[string]*tls.Certificate) { a.s.snap().AnswerTLS(certs) }

// renewed: there are other certificates of an authority.
func (s *Server) renewed() {
	if k := s.keeper(); k != nil {
		k.renewed()
	}
}
