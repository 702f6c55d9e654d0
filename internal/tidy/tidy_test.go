package tidy

import (
	"os"
	"testing"
)

var checks = []struct {
	name string
	run  check
}{
	{"imports", checkImports},
	{"confined", checkConfined},
	{"data path", checkBanned},
	{"lengths", checkLengths},
	{"methods", checkMethods},
	{"kinds of legs", checkKinds},
	{"package comments", checkPackageDocs},
	{"names", checkNames},
	{"unfinished", checkUnfinished},
	{"build tags", checkBuildTags},
	{"skips", checkSkips},
	{"lengthy tests", checkLengthy},
	{"dead functions", checkDead},
}

func TestRepository(t *testing.T) {
	tree, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) < 20 {
		t.Fatalf("only %d Go files found: this is not the repository", len(tree.files))
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			for _, violation := range c.run(tree) {
				t.Error(violation)
			}
		})
	}
}
