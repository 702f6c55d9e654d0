package config

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Share is an upstream's part of a route's requests.
type Share struct {
	Pos
	Upstream string
	Weight   int // against the sum of all

	Subset         Labels // as those of a route
	SubsetFallback string
}

// Sticky says by what requests are split that belong together. One of the two is set.
type Sticky struct {
	Cookie string // its name
	Header string // the field's name
}

func stickyFields() []field {
	const want, pattern = "a name of letters, digits, and -._", "^[A-Za-z0-9._-]{1,64}$"
	return []field{
		{key: "cookie", kind: kindText, check: checkToken, want: want, pattern: pattern, at: at(func(s *Sticky) *string { return &s.Cookie }),
			doc: "By the value of the cookie with this name."},
		{key: "header", kind: kindText, check: checkToken, want: want, pattern: pattern, at: at(func(s *Sticky) *string { return &s.Header }),
			doc: "By the value of the request's field with this name, whatever its case."},
	}
}

func splitFields() []field {
	return []field{
		{key: "upstream", kind: kindText, required: true, at: at(func(s *Share) *string { return &s.Upstream }),
			doc: "Its name."},
		{key: "weight", kind: kindCount, required: true, max: 1_000_000, at: at(func(s *Share) *int { return &s.Weight }),
			doc: "Its share of the requests, relative to the sum of all weights. 0: none."},
		{key: "subset", kind: kindLabels, want: wantLabels, at: at(func(s *Share) *Labels { return &s.Subset }),
			zero: "all endpoints", doc: docSubset},
		{key: "subset_fallback", kind: kindEnum, zero: "`none`", enum: []string{"any", "none"}, at: at(func(s *Share) *string { return &s.SubsetFallback }),
			doc: docSubsetFallback},
	}
}

// Upstreams are the names of those that requests of the route may go to.
func (r *Route) Upstreams() (names []string) {
	for i := range r.Split {
		names = append(names, r.Split[i].Upstream)
	}
	for _, name := range [...]string{r.Upstream, r.Fallback} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// verifyTargets checks what a route says of upstreams, and marks those that are used.
func (d *decoder) verifyTargets(r *Route, n *yaml.Node, p *path, names []string, used map[string]bool) {
	if r.Upstream != "" {
		d.verifyUpstream(r.Upstream, child(n, "upstream"), &path{up: p, key: "upstream"}, names, used)
	}
	sum := 0
	for i := range r.Split {
		s, at := &r.Split[i], &path{up: &path{up: p, key: "split"}, index: i}
		sum += s.Weight
		place := resolve(child(n, "split")).Content[i]
		if s.Upstream != "" {
			d.verifyUpstream(s.Upstream, child(place, "upstream"), &path{up: at, key: "upstream"}, names, used)
		}
		if slices.ContainsFunc(r.Split[:i], func(other Share) bool { return other.Upstream == s.Upstream && maps.Equal(other.Subset, s.Subset) }) {
			d.fail(child(place, "upstream"), &path{up: at, key: "upstream"}, quote(s.Upstream)+" a second time", "each upstream once, or each subset of it", "")
		}
	}
	if len(r.Split) > 0 && sum == 0 {
		d.fail(child(n, "split"), &path{up: p, key: "split"}, "no weight", "a weight above 0", "")
	}
	if r.Sticky != nil {
		place, at := child(n, "sticky"), &path{up: p, key: "sticky"}
		switch {
		case r.Split == nil:
			d.fail(place, at, "a mapping", "a route with split", "")
		case (written(resolve(place), "cookie") == nil) == (written(resolve(place), "header") == nil):
			d.fail(place, at, "cookie and header, or neither", "exactly one of cookie, header", "")
		}
	}
	at := &path{up: p, key: "fallback"}
	switch {
	case r.Fallback == "":
	case r.Upstream == "" && r.Split == nil:
		d.fail(child(n, "fallback"), at, quote(r.Fallback), "a route with upstream or split", "")
	case r.Fallback == r.Upstream:
		d.fail(child(n, "fallback"), at, quote(r.Fallback), "another upstream than the route's own", "")
	default:
		d.verifyUpstream(r.Fallback, child(n, "fallback"), at, names, used)
	}
}

// verifyUpstream checks that there is an upstream with this name.
func (d *decoder) verifyUpstream(name string, n *yaml.Node, p *path, names []string, used map[string]bool) {
	if _, ok := used[name]; ok {
		used[name] = true
		return
	}
	want, hint := "the name of an upstream: "+someOf(names), ""
	if like := nearest(name, names); like != "" {
		hint = "did you mean " + quote(like) + "?"
	} else if len(names) == 0 {
		want, hint = "the name of an upstream", "there are none: add it under upstreams"
	}
	d.fail(n, p, quote(name), want, hint)
}
