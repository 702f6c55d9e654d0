package config

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFilters is how many filters a list may have.
const MaxFilters = 256

// Filter is an entry of a list of filters.
type Filter struct {
	Pos
	Kind     string // its key
	Settings any    // what stands there: *IPFilter for ip, ...
}

// Host is what all routes with this host have.
type Host struct {
	Pos
	Host    string // as routes have it, in lower case
	Filters []Filter
}

// filterKind is a kind of filter. Each has a file of its own, which registers it.
type filterKind struct {
	field  field
	verify func(d *decoder, f *Filter, at *filterPlace)
}

// filterPlace is where a filter stands in the file.
type filterPlace struct {
	c      *Config
	n      *yaml.Node // of its settings
	p      *path
	params []string // of the route's path; nil where there is no route
}

// fail reports what is wrong with the value of key.
func (at *filterPlace) fail(d *decoder, key, value, want, hint string) {
	d.fail(child(at.n, key), &path{up: at.p, key: key}, value, want, hint)
}

// filterKinds are sorted by their keys.
var filterKinds []filterKind

// registerFilter makes a kind of filter known, whose settings are an S and have one of the keys atLeast1 at the least.
// verify, if not nil, checks what more than one key decides.
func registerFilter[S any](key, doc string, fields []field, atLeast1 []string, verify func(d *decoder, s *S, at *filterPlace)) {
	kind := filterKind{field: field{key: key, kind: kindSection, optional: true, fields: fields, doc: doc, atLeast1: atLeast1,
		at: func(parent any) any {
			f, s := parent.(*Filter), new(S)
			f.Kind, f.Settings = key, s
			return s
		}}}
	if verify != nil {
		kind.verify = func(d *decoder, f *Filter, at *filterPlace) { verify(d, f.Settings.(*S), at) }
	}
	i, _ := slices.BinarySearchFunc(filterKinds, key, func(k filterKind, key string) int { return strings.Compare(k.field.key, key) })
	filterKinds = slices.Insert(filterKinds, i, kind)
}

// filterKeys are the keys of all kinds.
func filterKeys() (keys []string) {
	for i := range filterKinds {
		keys = append(keys, filterKinds[i].field.key)
	}
	return keys
}

func filterFields() (fields []field) {
	for i := range filterKinds {
		fields = append(fields, filterKinds[i].field)
	}
	return fields
}

// filtersField is a list of filters; same is the key where its fields are described already.
func filtersField(of func(any) any, same, doc string) field {
	return field{key: "filters", kind: kindSections, max: MaxFilters, fields: filterFields(), exactly1: filterKeys(), at: of, same: same, doc: doc,
		grow: grow(func(f *Filter, _ string, pos Pos) { f.Pos = pos })}
}

func hostFields() []field {
	return []field{
		{key: "host", kind: kindText, required: true, check: checkHost, want: wantHost, at: at(func(h *Host) *string { return &h.Host }),
			doc: "The host as routes have it: what stands here holds for routes with the same `host`."},
		filtersField(at(func(h *Host) *[]Filter { return &h.Filters }), "filters", "Filters that requests of these routes pass, behind those of all requests and before those of the route. "+
			"A request for the host that goes to a route with a less specific one, or with none, passes the filters of that."),
	}
}

// lists calls each for every list of filters, and the key that has it.
func (c *Config) lists(each func(key string, list []Filter)) {
	each("filters", c.Filters)
	for i := range c.Hosts {
		each("hosts["+strconv.Itoa(i)+"].filters", c.Hosts[i].Filters)
	}
	for i := range c.Routes {
		if len(c.Routes[i].Filters) > 0 {
			each("routes["+strconv.Itoa(i)+"].filters", c.Routes[i].Filters)
		}
	}
}

// verifyFilters checks all lists of filters.
func (d *decoder) verifyFilters(c *Config, root *yaml.Node) {
	d.verifyFilterList(c, c.Filters, child(root, "filters"), &path{key: "filters"}, nil)
	hosts := resolve(child(root, "hosts"))
	seen := map[string]bool{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.Host = strings.ToLower(h.Host)
		n, p := resolve(hosts.Content[i]), &path{up: &path{key: "hosts"}, index: i}
		d.verifyFilterList(c, h.Filters, child(n, "filters"), &path{up: p, key: "filters"}, nil)
		at, key := child(n, "host"), &path{up: p, key: "host"}
		switch {
		case h.Host == "" || n.Kind != yaml.MappingNode: // reported already
		case seen[h.Host]:
			d.fail(at, key, quote(h.Host)+" a second time", "each host once", "")
		case !slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Host == h.Host }):
			d.fail(at, key, quote(h.Host), "the host of a route", "what stands here holds for routes with this host, and there is none")
		case !slices.ContainsFunc(c.Routes, func(r Route) bool {
			return r.Host == h.Host && strings.HasPrefix(r.Path, "/*") && r.Methods == nil && r.Listener == "" && r.TLS == nil
		}):
			d.warn(c, posOf(at), key.String(), quote(h.Host)+" with routes for some of its requests",
				`a route {host: "`+h.Host+`", path: "/*"} as well: requests that no route of the host is for go to routes of less specific hosts, and pass the filters of those`)
		}
		seen[h.Host] = true
	}
	routes := resolve(child(root, "routes"))
	for i := range c.Routes {
		r := &c.Routes[i]
		if len(r.Filters) > 0 {
			p := &path{up: &path{key: "routes"}, index: i}
			d.verifyFilterList(c, r.Filters, child(routes.Content[i], "filters"), &path{up: p, key: "filters"}, Params(r.Path))
		}
	}
}

func (d *decoder) verifyFilterList(c *Config, list []Filter, n *yaml.Node, p *path, params []string) {
	n = resolve(n)
	for i := range list {
		f, here := &list[i], &path{up: p, index: i}
		item := resolve(n.Content[i])
		if item.Kind != yaml.MappingNode {
			continue // reported already
		}
		var kinds []string
		for _, key := range filterKeys() {
			if written(item, key) != nil {
				kinds = append(kinds, key)
			}
		}
		if len(kinds) == 0 && len(item.Content) > 0 {
			continue // it has a key that is unknown
		}
		if len(kinds) != 1 {
			found := "none of them"
			if len(kinds) > 0 {
				found = strconv.Itoa(len(kinds)) + " of them: " + strings.Join(kinds, ", ")
			}
			d.fail(n.Content[i], here, found, "exactly one of "+strings.Join(filterKeys(), ", "), `begin each filter with "- "`)
			continue
		}
		k := filterKinds[slices.Index(filterKeys(), kinds[0])]
		at := &filterPlace{c: c, n: resolve(child(item, kinds[0])), p: &path{up: here, key: kinds[0]}, params: params}
		if f.Settings == nil || at.n.Kind != yaml.MappingNode {
			continue // reported already
		}
		if keys := k.field.atLeast1; keys != nil && !slices.ContainsFunc(keys, func(key string) bool { return written(at.n, key) != nil }) {
			d.fail(at.n, at.p, "nothing", strings.Join(keys, " or "), "")
		}
		if k.verify != nil {
			k.verify(d, f, at)
		}
	}
}
