package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
)

// kindsOf is the one file that tells kinds of legs apart, by package: what a leg does
// differently is an operation there. A new kind is then added in one place.
var kindsOf = map[string]string{"proxy": "proxy/leg.go"}

// kindFields say of which kind a leg is.
var kindFields = []string{"stream", "kind"}

func checkKinds(t *tree) []string {
	var out []string
	for _, f := range t.files {
		only, has := kindsOf[f.pkg]
		if !has || f.test || f.path == only {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			asks := false
			switch n := n.(type) {
			case *ast.BinaryExpr:
				asks = comparisons[n.Op] && (isKind(n.X) || isKind(n.Y))
			case *ast.SwitchStmt:
				asks = n.Tag != nil && isKind(n.Tag)
			}
			if asks {
				out = append(out, fmt.Sprintf("%s: asks which kind of leg it is: that is for %s only", t.at(f, n.Pos()), only))
			}
			return true
		})
	}
	return out
}

var comparisons = map[token.Token]bool{token.EQL: true, token.NEQ: true, token.GTR: true, token.LSS: true, token.GEQ: true, token.LEQ: true}

// isKind says that e is a field that says of which kind a leg is, or a copy of one.
func isKind(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return isKind(e.X)
	case *ast.SelectorExpr:
		return slices.Contains(kindFields, e.Sel.Name)
	case *ast.Ident:
		return slices.Contains(kindFields, e.Name)
	}
	return false
}
