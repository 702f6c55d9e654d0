package tidy

import (
	"bytes"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

const module = "zproxy"

// source is one Go file.
type source struct {
	path       string // from the root of the repository
	pkg        string // its directory
	test       bool
	lines      int
	syntax     *ast.File
	constraint constraint.Expr // nil: none
}

// tree is all of the repository's Go code, whatever its build tags.
type tree struct {
	positions *token.FileSet
	files     []*source
}

// load parses every Go file below root, except in directories that the go
// command leaves out as well.
func load(root fs.FS) (*tree, error) {
	t := &tree{positions: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "vendor" || base == "node_modules" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(base) != ".go" || base[0] == '.' || base[0] == '_' {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return t.add(name, text)
	})
	return t, err
}

func (t *tree) add(name string, text []byte) error {
	syntax, err := parser.ParseFile(t.positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := &source{
		path:   name,
		pkg:    path.Dir(name),
		test:   strings.HasSuffix(name, "_test.go"),
		lines:  bytes.Count(text, []byte("\n")),
		syntax: syntax,
	}
	for _, group := range syntax.Comments {
		for _, c := range group.List {
			if c.Pos() < syntax.Package && constraint.IsGoBuild(c.Text) {
				if f.constraint, err = constraint.Parse(c.Text); err != nil {
					return err
				}
			}
		}
	}
	t.files = append(t.files, f)
	return nil
}

// line is the number of the line that pos is on.
func (t *tree) line(pos token.Pos) int { return t.positions.Position(pos).Line }

// at is "file:line" for a report.
func (t *tree) at(f *source, pos token.Pos) string {
	return f.path + ":" + strconv.Itoa(t.line(pos))
}

// imports gives the paths that f imports.
func (f *source) imports() []string {
	var out []string
	for _, spec := range f.syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			out = append(out, p)
		}
	}
	return out
}

// within says whether dir is one of parents or below one.
func within(dir string, parents []string) bool {
	for _, p := range parents {
		if dir == p || strings.HasPrefix(dir, p+"/") {
			return true
		}
	}
	return false
}
