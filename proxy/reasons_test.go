package proxy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"zproxy/proto"
	"zproxy/proto/ws"
)

// A reason has a phrase, which the access log has, or a name, which metrics
// have, or both, and a status that a client is answered with; 0 is none.
type reason struct {
	phrase, name string
	status       int
}

// row is how docs/reasons.md has to begin the row of r.
func (r reason) row() string {
	cell := func(s string) string {
		if s == "" {
			return " |"
		}
		return " `" + s + "` |"
	}
	row := "|" + cell(r.phrase) + cell(r.name)
	if r.status == 0 {
		return row + " |"
	}
	return row + " " + strconv.Itoa(r.status) + " |"
}

// docs/reasons.md has a row for each reason that there is in the code, with
// its phrase, its name and its status, and for no other.
func TestReasonsManual(t *testing.T) {
	manual, err := os.ReadFile("../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, line := range strings.Split(string(manual), "\n") {
		if m := regexp.MustCompile("^(\\|(?: `[^`|]+`)? \\|(?: `[a-z0-9_]+`)? \\|(?: [0-9]+)? \\|)(.*)$").FindStringSubmatch(line); m != nil {
			if rows[m[1]] {
				t.Errorf("docs/reasons.md has twice: %s", m[1])
			}
			rows[m[1]] = true
			if cells := strings.Split(strings.TrimSuffix(m[2], "|"), "|"); len(cells) != 2 || len(strings.TrimSpace(cells[0])) < 10 || len(strings.TrimSpace(cells[1])) < 5 {
				t.Errorf("docs/reasons.md does not say what it means and what to do: %s", line)
			}
		}
	}
	reasons := allReasons(t)
	if len(reasons) < 120 {
		t.Errorf("only %d reasons were found in the code", len(reasons))
	}
	for _, r := range reasons {
		if !rows[r.row()] {
			t.Errorf("docs/reasons.md lacks the row\n%s what it means | what to do |", r.row())
		}
		delete(rows, r.row())
	}
	for row := range rows {
		t.Errorf("docs/reasons.md has a row that nothing in the code is for:\n%s", row)
	}
}

// allReasons collects from the tables what can be asked for, and the rest from
// the source.
func allReasons(t *testing.T) []reason {
	s := &reasonSource{t: t, seen: map[reason]bool{}, named: map[string]bool{}, phrased: map[string]bool{}, names: map[string]string{}, why: map[string]int{}}
	for c := 1; c < proto.FaultCount; c++ {
		f := proto.RequestFault(proto.FaultCode(c))
		s.add(f.Reason, proto.FaultCode(c).Name(), int(f.Status))
	}
	for code := range ws.FaultCount {
		f := ws.FaultOf(ws.FaultCode(code))
		s.add(f.Reason, f.Name, 0)
	}
	for _, dir := range []string{"../proto", "../proto/http1", "../proto/http2", "../proto/ws", "h2conn", "tunnel", "."} {
		s.read(dir)
	}
	filters, err := filepath.Glob("../filter/*/doc.go")
	if err != nil || len(filters) == 0 {
		t.Fatal("no filters were found")
	}
	for _, doc := range filters {
		s.read(filepath.Dir(doc))
	}
	names := FaultNames()
	for code, name := range names {
		if name != "" && name != "none" && !s.named[name] {
			t.Errorf("code %d: no phrase was found for %s", code, name)
		}
	}
	return s.reasons
}

type reasonSource struct {
	t       *testing.T
	reasons []reason
	seen    map[reason]bool
	named   map[string]bool
	phrased map[string]bool

	names   map[string]string   // of codes, by their constants: from the tables faultNames
	why     map[string]int      // functions that take a phrase, and which parameter it is
	strings map[string][]string // constants and variables of the package that are text
}

func (s *reasonSource) add(phrase, name string, status int) {
	r := reason{phrase, name, status}
	if !s.seen[r] {
		s.seen[r], s.named[name], s.phrased[phrase] = true, true, true
		s.reasons = append(s.reasons, r)
	}
}

func (s *reasonSource) read(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("%s: %v", dir, err)
	}
	var parsed []*ast.File
	s.strings = map[string][]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		parsed = append(parsed, f)
		ast.Inspect(f, func(n ast.Node) bool { s.declared(n); return true })
	}
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool { s.used(n); return true })
	}
}

