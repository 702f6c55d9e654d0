package tidy

import (
	"strings"
	"testing"
	"testing/fstest"
)

// Every check sees what it is there for, and lets pass what is allowed.
func TestChecksSeeViolations(t *testing.T) {
	long := strings.Repeat("\n", maxFileLines+1)
	body := strings.Repeat("\tn++\n", maxFuncLines)
	data := strings.Repeat("\t\t1,\n", maxFuncLines)
	for _, c := range []struct {
		check check
		file  string
		text  string
		want  string // part of the only violation; "" for none
	}{
		{checkImports, "loop/a.go", `import "zproxy/proto"`, "loop must not import proto"},
		{checkImports, "loop/a.go", `import "zproxy/buf"`, ""},
		{checkImports, "buf/a.go", `import "zproxy/loop"`, "buf must not import loop"},
		{checkImports, "buf/a.go", `import "zproxy/router"`, "buf must not import router"},
		{checkImports, "numa/a.go", `import "zproxy/metrics"`, "numa must not import metrics"},
		{checkImports, "proto/http1/a.go", `import "zproxy/proto"`, ""},
		{checkImports, "proto/a.go", `import "zproxy/proto/http1"`, "proto must not import proto/http1"},
		{checkImports, "upstream/resolve/a.go", `import "zproxy/upstream"`, ""},
		{checkImports, "upstream/a.go", `import "zproxy/upstream/resolve"`, "upstream must not import upstream/resolve"},
		{checkImports, "admin/a.go", `import "zproxy/server"`, "admin must not import server"},
		{checkImports, "server/a.go", `import "zproxy/internal/simnet"`, "server must not import internal/simnet"},
		{checkImports, "buf/a_test.go", `import "zproxy/numa"`, ""},
		{checkImports, "bench/origin/a.go", `import "zproxy/loop"`, "bench/origin must not import loop"},
		{checkImports, "newcomer/a.go", ``, "no place in the layers"},
		{checkImports, "proxy/a.go", `import "zproxy/newcomer"`, "proxy must not import newcomer"},

		{checkConfined, "proxy/a.go", `import "unsafe"`, "proxy/a.go:2: import unsafe is for loop, numa, buf, bench/floor only"},
		{checkConfined, "buf/a.go", `import "unsafe"`, ""},
		{checkConfined, "proxy/a.go", `import "net/http"`, "net/http is for admin, bench, filter/jwt, internal/mixedload, server/acme, upstream/discover/api, upstream/discover/kubernetes, upstream/health only"},
		{checkConfined, "proxy/a.go", `import "net/http/httputil"`, "net/http/httputil is for admin, bench, filter/jwt, internal/mixedload, server/acme, upstream/discover/api, upstream/discover/kubernetes, upstream/health only"},
		{checkConfined, "proxy/a_test.go", `import "net/http"`, ""},
		{checkConfined, "admin/a.go", `import "net/http"`, ""},
		{checkConfined, "server/a.go", `import "github.com/pawelgaczynski/giouring"`, "giouring is for loop only"},
		{checkConfined, "server/a.go", "import \"syscall\"\nvar _ = syscall.RawSyscall6", "raw system call"},
		{checkConfined, "server/a_test.go", "import \"golang.org/x/sys/unix\"\nvar _ = unix.SyscallNoError", "raw system call"},
		{checkConfined, "server/a.go", "import \"golang.org/x/sys/unix\"\nvar _ = unix.Write", ""},
		{checkConfined, "loop/a.go", "//go:linkname f runtime.f\nfunc f()", "go:linkname"},

		{checkBanned, "buf/a.go", `import "sync"`, "does without: import sync"},
		{checkBanned, "router/a.go", `import "sync/atomic"`, "does without: import sync/atomic"},
		{checkBanned, "proxy/a.go", `import "sync/atomic"`, ""},
		{checkBanned, "proxy/a.go", `import "encoding/json"`, "does without: import encoding/json"},
		{checkBanned, "upstream/resolve/a.go", `import "sync"`, ""},
		{checkBanned, "server/a.go", `import "sync"`, ""},
		{checkBanned, "buf/a_test.go", `import "sync"`, ""},
		{checkBanned, "proto/http1/a.go", "func f() { go f() }", "does without: go statement"},
		{checkBanned, "proxy/a.go", "func f() { defer f() }", "does without: defer"},
		{checkBanned, "proxy/a.go", "var c chan int", "does without: channel"},
		{checkBanned, "proxy/a.go", "func f() { select {} }", "does without: channel"},
		{checkBanned, "proxy/a.go", "func f() { c <- 1 }", "does without: channel"},
		{checkBanned, "proxy/a.go", "func f() { <-c }", "does without: channel"},
		{checkBanned, "proxy/a.go", "var _ = time.Now()", "does without: time.Now"},
		{checkBanned, "proxy/a.go", "var _ = time.Since(x)", "does without: time.Now"},
		{checkBanned, "proxy/a.go", "var _ = time.NewTimer(1)", "does without: timer"},
		{checkBanned, "proxy/a.go", "var d = 2 * time.Second", ""},

		{checkLengths, "buf/a.go", long, "at most 600"},
		{checkLengths, "buf/a.go", "func f() {\n" + body + "}", "f has 72 lines, at most 70"},
		{checkLengths, "buf/a.go", "func f() {\n" + body[:len(body)-10] + "}", ""},
		{checkLengths, "buf/a.go", "func f() {\n\tx := []int{\n" + data + "\t}\n}", ""},
		{checkLengths, "buf/a.go", "func f() {\n\tx := []func(){func() {\n" + body + "}}\n}", "f has 74 lines"},

		{checkMethods, "buf/a.go", "type a int\n" + methods("a", 61), "buf.a has 61 methods, at most 60"},
		{checkMethods, "buf/a.go", "type a[T any] int\n" + methods("a[T]", 61), "buf.a has 61 methods"},
		{checkMethods, "buf/a.go", "type a int\n" + methods("a", 60), ""},
		{checkMethods, "buf/a_test.go", "type a int\n" + methods("a", 61), ""},
		{checkMethods, "loop/a.go", "type Loop int\n" + methods("Loop", methodsOf["loop.Loop"]+1), "make it less"},
		{checkMethods, "loop/a.go", "type Loop int\n" + methods("Loop", methodsOf["loop.Loop"]-1), "falls with them"},

		{checkKinds, "proxy/a.go", "var _ = c.stream != 0", "asks which kind of leg it is"},
		{checkKinds, "proxy/a.go", "func f(stream uint32) { if 0 == (stream) { f(1) } }", "for proxy/leg.go only"},
		{checkKinds, "proxy/a.go", "func f() { switch c.kind { case 1: } }", "asks which kind of leg it is"},
		{checkKinds, "proxy/leg.go", "var _ = c.stream != 0", ""},
		{checkKinds, "proxy/a_test.go", "var _ = c.stream != 0", ""},
		{checkKinds, "proxy/a.go", "var _ = streams.At(c.stream).id != 0", ""},

		{checkNames, "buf/util.go", "", `"util" says nothing`},
		{checkNames, "buf/helpers_test.go", "", `"helpers" says nothing`},
		{checkNames, "internal/common/x/a.go", "", `"common" says nothing`},
		{checkNames, "buf/utility.go", "", ""},

		{checkUnfinished, "buf/a.go", "// TO" + "DO: more", "TO" + "DO"},
		{checkUnfinished, "buf/a_test.go", "/* a\nFIX" + "ME */", "FIX" + "ME"},
		{checkUnfinished, "buf/a.go", "var s = \"TO" + "DO\" // todo lists", ""},

		{checkSkips, "buf/a_test.go", "func f() { t.Skip() }", "what is missing"},
		{checkSkips, "buf/a_test.go", "func f() { t.SkipNow() }", "what is missing"},
		{checkSkips, "buf/a_test.go", "func f() { t.Skip(\"needs root\") }", ""},

		{checkLengthy, "buf/a_test.go", "func TestLengthyF(t *testing.T) { longtest.Need(t) }", ""},
		{checkLengthy, "buf/a_test.go", "func TestLengthyF(t *testing.T) { f() }", "TestLengthyF: a test that takes long"},
		{checkLengthy, "buf/a_test.go", "func TestF(t *testing.T) { longtest.Need(t) }", "TestF: a test that takes long"},
		{checkLengthy, "buf/a_test.go", "func TestF(t *testing.T) { f() }", ""},

		{checkDead, "buf/a.go", "func f() {}", "nothing calls f"},
		{checkDead, "buf/a.go", "type t int\nfunc (t) f() {}", "nothing calls f"},
		{checkDead, "buf/a.go", "func f() {}\nvar _ = f", ""},
		{checkDead, "buf/a.go", "func F() {}", ""},
		{checkDead, "buf/a.go", "func init() {}", ""},
	} {
		tree := parse(t, map[string]string{c.file: "package a\n" + c.text})
		got := withoutStale(c.check(tree))
		if c.want == "" && len(got) == 0 {
			continue
		}
		if c.want == "" || len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s with %.60q: got %q, want %q", c.file, c.text, got, c.want)
		}
	}
}

