package tidy

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A check gives one line per violation, "file:line: what is wrong".
type check func(*tree) []string

// layerOf finds where pkg stands: its own entry or its nearest parent's.
func layerOf(pkg string) (layer int, entry string) {
	for p := pkg; p != "."; p = path.Dir(p) {
		if n, ok := layers[p]; ok {
			return n, p
		}
	}
	return -1, ""
}

func checkImports(t *tree) []string {
	var out []string
	unknown := map[string]bool{}
	for _, f := range t.files {
		layer, _ := layerOf(f.pkg)
		if layer < 0 && !unknown[f.pkg] {
			unknown[f.pkg] = true
			out = append(out, f.path+": package has no place in the layers: give it one here and in ARCHITECTURE.md")
		}
		if f.test || layer < 0 {
			continue
		}
		for i, p := range f.imports() {
			to, ours := strings.CutPrefix(p, module+"/")
			if ours && !mayImport(f.pkg, to) {
				out = append(out, fmt.Sprintf("%s: %s must not import %s", t.at(f, f.syntax.Imports[i].Pos()), f.pkg, to))
			}
		}
	}
	return out
}

func mayImport(from, to string) bool {
	if only, ok := onlyImports[from]; ok {
		return slices.Contains(only, to)
	}
	a, _ := layerOf(from)
	b, _ := layerOf(to)
	if b < 0 {
		return false
	}
	return b < a || b == a && strings.HasPrefix(from, to+"/")
}

func checkConfined(t *tree) []string {
	var out []string
	for _, f := range t.files {
		for _, u := range f.uses() {
			for _, rule := range confined {
				if matches(u.what, rule.what) && (!f.test || rule.tests) && !within(f.pkg, rule.where) {
					out = append(out, fmt.Sprintf("%s: %s is for %s only", t.at(f, u.pos), u.what, strings.Join(rule.where, ", ")))
				}
			}
		}
	}
	return out
}

func checkBanned(t *tree) []string {
	type key struct{ file, what string }
	excused := map[key]bool{} // and whether something needed it
	for _, e := range exceptions {
		for _, what := range e.uses {
			excused[key{e.file, what}] = false
		}
	}
	var out []string
	for _, f := range t.files {
		if _, other := elsewhere[f.pkg]; f.test || other {
			continue
		}
		for _, u := range f.uses() {
			if !isBanned(f.pkg, u.what) {
				continue
			}
			k := key{f.path, u.what}
			if _, ok := excused[k]; ok {
				excused[k] = true
			} else {
				out = append(out, fmt.Sprintf("%s: the data path does without: %s", t.at(f, u.pos), u.what))
			}
		}
	}
	for k, needed := range excused {
		if !needed {
			out = append(out, fmt.Sprintf("%s: nothing needs the exception for %s any more", k.file, k.what))
		}
	}
	slices.Sort(out)
	return out
}

func isBanned(pkg, what string) bool {
	for _, rule := range banned {
		if within(pkg, rule.where) && slices.ContainsFunc(rule.what, func(r string) bool { return matches(what, r) }) {
			return true
		}
	}
	return false
}

func checkLengths(t *tree) []string {
	var out []string
	for _, f := range t.files {
		if f.lines > maxFileLines {
			out = append(out, fmt.Sprintf("%s: %d lines, at most %d: split it by concern", f.path, f.lines, maxFileLines))
		}
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := t.line(fn.End()) - t.line(fn.Pos()) + 1 - t.literalLines(fn)
			if n > maxFuncLines {
				out = append(out, fmt.Sprintf("%s: %s has %d lines, at most %d", t.at(f, fn.Pos()), fn.Name.Name, n, maxFuncLines))
			}
		}
	}
	return out
}

// literalLines counts the lines of fn that composite literals add, except
// where there is code in them.
func (t *tree) literalLines(fn *ast.FuncDecl) int {
	n := 0
	ast.Inspect(fn, func(node ast.Node) bool {
		lit, ok := node.(*ast.CompositeLit)
		if !ok {
			return true
		}
		n += t.line(lit.End()) - t.line(lit.Pos())
		ast.Inspect(lit, func(inner ast.Node) bool {
			if code, ok := inner.(*ast.FuncLit); ok {
				n -= t.line(code.End()) - t.line(code.Pos())
				return false
			}
			return true
		})
		return false
	})
	return n
}

func checkPackageDocs(t *tree) []string {
	docs := map[string][]string{}
	var out []string
	var order []string
	for _, f := range t.files {
		if f.test {
			continue
		}
		if _, seen := docs[f.pkg]; !seen {
			order = append(order, f.pkg)
			docs[f.pkg] = nil
		}
		if f.syntax.Doc == nil {
			continue
		}
		docs[f.pkg] = append(docs[f.pkg], f.path)
		want := "Package " + f.syntax.Name.Name + " "
		if f.syntax.Name.Name == "main" {
			want = "Command " + path.Base(f.pkg) + " "
		}
		if text := strings.ReplaceAll(f.syntax.Doc.Text(), "\n", " "); !strings.HasPrefix(text, want) {
			out = append(out, fmt.Sprintf("%s: the package comment must begin %q", f.path, want))
		}
	}
	for _, pkg := range order {
		switch n := len(docs[pkg]); {
		case n == 0:
			out = append(out, pkg+": no file has a package comment")
		case n > 1:
			out = append(out, fmt.Sprintf("%s: %d package comments, in %s", pkg, n, strings.Join(docs[pkg], ", ")))
		}
	}
	return out
}

