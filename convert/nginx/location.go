package nginx

import (
	"regexp"
	"strconv"
	"strings"

	"zproxy/convert"
)

// place is a location, or a server without one for a request.
type place struct {
	kind  string // "=", "^~", "~", "~*", "" for a prefix
	path  string
	scope *scope
	line  convert.Line
}

func matches(expression, value string) (holds, known bool) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return false, false
	}
	return re.MatchString(value), true
}

// places are the locations of a scope and of those within it; named ones are apart.
func places(sc *scope, depth int) (list []*place, named map[string]*place) {
	named = map[string]*place{}
	for _, d := range sc.list {
		if d.name != "location" || len(d.args) == 0 || depth > maxDepth {
			continue
		}
		p := &place{path: d.args[len(d.args)-1], scope: &scope{up: sc, list: d.block}, line: d.line}
		if len(d.args) > 1 {
			p.kind = d.args[0]
		} else {
			for _, kind := range []string{"=", "^~", "~*", "~"} { // "location =/path" is one word
				if rest, ok := strings.CutPrefix(p.path, kind); ok {
					p.kind, p.path = kind, rest
					break
				}
			}
		}
		if strings.HasPrefix(p.path, "@") {
			named[p.path] = p
			continue
		}
		list = append(list, p)
		inner, more := places(p.scope, depth+1)
		list = append(list, inner...)
		for name, p := range more {
			named[name] = p
		}
	}
	return list, named
}

// locations are the rules of a server's locations.
func (c *converter) locations(rq request) (rules []rule) {
	list, _ := places(rq.server.scope, 0)
	paths := map[*place][]string{}
	for _, p := range list {
		paths[p] = c.paths(p)
	}
	for _, kind := range []string{"=", "~", "", "/"} {
		for _, p := range list {
			switch {
			case kind == "/" && p.kind != "~" && p.kind != "~*" && p.kind != "=": // to what has a slash at its end
				rules = append(rules, c.slashed(p)...)
			case p.kind == kind, kind == "~" && p.kind == "~*", kind == "" && p.kind == "^~":
				rules = append(rules, c.placed(rq, p, c.reached(p, list, paths))...)
			}
		}
	}
	return rules
}

// paths are those of a location's routes.
func (c *converter) paths(p *place) []string {
	switch {
	case p.kind == "~" || p.kind == "~*":
		text := p.path
		if p.kind == "~*" {
			text = "(?i)" + text
		}
		m, ok := convert.Expression(text)
		if !ok {
			c.doc.Lost(p.line, "location", "an expression that is not a beginning of paths, with whole segments or all of the rest as what may vary")
			return nil
		}
		if m.Loose {
			c.doc.Note(p.line, "location", "the route's segments are whole, and matched as they are written: "+strings.Join(m.Paths, ", "))
		}
		return m.Paths
	case p.path == "/" && p.kind != "=":
		return []string{"/*"}
	case !convert.Literal(p.path):
		c.doc.Lost(p.line, "location", "not a path that a route can have")
		return nil
	case p.kind == "=":
		return []string{p.path}
	case strings.HasSuffix(p.path, "/"):
		return []string{p.path + "*"}
	}
	c.doc.Note(p.line, "location", "the route's segments are whole: "+p.path+" and what is below it, but not "+p.path+"x")
	return []string{p.path, p.path + "/*"}
}

// reached are those of a location's paths that no other location hides: expressions come before prefixes, but for
// those with ^~, which come before expressions.
func (c *converter) reached(p *place, list []*place, paths map[*place][]string) (reached []string) {
	for _, path := range paths[p] {
		hidden := false
		for _, other := range list {
			expression, isExpression := other.kind == "~" || other.kind == "~*", p.kind == "~" || p.kind == "~*"
			if !(expression && p.kind == "") && !(isExpression && other.kind == "^~") {
				continue
			}
			for _, its := range paths[other] {
				if convert.Covers(its, path) {
					hidden = true
					c.doc.Note(p.line, "location", path+" is never reached: "+other.line.String()+" comes before it")
				}
			}
		}
		if !hidden {
			reached = append(reached, path)
		}
	}
	return reached
}

