package convert

import (
	"fmt"
	"regexp/syntax"
	"strings"
)

// Matched is what a regular expression matches, as paths of routes.
type Matched struct {
	Paths  []string          // e.g. /users/:p1, /old/*p1
	Groups map[string]string // what $1 stands for: {path.p1}
	Loose  bool              // a route matches more than the expression does
}

// maxPaths is how many paths one expression may stand for.
const maxPaths = 32

// piece is a path as far as it has been put together.
type piece struct {
	text string
	end  bool // "$" has been there
	rest bool // all that follows has been there: .*
}

// Expression reads a regular expression: text from the beginning of the path on, with whole segments, alternatives
// and the rest as what may vary. false: it is none that routes can say.
func Expression(text string) (*Matched, bool) {
	text, folded := strings.CutPrefix(text, "(?i)") // a route is in the letter case that is written
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, false
	}
	m := &Matched{Groups: map[string]string{}, Loose: folded}
	w := &walk{m: m}
	list, ok := w.sequence([]piece{{}}, re)
	if !ok || !w.begun {
		return nil, false
	}
	for _, p := range list {
		paths, ok := p.paths(m)
		if !ok {
			return nil, false
		}
		m.Paths = append(m.Paths, paths...)
	}
	return m, len(m.Paths) > 0
}

// paths are those of a piece that is whole.
func (p piece) paths(m *Matched) ([]string, bool) {
	t := p.text
	switch {
	case t == "" && (p.rest || !p.end):
		return []string{"/*"}, true
	case !strings.HasPrefix(t, "/"):
		return nil, false
	}
	for i, segment := range strings.Split(t[1:], "/") {
		last := i == strings.Count(t[1:], "/")
		colon, star := strings.Index(segment, "\x01"), strings.Index(segment, "\x02")
		if colon > 0 || star > 0 || star == 0 && !last || strings.ContainsAny(segment, "*:") {
			return nil, false
		}
		if colon == 0 && strings.ContainsAny(segment[1:], "\x01\x02.-") {
			return nil, false // a segment that varies only in part
		}
	}
	t = strings.NewReplacer("\x01", ":", "\x02", "*").Replace(t)
	switch {
	case p.rest && strings.Contains(t, "*"), p.end && !p.rest:
		return []string{t}, true
	case strings.HasSuffix(t, "/"):
		return []string{t + "*"}, true
	}
	m.Loose = true // /api is not /apix here
	return []string{t, t + "/*"}, true
}

// walk goes through a parsed expression.
type walk struct {
	m     *Matched
	begun bool
	count int
}

// sequence puts what re matches behind each of the pieces.
func (w *walk) sequence(list []piece, re *syntax.Regexp) ([]piece, bool) {
	if len(list) > maxPaths {
		return nil, false
	}
	switch re.Op {
	case syntax.OpBeginText:
		w.begun = true
		return list, len(list) == 1 && list[0].text == ""
	case syntax.OpEndText:
		return each(list, func(p piece) piece { p.end = true; return p })
	case syntax.OpEmptyMatch:
		return list, true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return nil, false
		}
		return each(list, func(p piece) piece { p.text += string(re.Rune); return p })
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			var ok bool
			if list, ok = w.sequence(list, sub); !ok {
				return nil, false
			}
		}
		return list, true
	case syntax.OpAlternate:
		var all []piece
		for _, sub := range re.Sub {
			more, ok := w.sequence(list, sub)
			if !ok {
				return nil, false
			}
			all = append(all, more...)
		}
		return all, len(all) <= maxPaths
	case syntax.OpQuest:
		with, ok := w.sequence(list, re.Sub[0])
		return append(append([]piece(nil), list...), with...), ok
	case syntax.OpCharClass:
		return w.class(list, re)
	case syntax.OpCapture:
		return w.capture(list, re)
	case syntax.OpStar, syntax.OpPlus:
		return w.repeat(list, re, "")
	}
	return nil, false
}

func each(list []piece, change func(piece) piece) ([]piece, bool) {
	out := make([]piece, 0, len(list))
	for _, p := range list {
		if p.end || p.rest && change(p).text != p.text {
			return nil, false // there is more behind the end
		}
		out = append(out, change(p))
	}
	return out, true
}

// class is one of a few characters, which are alternatives: (a|b) is parsed as [ab].
func (w *walk) class(list []piece, re *syntax.Regexp) ([]piece, bool) {
	var all []piece
	for i := 0; i+1 < len(re.Rune); i += 2 {
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			more, ok := each(list, func(p piece) piece { p.text += string(r); return p })
			if all = append(all, more...); !ok || len(all) > maxPaths {
				return nil, false
			}
		}
	}
	return all, true
}

func (w *walk) capture(list []piece, re *syntax.Regexp) ([]piece, bool) {
	sub, group := re.Sub[0], fmt.Sprint(re.Cap)
	if sub.Op == syntax.OpStar || sub.Op == syntax.OpPlus {
		return w.repeat(list, sub, group)
	}
	if sub.Op == syntax.OpLiteral {
		w.m.Groups[group] = string(sub.Rune)
	}
	return w.sequence(list, sub)
}

// repeat is a whole segment, or all that is left.
func (w *walk) repeat(list []piece, re *syntax.Regexp, group string) ([]piece, bool) {
	sub := re.Sub[0]
	all := sub.Op == syntax.OpAnyChar || sub.Op == syntax.OpAnyCharNotNL
	if !all && (sub.Op != syntax.OpCharClass || includes(sub.Rune, '/')) || !all && re.Op == syntax.OpStar {
		return nil, false
	}
	w.count++
	name := fmt.Sprintf("p%d", w.count)
	if all && group == "" {
		return each(list, func(p piece) piece { p.rest = true; return p })
	}
	if all && len(list) == 1 && list[0].text == "" { // ^(.*)
		w.m.Groups[group] = "{path}"
		return each(list, func(p piece) piece { p.rest = true; return p })
	}
	if group != "" {
		w.m.Groups[group] = "{path." + name + "}"
	}
	for _, p := range list {
		if !strings.HasSuffix(p.text, "/") {
			return nil, false
		}
	}
	if !all {
		w.m.Loose = w.m.Loose || !includes(sub.Rune, '~')
		return each(list, func(p piece) piece { p.text += "\x01" + name; return p })
	}
	out, ok := each(list, func(p piece) piece { p.text += "\x02" + name; return p })
	for i := range out {
		out[i].rest = true
	}
	return out, ok
}

func includes(class []rune, r rune) bool {
	for i := 0; i+1 < len(class); i += 2 {
		if class[i] <= r && r <= class[i+1] {
			return true
		}
	}
	return false
}

// Covers says whether all paths of b are paths of a.
func Covers(a, b string) bool {
	i := strings.Index(a, "/*")
	return a == b || i >= 0 && strings.HasPrefix(b, a[:i+1])
}

// Literal says whether a path may stand in a route as it is.
func Literal(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.Contains(path, "*") && !strings.Contains(path, "/:") && !strings.ContainsAny(path, "?# \t\r\n")
}
