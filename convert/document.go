// Package convert is what the translations of other programs' configurations have in common: where a line
// came from, the configuration that is written with the original lines beside its parts, and the list of
// what has no equivalent.
package convert

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Line is a line of the original configuration.
type Line struct {
	File   string
	Number int // from 1
	Text   string
}

func (l Line) String() string { return fmt.Sprintf("%s:%d: %s", l.File, l.Number, l.Text) }

// Finding is a line whose meaning is not, or not exactly, in the translation.
type Finding struct {
	Line      Line
	Directive string
	Why       string
	Lost      bool // it has no equivalent; false: it works a little differently
}

func (f Finding) String() string {
	kind := "no equivalent"
	if !f.Lost {
		kind = "note"
	}
	return fmt.Sprintf("%s:%d: %s: %s: %s", f.Line.File, f.Line.Number, kind, f.Directive, f.Why)
}

// Document is a configuration of zproxy that is being written.
type Document struct {
	Root     Section
	Findings []Finding
}

// NewDocument is an empty one.
func NewDocument() *Document { return &Document{Root: NewSection()} }

// Lost notes that a line has no equivalent. What is said of it once is not said again.
func (d *Document) Lost(l Line, directive, why string) { d.find(Finding{l, directive, why, true}) }

// Note notes that a line is translated, and works a little differently.
func (d *Document) Note(l Line, directive, why string) { d.find(Finding{l, directive, why, false}) }

func (d *Document) find(f Finding) {
	for _, other := range d.Findings {
		if other == f {
			return
		}
	}
	d.Findings = append(d.Findings, f)
}

// HasLost says whether anything was left out.
func (d *Document) HasLost() bool {
	for _, f := range d.Findings {
		if f.Lost {
			return true
		}
	}
	return false
}

// Bytes is the file: the configuration, and behind it as comments what was found.
func (d *Document) Bytes(title string) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# %s\n# Beside each part is the line it was made from. What has no equivalent is listed at the end.\n\n", comment(title))
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(d.Root.node); err != nil {
		return nil, err
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	for _, lost := range []bool{true, false} {
		heading := map[bool]string{true: "No equivalent:", false: "Notes:"}[lost]
		for _, f := range d.Findings {
			if f.Lost != lost {
				continue
			}
			if heading != "" {
				fmt.Fprintf(&out, "\n# %s\n", heading)
				heading = ""
			}
			fmt.Fprintf(&out, "#   %s\n#       %s: %s\n", comment(f.Line.String()), comment(f.Directive), comment(f.Why))
		}
	}
	return out.Bytes(), nil
}

// Section is a mapping of the configuration.
type Section struct{ node *yaml.Node }

// NewSection is an empty one, which belongs nowhere yet.
func NewSection() Section { return Section{&yaml.Node{Kind: yaml.MappingNode}} }

// find is the value of a key, nil if it is not there.
func (s Section) find(key string) *yaml.Node {
	for i := 0; i < len(s.node.Content); i += 2 {
		if s.node.Content[i].Value == key {
			return s.node.Content[i+1]
		}
	}
	return nil
}

// Has says whether the key is there.
func (s Section) Has(key string) bool { return s.find(key) != nil }

// Empty says whether nothing is there.
func (s Section) Empty() bool { return len(s.node.Content) == 0 }

func (s Section) add(key string, value *yaml.Node) {
	s.node.Content = append(s.node.Content, text(key), value)
}

// Set gives a key a value: a text, number, boolean or a list of texts. A value that was there is replaced.
func (s Section) Set(key string, value any, from ...Line) {
	n := scalar(value)
	if len(from) > 0 {
		n.LineComment = comments(from[:1])
	}
	if old := s.find(key); old != nil {
		*old = *n
		return
	}
	s.add(key, n)
	s.comment(key, from)
}

// comment puts all but the first line above the key: behind a value is room for one.
func (s Section) comment(key string, from []Line) {
	for i := 0; i < len(s.node.Content) && len(from) > 1; i += 2 {
		if s.node.Content[i].Value == key {
			s.node.Content[i].HeadComment = comments(from[1:])
		}
	}
}

// Section is the one at the key, which is made if it is not there.
func (s Section) Section(key string, from ...Line) Section {
	n := s.find(key)
	if n == nil {
		n = &yaml.Node{Kind: yaml.MappingNode}
		s.add(key, n)
		s.node.Content[len(s.node.Content)-2].HeadComment = comments(from)
	}
	return Section{n}
}

// Append adds a section to the list at the key.
func (s Section) Append(key string, from ...Line) Section {
	list := s.find(key)
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode}
		s.add(key, list)
	}
	n := &yaml.Node{Kind: yaml.MappingNode, HeadComment: comments(from)}
	list.Content = append(list.Content, n)
	return Section{n}
}

// Put adds a section that was made before, under a key that is not there yet.
func (s Section) Put(key string, sub Section, from ...Line) {
	s.add(key, sub.node)
	s.node.Content[len(s.node.Content)-2].HeadComment = comments(from)
}

// Flow writes the section on one line.
func (s Section) Flow() Section {
	s.node.Style = yaml.FlowStyle
	return s
}

// Key is what the section says, without comments: equal for those that say the same.
func (s Section) Key() string {
	var b strings.Builder
	key(&b, s.node)
	return b.String()
}

func key(b *strings.Builder, n *yaml.Node) {
	fmt.Fprintf(b, "%d%q(", n.Kind, n.Value)
	for _, sub := range n.Content {
		key(b, sub)
	}
	b.WriteByte(')')
}

func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(strings.ToValidUTF8(s, string(utf8.RuneError)))
	return n
}

// scalar is the node of a value.
func scalar(value any) *yaml.Node {
	switch v := value.(type) {
	case string:
		return text(v)
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(v)}
	case []string:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, s := range v {
			n.Content = append(n.Content, text(s))
		}
		return n
	}
	panic(fmt.Sprintf("convert: no value of the configuration: %T", value))
}

func comments(lines []Line) string {
	var texts []string
	for _, l := range lines {
		texts = append(texts, "# "+comment(l.String()))
	}
	return strings.Join(texts, "\n")
}

// comment is a text as it may stand in a comment: one line of printable characters, not too long.
func comment(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == utf8.RuneError || r > 0xffff {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
	if runes := []rune(s); len(runes) > maxComment {
		s = string(runes[:maxComment]) + "..."
	}
	return s
}

const maxComment = 300

// Text is the text at the key, "" if there is none.
func (s Section) Text(key string) string {
	if n := s.find(key); n != nil {
		return n.Value
	}
	return ""
}

// Take moves what is in another section here.
func (s Section) Take(from Section) {
	s.node.Content = append(s.node.Content, from.node.Content...)
	s.node.Style = from.node.Style
}

// NewSectionFrom is a new section with the lines it was made from, for Add.
func NewSectionFrom(from ...Line) Section {
	return Section{&yaml.Node{Kind: yaml.MappingNode, HeadComment: comments(from)}}
}

// Add adds a section that was made before to the list at the key.
func (s Section) Add(key string, sub Section) {
	list := s.find(key)
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode}
		s.add(key, list)
	}
	list.Content = append(list.Content, sub.node)
}
