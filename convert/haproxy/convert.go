package haproxy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"zproxy/convert"
)

// party is a frontend, backend or listen section, with the lines of its defaults before its own.
type party struct {
	*section
	lines []*line
	own   int // where its own lines begin
	acls  map[string][]*line
}

// last is the last line that begins with these words; nil if there is none, or it is taken back.
func (p *party) last(words ...string) *line {
	for i := len(p.lines) - 1; i >= 0; i-- {
		if l := p.lines[i]; len(l.words) >= len(words) && slices.Equal(l.words[:len(words)], words) {
			if l.no {
				return nil
			}
			return l
		}
	}
	return nil
}

// all are the lines that begin with these words.
func (p *party) all(words ...string) (found []*line) {
	for _, l := range p.lines {
		if !l.no && len(l.words) >= len(words) && slices.Equal(l.words[:len(words)], words) {
			found = append(found, l)
		}
	}
	return found
}

// converter is the translation of one configuration.
type converter struct {
	doc       *convert.Document
	sections  []*section
	global    *party
	fronts    []*party
	backends  map[string]*party
	listeners []*listener
	crtBase   string
	names     map[string]string // of upstreams, by their backend
	believed  bool              // X-Forwarded-For is sent
	forwarded *convert.Line
	limits    map[string]*limit
}

// limit is a setting that HAProxy has for each proxy and zproxy once.
type limit struct {
	value time.Duration
	from  convert.Line
}

// Convert translates a file, or all *.cfg of a directory.
func Convert(file string) (*convert.Document, error) {
	sections, err := load(file)
	if err != nil {
		return nil, err
	}
	return translate(sections), nil
}

func translate(sections []*section) *convert.Document {
	c := &converter{doc: convert.NewDocument(), sections: sections, global: &party{section: &section{}}, backends: map[string]*party{},
		names: map[string]string{}, limits: map[string]*limit{}}
	c.gather()
	c.process()
	for _, p := range c.fronts {
		c.bind(p)
	}
	for _, l := range c.listeners {
		c.listener(l)
	}
	routes := false
	for _, p := range c.fronts {
		routes = c.route(p) || routes
	}
	if !routes {
		r := c.doc.Root.Append("routes")
		r.Set("path", "/*")
		r.Section("respond").Set("status", 503)
	}
	c.globals()
	return c.doc
}

// gather sorts sections, and gives each proxy the lines of its defaults.
func (c *converter) gather() {
	var usual *section // the defaults that were last
	named := map[string]*section{}
	for _, s := range c.sections {
		switch s.kind {
		case "global":
			c.global.lines = append(c.global.lines, s.lines...)
			c.judge(s, s.lines)
		case "defaults":
			usual = s
			if from := named[s.from]; from != nil {
				s.lines = append(slices.Clone(from.lines), s.lines...)
			}
			named[s.name] = s
			c.judge(s, s.lines)
		case "frontend", "backend", "listen":
			from := usual
			if s.from != "" {
				from = named[s.from]
			}
			p := &party{section: s, acls: map[string][]*line{}}
			if from != nil {
				p.lines = slices.Clone(from.lines)
				p.own = len(p.lines)
			}
			p.lines = append(p.lines, s.lines...)
			c.judge(s, s.lines)
			for _, l := range p.all("acl") {
				if len(l.words) < 3 {
					continue // HAProxy refuses it
				}
				p.acls[l.word(1)] = append(p.acls[l.word(1)], l)
			}
			if l := p.last("disabled"); l != nil && !slices.ContainsFunc(s.lines, func(l *line) bool { return l.words[0] == "enabled" }) {
				c.doc.Note(l.at, s.kind+" "+s.name, "it is disabled, so it is left out")
				continue
			}
			if mode := p.last("mode"); mode == nil || mode.word(1) != "http" {
				at := s.at
				if mode != nil {
					at = mode.at
				}
				c.doc.Lost(at, s.kind+" "+s.name, "zproxy forwards HTTP, not TCP; its mode is not http")
				continue
			}
			if s.kind != "frontend" {
				c.backends[s.name] = p
			}
			if s.kind != "backend" {
				c.fronts = append(c.fronts, p)
			}
		case "userlist", "peers", "mailers", "resolvers", "http-errors", "cache", "ring", "program", "fcgi-app", "log-forward", "crt-store", "traces", "acme", "log-profile":
			if why := sectionFates[s.kind]; why != "" {
				c.doc.Lost(s.at, s.kind, why)
			}
		}
	}
}

// judge lists the lines that nothing here translates.
func (c *converter) judge(s *section, lines []*line) {
	for _, l := range lines {
		name := l.words[0]
		full := name
		if name == "option" || name == "timeout" || name == "http-request" || name == "http-response" || name == "stats" || name == "http-check" || name == "stick" || name == "compression" {
			full += " " + l.word(1)
		}
		if name == "http-request" && strings.HasPrefix(l.word(1), "lua.") {
			full = "lua-load"
		}
		f, known := fates()[full]
		if !known {
			if f, known = fates()[name]; !known && !strings.HasPrefix(name, "tune.") && !strings.HasPrefix(name, "ssl-default-") {
				c.doc.Lost(l.at, full, "not known here")
				continue
			}
		}
		switch {
		case f.lost != "" && !l.no:
			c.doc.Lost(l.at, full, f.lost)
		case f.note != "":
			c.doc.Note(l.at, full, f.note)
		}
	}
}

