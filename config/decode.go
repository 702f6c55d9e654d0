package config

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder walks the syntax tree of one file along the table and collects what is wrong.
type decoder struct {
	file     string
	readFile func(string) ([]byte, error) // nil: error pages are not read
	errs     Errors
}

// path names a place in the file. It is a list through the callers' stack frames, made into text only for messages.
type path struct {
	up    *path
	key   string
	index int // used when key is ""
}

func (p *path) String() string {
	if p == nil {
		return ""
	}
	if p.key == "" {
		return p.up.String() + "[" + strconv.Itoa(p.index) + "]"
	}
	if p.up == nil {
		return p.key
	}
	return p.up.String() + "." + p.key
}

func (d *decoder) fail(at *yaml.Node, p *path, value, want, hint string) {
	d.errs = append(d.errs, Error{File: d.file, Line: at.Line, Col: at.Column,
		Key: p.String(), Value: value, Want: want, Hint: hint})
}

// tree reads data into the one top-level mapping a configuration is; nil after an error.
func (d *decoder) tree(data []byte) *yaml.Node {
	const wantFile = "a configuration: at least listeners and routes"
	start := &yaml.Node{Line: 1, Column: 1}
	if len(data) > maxFileBytes {
		d.fail(start, nil, Size(len(data)).String(), "at most "+Size(maxFileBytes).String(), "")
		return nil
	}
	if root := jsonTree(data); root != nil {
		return root
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		d.fail(start, nil, "an empty file", wantFile, "")
		return nil
	} else if err != nil {
		d.syntaxError(err, data)
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		d.fail(&second, nil, "a second document", "one document in a file", `remove the line "---" and what follows`)
	} else if !errors.Is(err, io.EOF) {
		d.syntaxError(err, data)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		d.fail(start, nil, "an empty file", wantFile, "")
		return nil
	}
	root := doc.Content[0]
	if isNull(root) {
		d.fail(root, nil, "an empty file", wantFile, "")
		return nil
	}
	return root
}

// resolve follows an alias to its anchor. An alias to an alias cannot be written.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// shown is how a message names the value of n.
func shown(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.ShortTag() == "!!str":
		return quote(n.Value)
	case len(n.Value) > maxQuoted:
		return quote(n.Value)
	}
	return strings.Trim(strconv.Quote(n.Value), `"`)
}

// child is the value of key in the mapping n, or n itself, so that there is always a place to point at.
func child(n *yaml.Node, key string) *yaml.Node {
	n = resolve(n)
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i+1]
			}
		}
	}
	return n
}

// setDefaults fills in the struct that ptr points to. A default that is not valid is a mistake in the table, which
// the tests find.
func setDefaults(fields []field, ptr any) {
	for i := range fields {
		f := &fields[i]
		switch {
		case f.kind == kindSection && !f.optional:
			setDefaults(f.fields, f.at(ptr))
		case f.def != "":
			target := f.at(ptr)
			if f.kind == kindTexts {
				*target.(*[]string) = strings.Split(f.def, ", ")
			} else if want, _ := f.scan(f.def, target); want != "" {
				panic("default of " + f.key + ": expected " + want)
			}
		}
	}
}

// keys calls each for every key of mapping n that is text, unique and known to find, and reports the others.
func (d *decoder) keys(n *yaml.Node, p *path, each func(key, value *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.fail(n.Content[i], p, shown(key)+" as a key", "a name", "")
			continue
		}
		if key.ShortTag() == "!!merge" {
			d.fail(key, p, `the merge key "<<"`, "the keys themselves", "use an alias for a whole value instead")
			continue
		}
		if line, ok := seen[key.Value]; ok {
			d.fail(key, &path{up: p, key: key.Value}, "the key a second time", "it once",
				"first on line "+strconv.Itoa(line))
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

// section decodes mapping n into the struct that ptr points to.
func (d *decoder) section(n *yaml.Node, fields []field, ptr any, p *path) {
	at := n
	if n = resolve(n); n.Kind != yaml.MappingNode && !isNull(n) {
		d.fail(at, p, shown(n), "a mapping with the keys "+strings.Join(keysOf(fields), ", "), "")
		return
	}
	written := make([]bool, len(fields))
	d.keys(n, p, func(key, value *yaml.Node) {
		here := &path{up: p, key: key.Value}
		for i := range fields {
			if fields[i].key == key.Value {
				written[i] = true
				d.value(value, &fields[i], ptr, here)
				return
			}
		}
		known := keysOf(fields)
		var hint string
		if hint = elsewhere(key.Value); hint == "" {
			if like := nearest(key.Value, known); like != "" {
				hint = "did you mean " + quote(like) + "?"
				written[slices.Index(known, like)] = true // one mistake, one message
			}
		}
		d.fail(key, here, "an unknown key", "one of "+strings.Join(known, ", "), hint)
	})
	for i := range fields {
		if fields[i].required && !written[i] {
			d.fail(at, &path{up: p, key: fields[i].key}, "nothing", fields[i].wants(), "this key is required")
		}
	}
}

func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i := range fields {
		keys[i] = fields[i].key
	}
	return keys
}

// value decodes n, the value of key f, into its place in the struct that parent points to.
func (d *decoder) value(at *yaml.Node, f *field, parent any, p *path) {
	n := resolve(at)
	switch f.kind {
	case kindSection:
		if f.optional {
			if isNull(n) {
				d.fail(at, p, "nothing", f.wants(), "")
				return
			}
			ptr := f.at(parent)
			setDefaults(f.fields, ptr)
			d.section(at, f.fields, ptr, p)
		} else if !isNull(n) { // null: all keys of the section are commented out, as if it were not there
			d.section(at, f.fields, f.at(parent), p)
		}
	case kindSections:
		d.sections(at, f, parent, p)
	case kindNamed:
		d.named(at, f, parent, p)
	case kindTexts, kindPrefixes:
		d.list(at, f, f.at(parent), p)
	case kindPairs:
		d.pairs(at, f, f.at(parent).(*[]Pair), p)
	case kindPages:
		d.pages(at, f, f.at(parent).(*map[int]ErrorPage), p)
	case kindLabels:
		d.labels(at, f, f.at(parent).(*Labels), p)
	default:
		d.scalar(at, f, f.at(parent), p)
	}
}

// items is the content of a list whose length is in the range of f; nil after an error.
func (d *decoder) items(at *yaml.Node, f *field, p *path) []*yaml.Node {
	n := resolve(at)
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode && !isNull(n) {
			hint = "write [" + n.Value + "]"
		} else if n.Kind == yaml.MappingNode {
			hint = `begin each entry with "- "`
		}
		d.fail(at, p, shown(n), f.wants(), hint)
		return nil
	}
	if count := int64(len(n.Content)); count < f.min || count > f.max {
		found := "a list of " + strconv.FormatInt(count, 10)
		if count == 0 {
			found = "an empty list"
		}
		d.fail(at, p, found, f.wants(), "")
		return nil
	}
	return n.Content
}