func checkNames(t *tree) []string {
	var out []string
	seen := map[string]bool{}
	for _, f := range t.files {
		base := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
		if forbiddenNames[base] {
			out = append(out, fmt.Sprintf("%s: %q says nothing about what is inside", f.path, base))
		}
		for dir := f.pkg; dir != "." && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			if forbiddenNames[path.Base(dir)] {
				out = append(out, fmt.Sprintf("%s: %q says nothing about what is inside", dir, path.Base(dir)))
			}
		}
	}
	return out
}

// Written so that this file does not contain what it looks for.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|HA` + `CK)\b`)

func checkUnfinished(t *tree) []string {
	var out []string
	for _, f := range t.files {
		for _, group := range f.syntax.Comments {
			for _, c := range group.List {
				if word := unfinished.FindString(c.Text); word != "" {
					out = append(out, fmt.Sprintf("%s: %s: do it, or write it down outside of the code", t.at(f, c.Pos()), word))
				}
			}
		}
	}
	return out
}

func checkBuildTags(t *tree) []string {
	var out []string
	for _, f := range t.files {
		var walk func(constraint.Expr)
		walk = func(e constraint.Expr) {
			switch e := e.(type) {
			case *constraint.TagExpr:
				if !buildTags[e.Tag] {
					out = append(out, fmt.Sprintf("%s: nothing sets the build tag %s", f.path, e.Tag))
				}
			case *constraint.NotExpr:
				walk(e.X)
			case *constraint.AndExpr:
				walk(e.X)
				walk(e.Y)
			case *constraint.OrExpr:
				walk(e.X)
				walk(e.Y)
			}
		}
		walk(f.constraint)
		// Importing it anywhere else breaks a build without flags, because of
		// a symbol that it takes from the standard library.
		ring := slices.Contains(f.imports(), "github.com/pawelgaczynski/giouring")
		if ring && (f.constraint == nil || f.constraint.Eval(func(tag string) bool { return tag != "giouring" })) {
			out = append(out, f.path+": imports giouring without //go:build giouring")
		}
	}
	return out
}

// checkSkips wants to be told what a skipped test lacks.
func checkSkips(t *tree) []string {
	var out []string
	for _, f := range t.files {
		if !f.test {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := c.Fun.(*ast.SelectorExpr); ok && len(c.Args) == 0 && (s.Sel.Name == "Skip" || s.Sel.Name == "SkipNow") {
				out = append(out, t.at(f, c.Pos())+": a skipped test says what is missing and how to get it")
			}
			return true
		})
	}
	return out
}

// lengthy begins the names of tests that take long: make test leaves them out
// by it.
const lengthy = "TestLengthy"

// checkLengthy wants tests that take long to be known by their name, and no
// others.
func checkLengthy(t *tree) []string {
	var out []string
	for _, f := range t.files {
		if !f.test {
			continue
		}
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			needs := len(fn.Body.List) > 0 && callsLongtest(fn.Body.List[0])
			if named := fn.Recv == nil && strings.HasPrefix(fn.Name.Name, lengthy); named != needs {
				out = append(out, fmt.Sprintf("%s: %s: a test that takes long is called %s... and begins with longtest.Need(t); others do neither", t.at(f, fn.Pos()), fn.Name.Name, lengthy))
			}
		}
	}
	return out
}

// callsLongtest says whether a statement is longtest.Need(...).
func callsLongtest(s ast.Stmt) bool {
	e, ok := s.(*ast.ExprStmt)
	if !ok {
		return false
	}
	c, ok := e.X.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "longtest" && sel.Sel.Name == "Need"
}

// checkDead finds functions of a package that nothing in it names, except a
// test at most: by name only, so it misses some and accuses none wrongly.
func checkDead(t *tree) []string {
	type declared struct {
		f  *source
		fn *ast.FuncDecl
	}
	names := map[string]map[string]int{} // package, identifier: times
	var fns []declared
	for _, f := range t.files {
		if f.test {
			continue
		}
		if names[f.pkg] == nil {
			names[f.pkg] = map[string]int{}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				names[f.pkg][id.Name]++
			}
			return true
		})
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && !token.IsExported(fn.Name.Name) {
				fns = append(fns, declared{f, fn})
			}
		}
	}
	// Files behind opposite tags may declare the same function.
	count := map[[2]string]int{}
	for _, d := range fns {
		count[[2]string{d.f.pkg, d.fn.Name.Name}]++
	}
	var out []string
	for _, d := range fns {
		name := d.fn.Name.Name
		if name == "main" || name == "init" || name == "_" {
			continue
		}
		if names[d.f.pkg][name] == count[[2]string{d.f.pkg, name}] {
			out = append(out, fmt.Sprintf("%s: nothing calls %s", t.at(d.f, d.fn.Pos()), name))
		}
	}
	return out
}