// process writes what the process is.
func (c *converter) process() {
	if d := c.global.last("nbthread"); d != nil {
		if n, err := strconv.Atoi(d.word(1)); err == nil && n >= 1 && n <= 1024 {
			c.doc.Root.Set("loops", n, d.at)
		}
	}
	for _, key := range []string{"user", "group"} {
		if d := c.global.last(key); d != nil && d.word(1) != "root" && (key == "user" || c.doc.Root.Has("user")) {
			c.doc.Root.Set(key, d.word(1), d.at)
		}
	}
	if d := c.global.last("crt-base"); d != nil {
		c.crtBase = d.word(1)
	}
}

// span is a time as HAProxy has it: milliseconds without a unit.
func span(s string) (time.Duration, bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(s[:i], 10, 32)
	unit, ok := map[string]time.Duration{"us": time.Microsecond, "": time.Millisecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[s[i:]]
	if err != nil || !ok {
		return 0, false
	}
	return min(time.Duration(n)*unit, 1e6*time.Hour), true
}

// globals writes what zproxy has once.
func (c *converter) globals() {
	limits := convert.NewSection()
	for _, p := range c.fronts {
		for _, t := range [][2]string{{"http-request", "request_header_timeout"}, {"http-keep-alive", "keepalive_timeout"}, {"client", "request_body_timeout"}, {"client", "send_timeout"}} {
			if l := p.last("timeout", t[0]); l != nil {
				c.most(t[1], l)
			}
		}
		if p.last("option", "httpclose") != nil {
			limits.Set("requests_per_connection", 1, p.last("option", "httpclose").at)
		}
		if l := p.last("option", "abortonclose"); l != nil {
			limits.Set("half_close", "end", l.at)
		}
	}
	if c.limits["keepalive_timeout"] == nil { // as HAProxy has it
		for _, p := range c.fronts {
			for _, other := range []string{"http-request", "client"} {
				if l := p.last("timeout", other); l != nil {
					c.most("keepalive_timeout", l)
					break
				}
			}
		}
	}
	for _, key := range []string{"request_header_timeout", "keepalive_timeout", "request_body_timeout", "send_timeout"} {
		if t := c.limits[key]; t != nil {
			limits.Set(key, convert.Duration(t.value, time.Millisecond, time.Hour), t.from)
		}
	}
	if d := c.global.last("maxconn"); d != nil {
		if n, err := strconv.Atoi(d.word(1)); err == nil && n > 0 {
			limits.Set("connections", min(n, 1<<24), d.at)
			c.doc.Note(d.at, "maxconn", "it is the number for one loop, and connections beyond are reset")
		}
	}
	if !limits.Empty() {
		c.doc.Root.Put("limits", limits)
	}
	c.accessLog()
	for _, p := range c.fronts {
		if l := p.last("unique-id-header"); l != nil && strings.EqualFold(l.word(1), "X-Request-ID") {
			c.doc.Root.Section("forwarding").Set("request_id", true, l.at)
		} else if l != nil {
			c.doc.Lost(l.at, l.words[0], "the field is X-Request-ID, see forwarding.request_id")
		}
	}
	if c.forwarded != nil {
		c.doc.Root.Section("forwarding").Set("x_forwarded", true, *c.forwarded)
	} else {
		c.doc.Root.Section("forwarding").Set("x_forwarded", false)
	}
}

// accessLog writes the access log, where requests are logged to standard output or standard error.
func (c *converter) accessLog() {
	for _, p := range append([]*party{c.global}, c.fronts...) {
		for _, l := range p.all("log") {
			switch l.word(1) {
			case "global":
			case "stdout", "stderr":
				if !c.doc.Root.Has("access_log") {
					out := c.doc.Root.Section("access_log")
					out.Set("path", "-", l.at)
					out.Set("format", "combined")
				}
			default:
				c.doc.Lost(l.at, "log", syslog)
			}
		}
	}
}

// most keeps the longest of the times that there are.
func (c *converter) most(key string, l *line) {
	t, ok := span(l.word(2))
	if !ok {
		return
	}
	old := c.limits[key]
	switch {
	case old == nil:
		c.limits[key] = &limit{t, l.at}
	case old.value != t:
		shorter := l.at
		if t > old.value {
			shorter = old.from
			c.limits[key] = &limit{t, l.at}
		}
		c.doc.Lost(shorter, "timeout "+l.word(1), "one value holds for all clients, here the longest that there is")
	}
}

// hosts before wildcards before none, the longest paths first.
func specific(a, b cell) int {
	return cmp.Or(cmp.Compare(rank(a.host), rank(b.host)), cmp.Compare(len(b.host), len(a.host)), cmp.Compare(a.host, b.host),
		cmp.Compare(len(b.path), len(a.path)), cmp.Compare(a.path, b.path), cmp.Compare(len(b.methods), len(a.methods)))
}

func rank(host string) int {
	switch {
	case host == "":
		return 2
	case strings.HasPrefix(host, "*"):
		return 1
	}
	return 0
}
