package haproxy

import (
	"slices"
	"strings"

	"zproxy/convert"
)

// truth is what is known of a condition for all requests of a cell.
type truth int

const (
	no truth = iota
	yes
	unknown
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth {
	switch t {
	case no:
		return yes
	case yes:
		return no
	}
	return unknown
}

// cell is a set of requests that all conditions are true or false of as a whole: those that come in at a listener, and of
// which this host, path and methods are what fits best.
type cell struct {
	listener *listener
	host     string   // "": any that no other cell has
	path     string   // of a route
	methods  []string // none: all that no other cell has
}

// test is one criterion of an ACL: what it looks at, and with which values.
type test struct {
	fetch  string // path, path_beg, hdr(host) ...
	fold   bool
	values []string
}

// parseTest reads the words of a criterion, with flags before the values.
func parseTest(words []string) (t test) {
	if len(words) == 0 {
		return t
	}
	t.fetch = strings.ToLower(words[0])
	for i := 1; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-i":
			t.fold = true
		case w == "-m" && i+1 < len(words):
			i++
			t.fetch += " " + words[i]
		case w == "--":
			t.values = append(t.values, words[i+1:]...)
			return t
		case strings.HasPrefix(w, "-") && len(w) == 2:
			t.fetch += " " + w // -f and others: nothing is known of it
		default:
			t.values = append(t.values, words[i:]...)
			return t
		}
	}
	return t
}

// hostTests are the fetches that look at the host.
var hostTests = map[string]string{"hdr(host)": "str", "req.hdr(host)": "str", "req.hdr(host),lower": "str", "hdr(host),lower": "str", "hdr(host) str": "str", "req.hdr(host) str": "str",
	"hdr_end(host)": "end", "hdr(host) end": "end", "req.hdr(host) end": "end", "hdr_dom(host)": "dom", "hdr(host) dom": "dom", "req.hdr(host) dom": "dom",
	"ssl_fc_sni": "str", "ssl_fc_sni_end": "end", "req.hdr(host),field(1,:)": "str", "hdr(host),field(1,:)": "str", "hdr_beg(host)": "beg"}

// pathTests are those that look at the path.
var pathTests = map[string]string{"path": "str", "path str": "str", "path_beg": "beg", "path beg": "beg", "path_reg": "reg", "path reg": "reg", "url_beg": "beg"}

var methodTests = map[string][]string{"METH_GET": {"GET", "HEAD"}, "METH_POST": {"POST"}, "METH_PUT": {"PUT"}, "METH_DELETE": {"DELETE"}, "METH_HEAD": {"HEAD"}, "METH_OPTIONS": {"OPTIONS"}, "METH_TRACE": {"TRACE"}, "METH_CONNECT": {"CONNECT"}}

// hosts are the hosts that a test tells from others.
func (t test) hosts() (list []string) {
	kind := hostTests[t.fetch]
	for _, v := range t.values {
		v = strings.ToLower(v)
		switch {
		case !hostname(strings.TrimPrefix(v, ".")):
		case kind == "str":
			list = append(list, v)
		case kind == "end" && strings.HasPrefix(v, "."):
			list = append(list, "*"+v)
		case kind == "dom" || kind == "end":
			list = append(list, v, "*."+strings.TrimPrefix(v, "."))
		}
	}
	return list
}

func hostname(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, ".")
}

// paths are the paths that a test tells from others.
func (t test) paths() (list []string) {
	for _, v := range t.values {
		list = append(list, pathsOf(pathTests[t.fetch], v)...)
	}
	return list
}

// pathsOf are the routes' paths of one value.
func pathsOf(kind, v string) []string {
	switch {
	case kind == "reg":
		if m, ok := convert.Expression(v); ok {
			return m.Paths
		}
	case kind == "" || !convert.Literal(v):
	case kind == "str":
		return []string{v}
	case v == "/":
		return []string{"/*"}
	case strings.HasSuffix(v, "/"):
		return []string{v + "*"}
	case kind == "beg":
		return []string{v, v + "/*"}
	}
	return nil
}

