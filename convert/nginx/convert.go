package nginx

import (
	"path/filepath"
	"strings"

	"zproxy/convert"
)

// scope is a block with the blocks around it, whose directives hold in it as well.
type scope struct {
	up   *scope
	list []*directive
}

// own are the block's own directives of a name.
func (s *scope) own(name string) (found []*directive) {
	for _, d := range s.list {
		if d.name == name {
			found = append(found, d)
		}
	}
	return found
}

// all are the directives that hold: those of the innermost block that has any.
func (s *scope) all(name string) []*directive {
	for ; s != nil; s = s.up {
		if found := s.own(name); len(found) > 0 {
			return found
		}
	}
	return nil
}

// last is the one directive that holds, nil if there is none.
func (s *scope) last(name string) *directive {
	if found := s.all(name); len(found) > 0 {
		return found[len(found)-1]
	}
	return nil
}

// on says whether a switch is on.
func (s *scope) on(name string) bool {
	d := s.last(name)
	return d != nil && d.arg(0) == "on"
}

// converter is the translation of one configuration.
type converter struct {
	doc       *convert.Document
	dir       string // what relative names are relative to
	main      *scope
	http      *scope
	upstreams map[string]*directive
	variables map[string]*directive // of map, geo and split_clients
	servers   []*server
	listeners []*listener
	routes    map[string]bool   // those that are there
	made      map[string]string // upstreams that are there, by what they say
	names     map[string]bool   // ... and their names
	forwards  forwards
	scopes    []*scope // of http, all servers and locations
}

// Convert translates a configuration and all that it includes.
func Convert(file string) (*convert.Document, error) { return translate(disk{}, file) }

func translate(from files, file string) (*convert.Document, error) {
	list, err := parse(from, file)
	if err != nil {
		return nil, err
	}
	c := &converter{doc: convert.NewDocument(), dir: filepath.Dir(file), upstreams: map[string]*directive{},
		variables: map[string]*directive{}, routes: map[string]bool{}, made: map[string]string{}, names: map[string]bool{}}
	if abs, err := filepath.Abs(c.dir); err == nil {
		c.dir = abs
	}
	c.main = &scope{list: list}
	c.http = &scope{up: c.main}
	for _, d := range list {
		switch d.name {
		case "http":
			c.http.list = append(c.http.list, d.block...)
		case "server", "upstream", "map": // a file of conf.d by itself
			c.http.list = append(c.http.list, d)
		}
	}
	c.scopes = append(c.scopes, c.http)
	c.judge(list)
	for _, d := range c.http.list {
		switch d.name {
		case "upstream":
			c.upstreams[d.arg(0)] = d
		case "map", "geo", "split_clients":
			c.variables[d.arg(len(d.args)-1)] = d
		case "server":
			c.servers = append(c.servers, c.server(d))
		}
	}
	c.process()
	c.listen()
	for _, s := range c.servers {
		c.serve(s)
	}
	if len(c.routes) == 0 {
		r := c.doc.Root.Append("routes")
		r.Set("path", "/*")
		r.Section("respond").Set("status", 404)
	}
	c.globals()
	return c.doc, nil
}

// path is the name of a file.
func (c *converter) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// judge goes through all directives and lists those that nothing here translates.
func (c *converter) judge(list []*directive) {
	for _, d := range list {
		f, known := fates()[d.name]
		switch {
		case !known:
			c.doc.Lost(d.line, d.name, "not known here")
		case f.lost != "":
			c.doc.Lost(d.line, d.name, f.lost)
		case f.note != "":
			c.doc.Note(d.line, d.name, f.note)
		}
		if f.inner {
			c.judge(d.block)
		}
	}
}

// value is a text without variables that were set to a constant, and without braces around names.
func (c *converter) value(sc *scope, text string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	return expand(text, func(name string) (string, bool) {
		for s := sc; s != nil; s = s.up {
			for _, d := range s.own("set") {
				if d.arg(0) == "$"+name && !strings.Contains(d.arg(1), "$") {
					return d.arg(1), true
				}
			}
		}
		return "", false
	})
}

// expand replaces the variables that known knows; the others stay.
func expand(text string, known func(name string) (string, bool)) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		name, end := variable(text, i)
		if name == "" {
			b.WriteByte(text[i])
			i++
			continue
		}
		if value, ok := known(name); ok {
			b.WriteString(value)
		} else {
			b.WriteString(text[i:end])
		}
		i = end
	}
	return b.String()
}

// variable is the name of the variable that begins at i, "" if none does, and where it ends.
func variable(text string, i int) (name string, end int) {
	if text[i] != '$' {
		return "", i
	}
	i++
	braces := i < len(text) && text[i] == '{'
	if braces {
		i++
	}
	begin := i
	if i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++ // $1 has one digit
	} else {
		for i < len(text) && (text[i] == '_' || text[i] >= 'a' && text[i] <= 'z' || text[i] >= 'A' && text[i] <= 'Z' || text[i] >= '0' && text[i] <= '9') {
			i++
		}
	}
	name = text[begin:i]
	if braces {
		if i == len(text) || text[i] != '}' {
			return "", i
		}
		i++
	}
	return name, i
}
