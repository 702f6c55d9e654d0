package server

import (
	"fmt"
	"strings"

	"zproxy/config"
)

// Changes are the differences between two configurations, by what their file calls the parts.
type Changes struct {
	Listeners Names    `json:"listeners"`
	Upstreams Names    `json:"upstreams"`
	Routes    Names    `json:"routes"`
	Sections  []string `json:"sections"` // beside these that are not the same
	Restart   []string `json:"restart"`  // keys among all of this that a running process keeps
}

// Names of what was added, removed and changed.
type Names struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`
}

// Difference compares two configurations.
func Difference(now, next *config.Config) *Changes {
	c := &Changes{
		Listeners: compare(now.Listeners, next.Listeners, func(l *config.Listener) string { return l.Address }, sameListener),
		Upstreams: compare(now.Upstreams, next.Upstreams, func(u *config.Upstream) string { return u.Name }, same),
		Routes:    compare(now.Routes, next.Routes, routeName, same),
	}
	for _, s := range sections(now, next) {
		if !config.Same(s.now, s.next) {
			c.Sections = append(c.Sections, s.key)
		}
	}
	c.Restart = fixed(now, next)
	return c
}

// None says that nothing is different.
func (c *Changes) None() bool {
	return !c.Listeners.some() && !c.Upstreams.some() && !c.Routes.some() && len(c.Sections) == 0
}

func (n *Names) some() bool { return len(n.Added)+len(n.Removed)+len(n.Changed) > 0 }

// routeName tells routes apart: no two of a configuration have the same.
func routeName(r *config.Route) string {
	name := r.Host + r.Path
	if len(r.Methods) > 0 {
		name = strings.Join(r.Methods, ",") + " " + name
	}
	if r.Listener != "" {
		name += " on " + r.Listener
	}
	if r.TLS != nil {
		name += " with " + r.TLS.String()
	}
	return name
}

func same[T any](a, b *T) bool { return config.Same(a, b) }

// sameListener passes over which certificates an authority has given.
func sameListener(a, b *config.Listener) bool { return same(withoutIssued(a), withoutIssued(b)) }

func withoutIssued(l *config.Listener) *config.Listener {
	if l.TLS == nil || l.TLS.ACME == nil {
		return l
	}
	own, tls, acme := *l, *l.TLS, *l.TLS.ACME
	own.TLS, tls.ACME, acme.Issued = &tls, &acme, nil
	return &own
}

// compare matches two lists by name, in the order of the files.
func compare[T any](now, next []T, name func(*T) string, same func(a, b *T) bool) (n Names) {
	had := make(map[string]*T, len(now))
	for i := range now {
		had[name(&now[i])] = &now[i]
	}
	for i := range next {
		own := name(&next[i])
		switch old := had[own]; {
		case old == nil:
			n.Added = append(n.Added, own)
		case !same(old, &next[i]):
			n.Changed = append(n.Changed, own)
		}
		delete(had, own)
	}
	for i := range now {
		if own := name(&now[i]); had[own] != nil {
			n.Removed = append(n.Removed, own)
		}
	}
	return n
}

type section struct {
	key       string
	now, next any
}

// sections pairs what is no list of listeners, upstreams or routes.
func sections(now, next *config.Config) []section {
	return []section{
		{"loops", now.Loops, next.Loops}, {"io", now.IO, next.IO}, {"batch_wait", now.BatchWait, next.BatchWait},
		{"core_dumps", now.CoreDumps, next.CoreDumps}, {"buffers", now.Buffers, next.Buffers}, {"limits", now.Limits, next.Limits},
		{"http2", now.HTTP2, next.HTTP2}, {"forwarding", now.Forwarding, next.Forwarding}, {"access_log", now.AccessLog, next.AccessLog},
		{"log", now.Log, next.Log}, {"error_pages", now.ErrorPages, next.ErrorPages}, {"shutdown", now.Shutdown, next.Shutdown},
		{"reload", now.Reload, next.Reload},
		{"dns", now.DNS, next.DNS}, {"admin", now.Admin, next.Admin},
		{"landlock", now.Landlock, next.Landlock},
	}
}

// namedOfKind is how many names of each kind are listed; of more there is the number.
const namedOfKind = 5

// String is "added a, b; removed 12; changed c".
func (n *Names) String() string {
	var parts []string
	for _, kind := range []struct {
		word  string
		names []string
	}{{"added", n.Added}, {"removed", n.Removed}, {"changed", n.Changed}} {
		switch {
		case len(kind.names) == 0:
		case len(kind.names) > namedOfKind:
			parts = append(parts, fmt.Sprintf("%s %d", kind.word, len(kind.names)))
		default:
			parts = append(parts, kind.word+" "+strings.Join(kind.names, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// attrs are for the log.
func (c *Changes) attrs() (attrs []any) {
	for _, part := range []struct {
		what  string
		names *Names
	}{{"listeners", &c.Listeners}, {"upstreams", &c.Upstreams}, {"routes", &c.Routes}} {
		if part.names.some() {
			attrs = append(attrs, part.what, part.names.String())
		}
	}
	if len(c.Sections) > 0 {
		attrs = append(attrs, "sections", "changed "+strings.Join(c.Sections, ", "))
	}
	if len(attrs) == 0 {
		return []any{"changes", "none"}
	}
	return attrs
}

// String has a line for each kind of thing that is different.
func (c *Changes) String() string {
	if c.None() {
		return "nothing is different\n"
	}
	var b strings.Builder
	attrs := c.attrs()
	for i := 0; i < len(attrs); i += 2 {
		fmt.Fprintf(&b, "%s: %s\n", attrs[i], attrs[i+1])
	}
	return b.String()
}