// sections decodes a list of mappings.
func (d *decoder) sections(at *yaml.Node, f *field, parent any, p *path) {
	items := d.items(at, f, p)
	elem := f.grow(f.at(parent), len(items))
	for i, item := range items {
		ptr := elem(i, "", Pos{item.Line, item.Column})
		setDefaults(f.fields, ptr)
		d.section(item, f.fields, ptr, &path{up: p, index: i})
	}
}

// named decodes a mapping from names to mappings, in file order.
func (d *decoder) named(at *yaml.Node, f *field, parent any, p *path) {
	n := resolve(at)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(at, p, shown(n), f.wants(), "write a name, a colon, and its settings indented below")
		return
	}
	if count := int64(len(n.Content) / 2); count > f.max {
		d.fail(at, p, strconv.FormatInt(count, 10)+" entries", f.wants(), "")
		return
	}
	elem := f.grow(f.at(parent), len(n.Content)/2)
	i := 0
	d.keys(n, p, func(key, value *yaml.Node) {
		here := &path{up: p, key: key.Value}
		if want := checkName(key.Value); want != "" {
			d.fail(key, p, shown(key), want, "")
		}
		ptr := elem(i, key.Value, Pos{key.Line, key.Column})
		i++
		setDefaults(f.fields, ptr)
		d.section(value, f.fields, ptr, here)
	})
}

// list decodes a list of scalars.
func (d *decoder) list(at *yaml.Node, f *field, target any, p *path) {
	items := d.items(at, f, p)
	if items == nil {
		return
	}
	seen := make(map[string]bool, len(items))
	var texts []string
	var prefixes []netip.Prefix
	for i, item := range items {
		here := &path{up: p, index: i}
		n := resolve(item)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && !(f.elem.figures[1] != 0 && n.ShortTag() == "!!int") {
			d.fail(item, here, shown(n), f.elem.wants(), quotesHint(n))
			continue
		}
		var text string
		var prefix netip.Prefix
		var into any = &text
		if f.kind == kindPrefixes {
			into = &prefix
		}
		if want, hint := f.elem.scan(n.Value, into); want != "" {
			d.fail(item, here, shown(n), want, hint)
			continue
		}
		if seen[n.Value] {
			d.fail(item, here, shown(n)+" a second time", "each value once", "")
			continue
		}
		seen[n.Value] = true
		texts, prefixes = append(texts, text), append(prefixes, prefix)
	}
	if f.kind == kindPrefixes {
		*target.(*[]netip.Prefix) = prefixes
	} else {
		*target.(*[]string) = texts
	}
}

// scalar decodes one value.
func (d *decoder) scalar(at *yaml.Node, f *field, target any, p *path) {
	n := resolve(at)
	tag := n.ShortTag()
	switch {
	case n.Kind != yaml.ScalarNode || isNull(n):
		d.fail(at, p, shown(n), f.wants(), "")
		return
	case f.kind == kindCount && tag == "!!str" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		d.fail(at, p, shown(n), f.wants(), "without quotes")
		return
	case (f.kind == kindText || f.kind == kindEnum) && tag != "!!str" && !(f.figures[1] != 0 && tag == "!!int"):
		d.fail(at, p, shown(n), f.wants(), quotesHint(n))
		return
	case f.kind == kindBool && tag != "!!bool":
		d.fail(at, p, shown(n), f.wants(), "")
		return
	}
	if want, hint := f.scan(n.Value, target); want != "" {
		d.fail(at, p, shown(n), want, hint)
	}
}

func quotesHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		return "text that looks like something else needs quotes: " + quote(n.Value)
	}
	return ""
}
