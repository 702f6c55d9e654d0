package tune

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/tuning.md instead of comparing it")

const docs = "../docs/tuning.md"

// The page is made from the table.
func TestGenerated(t *testing.T) {
	text, err := os.ReadFile("introduction.md")
	if err != nil {
		t.Fatal(err)
	}
	want := "<!-- Made from tune/table.go and tune/introduction.md by \"go generate ./tune\"; a test compares. Change those, not this file. -->\n" +
		string(text) + tableInMarkdown()
	if *update {
		if err := os.WriteFile(docs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(docs)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the table says (%v): run go generate ./tune", docs, err)
	}
}

func tableInMarkdown() string {
	var b strings.Builder
	group := ""
	for i := range table {
		r := &table[i]
		if r.Group != group {
			group = r.Group
			fmt.Fprintf(&b, "\n### %s\n\n| Setting | Recommended | Why | Documented in |\n|---|---|---|---|\n", group)
		}
		name := r.Name
		if !strings.Contains(name, " ") {
			name = "`" + name + "`"
		}
		why := r.Why
		if r.Detail != "" {
			why += ". " + r.Detail
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, r.Wanted, why, r.Source)
	}
	return b.String()
}

// Every rule says all there is to say, once.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for i := range table {
		r := &table[i]
		if r.Wanted == "" || r.Why == "" || r.Source == "" || r.Group == "" || r.find == nil {
			t.Errorf("%s: incomplete", r.Name)
		}
		if names[r.Name] {
			t.Errorf("%s is there twice", r.Name)
		}
		names[r.Name] = true
		if strings.HasSuffix(r.Why, ".") || strings.Contains(r.Why+r.Wanted+r.Detail+r.Source, "|") {
			t.Errorf("%s: the reason is for the middle of a line of a table", r.Name)
		}
	}
}
