package server

import (
	"time"

	"zproxy/config"
)

// passedHand is what was changed by hand, as an upgrade passes it on, beside weights: see bequest.
type passedHand struct {
	Marks   []passedMark   `json:"marks,omitempty"`
	Added   []handEndpoint `json:"added,omitempty"`
	Removed []handEndpoint `json:"removed,omitempty"`
	Level   string         `json:"level,omitempty"` // of the log; "": as the file says
	Own     string         `json:"own,omitempty"`   // the one that the file had
	LevelAt time.Time      `json:"level_at"`
}

// passedMark is what the weight of an endpoint is meant as.
type passedMark struct {
	Upstream string `json:"upstream"`
	Endpoint string `json:"endpoint"`
	mark
}

// pass is what the next process gets, which may read another file than c.
func (h *hand) pass(c *config.Config) *passedHand {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &passedHand{Added: h.added, Removed: h.removed, Level: h.level, Own: c.Log.Level, LevelAt: h.levelAt}
	for at, m := range h.marks {
		p.Marks = append(p.Marks, passedMark{at.upstream, at.endpoint, m})
	}
	return p
}

// inherit has the first configuration be what the process before made of it by hand, as after a reload.
func (h *hand) inherit(s *Server, first *config.Config) {
	if s.opt.Inherited == nil || s.opt.Inherited.Hand == nil { // the process before may be one that has none
		return
	}
	p := s.opt.Inherited.Hand
	for _, m := range p.Marks {
		h.note(m.Upstream, m.Endpoint, m.mark)
	}
	h.keep(p.Added, p.Removed)
	h.keep(h.apply(first))
	if p.Level != "" && p.Own == first.Log.Level {
		h.mu.Lock()
		h.level, h.levelAt = p.Level, p.LevelAt
		h.mu.Unlock()
		useLog(s, &first.Log, &first.Log)
	}
}