// slashed is the redirect that nginx makes of a path which lacks only the slash at the end of a location's that is passed on.
func (c *converter) slashed(p *place) []rule {
	bare := strings.TrimSuffix(p.path, "/")
	if bare == p.path || bare == "" || !convert.Literal(bare) || len(p.scope.own("proxy_pass"))+len(p.scope.own("grpc_pass")) == 0 {
		return nil
	}
	return []rule{{path: bare, action: action{[]convert.Line{p.line}, func(out convert.Section) {
		to := out.Section("redirect").Flow()
		to.Set("to", bare+"/?{query}")
		to.Set("status", 301)
	}}}}
}

// placed are the rules of one location, for each of its paths.
func (c *converter) placed(rq request, p *place, paths []string) (rules []rule) {
	whole := false
	for _, d := range p.scope.list {
		more, _ := c.rewriting(rq, p.scope, d)
		for _, r := range more {
			for _, path := range paths {
				switch {
				case convert.Covers(r.path, path) && r.path == "/*" || r.path == path:
					rules = append(rules, rule{path, r.methods, r.action})
					whole = true
				case convert.Covers(path, r.path):
					rules = append(rules, r)
				}
			}
		}
		if whole {
			return rules
		}
	}
	methods, refusal := c.methods(p)
	for _, path := range paths {
		r := rule{path, methods, c.act(rq, p)}
		rules = append(rules, r)
		if methods != nil {
			rules = append(rules, rule{path: path, action: refusal})
		}
	}
	return rules
}

// methods are those that a location lets pass, nil for all, and what becomes of the others.
func (c *converter) methods(p *place) ([]string, action) {
	for _, d := range p.scope.list {
		switch d.name {
		case "if":
			if methods, ok := methodCondition(d); ok {
				status, err := strconv.Atoi(d.block[0].arg(0))
				if err == nil && status >= 400 && status != 444 && status < 600 {
					return methods, respond(status, d.line)
				}
			}
		case "limit_except":
			if len(d.block) == 1 && d.block[0].name == "deny" && d.block[0].arg(0) == "all" {
				return d.args, respond(403, d.line)
			}
			c.doc.Lost(d.line, "limit_except", "methods are refused to all clients or to none")
		}
	}
	return nil, action{}
}

func respond(status int, lines ...convert.Line) action {
	return action{lines, func(out convert.Section) { out.Section("respond").Flow().Set("status", status) }}
}

// act is what a location does with a request that nothing has answered before.
func (c *converter) act(rq request, p *place) action {
	sc := p.scope
	if denied := sc.all("deny"); len(denied) > 0 && denied[0].arg(0) == "all" && len(sc.all("allow")) == 0 {
		return respond(403, p.line, denied[0].line)
	}
	for _, name := range []string{"proxy_pass", "grpc_pass"} {
		if pass := sc.own(name); len(pass) > 0 {
			return c.passed(rq, p, pass[0])
		}
	}
	if d := sc.own("stub_status"); len(d) > 0 {
		c.doc.Lost(d[0].line, "stub_status", "what the proxy counts is at the admin address: /metrics and /status")
		return respond(404, p.line, d[0].line)
	}
	if try := sc.last("try_files"); try != nil && len(try.args) > 0 {
		_, named := places(rq.server.scope, 0)
		if to := named[try.args[len(try.args)-1]]; to != nil && to.scope != sc {
			c.doc.Lost(try.line, "try_files", static+"; all requests go to "+to.path)
			a := c.act(rq, to)
			a.lines = append([]convert.Line{p.line, try.line}, a.lines...)
			return a
		}
	}
	if len(sc.own("internal")) > 0 {
		return respond(404, p.line)
	}
	for _, name := range []string{"alias", "root", "try_files"} {
		if d := sc.last(name); d != nil {
			c.doc.Lost(d.line, name, static)
			return respond(404, p.line)
		}
	}
	return respond(404, p.line)
}

// returned is what a return makes of a request.
func (c *converter) returned(rq request, sc *scope, d *directive) action {
	status, err := strconv.Atoi(d.arg(0))
	text := c.value(sc, d.arg(1))
	if err != nil { // return https://...
		status, text = 302, c.value(sc, d.arg(0))
	}
	switch status {
	case 301, 302, 303, 307, 308:
		return c.redirect(rq, d, status, text, nil)
	}
	if status < 200 || status > 599 || status == 444 {
		c.doc.Lost(d.line, "return", "a connection is not closed without a response; it is 400 here")
		return respond(400, d.line)
	}
	if strings.Contains(expand(text, func(string) (string, bool) { return "\x00", true }), "\x00") {
		c.doc.Lost(d.line, "return", "the response has no variables in it")
	}
	return action{[]convert.Line{d.line}, func(out convert.Section) {
		response := out.Section("respond").Flow()
		response.Set("status", status)
		if text != "" {
			response.Set("body", text)
			response.Set("content_type", contentType(sc, out.Text("path")))
		}
	}}
}

