package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Labels are what is said of an endpoint, or asked of endpoints: values by name.
type Labels map[string]string

const (
	maxLabels     = 16
	maxLabelBytes = 128
	wantLabels    = "a mapping of 1 to 16 labels such as {version: v2}"
	wantLabelName = "a label's name: letters, digits, and ._/-, at most 128"
	wantLabel     = "a label's value: at most 128 bytes of text in one line"
	patternLabel  = "^[A-Za-z0-9._/-]{1,128}$"
)

// Fit says that an endpoint with the labels of is one of those that l asks for.
func (l Labels) Fit(of map[string]string) bool {
	for name, want := range l {
		if value, ok := of[name]; !ok || value != want {
			return false
		}
	}
	return true
}

// String is name=value, in the order of the names.
func (l Labels) String() string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		text = append(text, name+"="+l[name])
	}
	return strings.Join(text, ",")
}

// Subset is an upstream, or those of its endpoints that have labels.
type Subset struct {
	Upstream string
	Labels   Labels // nil: all
}

// Key is the same for the same subsets, and for no others.
func (s Subset) Key() string {
	if s.Labels == nil {
		return s.Upstream // which has no space
	}
	key := s.Upstream
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		key += " " + name + "\x00" + s.Labels[name]
	}
	return key
}

// Subsets are those that requests of the route may go to first.
func (r *Route) Subsets() (list []Subset) {
	for i := range r.Split {
		list = append(list, Subset{r.Split[i].Upstream, r.Split[i].Subset})
	}
	if r.Upstream != "" {
		list = append(list, Subset{r.Upstream, r.Subset})
	}
	return list
}

// Part is u as it is for one of its subsets: with those of the listed endpoints alone.
func (u *Upstream) Part(labels Labels) *Upstream {
	part := *u
	part.Subset, part.Endpoints = labels, nil
	for _, e := range u.Endpoints {
		if labels.Fit(e.Labels) {
			part.Endpoints = append(part.Endpoints, e)
		}
	}
	return &part
}

const (
	docSubset         = "Only endpoints with all these labels get the requests: `{version: v2}`. They are as an upstream of their own, with connections, a queue and limits of their own: see [upstreams.md](upstreams.md#subsets)."
	docSubsetFallback = "Where requests go while no endpoint of `subset` is up: `any`, to all endpoints of the upstream; `none`, nowhere but to the `fallback` of the route, if there is one."
)

// labels decodes a mapping of texts.
func (d *decoder) labels(at *yaml.Node, f *field, target *Labels, p *path) {
	n := resolve(at)
	if n.Kind != yaml.MappingNode {
		d.fail(at, p, shown(n), f.wants(), "")
		return
	}
	if len(n.Content) == 0 || len(n.Content)/2 > maxLabels {
		d.fail(at, p, "a mapping of "+strconv.Itoa(len(n.Content)/2), f.wants(), "")
		return
	}
	all := make(Labels, len(n.Content)/2)
	*target = all
	d.keys(n, p, func(key, value *yaml.Node) {
		here, text := &path{up: p, key: key.Value}, resolve(value)
		switch {
		case !isLabelName(key.Value):
			d.fail(key, here, shown(key), wantLabelName, "")
		case text.Kind != yaml.ScalarNode || text.ShortTag() != "!!str":
			d.fail(value, here, shown(text), wantLabel, quotesHint(text))
		case len(text.Value) > maxLabelBytes || strings.ContainsFunc(text.Value, func(c rune) bool { return c < ' ' || c == 0x7F }):
			d.fail(value, here, shown(text), wantLabel, "")
		default:
			all[key.Value] = text.Value
		}
	})
}

func isLabelName(text string) bool {
	return text != "" && len(text) <= maxLabelBytes && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") == ""
}

// verifySubsets checks what routes ask of endpoints: of those that are listed there is one that has it.
func (d *decoder) verifySubsets(c *Config, root *yaml.Node) {
	upstreams := map[string]*Upstream{}
	for i := range c.Upstreams {
		upstreams[c.Upstreams[i].Name] = &c.Upstreams[i]
	}
	known := map[string]bool{}
	routes := resolve(child(root, "routes"))
	verify := func(s Subset, fallback string, n *yaml.Node, p *path) {
		at, here := written(resolve(n), "subset"), &path{up: p, key: "subset"}
		if also := written(resolve(n), "subset_fallback"); also != nil && at == nil {
			d.fail(also, &path{up: p, key: "subset_fallback"}, quote(fallback), "subset beside it", "without one all endpoints get the requests anyway")
		}
		u := upstreams[s.Upstream]
		switch {
		case at == nil || s.Labels == nil:
			return
		case s.Upstream == "":
			d.fail(at, here, "a subset", "an upstream beside it", "")
		case u == nil || u.Discover != nil: // reported already, or not known yet
		case len(u.Part(s.Labels).Endpoints) == 0:
			d.fail(at, here, quote(s.Labels.String()), "labels that an endpoint of "+s.Upstream+" has: "+labelsOf(u), "")
		}
		known[s.Key()] = true
	}
	for i := range c.Routes {
		r, p := &c.Routes[i], &path{up: &path{key: "routes"}, index: i}
		n := resolve(routes.Content[i])
		verify(Subset{r.Upstream, r.Subset}, r.SubsetFallback, n, p)
		for j := range r.Split {
			share := resolve(child(n, "split")).Content[j]
			verify(Subset{r.Split[j].Upstream, r.Split[j].Subset}, r.Split[j].SubsetFallback, share, &path{up: &path{up: p, key: "split"}, index: j})
		}
	}
	if len(known) > MaxSubsets {
		d.fail(child(root, "routes"), &path{key: "routes"}, strconv.Itoa(len(known))+" subsets", "at most "+strconv.Itoa(MaxSubsets)+" of all upstreams", "")
	}
}

// labelsOf lists what endpoints of u are labelled with.
func labelsOf(u *Upstream) string {
	var list []string
	for _, e := range u.Endpoints {
		if text := e.Labels.String(); text != "" && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	if len(list) == 0 {
		return "they have none"
	}
	return someOf(list)
}
