package tidy

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// maxMethods is how many methods a type may have: with more it owns two things.
const maxMethods = 60

// methodsOf are types that have more. Their limits only fall.
var methodsOf = map[string]int{
	"loop.Loop":           119,
	"proto/http2.Session": 117,
	"upstream.Pool":       78,
}

func checkMethods(t *tree) []string {
	count := map[string]int{}
	for _, f := range t.files {
		if f.test {
			continue
		}
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
				count[f.pkg+"."+receiver(fn.Recv.List[0].Type)]++
			}
		}
	}
	var out []string
	for name, n := range count {
		limit, listed := methodsOf[name]
		switch {
		case !listed && n > maxMethods:
			out = append(out, fmt.Sprintf("%s has %d methods, at most %d: it owns two things", name, n, maxMethods))
		case listed && n > limit:
			out = append(out, fmt.Sprintf("%s has %d methods, and had %d: make it less, not more", name, n, limit))
		case listed && n < limit:
			out = append(out, fmt.Sprintf("%s has %d methods now: its limit of %d falls with them", name, n, limit))
		}
	}
	slices.Sort(out)
	return out
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// methods is the text of n methods of a type.
func methods(of string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "func (x *%s) m%d() {}\n", of, i)
	}
	return b.String()
}