// contentType is that of a text which is returned.
func contentType(sc *scope, path string) string {
	for _, d := range sc.all("add_header") {
		if strings.EqualFold(d.arg(0), "Content-Type") {
			return d.arg(1)
		}
	}
	if _, extension, ok := strings.Cut(path[strings.LastIndexByte(path, '/')+1:], "."); ok {
		for _, types := range sc.all("types") {
			for _, t := range types.block {
				for _, e := range t.args {
					if e == extension {
						return t.name
					}
				}
			}
		}
	}
	if d := sc.last("default_type"); d != nil {
		return d.arg(0)
	}
	return "text/plain"
}

// redirect is a redirect to a text with nginx's variables.
func (c *converter) redirect(rq request, d *directive, status int, text string, groups map[string]string) action {
	to, ok := target(rq, text, groups)
	if !ok {
		c.doc.Lost(d.line, d.name, "a redirect knows of a request its scheme, host, path, query, client, identifier, and what an expression has captured as a whole segment or the rest")
		return respond(404, d.line)
	}
	return action{[]convert.Line{d.line}, func(out convert.Section) {
		r := out.Section("redirect").Flow()
		r.Set("to", to)
		r.Set("status", status)
	}}
}

// target is where a redirect leads.
func target(rq request, text string, groups map[string]string) (string, bool) {
	if strings.ContainsAny(expand(text, func(string) (string, bool) { return "", true }), "{}") {
		return "", false
	}
	name := "{host}"
	if len(rq.server.names) > 0 && !strings.Contains(rq.server.names[0], "*") {
		name = rq.server.names[0]
	}
	known := map[string]string{"scheme": "{scheme}", "host": "{host}", "http_host": "{host}", "uri": "{path}", "document_uri": "{path}", "request_uri": "{path}?{query}",
		"args": "{query}", "query_string": "{query}", "is_args": "?", "remote_addr": "{client_ip}", "request_id": "{request_id}", "server_name": name}
	all := true
	to := expand(text, func(name string) (string, bool) {
		if value, ok := groups[name]; ok {
			return value, true
		}
		value, ok := known[name]
		all = all && ok
		return value, ok
	})
	to = strings.ReplaceAll(to, "??", "?")
	fine := strings.HasPrefix(to, "/") || strings.HasPrefix(to, "http://") || strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "{scheme}://")
	return to, all && fine && !strings.ContainsAny(to, " \t\r\n$")
}

// redirected is what a rewrite makes of requests that it redirects; all: of all there are.
func (c *converter) redirected(rq request, sc *scope, d *directive) (rules []rule, all bool) {
	status, flag := 0, d.arg(2)
	switch {
	case flag == "permanent":
		status = 301
	case flag == "redirect" || strings.HasPrefix(d.arg(1), "http://") || strings.HasPrefix(d.arg(1), "https://") || strings.HasPrefix(d.arg(1), "$scheme"):
		status = 302
	default:
		c.doc.Lost(d.line, "rewrite", "the path that was routed is the path that is passed on; no equivalent yet")
		return nil, false
	}
	m, ok := convert.Expression(d.arg(0))
	if !ok {
		if _, err := regexp.Compile(d.arg(0)); err == nil && !strings.ContainsAny(d.arg(0), "^$") {
			c.doc.Lost(d.line, "rewrite", "the expression has to begin with ^, where the path begins")
		} else {
			c.doc.Lost(d.line, "rewrite", "the expression is not a beginning of paths, with whole segments or all of the rest as what may vary")
		}
		return nil, false
	}
	to := c.value(sc, d.arg(1))
	if bare, cut := strings.CutSuffix(to, "?"); cut {
		to = bare
	} else if strings.Contains(to, "?") {
		to += "&$args"
	} else {
		to += "?$args"
	}
	for _, path := range m.Paths {
		rules = append(rules, rule{path: path, action: c.redirect(rq, d, status, to, m.Groups)})
		all = all || path == "/*"
	}
	return rules, all
}
