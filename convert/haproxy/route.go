package haproxy

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"zproxy/convert"
)

// outcome is what becomes of the requests of a cell.
type outcome struct {
	lines []convert.Line
	fill  func(convert.Section)
}

func (o outcome) key() string {
	s := convert.NewSection()
	o.fill(s)
	return s.Key()
}

// maxCells is how many combinations of hosts, paths and methods are tried for one frontend.
const maxCells = 20000

// route writes the routes of a frontend; false: there are none. For each combination of what conditions tell apart the
// rules are gone through as HAProxy does; what comes out as for less specific requests needs no route.
func (c *converter) route(p *party) bool {
	hosts, paths, methods := map[string]bool{"": true}, map[string]bool{"/*": true}, map[string]bool{"": true}
	parties := []*party{p}
	for _, l := range p.lines {
		if l.words[0] == "use_backend" || l.words[0] == "default_backend" {
			if b := c.backends[l.word(1)]; b != nil && !slices.Contains(parties, b) {
				parties = append(parties, b)
			}
		}
	}
	for _, q := range parties {
		for _, l := range q.lines {
			if ruleLines[l.words[0]] && q.differences(l, hosts, paths, methods) {
				c.doc.Note(l.at, l.words[0], "the route's segments are whole: a path that begins with /x is /x and what is below it, but not /xy")
			}
		}
		if l := q.last("monitor-uri"); l != nil {
			paths[l.word(1)] = true
		}
	}
	if len(hosts)*len(paths)*len(methods) > maxCells {
		c.doc.Lost(p.at, p.kind+" "+p.name, "too many conditions on hosts, paths and methods at once")
		return false
	}
	var listeners []*listener
	for _, l := range c.listeners {
		if l.front == p {
			listeners = append(listeners, l)
		}
	}
	var lists [][]convert.Section
	same := len(listeners) == len(c.listeners)
	for i, l := range listeners {
		lists = append(lists, c.routes(p, l, hosts, paths, methods))
		same = same && slices.EqualFunc(lists[0], lists[i], func(a, b convert.Section) bool { return a.Key() == b.Key() })
	}
	for i, list := range lists {
		for _, r := range list {
			if !same {
				r.Set("listener", listeners[i].address)
			}
			c.doc.Root.Add("routes", r)
		}
		if same {
			break
		}
	}
	return len(lists) > 0
}

var ruleLines = map[string]bool{"use_backend": true, "http-request": true, "redirect": true}

// routes are those of one listener.
func (c *converter) routes(p *party, l *listener, hosts, paths, methods map[string]bool) (list []convert.Section) {
	outcomes := map[string]outcome{}
	name := func(host, path, method string) string { return host + " " + path + " " + method }
	var cells []cell
	for host := range hosts {
		for path := range paths {
			for method := range methods {
				one := cell{listener: l, host: host, path: path}
				if method != "" {
					one.methods = []string{method}
				}
				cells = append(cells, one)
			}
		}
	}
	sort.Slice(cells, func(i, j int) bool { return specific(cells[i], cells[j]) < 0 })
	for _, one := range cells {
		outcomes[name(one.host, one.path, strings.Join(one.methods, ","))] = c.decide(p, one)
	}
	needed := map[string]bool{}
	for _, one := range cells {
		method := strings.Join(one.methods, ",")
		this := outcomes[name(one.host, one.path, method)].key()
		needless := false
		for _, less := range fallbacks(one, hosts, paths) {
			needless = outcomes[name(less.host, less.path, strings.Join(less.methods, ","))].key() == this
			break
		}
		needed[name(one.host, one.path, method)] = !needless
	}
	// A host without a route for all paths would leave the rest to less specific hosts, where more specific paths may
	// be: as soon as it has any route, or such paths are there, it has all of its own.
	own := map[string]bool{}
	for _, one := range cells {
		own[one.host] = own[one.host] || needed[name(one.host, one.path, strings.Join(one.methods, ","))]
	}
	for _, one := range cells {
		method := strings.Join(one.methods, ",")
		key := name(one.host, one.path, method)
		if !own[one.host] || !needed[key] && (one.path != "/*" || method != "") {
			continue
		}
		o := outcomes[key]
		r := convert.NewSectionFrom(o.lines...)
		if one.host != "" {
			r.Set("host", one.host)
		}
		r.Set("path", one.path)
		if len(one.methods) > 0 {
			r.Set("methods", one.methods)
		}
		o.fill(r)
		list = append(list, r)
	}
	return list
}