// declared notes text that has a name, and who takes a phrase.
func (s *reasonSource) declared(n ast.Node) {
	switch n := n.(type) {
	case *ast.ValueSpec:
		for i, v := range n.Values {
			switch v := v.(type) {
			case *ast.BasicLit:
				if text, err := strconv.Unquote(v.Value); err == nil {
					s.strings[n.Names[i].Name] = []string{text}
				}
			case *ast.CompositeLit:
				for _, e := range v.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok && n.Names[i].Name == "faultNames" {
						s.names[typeName(kv.Key)], _ = strconv.Unquote(kv.Value.(*ast.BasicLit).Value)
					}
					if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
						text, _ := strconv.Unquote(l.Value)
						s.strings[n.Names[i].Name] = append(s.strings[n.Names[i].Name], text)
					}
				}
			}
		}
	case *ast.FuncDecl:
		at := 0
		for _, p := range n.Type.Params.List {
			for _, name := range p.Names {
				if name.Name == "why" {
					s.why[n.Name.Name] = at
				}
				at++
			}
		}
	}
}

// used finds the faults, and what functions are told as a phrase.
func (s *reasonSource) used(n ast.Node) {
	switch n := n.(type) {
	case *ast.CompositeLit:
		if fmt.Sprint(typeName(n.Type)) == "proto.Fault" {
			s.fault(n)
			return
		}
		s.abuse(n)
	case *ast.CallExpr:
		if typeName(n.Fun) == "Refuse" && len(n.Args) == 2 {
			s.refusal(n.Args[0], n.Args[1])
			return
		}
		at, ok := s.why[typeName(n.Fun)]
		if !ok || at >= len(n.Args) {
			return
		}
		s.phrase(n.Args[at])
	}
}

// phrase adds what has no name in the metrics.
func (s *reasonSource) phrase(arg ast.Expr) {
	var texts []string
	switch arg := arg.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(arg.Value)
		texts = []string{text}
	case *ast.Ident:
		if arg.Name == "why" {
			return // it is passed on
		}
		texts = s.strings[arg.Name]
		if texts == nil {
			s.t.Errorf("the phrase in %s is not known to this test", arg.Name)
		}
	case *ast.IndexExpr:
		texts = s.strings[typeName(arg.X)]
	case *ast.SelectorExpr:
		if arg.Sel.Name == "Reason" {
			return // of a fault
		}
	}
	for _, text := range texts {
		if text != "" && !s.phrased[text] {
			s.add(text, "", 0)
		}
	}
}

// refusal adds what a filter refuses requests with.
func (s *reasonSource) refusal(status, phrase ast.Expr) {
	code, ok := status.(*ast.BasicLit)
	if !ok {
		return // it is passed on
	}
	r := reason{name: "filter"}
	r.status, _ = strconv.Atoi(code.Value)
	switch phrase := phrase.(type) {
	case *ast.BasicLit:
		r.phrase, _ = strconv.Unquote(phrase.Value)
	case *ast.Ident:
		if text := s.strings[phrase.Name]; len(text) == 1 {
			r.phrase = text[0]
		}
	}
	if r.phrase == "" {
		s.t.Errorf("the phrase of a filter that refuses with %d is not known to this test", r.status)
	}
	s.add(r.phrase, r.name, r.status)
}

// fault adds a proto.Fault; one whose phrase is not a literal is a table's or a
// function's, and is found there.
func (s *reasonSource) fault(n *ast.CompositeLit) {
	var r reason
	for _, e := range n.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return
		}
		switch typeName(kv.Key) {
		case "Reason":
			if l, ok := kv.Value.(*ast.BasicLit); ok {
				r.phrase, _ = strconv.Unquote(l.Value)
			}
		case "Status":
			r.status, _ = strconv.Atoi(kv.Value.(*ast.BasicLit).Value)
		case "Code":
			r.name = s.name(kv.Value)
		}
	}
	if r.phrase != "" {
		s.add(r.phrase, r.name, r.status)
	}
}

// abuse adds an entry of the table of what an HTTP/2 peer may overdo.
func (s *reasonSource) abuse(n *ast.CompositeLit) {
	if len(n.Elts) != 3 {
		return
	}
	name, ok := n.Elts[1].(*ast.BasicLit)
	call, ok2 := n.Elts[2].(*ast.CallExpr)
	if !ok || !ok2 || typeName(call.Fun) != "calm" {
		return
	}
	short, _ := strconv.Unquote(name.Value)
	phrase, _ := strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)
	if short != "none" {
		s.add(phrase, "http2_"+short, 400)
	}
}

// name is what the metrics call the code that e stands for.
func (s *reasonSource) name(e ast.Expr) string {
	code := strings.TrimPrefix(typeName(e), "proto.")
	if s.names[code] == "" {
		s.t.Errorf("no name was found for the code %s", code)
	}
	return s.names[code]
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && x.Name == "proto" {
			return "proto." + e.Sel.Name
		}
		return e.Sel.Name
	}
	return ""
}
