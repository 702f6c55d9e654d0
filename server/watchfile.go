package server

import (
	"time"

	"zproxy/admin"
	"zproxy/config"
)

// fileWatch decides when a file that changes is to be read.
type fileWatch struct {
	seen    string // how it looked at the last look
	since   time.Time
	refused string // how it looked when it was no good
}

// due says that the file looks like something that is neither in force nor refused, and no longer
// changes: whoever writes it may not be done.
func (w *fileWatch) due(looks, inForce string, now time.Time) bool {
	if looks != w.seen {
		w.seen, w.since = looks, now
		return false
	}
	return looks != inForce && looks != w.refused
}

// patient says that what is wrong may still be put right: the file may be half of what is to come.
func (w *fileWatch) patient(now time.Time) bool { return now.Sub(w.since) < keeperPatience }

// watchedFiles are those whose change is to have the configuration reloaded. Those with
// certificates are the keeper's.
func watchedFiles(c *config.Config) []string {
	files := []string{c.File}
	for _, page := range c.ErrorPages {
		files = append(files, c.Path(page.File))
	}
	return files
}

// looksOf is how the files of c look; own is how c.File looked when it was read.
func (o *Options) looksOf(c *config.Config, own string) string {
	if !o.Watch {
		return ""
	}
	return own + looks(watchedFiles(c)[1:])
}

// run reloads the configuration when its files have changed.
func (w *fileWatch) run(s *Server) {
	tick := time.NewTicker(keeperInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			w.look(s, now)
		case <-s.over:
			return
		}
	}
}

func (w *fileWatch) look(s *Server, now time.Time) {
	s.changing.Lock()
	defer s.changing.Unlock()
	serves := s.serves.Load()
	own := looks([]string{serves.cfg.File})
	if !w.due(s.opt.looksOf(serves.cfg, own), serves.looks, now) {
		return
	}
	began := time.Now()
	next, err := s.load(admin.Change{})
	if err = s.domain.explain(err); err == nil {
		err = s.domain.lacks(next)
	}
	if err != nil && w.patient(now) {
		return
	}
	s.notifier.reloading()
	if _, err := s.finish(admin.Change{}, began, own, next, err); err != nil {
		w.refused = w.seen
	}
}