// fallbacks are the cells that a cell's requests would belong to without it, the first one above all: the same without
// methods, the next path above, the next host above.
func fallbacks(one cell, hosts, paths map[string]bool) []cell {
	if len(one.methods) > 0 {
		one.methods = nil
		return []cell{one}
	}
	best := ""
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if path != one.path && convert.Covers(path, one.path) && len(path) > len(best) {
			best = path
		}
	}
	if best != "" {
		one.path = best
		return []cell{one}
	}
	if one.host == "" {
		return nil
	}
	best = ""
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		if host != one.host && strings.HasPrefix(host, "*.") && strings.HasSuffix(one.host, host[1:]) && len(host) > len(best) {
			best = host
		}
	}
	one.host = best
	return []cell{one}
}

// decide goes through the rules for a cell.
func (c *converter) decide(p *party, one cell) outcome {
	if l := p.last("monitor-uri"); l != nil && one.path == l.word(1) {
		return outcome{[]convert.Line{l.at}, func(out convert.Section) { out.Section("respond").Flow().Set("status", 200) }}
	}
	var lines []convert.Line
	if o, done := c.rules(p, one, &lines); done {
		return o
	}
	backend := p
	if p.kind == "frontend" {
		backend = nil
	}
	for _, l := range p.lines {
		name := l.words[0]
		if name != "use_backend" && name != "default_backend" {
			continue
		}
		words, holds := p.condition(l, one)
		if len(words) < 2 {
			continue // HAProxy refuses it
		}
		switch {
		case holds == unknown:
			c.doc.Lost(l.at, name, "its condition is none that a route can have")
		case strings.Contains(words[1], "%["):
			c.doc.Lost(l.at, name, "which backend it is has to be known before a request comes")
		case holds == yes && (name == "use_backend" || !c.used(p, one)):
			if backend = c.backends[words[1]]; backend == nil {
				c.doc.Lost(l.at, name, "there is no backend "+words[1]+" of mode http")
			}
			lines = append(lines, l.at)
		}
		if holds == yes && name == "use_backend" {
			break
		}
	}
	if backend == nil {
		return outcome{lines, func(out convert.Section) { out.Section("respond").Flow().Set("status", 503) }}
	}
	if backend != p {
		if o, done := c.rules(backend, one, &lines); done {
			return o
		}
	}
	name := c.upstream(backend)
	if name == "" {
		return outcome{lines, func(out convert.Section) { out.Section("respond").Flow().Set("status", 503) }}
	}
	tunnel := backend.last("timeout", "tunnel")
	return outcome{append(lines, backend.at), func(out convert.Section) {
		out.Set("upstream", name)
		if tunnel != nil {
			if t, ok := span(tunnel.word(2)); ok && t > 0 {
				out.Section("websocket").Set("idle_timeout", convert.Duration(t, 0, maxIdle), tunnel.at)
			}
		}
	}}
}

// used says whether a use_backend holds, so that the default is not asked for.
func (c *converter) used(p *party, one cell) bool {
	for _, l := range p.all("use_backend") {
		if words, holds := p.condition(l, one); holds == yes && len(words) > 1 && !strings.Contains(words[1], "%[") {
			return true
		}
	}
	return false
}

// rules goes through the http-request and redirect lines of a proxy; done: one of them answers.
func (c *converter) rules(p *party, one cell, lines *[]convert.Line) (o outcome, done bool) {
	for _, l := range p.lines {
		name, action := l.words[0], l.word(1)
		at := 2
		if name == "redirect" {
			action, at = "redirect", 1
		} else if name != "http-request" {
			continue
		}
		if covered(p, l) {
			from := l.at
			c.forwarded = &from
			continue
		}
		if !slices.Contains([]string{"redirect", "deny", "return", "tarpit", "reject", "silent-drop", "use-service"}, action) {
			if f, known := fates()[name+" "+action]; known && f.lost == "" {
				c.doc.Lost(l.at, name+" "+action, filters)
			}
			continue
		}
		words, holds := p.condition(l, one)
		if holds == unknown {
			c.doc.Lost(l.at, name+" "+action, "its condition is none that a route can have")
		}
		if holds != yes {
			continue
		}
		all := append(slices.Clone(*lines), l.at)
		return outcome{all, c.answer(l, action, words[min(at, len(words)):])}, true
	}
	return outcome{}, false
}

