package config

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// jsonTree reads data that is JSON into the tree the YAML parser would make of it; nil when it is not JSON. Every JSON
// text is YAML 1.2, but the YAML parser knows neither "\/" nor surrogate pairs nor keys of any length.
func jsonTree(data []byte) *yaml.Node {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || !utf8.Valid(data) || !json.Valid(data) {
		return nil
	}
	r := &jsonReader{data: data, line: 1}
	return r.value()
}

// jsonReader walks JSON that is known to be valid.
type jsonReader struct {
	data      []byte
	at        int // next byte
	line      int
	lineStart int
}

// next skips to the first byte of a token and returns it.
func (r *jsonReader) next() byte {
	for {
		switch r.data[r.at] {
		case '\n':
			r.line++
			r.lineStart = r.at + 1
		case ' ', '\t', '\r', ',', ':':
		default:
			return r.data[r.at]
		}
		r.at++
	}
}

func (r *jsonReader) value() *yaml.Node {
	first := r.next()
	n := &yaml.Node{Line: r.line, Column: 1 + utf8.RuneCount(r.data[r.lineStart:r.at])}
	switch first {
	case '{', '[':
		n.Kind, n.Tag, n.Style = yaml.MappingNode, "!!map", yaml.FlowStyle
		if first == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		r.at++
		for c := r.next(); c != '}' && c != ']'; c = r.next() {
			n.Content = append(n.Content, r.value())
		}
		r.at++
		return n
	}
	n.Kind = yaml.ScalarNode
	start := r.at
	if first == '"' {
		for r.at++; r.data[r.at] != '"'; r.at++ {
			if r.data[r.at] == '\\' {
				r.at++
			}
		}
		r.at++
		n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
		// It is valid, so this cannot fail; what a lone surrogate becomes is up to the standard library.
		_ = json.Unmarshal(r.data[start:r.at], &n.Value)
		return n
	}
	for r.at < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,]}"), r.data[r.at]) < 0 {
		r.at++
	}
	n.Value = string(r.data[start:r.at])
	switch first {
	case 't', 'f':
		n.Tag = "!!bool"
	case 'n':
		n.Tag = "!!null"
	default:
		n.Tag = "!!int"
		if bytes.ContainsAny(r.data[start:r.at], ".eE") {
			n.Tag = "!!float"
		}
	}
	return n
}
