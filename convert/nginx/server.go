package nginx

import (
	"slices"
	"strings"

	"zproxy/convert"
)

// rule is what becomes a route: a path, and what to do.
type rule struct {
	path    string
	methods []string
	action
}

// action is what is done with a request.
type action struct {
	lines []convert.Line
	fill  func(out convert.Section)
}

// request is what is known of requests when rules are made for them: where they come in, and what for.
type request struct {
	server   *server
	listener *listener
	host     string // "": any that no other server has
}

// serve writes the routes of a server.
func (c *converter) serve(s *server) {
	for _, host := range c.hosts(s) {
		var lists [][]rule
		same := len(s.listeners) == len(c.listeners)
		var first []string
		for i, l := range s.listeners {
			if host == "" && l.servers[0] != s {
				lists = append(lists, nil)
				same = false
				continue
			}
			rules := c.rules(request{s, l, host})
			keys := make([]string, len(rules))
			for j := range rules {
				keys[j] = rules[j].section(host).Key()
			}
			if i == 0 {
				first = keys
			}
			same = same && slices.Equal(first, keys)
			lists = append(lists, rules)
		}
		if same && len(lists) > 0 && c.free(s, host, lists[0]) {
			c.write(s, nil, host, lists[0])
			continue
		}
		for i, rules := range lists {
			c.write(s, s.listeners[i], host, rules)
		}
	}
}

// hosts are those that a server's routes name. That of the default server is also any other; where there are no
// wildcards it needs no other.
func (c *converter) hosts(s *server) []string {
	var hosts []string
	isDefault, alone := false, true
	for _, l := range s.listeners {
		isDefault = isDefault || l.servers[0] == s
		alone = alone && l.servers[0] == s
		for _, other := range l.servers {
			for _, name := range other.names {
				alone = alone && (other == s || !strings.HasPrefix(name, "*."))
			}
		}
	}
	conditions := false
	for _, d := range s.scope.own("if") {
		conditions = conditions || strings.Contains(strings.Join(d.args, " "), "$host")
	}
	if !isDefault || !alone || conditions {
		hosts = append(hosts, s.names...)
	}
	if isDefault {
		hosts = append(hosts, "")
	}
	return hosts
}

func (r *rule) section(host string) convert.Section {
	out := convert.NewSection()
	r.into(host, out)
	return out
}

func (r *rule) into(host string, out convert.Section) {
	if host != "" {
		out.Set("host", host)
	}
	out.Set("path", r.path)
	if len(r.methods) > 0 {
		out.Set("methods", r.methods)
	}
	r.fill(out)
}

func (r *rule) key(l *listener, host string) string {
	return strings.Join([]string{l.address, host, r.path, strings.Join(r.methods, ",")}, " ")
}

// free says whether no listener of the server has one of the routes already.
func (c *converter) free(s *server, host string, rules []rule) bool {
	for _, l := range s.listeners {
		for i := range rules {
			if c.routes[rules[i].key(l, host)] {
				return false
			}
		}
	}
	return true
}

// write writes the routes that are not there yet, for one listener or for all.
func (c *converter) write(s *server, l *listener, host string, rules []rule) {
	listeners := s.listeners
	if l != nil {
		listeners = []*listener{l}
	}
	for i := range rules {
		r := &rules[i]
		taken := false
		for _, l := range listeners {
			taken = taken || c.routes[r.key(l, host)]
			c.routes[r.key(l, host)] = true
		}
		if taken {
			continue
		}
		out := c.doc.Root.Append("routes", r.lines...)
		r.into(host, out)
		if l != nil && len(c.listeners) > 1 {
			out.Set("listener", l.address)
		}
	}
}

// rules are those of one server, for one listener and host. Of two for the same path the first one counts.
func (c *converter) rules(rq request) []rule {
	var rules []rule
	sc := rq.server.scope
	for _, d := range sc.list {
		more, all := c.rewriting(rq, sc, d)
		rules = append(rules, more...)
		if all {
			return rules
		}
	}
	before := len(rules)
	rules = append(rules, c.locations(rq)...)
	rules = append(rules, rule{path: "/*", action: c.act(rq, &place{scope: sc, line: rq.server.line})})
	return unshadowed(rules, before)
}

// unshadowed leaves out what can never be reached: paths that earlier rules have, and those below the first n, which
// come before all locations.
func unshadowed(rules []rule, n int) (out []rule) {
	for i, r := range rules {
		hidden := false
		for j, other := range rules[:i] {
			hidden = hidden || len(other.methods) == 0 && (other.path == r.path || j < n && convert.Covers(other.path, r.path))
		}
		if !hidden {
			out = append(out, r)
		}
	}
	return out
}

// rewriting is what a directive of the rewrite phase makes of requests; all: nothing behind it is reached.
func (c *converter) rewriting(rq request, sc *scope, d *directive) (rules []rule, all bool) {
	switch d.name {
	case "return":
		return []rule{{path: "/*", action: c.returned(rq, sc, d)}}, true
	case "rewrite":
		return c.redirected(rq, sc, d)
	case "if":
		holds, known := condition(rq, d)
		if !known {
			if _, methods := methodCondition(d); !methods {
				c.doc.Lost(d.line, "if", "only a part of a request's head can be the condition here: $scheme and $host, where a return or rewrite follows, and $request_method")
			}
			return nil, false
		}
		if !holds {
			return nil, false
		}
		for _, inner := range d.block {
			more, end := c.rewriting(rq, sc, inner)
			for i := range more {
				more[i].lines = append([]convert.Line{d.line}, more[i].lines...)
			}
			if rules = append(rules, more...); end {
				return rules, true
			}
		}
	}
	return rules, false
}

// words are those of a condition, without parentheses.
func words(d *directive) []string {
	w := slices.Clone(d.args)
	if len(w) == 0 {
		return nil
	}
	w[0] = strings.TrimPrefix(w[0], "(")
	w[len(w)-1] = strings.TrimSuffix(w[len(w)-1], ")")
	return slices.DeleteFunc(w, func(s string) bool { return s == "" })
}

// condition says whether the condition of an if holds for requests, where that is known.
func condition(rq request, d *directive) (holds, known bool) {
	w := words(d)
	if len(w) != 3 {
		return false, false
	}
	var value string
	switch w[0] {
	case "$scheme":
		value = map[bool]string{false: "http", true: "https"}[rq.listener.tls]
	case "$https":
		value = map[bool]string{false: "", true: "on"}[rq.listener.tls]
	case "$host", "$http_host":
		if strings.HasPrefix(rq.host, "*.") {
			return false, false
		}
		value = rq.host
	default:
		return false, false
	}
	switch w[1] {
	case "=":
		return value == w[2], true
	case "!=":
		return value != w[2], true
	case "~", "~*":
		if w[0] == "$host" && rq.host == "" {
			return false, false
		}
		return matches(w[2], value)
	}
	return false, false
}

// methodCondition gives the methods of an if that lets only some pass: if ($request_method !~ ^(GET|HEAD)$).
func methodCondition(d *directive) ([]string, bool) {
	w := words(d)
	if len(w) != 3 || w[0] != "$request_method" || w[1] != "!~" && w[1] != "!~*" || len(d.block) != 1 || d.block[0].name != "return" {
		return nil, false
	}
	list := strings.Split(strings.Trim(w[2], "^$()"), "|")
	for _, m := range list {
		if m == "" || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return nil, false
		}
	}
	return list, true
}
