package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dotted finds what may be a key as documents name it: limits.min_rate,
// upstreams.NAME.pool.queue. What ends like a file's name is none.
var dotted = regexp.MustCompile(`(^|[^\w./-])([a-z][a-z0-9_]*(?:\.[A-Za-z_0-9]+)+)`)

// Every key that a document or an example speaks of is one of the table's.
func TestDocumentsNameKeys(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/decisions/*.md", "../examples/*.yaml", "../scripts/systemd/*", "*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	sections := map[string][]field{} // by key; the fields of all sections of that key
	collect("", table(), sections)
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, m := range dotted.FindAllStringSubmatch(line, -1) {
				parts := strings.Split(m[2], ".")
				if sections[parts[0]] == nil || slices.Contains([]string{"md", "yaml", "go", "json", "html"}, parts[len(parts)-1]) {
					continue
				}
				checked++
				if !isKey(parts, sections) {
					t.Errorf("%s:%d: there is no key %s", file, n+1, m[2])
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d keys were found in %d files", checked, len(files))
	}
}

func collect(key string, fields []field, sections map[string][]field) {
	sections[key] = append(sections[key], fields...)
	for i := range fields {
		if f := &fields[i]; f.fields != nil {
			collect(f.key, f.fields, sections)
		}
	}
}

// isKey follows the parts from a section to a key in it; behind one of named
// entries comes a name.
func isKey(parts []string, sections map[string][]field) bool {
	at := sections[parts[0]]
	named := parts[0] == "upstreams"
	for _, part := range parts[1:] {
		i := slices.IndexFunc(at, func(f field) bool { return f.key == part })
		switch {
		case named && i < 0:
			named = false // a name
			continue
		case i < 0:
			return false
		}
		named, at = false, at[i].fields
	}
	return true
}
