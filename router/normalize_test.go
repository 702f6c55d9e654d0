package router

import (
	"bytes"
	"strings"
	"testing"
)

func TestNormalize(t *testing.T) {
	for _, c := range []struct{ in, want string }{ // want "": refused
		{"/", "/"},
		{"/a/b.c/..d/e..", "/a/b.c/..d/e.."},
		{"//a//", "//a//"},
		{"/%61%2D%7e", "/a-~"},
		{"/%2f%3f", "/%2F%3F"},
		{"/%2561", "/%2561"},
		{"/a%20b", "/a%20b"},
		{"/caf\xc3\xa9|", "/caf%C3%A9%7C"},
		{"/.", "/"},
		{"/./", "/"},
		{"/a/./b/../c", "/a/c"},
		{"/a/%2e%2E/b", "/b"},
		{"/a/.", "/a/"},
		{"/a/b/..", "/a/"},
		{"/a/..", "/"},
		{"/a/...", "/a/..."},
		{"/a;x=1/../b", "/b"},
		{"", ""},
		{"*", ""},
		{"a/b", ""},
		{"/..", ""},
		{"/a/../..", ""},
		{"/%2e%2e", ""},
		{"/a//../b", ""},
		{"/;x/../b", ""},
		{"/a%2fb/../c", ""},
		{"/..%2fa", ""},
		{"/a%2F..%2Fb", ""},
		{"/a%5C..", ""},
		{"/a\\..\\b", ""},
		{"/a/..;/b", ""},
		{"/a/.;x/b", ""},
		{"/a/..%3bx/b", ""},
		{"/%", ""},
		{"/%4", ""},
		{"/%4g", ""},
		{"/%00", ""},
		{"/a b", ""},
		{"/a\x00", ""},
		{"/a?b", ""},
		{"/a#b", ""},
	} {
		norm, changed, ok := Normalize([]byte(c.in), nil)
		if ok != (c.want != "") || string(norm) != c.want || changed != (ok && c.in != c.want) {
			t.Errorf("Normalize(%q) = %q, %v, %v; want %q", c.in, norm, changed, ok, c.want)
		}
	}
}

// What is given back when nothing changes is the path itself, and otherwise dst's storage.
func TestNormalizeStorage(t *testing.T) {
	dst := make([]byte, 64)
	path := []byte("/plain/path.html")
	if norm, _, _ := Normalize(path, dst); &norm[0] != &path[0] {
		t.Error("a path that is normal was copied")
	}
	same := []byte("/has/%2F/an/escape")
	if norm, changed, _ := Normalize(same, dst); &norm[0] != &same[0] || changed {
		t.Error("a path that is normal with an escape was not given back itself")
	}
	if norm, _, _ := Normalize([]byte("/%41"), dst); &norm[0] != &dst[0] {
		t.Error("dst was not used")
	}
	worst := bytes.Repeat([]byte("|"), 100)
	worst[0] = '/'
	if norm, _, ok := Normalize(worst, nil); !ok || len(norm) > NormalizedBound(len(worst)) {
		t.Errorf("%d bytes from %d, more than NormalizedBound", len(norm), len(worst))
	}
}

// An origin's way to understand a path: what it sees just before it resolves dot segments, and whether it takes
// several slashes for one.
type origin struct {
	see    func(path string) string
	merges bool
}

func (o origin) read(path string) (resolved string, escapes bool) {
	return resolve(o.see(path), o.merges)
}

// origins read the path in the ways that servers are known to. All of them take unreserved characters for what they
// are, escaped or not.
var origins = map[string]origin{
	"follows RFC 3986":                      {func(p string) string { return decode(p, isUnreserved) }, false},
	"decodes":                               {func(p string) string { return decode(p, all) }, false},
	"decodes and merges slashes":            {func(p string) string { return decode(p, all) }, true},
	"decodes and takes backslash for slash": {slashes, true},
	"drops parameters and decodes":          {func(p string) string { return decode(dropParameters(p), all) }, true},
	"decodes and drops parameters":          {func(p string) string { return dropParameters(slashes(p)) }, true},
}

func slashes(p string) string { return strings.ReplaceAll(decode(p, all), "\\", "/") }

func all(byte) bool { return true }

func decode(p string, which func(byte) bool) string {
	var out []byte
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) && unhex(p[i+1]) < 16 && unhex(p[i+2]) < 16 {
			if c := unhex(p[i+1])<<4 | unhex(p[i+2]); which(c) {
				out = append(out, c)
			} else {
				out = append(out, strings.ToUpper(p[i:i+3])...)
			}
			i += 2
			continue
		}
		if p[i] >= 0x80 || strings.IndexByte("\"<>[]\\^`{|}", p[i]) >= 0 {
			if which(p[i]) {
				out = append(out, p[i])
			} else {
				out = appendEscape(out, p[i])
			}
			continue
		}
		out = append(out, p[i])
	}
	return string(out)
}

func dropParameters(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

func resolve(p string, merge bool) (string, bool) {
	var out []string
	segments := strings.Split(p, "/")[1:]
	escapes := false
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == ".":
		case s == "..":
			if len(out) == 0 {
				escapes = true
			} else {
				out = out[:len(out)-1]
			}
		case s == "" && merge && !last:
			continue
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/"), escapes
}

func checkNormalize(t *testing.T, path []byte) {
	given := string(path)
	norm, changed, ok := Normalize(path, make([]byte, 0, 8))
	if string(path) != given {
		t.Fatalf("Normalize wrote into its input %q", given)
	}
	if !ok {
		return
	}
	if changed == (string(norm) == given) {
		t.Fatalf("Normalize(%q) = %q, changed %v", given, norm, changed)
	}
	if len(norm) > NormalizedBound(len(path)) {
		t.Fatalf("Normalize(%q) = %q is longer than the bound", given, norm)
	}
	if again, changed, ok := Normalize(norm, nil); !ok || changed || string(again) != string(norm) {
		t.Fatalf("Normalize(%q) = %q, and that gives %q, %v, %v", given, norm, again, changed, ok)
	}
	for name, o := range origins {
		want, escapes := o.read(given)
		if escapes {
			t.Fatalf("Normalize(%q) = %q, but an origin that %s leaves its root", given, norm, name)
		}
		if got, _ := o.read(string(norm)); got != want {
			t.Fatalf("Normalize(%q) = %q: an origin that %s reads %q instead of %q", given, norm, name, got, want)
		}
		if seen := o.see(string(norm)) + "/"; strings.Contains(seen, "/./") || strings.Contains(seen, "/../") {
			t.Fatalf("Normalize(%q) = %q: an origin that %s finds a dot segment", given, norm, name)
		}
	}
}

// Every path of up to eight pieces out of those that matter to the rules.
func TestNormalizeMeansOneThing(t *testing.T) {
	pieces := []string{"/", ".", "a", "%2e", "%2F", ";", "\\"}
	depth := 7
	if testing.Short() {
		depth = 5
	}
	var build func(path []byte, left int)
	build = func(path []byte, left int) {
		checkNormalize(t, path)
		if left == 0 {
			return
		}
		for _, p := range pieces {
			build(append(path[:len(path):len(path)], p...), left-1)
		}
	}
	build([]byte("/"), depth-1)
}

func FuzzNormalize(f *testing.F) {
	for _, p := range []string{"/", "/a/../b", "/%2e%2e/%2f", "/..;/x", "/a%5c..", "//../", "/a;b/..", "/%3b/..",
		"/\xff\\|%7C", "/a/b/c/../../d/."} {
		f.Add([]byte(p))
	}
	f.Fuzz(checkNormalize)
}
