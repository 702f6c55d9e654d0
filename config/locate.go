package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// What the YAML parser says when a line of a block is indented like no other. It then names the line on which the
// block began, which may be far above.
var blockFaults = [...]string{"did not find expected key", "did not find expected '-' indicator"}

// syntaxError reports what the YAML parser says, at the place that is meant, with the usual cause if the text shows it.
func (d *decoder) syntaxError(err error, data []byte) {
	text, lineNumber := splitLine(err)
	at := &yaml.Node{Line: lineNumber, Column: 1}
	var hint string
	switch {
	case strings.Contains(text, "UTF-8") || strings.Contains(text, "control characters"):
		at.Line, at.Column, hint = firstUnreadable(data)
	case strings.HasPrefix(text, "unknown anchor '"):
		alias := "*" + strings.Split(text, "'")[1]
		if i := bytes.Index(data, []byte(alias)); i >= 0 {
			at.Line, at.Column = positionOf(data, i)
		}
		hint = `a value that begins with "*" must be in quotes, e.g. "*.example.com"`
	case text == blockFaults[0] || text == blockFaults[1]:
		at.Line = firstLineThatFails(data, text, lineNumber)
		at.Column = indentOf(lineOf(data, at.Line))
		hint = "this line is indented like none of those above it"
	default:
		line := lineOf(data, at.Line)
		at.Column = indentOf(line)
		column := 0
		if column, hint = usualCause(text, line); column > 0 {
			at.Column = column
		}
	}
	d.fail(at, nil, "a syntax error: "+text, "valid YAML", hint)
}

// splitLine takes the line number out of an error of the YAML parser. Its scanner counts lines from 1, the parser
// behind it from 0, and neither says a line when its count is 0.
func splitLine(err error) (text string, line int) {
	text, line = strings.TrimPrefix(err.Error(), "yaml: "), 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, text = n, message
			}
		}
	}
	switch text {
	case blockFaults[0], blockFaults[1], "did not find expected node content", "did not find expected ',' or ']'",
		"did not find expected ',' or '}'", "did not find expected <document start>", "found undefined tag handle":
		line++
	}
	return text, max(line, 1)
}

// usualCause guesses why line has the syntax error text, and where in it: a column from 1, or 0 if it cannot tell.
func usualCause(text, line string) (column int, hint string) {
	valueAt := func(start string) int {
		for _, before := range [...]string{": ", "- ", "[", ", "} {
			if i := strings.Index(line, before+start); i >= 0 {
				return 1 + utf8.RuneCountInString(line[:i+len(before)])
			}
		}
		return 0
	}
	switch {
	case strings.HasPrefix(strings.TrimLeft(line, " "), "\t"):
		return 0, "indent with spaces, not tabs"
	case strings.Contains(text, "alphabetic or numeric") && valueAt("*") > 0:
		return valueAt("*"), `a value that begins with "*" must be in quotes, e.g. "*.example.com"`
	case strings.Contains(line, "]:") && valueAt("[") > 0:
		return valueAt("["), `an address that begins with "[" must be in quotes, e.g. "[::]:8080"`
	case strings.Contains(text, "mapping values are not allowed"):
		return 0, `look for a missing line break, wrong indentation, or a value with ": " that needs quotes`
	case strings.Contains(text, "',' or"):
		return 0, "a bracket or brace that opens here is not closed"
	case strings.Contains(text, "unexpected end of stream"):
		return 0, "a quote that opens here is not closed"
	}
	return 0, ""
}

// firstLineThatFails is the line, from the given one on, with which data begins to fail with the block fault text.
// Text cut off between two lines never has a block fault, so the lines can be bisected.
func firstLineThatFails(data []byte, text string, from int) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	from = min(from, len(lines))
	length := 0
	for _, line := range lines[:from] {
		length += len(line)
	}
	lengths := make([]int, 0, len(lines)-from+1) // of data up to each line
	for _, line := range lines[from:] {
		lengths = append(lengths, length)
		length += len(line)
	}
	lengths = append(lengths, length)
	return from + sort.Search(len(lengths)-1, func(i int) bool {
		var n yaml.Node
		dec := yaml.NewDecoder(bytes.NewReader(data[:lengths[i]]))
		err := dec.Decode(&n)
		for err == nil {
			err = dec.Decode(&n)
		}
		if errors.Is(err, io.EOF) {
			return false
		}
		got, _ := splitLine(err)
		return got == text
	})
}

// firstUnreadable is the place of the first byte that YAML does not allow.
func firstUnreadable(data []byte) (line, column int, hint string) {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			line, column = positionOf(data, i)
			return line, column, "save the file as UTF-8"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r <= 0x9f && r != 0x85, r >= 0xfffe:
			line, column = positionOf(data, i)
			return line, column, fmt.Sprintf("the byte 0x%02x", data[i])
		}
		i += size
	}
	return 1, 1, ""
}

// positionOf is line and column of the byte at offset i.
func positionOf(data []byte, i int) (line, column int) {
	start := bytes.LastIndexByte(data[:i], '\n') + 1
	return 1 + bytes.Count(data[:start], []byte("\n")), 1 + utf8.RuneCount(data[start:i])
}

// indentOf is the column of the first character of line that is not a space.
func indentOf(line string) int {
	return 1 + len(line) - len(strings.TrimLeft(line, " "))
}

// lineOf is line n of data, counted from 1, without its end.
func lineOf(data []byte, n int) string {
	for ; n > 1; n-- {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return ""
		}
		data = data[i+1:]
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return strings.TrimSuffix(string(line), "\r")
}
