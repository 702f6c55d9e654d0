package vmtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program is one thing that init runs.
type program struct {
	Name string
	Path string
	Args []string
}

// plan is what a guest is told, as the file /plan.
type plan struct {
	Machine  machine
	Modules  []string // files to load, in this order
	Programs []program
	LimitSec int // after which the guest powers off, whatever has come of it
}

// images builds the programs of the guests once, and an image for each.
type images struct {
	dir    string
	kernel string // what the guests boot
	built  map[string]bool
}

// program builds what it is not there yet and gives its path. All are static:
// a guest has no libraries.
func (im *images) program(t *testing.T, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(im.dir, name)
	if im.built[name] {
		return path
	}
	build := exec.Command("go", append(args[:1:1], append([]string{
		"-tags", "giouring", "-ldflags=-checklinkname=0 -s -w", "-o", path}, args[1:]...)...)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(build.Args, " "), err, out)
	}
	im.built[name] = true
	return path
}

// archive writes the initramfs for m and gives its path.
func (im *images) archive(t *testing.T, m *machine) string {
	t.Helper()
	p := plan{Machine: *m, LimitSec: int(guestLimit.Seconds())}
	var a archive
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "modules"} {
		a.directory(dir)
	}
	for _, c := range m.Cards {
		for _, name := range drivers[c.Driver].modules {
			from := im.module(t, name)
			file := "modules/" + filepath.Base(from)
			a.file(t, file, from)
			p.Modules = append(p.Modules, "/"+file)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(m.Tests)) {
		a.file(t, pkg+".test", im.program(t, pkg+".test", "test", "-c", "zproxy/"+pkg))
		args := append([]string{"-test.v"}, m.Tests[pkg]...)
		p.Programs = append(p.Programs, program{pkg, "/" + pkg + ".test", args})
	}
	// init is a test binary, and of all test binaries this one.
	a.file(t, "init", im.program(t, "init", "test", "-c", "zproxy/internal/vmtest"))
	if m.Tests == nil {
		a.file(t, "zproxy", im.program(t, "zproxy", "build", "zproxy/cmd/zproxy"))
		p.Programs = []program{{"guest", "/init", []string{"-test.v", "-test.run", "^TestGuest$"}}}
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	a.entry("plan", 0o100644, text)
	path := filepath.Join(im.dir, m.Name+".cpio")
	if err := os.WriteFile(path, a.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// module finds a module in the package that the kernel is from.
func (im *images) module(t *testing.T, name string) string {
	t.Helper()
	boot, version := filepath.Split(im.kernel)
	version = strings.TrimPrefix(version, "vmlinuz-")
	for _, lib := range []string{"../lib", "../usr/lib"} {
		found, _ := filepath.Glob(filepath.Join(boot, lib, "modules", version, "kernel", name+".ko*"))
		if len(found) == 1 {
			return found[0]
		}
	}
	t.Fatalf("%s has no module %s: remove it, and scripts/dev/vm gets it again", filepath.Dir(filepath.Clean(boot)), name)
	return ""
}

// archive is a cpio archive in the format the kernel takes as its first file
// system: "newc", a header of hexadecimal numbers, name and content, each
// padded to 4 bytes.
type archive struct {
	b     bytes.Buffer
	inode int
}

func (a *archive) entry(name string, mode int, content []byte) {
	a.inode++
	numbers := []int{a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0}
	a.b.WriteString("070701")
	for _, n := range numbers {
		fmt.Fprintf(&a.b, "%08X", n)
	}
	a.b.WriteString(name + "\x00")
	a.pad()
	a.b.Write(content)
	a.pad()
}

func (a *archive) pad() { a.b.Write(make([]byte, -a.b.Len()&3)) }

func (a *archive) directory(name string) { a.entry(name, 0o040755, nil) }

func (a *archive) file(t *testing.T, name, from string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	a.entry(name, 0o100755, content)
}

func (a *archive) bytes() []byte {
	a.entry("TRAILER!!!", 0, nil)
	return slices.Clone(a.b.Bytes())
}
