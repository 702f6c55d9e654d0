// Package nginx translates configurations of nginx.
package nginx

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"zproxy/convert"
)

// directive is one of nginx's, with what is in its braces.
type directive struct {
	name   string
	args   []string
	line   convert.Line
	block  []*directive
	braces bool
}

// arg is an argument, "" if there are fewer.
func (d *directive) arg(i int) string {
	if i < 0 || i >= len(d.args) {
		return ""
	}
	return d.args[i]
}

// files is where configurations are read from.
type files interface {
	read(name string) ([]byte, error)
	glob(pattern string) ([]string, error)
}

type disk struct{}

func (disk) read(name string) ([]byte, error)      { return os.ReadFile(name) }
func (disk) glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }

// maxDepth is how deep blocks and included files may be nested; nginx has no such limit, but a file that
// includes itself has to end somewhere.
const maxDepth = 64

// maxFiles is how many files may be read in all.
const maxFiles = 4096

// reader reads a configuration with all that it includes.
type reader struct {
	from  files
	dir   string // of the main file: what relative names are relative to
	count int
}

// parse reads the main file.
func parse(from files, file string) ([]*directive, error) {
	r := &reader{from: from, dir: filepath.Dir(file)}
	return r.file(file, 0)
}

func (r *reader) file(name string, depth int) ([]*directive, error) {
	if r.count++; r.count > maxFiles {
		return nil, fmt.Errorf("%s: more than %d files are included", name, maxFiles)
	}
	text, err := r.from.read(name)
	if err != nil {
		return nil, err
	}
	l := &lexer{file: name, text: string(text), line: 1, lines: strings.Split(string(text), "\n")}
	return r.block(l, depth, false)
}

// block reads directives up to the end of the file, or of the block.
func (r *reader) block(l *lexer, depth int, inner bool) ([]*directive, error) {
	if depth > maxDepth {
		return nil, l.fault(fmt.Sprintf("blocks and files are nested more than %d deep", maxDepth))
	}
	var list []*directive
	for {
		words, begin, end, err := l.next()
		if err != nil {
			return nil, err
		}
		switch end {
		case endOfFile:
			if inner {
				return nil, l.fault(`unexpected end of file, expecting "}"`)
			}
			return list, nil
		case endOfBlock:
			if !inner {
				return nil, l.fault(`unexpected "}"`)
			}
			return list, nil
		}
		d := &directive{name: words[0], args: words[1:], braces: end == beginOfBlock, line: l.source(begin)}
		switch {
		case d.braces && strings.HasSuffix(d.name, "_by_lua_block"):
			if err := l.skipBraces(); err != nil {
				return nil, err
			}
		case d.braces:
			if d.block, err = r.block(l, depth+1, true); err != nil {
				return nil, err
			}
		case d.name == "include" && len(d.args) == 1:
			included, err := r.include(d, depth)
			if err != nil {
				return nil, err
			}
			list = append(list, included...)
			continue
		}
		list = append(list, d)
	}
}

// include reads the files that an include names. A pattern may match none, as nginx has it.
func (r *reader) include(d *directive, depth int) ([]*directive, error) {
	name := d.args[0]
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.dir, name)
	}
	names := []string{name}
	if strings.ContainsAny(name, "*?[") {
		var err error
		if names, err = r.from.glob(name); err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", d.line.File, d.line.Number, name, err)
		}
	}
	var list []*directive
	for _, name := range names {
		more, err := r.file(name, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// ending is how the words of a directive end.
type ending int

const (
	endOfDirective ending = iota
	beginOfBlock
	endOfBlock
	endOfFile
)

// lexer cuts a file into words by nginx's own rules: a quotation mark counts where a word begins, and then the
// word ends with the next one, behind which a space, ";", "{" or ")" has to be; a backslash keeps the next
// character from meaning anything, and goes away before quotation marks, backslashes and t, r, n.
type lexer struct {
	file  string
	text  string
	at    int
	line  int
	lines []string
}

func (l *lexer) fault(what string) error {
	return fmt.Errorf("%s:%d: %s", l.file, l.line, what)
}

func (l *lexer) source(line int) convert.Line {
	return convert.Line{File: l.file, Number: line, Text: strings.TrimSpace(l.lines[line-1])}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// next gives the words of the next directive and the line that the first one is on.
func (l *lexer) next() (words []string, begin int, end ending, err error) {
	for {
		l.skip()
		if l.at == len(l.text) {
			if len(words) > 0 {
				return nil, 0, 0, l.fault(`unexpected end of file, expecting ";" or "}"`)
			}
			return nil, 0, endOfFile, nil
		}
		c := l.text[l.at]
		switch {
		case (c == ';' || c == '{') && len(words) == 0, c == '}' && len(words) > 0:
			return nil, 0, 0, l.fault(fmt.Sprintf("unexpected %q", c))
		case c == ';', c == '{', c == '}':
			l.at++
			return words, begin, map[byte]ending{';': endOfDirective, '{': beginOfBlock, '}': endOfBlock}[c], nil
		}
		if len(words) == 0 {
			begin = l.line
		}
		var word string
		if c == '"' || c == '\'' {
			word, err = l.quoted(c)
		} else {
			word, err = l.word()
		}
		if err != nil {
			return nil, 0, 0, err
		}
		words = append(words, word)
	}
}

// skip goes past spaces and comments.
func (l *lexer) skip() {
	for comment := false; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; {
		case c == '\n':
			l.line++
			comment = false
		case comment, isSpace(c):
		case c == '#':
			comment = true
		default:
			return
		}
	}
}

func (l *lexer) quoted(mark byte) (string, error) {
	l.at++
	for begin := l.at; l.at < len(l.text); l.at++ {
		switch l.text[l.at] {
		case '\n':
			l.line++
		case '\\':
			if l.at++; l.at < len(l.text) && l.text[l.at] == '\n' {
				l.line++
			}
		case mark:
			word := unescape(l.text[begin:l.at])
			l.at++
			switch {
			case l.at == len(l.text), isSpace(l.text[l.at]), l.text[l.at] == ';', l.text[l.at] == '{':
				return word, nil
			case l.text[l.at] == ')':
				return word, nil // the beginning of the next word
			}
			return "", l.fault(fmt.Sprintf("unexpected %q", l.text[l.at]))
		}
	}
	return "", l.fault(`unexpected end of file, expecting ";" or "}"`)
}

// word is one without quotation marks. A "{" behind a "$" is part of it.
func (l *lexer) word() (string, error) {
	variable := false
	for begin := l.at; l.at < len(l.text); l.at++ {
		c := l.text[l.at]
		if c == '{' && variable {
			continue
		}
		variable = c == '$'
		switch {
		case c == '\\':
			if l.at++; l.at < len(l.text) && l.text[l.at] == '\n' {
				l.line++
			}
		case isSpace(c), c == ';', c == '{':
			return unescape(l.text[begin:l.at]), nil
		}
	}
	l.at = len(l.text)
	return "", l.fault(`unexpected end of file, expecting ";" or "}"`)
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			switch s[i+1] {
			case '"', '\'', '\\':
				i++
				c = s[i]
			case 't':
				i++
				c = '\t'
			case 'r':
				i++
				c = '\r'
			case 'n':
				i++
				c = '\n'
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// skipBraces goes past a block of Lua, whose words are not nginx's.
func (l *lexer) skipBraces() error {
	for depth := 1; l.at < len(l.text); l.at++ {
		switch l.text[l.at] {
		case '\n':
			l.line++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				l.at++
				return nil
			}
		}
	}
	return l.fault(`unexpected end of file, expecting "}"`)
}
