package server

import (
	"time"

	"zproxy/config"
	"zproxy/proxy/snapshot"
)

// lookAtFilters has the filters in force look at what they read, now and then.
func (s *Server) lookAtFilters() {
	tick := time.NewTicker(keeperInterval)
	defer tick.Stop()
	for {
		s.snap().Lookers(func(name string, l snapshot.Looker) {
			changed, err := l.Look()
			switch {
			case err != nil:
				s.about("filter").Warn("what a filter reads is no good, and what it has read before holds", "filter", name, "error", err.Error())
			case changed:
				s.about("filter").Info("a filter has read what has changed", "filter", name)
			}
		})
		select {
		case <-tick.C:
		case <-s.over:
			return
		}
	}
}

// filesOfFilters calls file for each that a filter reads.
func filesOfFilters(c *config.Config, file func(at config.Pos, key, path string)) {
	for _, f := range c.FilterFiles() {
		file(f.Pos, f.Key, c.Path(f.Name))
	}
}
