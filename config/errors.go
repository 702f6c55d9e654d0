package config

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Error is one thing that is wrong with a configuration (or, in Config.Warnings, doubtful).
type Error struct {
	File      string
	Line, Col int    // counted from 1; 0: the file as a whole
	Key       string // dotted path of the key, e.g. "upstreams.app.pool.max_idle"; "" when it is about the file
	Value     string // what was found, quoted if it is text
	Want      string // what was expected
	Hint      string // what to do about it, or ""
}

// Error is "file:line:col: key: found VALUE, expected WHAT (hint)" on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteString(":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Col))
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString("found " + e.Value + ", expected " + e.Want)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Errors is everything that is wrong with one configuration, in file order. It is never empty.
type Errors []Error

// Error has one line per entry.
func (e *Errors) Error() string {
	lines := make([]string, len(*e))
	for i := range *e {
		lines[i] = (*e)[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (e *Errors) sort() {
	slices.SortStableFunc(*e, func(a, b Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
}

// reasonOf is the short reason in an error of the os package, without the path, which the message has already.
func reasonOf(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	switch {
	case errors.Is(err, syscall.ENOENT):
		return "no such file"
	case errors.Is(err, syscall.EACCES):
		return "a file this user may not read"
	case errors.Is(err, syscall.EISDIR):
		return "a directory"
	}
	return err.Error()
}

// maxQuoted bounds how much of a value a message repeats, in bytes.
const maxQuoted = 60

// quote shows text from the file on one line, shortened, with nothing in it that could drive a terminal.
func quote(s string) string {
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "..."
	}
	return strconv.Quote(s)
}

// nearest is the candidate most like word, or "" when none is like it: at most one edit in three letters.
func nearest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	best, bestDistance := "", max(1, (len(word)+2)/3)+1
	for _, c := range candidates {
		if distance := levenshtein(fold(word), fold(c)); distance < bestDistance {
			best, bestDistance = c, distance
		}
	}
	if best == "" {
		// A shortened or lengthened name, such as "timeout" for "timeouts" or "max_conn" for "max_connections".
		for _, c := range candidates {
			if len(word) >= 4 && (strings.HasPrefix(c, fold(word)) || strings.HasPrefix(fold(word), c)) {
				return c
			}
		}
	}
	return best
}

// levenshtein counts the insertions, deletions and replacements of bytes that turn a into b.
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
