package tune

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// State is what a setting's value comes to.
type State uint8

const (
	Right  State = iota
	Wrong        // Apply can change it
	ByHand       // wrong, and nothing that a program should change on its own; Remedy says what to do
	Advice       // worth a look, does not count as wrong; Remedy says at what
	Absent       // this kernel, machine or network namespace does not have it
)

func (s State) String() string {
	return [...]string{"ok", "WRONG", "BY HAND", "advice", "absent"}[s]
}

// Finding is one setting as it is and as it should be.
type Finding struct {
	Rule    *Rule
	Setting string // which one exactly, for rules about each queue or node; otherwise the rule's name
	File    string // below the root, for what Apply can write
	Now     string // as the kernel shows it, without white space around it
	Want    string // what to write; where Now is right, Now
	State   State
	Remedy  string
}

// Rule is one line of the table.
type Rule struct {
	Name   string // a sysctl's name, a file, or what it is about
	Group  string // of the output, and for --only
	Wanted string // in words, for the documentation
	Why    string // one sentence
	Source string // where that is documented
	Detail string // a second paragraph for the documentation; may be empty
	find   func(m *Machine, r *Rule) []Finding
}

// Check goes through the whole table.
func (m *Machine) Check() []Finding {
	var all []Finding
	for i := range table {
		r := &table[i]
		all = append(all, r.find(m, r)...)
	}
	return all
}

// AllRight says whether nothing is Wrong or to be done ByHand.
func AllRight(findings []Finding) bool {
	for i := range findings {
		if s := findings[i].State; s == Wrong || s == ByHand {
			return false
		}
	}
	return true
}

// Only keeps the findings of the groups, or whose settings begin with the words, in list; all when list is empty.
func Only(findings []Finding, list []string) []Finding {
	if len(list) == 0 {
		return findings
	}
	var kept []Finding
	for _, f := range findings {
		for _, word := range list {
			if f.Rule.Group == word || strings.HasPrefix(f.Setting, word) {
				kept = append(kept, f)
				break
			}
		}
	}
	return kept
}

// A judge says what a value should be, and whether it is that already.
type judge func(m *Machine, now string) (want string, right bool)

// sysctl is a rule's find for the sysctl that the rule is named after.
func sysctl(j judge) func(*Machine, *Rule) []Finding {
	return func(m *Machine, r *Rule) []Finding {
		return []Finding{m.judge(r, r.Name, sysctlFile(r.Name), j)}
	}
}

func sysctlFile(name string) string {
	return "proc/sys/" + strings.ReplaceAll(name, ".", "/")
}

// file is a rule's find for one file.
func file(name string, j judge) func(*Machine, *Rule) []Finding {
	return func(m *Machine, r *Rule) []Finding {
		return []Finding{m.judge(r, r.Name, name, j)}
	}
}

// judge reads a file and holds what is in it against what should be.
func (m *Machine) judge(r *Rule, setting, file string, j judge) Finding {
	f := Finding{Rule: r, Setting: setting, File: file}
	now, err := m.read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.State = Absent
		return f
	case err != nil:
		f.State, f.Now, f.Remedy = ByHand, "?", fmt.Sprintf("cannot be read (%v): try it as root", err)
		return f
	}
	f.Now = chosen(now)
	want, right := j(m, f.Now)
	f.Want = want
	if right {
		f.Want = f.Now
		return f
	}
	f.State = Wrong
	if info, err := fs.Stat(m.root, file); err == nil && info.Mode().Perm()&0o222 == 0 {
		f.State, f.Remedy = ByHand, "the kernel lets it be read only from here: set it in the host's network namespace"
	}
	return f
}

// chosen is the word in brackets where a file lists the possible values, and the words one space apart otherwise.
func chosen(text string) string {
	_, rest, ok := strings.Cut(text, "[")
	word, _, closed := strings.Cut(rest, "]")
	if ok && closed {
		return word
	}
	return strings.Join(strings.Fields(text), " ")
}

// exactly accepts want and the values in or.
func exactly(want string, or ...string) judge {
	return func(_ *Machine, now string) (string, bool) {
		for _, v := range or {
			if now == v {
				return want, true
			}
		}
		return want, now == want
	}
}

func atLeast(want int64) judge {
	return func(_ *Machine, now string) (string, bool) {
		n, err := strconv.ParseInt(now, 10, 64)
		return strconv.FormatInt(want, 10), err == nil && n >= want
	}
}

// maximumAtLeast is for the vectors "min default max" of TCP's buffers: only the last is judged.
func maximumAtLeast(want int64) judge {
	return func(_ *Machine, now string) (string, bool) {
		v, err := numbers(now, 3)
		if err != nil {
			return now, true // a kernel with another format; leave it
		}
		right := v[2] >= want
		v[2] = max(v[2], want)
		return joined(v), right
	}
}

func numbers(text string, n int) ([]int64, error) {
	var v []int64
	for word := range strings.FieldsSeq(text) {
		x, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %q is not a number", text, word)
		}
		v = append(v, x)
	}
	if len(v) != n {
		return nil, fmt.Errorf("%q has %d numbers, not %d", text, len(v), n)
	}
	return v, nil
}

func joined(v []int64) string {
	words := make([]string, len(v))
	for i, x := range v {
		words[i] = strconv.FormatInt(x, 10)
	}
	return strings.Join(words, " ")
}