// withoutStale leaves out the complaints that the exceptions for the real
// files are not needed in an invented tree.
func withoutStale(lines []string) []string {
	var out []string
	for _, line := range lines {
		if !strings.Contains(line, "nothing needs the exception") {
			out = append(out, line)
		}
	}
	return out
}

func parse(t *testing.T, files map[string]string) *tree {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestExceptionsAreNarrowAndNeeded(t *testing.T) {
	e := exceptions[0] // the clock of the loop
	got := checkBanned(parse(t, map[string]string{e.file: "package loop\nvar _ = time.Now()\nfunc f() { go f() }"}))
	stale := 0
	for _, line := range got {
		if strings.Contains(line, "nothing needs the exception") {
			stale++
			if strings.HasPrefix(line, e.file) {
				t.Errorf("it is needed: %s", line)
			}
		} else if !strings.Contains(line, "go statement") {
			t.Errorf("it is excused: %s", line)
		}
	}
	if stale == 0 || stale != len(got)-1 {
		t.Errorf("want the go statement and all the other exceptions, got %q", got)
	}
	for _, e := range exceptions {
		if e.reason == "" || len(e.uses) == 0 {
			t.Errorf("%s: an exception has a reason", e.file)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{map[string]string{"buf/a.go": "// Package buf is.\npackage buf", "buf/b.go": "package buf"}, ""},
		{map[string]string{"buf/a.go": "package buf"}, "no file has a package comment"},
		{map[string]string{"buf/a.go": "// Package buf is.\npackage buf", "buf/b.go": "// Package buf was.\npackage buf"}, "2 package comments"},
		{map[string]string{"buf/a.go": "// Buffers.\npackage buf"}, `must begin "Package buf "`},
		{map[string]string{"cmd/x/a.go": "// Command x runs.\npackage main"}, ""},
		{map[string]string{"cmd/x/a.go": "// Package main runs.\npackage main"}, `must begin "Command x "`},
		{map[string]string{"buf/a_test.go": "package buf"}, ""},
		{map[string]string{"buf/a.go": "//go:build linux\n\n// Package buf is.\npackage buf"}, ""},
	} {
		got := checkPackageDocs(parse(t, c.files))
		if c.want == "" && len(got) == 0 {
			continue
		}
		if c.want == "" || len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%v: got %q, want %q", c.files, got, c.want)
		}
	}
}

func TestBuildTags(t *testing.T) {
	const ring = `import "github.com/pawelgaczynski/giouring"`
	for _, c := range []struct{ text, want string }{
		{"//go:build giouring && linux\n\npackage a\n" + ring, ""},
		{"package a\n" + ring, "imports giouring without"},
		{"//go:build linux\n\npackage a\n" + ring, "imports giouring without"},
		{"//go:build !giouring\n\npackage a\n" + ring, "imports giouring without"},
		{"//go:build giouring || linux\n\npackage a\n" + ring, "imports giouring without"},
		{"//go:build ignore\n\npackage a", "nothing sets the build tag ignore"},
		{"//go:build !(linux || older)\n\npackage a", "nothing sets the build tag older"},
		{"//go:build !assert\n\npackage a", ""},
	} {
		got := checkBuildTags(parse(t, map[string]string{"loop/a.go": c.text}))
		if c.want == "" && len(got) == 0 {
			continue
		}
		if c.want == "" || len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	tree := parse(t, map[string]string{
		"buf/a.go": "package a", ".git/a.go": "junk", "buf/testdata/a.go": "junk", "_old/a.go": "junk",
		"bin/a.go": "junk", "buf/_a.go": "junk", "buf/.a.go": "junk", "buf/a.txt": "junk", "internal/bin/a.go": "package a",
	})
	if len(tree.files) != 2 {
		t.Errorf("%d files", len(tree.files))
	}
	if _, err := load(fstest.MapFS{"a.go": &fstest.MapFile{Data: []byte("junk")}}); err == nil {
		t.Error("a file that is no Go was accepted")
	}
	got := checkConfined(parse(t, map[string]string{"proxy/a.go": "package a\n\nimport \"unsafe\""}))
	if len(got) != 1 || !strings.HasPrefix(got[0], "proxy/a.go:3:") {
		t.Errorf("%q does not begin with its place", got)
	}
}

// A function declared twice behind opposite tags is called from neither.
func TestDeadBehindTags(t *testing.T) {
	files := map[string]string{
		"loop/a.go": "//go:build giouring\n\npackage loop\nfunc f() {}",
		"loop/b.go": "//go:build !giouring\n\npackage loop\nfunc f() {}",
	}
	if got := checkDead(parse(t, files)); len(got) != 2 {
		t.Errorf("%q", got)
	}
	files["loop/c_test.go"] = "package loop\nfunc g() { f() }"
	if got := checkDead(parse(t, files)); len(got) != 2 {
		t.Errorf("a test does not make it live: %q", got)
	}
	files["loop/c.go"] = "package loop\nvar _ = f"
	if got := checkDead(parse(t, files)); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
