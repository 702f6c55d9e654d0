package snapshot

import (
	"fmt"

	"zproxy/config"
	"zproxy/filter"
	"zproxy/filter/headers"
	"zproxy/filter/ip"
	"zproxy/filter/limit"
	"zproxy/upstream"
	"zproxy/variables"
)

// keptStep is a filter of a snapshot. Where the next snapshot has the same one at the same place, it keeps what the
// filter has counted or remembered.
type keptStep struct {
	config *config.Filter
	step   filter.Step
	asks   *upstream.Cluster // that the filter asks, nil: none
}

// filterPlace is where filters stand: of all requests, of a host or of a route.
type filterPlace struct{ host, route string }

// addFilters gives the routes of s their chains. Filters that several routes have are one filter.
func (s *Snapshot) addFilters(c *config.Config, before *Snapshot) error {
	if !usesFilters(c) {
		return nil
	}
	s.filters = map[filterPlace][]keptStep{}
	global, err := s.compileFilters(c, c.Filters, filterPlace{}, nil, before)
	if err != nil {
		return err
	}
	hosts := map[string][]filter.Step{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		if hosts[h.Host], err = s.compileFilters(c, h.Filters, filterPlace{host: h.Host}, nil, before); err != nil {
			return err
		}
	}
	for i := range s.Routes {
		r := &c.Routes[i]
		own, err := s.compileFilters(c, r.Filters, filterPlace{route: routeKey(r)}, config.Params(r.Path), before)
		if err != nil {
			return err
		}
		var steps []filter.Step
		steps = append(append(append(steps, global...), hosts[r.Host]...), own...)
		s.Routes[i].Chain = filter.NewChain(steps)
	}
	return nil
}

func usesFilters(c *config.Config) bool {
	used := len(c.Filters) > 0 || len(c.Hosts) > 0
	for i := range c.Routes {
		used = used || len(c.Routes[i].Filters) > 0
	}
	return used
}

// compileFilters makes the filters of one place.
func (s *Snapshot) compileFilters(c *config.Config, list []config.Filter, place filterPlace, params []string, before *Snapshot) (steps []filter.Step, err error) {
	had := before.filters[place]
	for i := range list {
		f := &list[i]
		var step filter.Step
		asks := s.asks(f)
		if i < len(had) && config.Same(had[i].config, f) && had[i].asks == asks {
			step = had[i].step
		} else if step, err = s.compileFilter(c, f, params, asks); err != nil {
			return nil, fmt.Errorf("%s:%d:%d: %w", c.File, f.Line, f.Col, err)
		}
		step.Kind, step.Line = f.Kind, f.Line
		steps = append(steps, step)
		s.filters[place] = append(s.filters[place], keptStep{f, step, asks})
	}
	return steps, nil
}

// compileFilter makes a filter. What can be wrong with its settings config has found, but for what only the package of
// the filter knows.
func (s *Snapshot) compileFilter(c *config.Config, f *config.Filter, params []string, asks *upstream.Cluster) (filter.Step, error) {
	switch t := f.Settings.(type) {
	case *config.IPFilter:
		return filter.Step{Class: filter.ClassAddress, Text: t.Rules(), Filter: ip.New(t.Allow, t.Deny)}, nil
	case *config.RateLimit:
		f, err := limit.NewRate(t, s.loops)
		if err != nil {
			return filter.Step{}, err
		}
		return filter.Step{Class: f.Key.Class(), Text: t.Rules(), Filter: f}, nil
	case *config.ConcurrencyLimit:
		f, err := limit.NewConcurrency(t, s.loops)
		if err != nil {
			return filter.Step{}, err
		}
		return filter.Step{Class: f.Key.Class(), Text: t.Rules(), Filter: f}, nil
	case *config.RequestHeaders:
		changes := headerChanges(&t.HeaderChanges, params)
		return filter.Step{Class: filter.ClassWork, Text: t.Rules(), Filter: headers.NewRequests(&changes), NeedsID: changes.Uses(variables.FieldRequestID)}, nil
	case *config.ResponseHeaders:
		changes := headerChanges(&t.HeaderChanges, params)
		f := headers.NewResponses(&changes)
		step := filter.Step{Class: filter.ClassResponse, Text: t.Rules(), Filter: f, NeedsID: changes.Uses(variables.FieldRequestID)}
		if changes.Uses(variables.FieldUser) {
			step.Class = filter.ClassWork // when that is known
		}
		if f.Renames() {
			step.Response = f
		}
		return step, nil
	case *config.BasicAuthFilter:
		return compileBasicAuth(c, t)
	case *config.APIKeyFilter:
		return compileAPIKey(c, t)
	case *config.JWTFilter:
		return compileJWT(c, t)
	case *config.ForwardAuthFilter:
		return compileForwardAuth(c, t, asks)
	}
	return filter.Step{}, fmt.Errorf("filter %s is not known here", f.Kind)
}

// headerChanges are those of f. (What is wrong with its variables config has found.)
func headerChanges(f *config.HeaderChanges, params []string) (out headers.Config) {
	fields := func(pairs []config.Pair) (list []headers.Field) {
		for _, p := range pairs {
			parts, _ := variables.ParseField(p.Value, params)
			list = append(list, headers.Field{Name: p.Name, Parts: parts})
		}
		return list
	}
	for _, p := range f.Rename {
		out.Rename = append(out.Rename, [2]string{p.Name, p.Value})
	}
	out.Remove, out.Set, out.Add = f.Remove, fields(f.Set), fields(f.Add)
	return out
}
