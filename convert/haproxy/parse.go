// Package haproxy translates configurations of HAProxy.
package haproxy

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"zproxy/convert"
)

// line is one of the configuration, as words.
type line struct {
	words []string
	no    bool // "no option ..."
	at    convert.Line
}

// word is one, "" if there are fewer.
func (l *line) word(i int) string {
	if i >= len(l.words) {
		return ""
	}
	return l.words[i]
}

// after is the word behind the one given, "" if that is not there.
func (l *line) after(word string) string {
	for i, w := range l.words {
		if w == word {
			return l.word(i + 1)
		}
	}
	return ""
}

// section is a part that begins with a word of its own: global, defaults, frontend ...
type section struct {
	kind, name string
	from       string // of which defaults
	at         convert.Line
	lines      []*line
}

var kinds = map[string]bool{"global": true, "defaults": true, "listen": true, "frontend": true, "backend": true, "peers": true, "resolvers": true, "userlist": true,
	"mailers": true, "program": true, "http-errors": true, "ring": true, "cache": true, "fcgi-app": true, "log-forward": true, "crt-store": true, "traces": true, "acme": true, "log-profile": true}

// load reads a file, or all *.cfg of a directory, in the order of their names.
func load(file string) ([]*section, error) {
	names := []string{file}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		if names, err = filepath.Glob(filepath.Join(file, "*.cfg")); err != nil {
			return nil, err
		}
		sort.Strings(names)
		if len(names) == 0 {
			return nil, fmt.Errorf("%s has no *.cfg", file)
		}
	}
	p := newParser(os.LookupEnv)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := p.file(name, string(text)); err != nil {
			return nil, err
		}
	}
	return p.sections, nil
}

// parser reads files one after the other.
type parser struct {
	env      func(string) (string, bool)
	sections []*section
	set      map[string]string // what setenv has set
}

// newParser is one in the environment given.
func newParser(env func(string) (string, bool)) *parser {
	p := &parser{set: map[string]string{}}
	p.env = func(name string) (string, bool) {
		if value, ok := p.set[name]; ok {
			return value, true
		}
		return env(name)
	}
	return p
}

func (p *parser) file(name, text string) error {
	for i, s := range strings.Split(text, "\n") {
		at := convert.Line{File: name, Number: i + 1, Text: strings.TrimSpace(s)}
		words, err := split(strings.TrimSuffix(s, "\r"), p.env)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		if len(words) == 0 {
			continue
		}
		l := &line{words: words, at: at}
		if (words[0] == "no" || words[0] == "default") && len(words) > 1 {
			l.no, l.words = words[0] == "no", words[1:]
		}
		switch {
		case kinds[words[0]] && !(len(p.sections) > 0 && p.current().holds(words[0])):
			s := &section{kind: words[0], name: l.word(1), at: at, from: l.after("from")}
			if s.name == "from" {
				s.name = ""
			}
			p.sections = append(p.sections, s)
		case len(p.sections) == 0:
			return fmt.Errorf("%s:%d: %q outside of a section", name, i+1, words[0])
		default:
			s := p.current()
			s.lines = append(s.lines, l)
			p.environment(s, l)
		}
	}
	return nil
}

// environment notes what a line of the global section changes of the environment.
func (p *parser) environment(s *section, l *line) {
	if s.kind != "global" {
		return
	}
	_, there := p.env(l.word(1))
	switch {
	case l.words[0] == "setenv", l.words[0] == "presetenv" && !there:
		p.set[l.word(1)] = l.word(2)
	case l.words[0] == "unsetenv":
		for _, name := range l.words[1:] {
			p.set[name] = ""
		}
	}
}

func (p *parser) current() *section { return p.sections[len(p.sections)-1] }

// holds says whether a word that begins a section is one of the section's own.
func (s *section) holds(word string) bool {
	return word == "log-profile" && s.kind == "global" || word == "cache" && s.kind == "cache"
}

// split cuts a line into words as HAProxy does: a space ends a word, "#" ends the line, a backslash takes the meaning
// from a space, "#", quotation marks and itself, and has t, r, n and xHH; within '...' all is as it is, within
// "..." backslashes count, one before "$" as well, and $NAME and ${NAME-default} are variables of the environment.
func split(s string, env func(string) (string, bool)) (words []string, err error) {
	var word []byte
	begun := false
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' && quote != '\'', c == '\'' && quote != '"':
			begun = true
			if quote == 0 {
				quote = c
			} else {
				quote = 0
			}
		case quote == 0 && c == '#':
			i = len(s)
		case quote == 0 && (c == ' ' || c == '\t'):
			if begun {
				words = append(words, string(word))
			}
			word, begun = nil, false
		case c == '\\' && quote != '\'':
			begun = true
			n, b, ok := escape(s[i:], quote == '"')
			if !ok {
				return nil, fmt.Errorf("a backslash without two hexadecimal digits behind its x, or at the end of the line")
			}
			word = append(word, b)
			i += n - 1
		case c == '$' && quote == '"':
			value, n, err := variable(s[i:], env)
			if err != nil {
				return nil, err
			}
			word = append(word, value...)
			i += n - 1
		default:
			begun = true
			word = append(word, c)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quotation mark %c that nothing closes", quote)
	}
	if begun {
		words = append(words, string(word))
	}
	return words, nil
}

// escape is what a backslash and the bytes behind it stand for, and how many they are.
func escape(s string, quoted bool) (n int, b byte, ok bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	switch s[1] {
	case ' ', '\\', '#', '\'', '"':
		return 2, s[1], true
	case '$':
		if quoted { // elsewhere it begins no variable
			return 2, '$', true
		}
	case 't':
		return 2, '\t', true
	case 'r':
		return 2, '\r', true
	case 'n':
		return 2, '\n', true
	case 'x':
		if len(s) < 4 {
			return 0, 0, false
		}
		hi, lo := digit(s[2]), digit(s[3])
		return 4, byte(hi<<4 | lo), hi >= 0 && lo >= 0
	}
	return 1, '\\', true
}

func digit(c byte) int {
	if c >= 'A' && c <= 'F' {
		c |= 0x20
	}
	return strings.IndexByte("0123456789abcdef", c)
}

// variable is the value of one of the environment's, and how long its name is in s.
func variable(s string, env func(string) (string, bool)) (value string, n int, err error) {
	braces := len(s) > 1 && s[1] == '{'
	i := 1
	if braces {
		i++
	}
	begin := i
	for i < len(s) && (s[i] == '_' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z' || i > begin && s[i] >= '0' && s[i] <= '9' || i == begin && s[i] == '.') {
		i++
	}
	name := s[begin:i]
	if name == "" {
		return "", 0, fmt.Errorf("no name of a variable behind $")
	}
	value, _ = env(name)
	if !braces {
		return value, i, nil
	}
	end := strings.IndexByte(s[i:], '}')
	if end < 0 {
		return "", 0, fmt.Errorf("no } behind ${%s", name)
	}
	rest := strings.TrimPrefix(s[i:i+end], "[*]")
	if usual, ok := strings.CutPrefix(rest, "-"); ok {
		if value == "" {
			value = usual
		}
	} else if rest != "" {
		return "", 0, fmt.Errorf("no } behind ${%s", name)
	}
	return value, i + end + 1, nil
}
