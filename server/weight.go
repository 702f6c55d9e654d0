package server

import (
	"fmt"
	"time"

	"zproxy/admin"
	"zproxy/upstream"
)

// SetWeight gives an endpoint of an upstream another weight.
func (src source) SetWeight(w admin.Weight) error { return src.weigh(w, "") }

// weigh gives an endpoint of an upstream another weight, in all clusters that have its name, and returns when it is
// in force. state is what the weight is meant as: see mark.
func (src source) weigh(w admin.Weight, state string) error {
	s := src.s
	if err := setWeight(s, w, state); err != nil {
		return err
	}
	s.renewals.await()
	s.about("upstream").Info("weight of endpoint is set", "upstream", w.Upstream, "endpoint", w.Endpoint, "weight", w.Weight)
	return nil
}

func setWeight(s *Server, w admin.Weight, state string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.state.Load() != stateReady {
		return errEnding
	}
	known, set := false, false
	var why error
	for _, c := range s.snap().Resolved() {
		if c.Name() != w.Upstream {
			continue
		}
		known = true
		// Not every subset has the endpoint.
		if err := c.SetWeight(w.Endpoint, w.Weight); err == nil {
			set = true
		} else if why == nil || !upstream.IsSubset(c) {
			why = err
		}
	}
	if !known {
		return fmt.Errorf("there is no upstream %q", w.Upstream)
	}
	if !set {
		return why
	}
	s.hand.note(w.Upstream, w.Endpoint, mark{state, time.Now().UTC()})
	return nil
}
