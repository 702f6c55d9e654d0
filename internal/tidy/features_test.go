package tidy

import (
	"go/ast"
	"go/token"
	"strings"
)

// use is one place where a file uses something that a rule may forbid.
type use struct {
	what string
	pos  token.Pos
}

// uses lists what f uses, under the names that the rules have for it.
func (f *source) uses() []use {
	var out []use
	for i, p := range f.imports() {
		out = append(out, use{"import " + p, f.syntax.Imports[i].Pos()})
	}
	for _, group := range f.syntax.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:linkname") {
				out = append(out, use{"go:linkname", c.Pos()})
			}
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if what := feature(n); what != "" {
			out = append(out, use{what, n.Pos()})
		}
		return true
	})
	return out
}

func feature(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "go statement"
	case *ast.DeferStmt:
		return "defer"
	case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
		return "channel"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "channel"
		}
	case *ast.SelectorExpr:
		return call(n)
	}
	return ""
}

// call names a function of another package.
func call(n *ast.SelectorExpr) string {
	pkg, ok := n.X.(*ast.Ident)
	if !ok {
		return ""
	}
	name := n.Sel.Name
	switch pkg.Name {
	case "unix", "syscall":
		switch strings.TrimSuffix(strings.TrimRight(name, "0123456789"), "NoError") {
		case "Syscall", "RawSyscall":
			return "raw system call"
		}
	case "time":
		switch name {
		case "Now", "Since", "Until":
			return "time.Now"
		case "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker":
			return "timer"
		}
	}
	return ""
}

// matches says whether a use falls under a rule; an import rule covers what is
// below the path.
func matches(what, rule string) bool {
	return what == rule || strings.HasPrefix(rule, "import ") && strings.HasPrefix(what, rule+"/") && !(rule == "import sync" && what == "import sync/atomic")
}