// covered says whether a line says what X-Forwarded-* say in any case.
func covered(p *party, l *line) bool {
	if l.word(1) != "set-header" && l.word(1) != "add-header" {
		return false
	}
	value := l.word(3)
	switch strings.ToLower(l.word(2)) {
	case "x-forwarded-proto":
		return value == "https" || value == "http" || value == "%[ssl_fc,iif(https,http)]"
	case "x-forwarded-host":
		return value == "%[req.hdr(host)]" || value == "%[req.hdr(Host)]" || value == "%[hdr(host)]"
	case "x-forwarded-for":
		return value == "%[src]"
	}
	return false
}

// answer is the response that a rule makes.
func (c *converter) answer(l *line, action string, words []string) func(convert.Section) {
	after := func(word string) string {
		if i := slices.Index(words, word); i >= 0 && i+1 < len(words) {
			return words[i+1]
		}
		return ""
	}
	status := func(usual int, words ...string) int {
		for _, w := range words {
			if n, err := strconv.Atoi(after(w)); err == nil && n >= 200 && n < 600 {
				return n
			}
		}
		return usual
	}
	respond := func(n int) func(convert.Section) {
		return func(out convert.Section) { out.Section("respond").Flow().Set("status", n) }
	}
	switch action {
	case "redirect":
		return c.redirect(l, words, status(302, "code"), after)
	case "deny":
		return respond(status(403, "deny_status", "status"))
	case "tarpit":
		c.doc.Note(l.at, "http-request tarpit", "the response does not wait")
		return respond(status(500, "deny_status", "status"))
	case "return":
		n := status(200, "status")
		for _, kind := range []string{"file", "lf-file", "errorfile", "errorfiles", "lf-string", "default-errorfiles"} {
			if slices.Contains(words, kind) && (kind != "lf-string" || strings.Contains(after(kind), "%")) {
				c.doc.Lost(l.at, "http-request return", "the body is a text without variables, and no file")
			}
		}
		for i, w := range words {
			if w == "hdr" && i+1 < len(words) {
				c.doc.Lost(l.at, "http-request return", "the response has no field "+words[i+1])
			}
		}
		body := after("string") + after("lf-string")
		return func(out convert.Section) {
			r := out.Section("respond").Flow()
			r.Set("status", n)
			if body != "" {
				r.Set("body", body)
				if kind := after("content-type"); kind != "" {
					r.Set("content_type", kind)
				}
			}
		}
	case "use-service":
		c.doc.Lost(l.at, "http-request use-service", scripts)
		if strings.HasPrefix(l.word(2), "prometheus") {
			return respond(404)
		}
		return respond(503)
	}
	c.doc.Lost(l.at, "http-request "+action, "a connection is not closed without a response; it is 403 here")
	return respond(403)
}

// samples are what formats may have of a request.
var samples = strings.NewReplacer("%[hdr(host)]", "{host}", "%[req.hdr(host)]", "{host}", "%[hdr(Host)]", "{host}", "%[req.hdr(Host)]", "{host}", "%[path]", "{path}", "%[query]", "{query}",
	"%[capture.req.uri]", "{path}?{query}", "%[url]", "{path}?{query}", "%[pathq]", "{path}?{query}", "%[src]", "{client_ip}", "%HU", "{path}?{query}", "%HP", "{path}", "%%", "%25")

func (c *converter) redirect(l *line, words []string, status int, after func(string) string) func(convert.Section) {
	to := ""
	dropQuery := slices.Contains(words, "drop-query")
	query := "?{query}"
	if dropQuery {
		query = ""
	}
	switch {
	case after("scheme") != "":
		to = after("scheme") + "://{host}{path}" + query
	case after("prefix") != "":
		to = strings.TrimSuffix(samples.Replace(after("prefix")), "/") + "{path}" + query
	default:
		to = samples.Replace(after("location"))
	}
	if slices.Contains(words, "set-cookie") || slices.Contains(words, "clear-cookie") || slices.Contains(words, "append-slash") {
		c.doc.Lost(l.at, "redirect", "cookies and slashes that a redirect adds")
	}
	fine := strings.HasPrefix(to, "/") || strings.HasPrefix(to, "http://") || strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "{")
	if strings.Contains(to, "%[") || !fine || strings.ContainsAny(to, " \t") {
		c.doc.Lost(l.at, "redirect", "a redirect knows of a request its host, path, query and client")
		return func(out convert.Section) { out.Section("respond").Flow().Set("status", 404) }
	}
	if strings.HasPrefix(to, "{path}") {
		to = "{scheme}://{host}" + to
	}
	return func(out convert.Section) {
		r := out.Section("redirect").Flow()
		r.Set("to", to)
		r.Set("status", status)
	}
}