// holds says whether a test is true of a cell.
func (t test) holds(c cell) truth {
	switch kind := hostTests[t.fetch]; kind {
	case "":
	default:
		if len(t.hosts()) < len(t.values) {
			return unknown
		}
		for _, host := range t.hosts() {
			if c.host == host || strings.HasPrefix(host, "*.") && strings.HasSuffix(c.host, host[1:]) {
				return yes
			}
		}
		return no
	}
	if kind := pathTests[t.fetch]; kind != "" {
		for _, v := range t.values {
			paths := pathsOf(kind, v)
			if paths == nil {
				return unknown
			}
			for _, path := range paths {
				if convert.Covers(path, c.path) {
					return yes
				}
			}
		}
		return no
	}
	switch t.fetch {
	case "method":
		return truthOf(slices.ContainsFunc(c.methods, func(m string) bool { return slices.Contains(t.values, m) }))
	case "ssl_fc":
		return truthOf(c.listener.tls)
	case "always_true":
		return yes
	case "always_false":
		return no
	case "dst_port":
		if i := strings.LastIndexByte(c.listener.address, ':'); len(t.values) == 1 && i >= 0 {
			return truthOf(c.listener.address[i+1:] == t.values[0])
		}
	}
	return unknown
}

// criterion is what one word of a condition, or an anonymous ACL, means.
type criterion struct {
	tests []test // one of them has to hold
	not   bool
}

// terms reads a condition: alternatives of criteria that all have to hold.
func (p *party) terms(words []string) (alternatives [][]criterion) {
	var all []criterion
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "or" || w == "||" {
			alternatives = append(alternatives, all)
			all = nil
			continue
		}
		cr := criterion{}
		for strings.HasPrefix(w, "!") {
			cr.not = !cr.not
			w = w[1:]
		}
		if w == "" && i+1 < len(words) { // "! { ... }"
			i++
			w = words[i]
		}
		if w == "{" {
			end := i + 1
			for end < len(words) && words[end] != "}" {
				end++
			}
			cr.tests = []test{parseTest(words[i+1 : end])}
			i = end
		} else {
			cr.tests = p.named(w)
		}
		all = append(all, cr)
	}
	return append(alternatives, all)
}

// named are the tests of an ACL with a name, or of one that HAProxy has by itself.
func (p *party) named(name string) (tests []test) {
	for _, l := range p.acls[name] {
		tests = append(tests, parseTest(l.words[2:]))
	}
	if tests != nil {
		return tests
	}
	if methods := methodTests[name]; methods != nil {
		return []test{{fetch: "method", values: methods}}
	}
	switch name {
	case "TRUE":
		return []test{{fetch: "always_true"}}
	case "FALSE":
		return []test{{fetch: "always_false"}}
	case "HTTP_URL_SLASH":
		return []test{{fetch: "path_beg", values: []string{"/"}}}
	}
	return []test{{fetch: "acl " + name}}
}

func (cr criterion) holds(c cell) truth {
	result := no
	for _, t := range cr.tests {
		switch t.holds(c) {
		case yes:
			result = yes
		case unknown:
			if result == no {
				result = unknown
			}
		}
	}
	if cr.not {
		return result.not()
	}
	return result
}

// condition gives the words of a line before its condition, and what the condition is of a cell.
func (p *party) condition(l *line, c cell) ([]string, truth) {
	for i, w := range l.words {
		if i == 0 || w != "if" && w != "unless" {
			continue
		}
		result := no
		for _, all := range p.terms(l.words[i+1:]) {
			each := yes
			for _, cr := range all {
				switch cr.holds(c) {
				case no:
					each = no
				case unknown:
					if each == yes {
						each = unknown
					}
				}
			}
			if each == yes || each == unknown && result == no {
				result = each
			}
			if result == yes {
				break
			}
		}
		if w == "unless" {
			result = result.not()
		}
		return l.words[:i], result
	}
	return l.words, yes
}

// differences gathers all hosts, paths and methods that a line's condition tells apart.
func (p *party) differences(l *line, hosts, paths, methods map[string]bool) (loose bool) {
	for i, w := range l.words {
		if i == 0 || w != "if" && w != "unless" {
			continue
		}
		for _, all := range p.terms(l.words[i+1:]) {
			for _, cr := range all {
				for _, t := range cr.tests {
					for _, h := range t.hosts() {
						hosts[h] = hostTests[t.fetch] != ""
					}
					for _, path := range t.paths() {
						paths[path] = true
					}
					if kind := pathTests[t.fetch]; kind == "beg" && slices.ContainsFunc(t.values, func(v string) bool { return !strings.HasSuffix(v, "/") }) {
						loose = true
					}
					if t.fetch == "method" {
						for _, m := range t.values {
							methods[m] = true
						}
					}
				}
			}
		}
		break
	}
	return loose
}
