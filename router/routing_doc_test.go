package router

import (
	"os"
	"strings"
	"testing"

	"zproxy/proto"
)

// The examples of docs/routing.md are true.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## Examples")
	examples, _, _ := strings.Cut(rest, "\n## ")
	b, names := NewBuilder(), []string{}
	withoutA := NewBuilder()
	checked := 0
	for line := range strings.Lines(examples) {
		line = strings.TrimSpace(line)
		if name, r, ok := strings.Cut(line, "  "); ok && len(name) == 1 {
			host, path, methods := route(r).parts()
			for _, to := range []*Builder{b, withoutA} {
				if to == withoutA && name == "A" {
					continue
				}
				if err := to.Add(host, path, methods, int32(len(names))); err != nil {
					t.Fatal(err)
				}
			}
			names = append(names, name)
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		want := strings.TrimSpace(cells[2] + strings.ReplaceAll(cells[3], "`", ""))
		want = strings.Join(strings.Fields(want), " ")
		if got := documented(b.Build(), names, strings.Trim(cells[1], " `")); got != want {
			t.Errorf("%s: %s, want %s", cells[1], got, want)
		}
		checked++
	}
	if len(names) != 9 || checked != 17 {
		t.Errorf("%d routes and %d requests found", len(names), checked)
	}
	for request, want := range map[string]string{"GET api.example.com/jobs": "405 POST", "GET example.com/health": "404"} {
		if got := documented(withoutA.Build(), names, request); got != want {
			t.Errorf("without A, %s: %s, want %s", request, got, want)
		}
	}
}

func documented(r *Router, names []string, request string) string {
	host, path, methods := route(request).parts()
	norm, _, ok := Normalize([]byte(path), nil)
	if !ok {
		return "400"
	}
	var m Match
	method := []byte(methods[0])
	text := answer(r.Lookup([]byte(host), norm, proto.ParseMethod(method), method, &m), string(norm), &m)
	if m.NParams > 0 || !strings.HasPrefix(text, "40") {
		_, params, _ := strings.Cut(text, " ")
		text = strings.TrimSpace(names[m.Value] + " " + params)
	}
	return text
}
