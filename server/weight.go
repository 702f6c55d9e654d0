package server

import (
	"fmt"

	"zproxy/admin"
)

// SetWeight gives an endpoint of an upstream another weight, in all clusters that have its name.
func (src source) SetWeight(w admin.Weight) error {
	s := src.s
	if err := setWeight(s, w); err != nil {
		return err
	}
	s.renewals.await()
	s.about("upstream").Info("weight of endpoint is set", "upstream", w.Upstream, "endpoint", w.Endpoint, "weight", w.Weight)
	return nil
}

func setWeight(s *Server, w admin.Weight) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.state.Load() != stateReady {
		return errEnding
	}
	known := false
	for _, c := range s.snap().Resolved() {
		if c.Name() != w.Upstream {
			continue
		}
		known = true
		if err := c.SetWeight(w.Endpoint, w.Weight); err != nil {
			return err
		}
	}
	if !known {
		return fmt.Errorf("there is no upstream %q", w.Upstream)
	}
	return nil
}
