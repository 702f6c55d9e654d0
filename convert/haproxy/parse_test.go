package haproxy

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// Texts behind a word that takes one argument, and the words they have by HAProxy's rules; nil: HAProxy refuses them.
var wordings = []struct {
	text  string
	words []string
}{
	{`a`, []string{"a"}},
	{`"a b"`, []string{"a b"}},
	{`'a "b"'`, []string{`a "b"`}},
	{`a"b c"'d e'f`, []string{"ab cd ef"}},
	{`a\ b`, []string{"a b"}},
	{`a\#b # c`, []string{"a#b"}},
	{`a\tb\x41`, []string{"a\tbA"}},
	{`a\1b`, []string{`a\1b`}},
	{`"a\"b\$c\'"`, []string{`a"b$c'`}},
	{`a\$b`, []string{`a\$b`}},
	{`a$NAME`, []string{"a$NAME"}},
	{`"a$NAME.b"`, []string{"aone.b"}},
	{`"a${NAME}b"`, []string{"aoneb"}},
	{`"a${NONE-two}b"`, []string{"atwob"}},
	{`'a$NAME'`, []string{"a$NAME"}},
	{`"a`, nil},
	{`'a`, nil},
	{`a\x4`, nil},
	{`"a${NAME"`, nil},
	{`"$"`, nil},
}

func TestWords(t *testing.T) {
	env := func(name string) (string, bool) {
		if name == "NAME" {
			return "one", true
		}
		return "", false
	}
	for _, tc := range wordings {
		words, err := split(tc.text, env)
		if (err == nil) != (tc.words != nil) || !slices.Equal(words, tc.words) {
			t.Errorf("%s: %q, %v, want %q", tc.text, words, err, tc.words)
		}
	}
}

// HAProxy itself takes and refuses the same.
func TestWordsAsHAProxyHasThem(t *testing.T) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("haproxy is missing: apt-get install -y haproxy")
	}
	dir := t.TempDir()
	for _, tc := range wordings {
		file := filepath.Join(dir, "haproxy.cfg")
		text := "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nfrontend f\n bind unix@" + dir + "/s\n http-request return status 200 content-type text/plain string " + tc.text + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("haproxy", "-c", "-f", file)
		cmd.Env = append(os.Environ(), "NAME=one")
		out, err := cmd.CombinedOutput()
		if (err == nil) != (tc.words != nil) {
			t.Errorf("%s: HAProxy says %v, want that it is fine: %v\n%s", tc.text, err, tc.words != nil, out)
		}
	}
}

func TestSections(t *testing.T) {
	p := newParser(func(string) (string, bool) { return "", false })
	if err := p.file("f", "global\n setenv A b\n presetenv A c\ndefaults d\n mode http\nfrontend x from d\n no option forwardfor\n bind \"$A\":80 # c\n"); err != nil {
		t.Fatal(err)
	}
	s := p.current()
	if len(p.sections) != 3 || s.kind != "frontend" || s.name != "x" || s.from != "d" || len(s.lines) != 2 {
		t.Fatalf("%d sections, the last one %+v", len(p.sections), s)
	}
	if l := s.lines[0]; !l.no || l.words[0] != "option" {
		t.Errorf("%+v", l)
	}
	if l := s.lines[1]; l.word(1) != "b:80" || l.at.Number != 8 {
		t.Errorf("%+v", l)
	}
	if err := newParser(os.LookupEnv).file("f", "mode http"); err == nil {
		t.Error("a line outside of sections is taken")
	}
}

// Whatever is in a file, it is translated or refused, and the translation is a file.
func FuzzTranslate(f *testing.F) {
	f.Add("defaults\n mode http\n timeout client 3s\nfrontend a\n bind :80\n bind :443 ssl crt /c alpn h2\n acl x path_beg /a /b\n acl y hdr(host) -i h\n use_backend b if x !y or { method POST }\n http-request redirect scheme https if !{ ssl_fc }\nbackend b\n balance source\n option httpchk GET /h\n server s 127.0.0.1:1 check weight 3\n")
	f.Add("listen a\n mode http\n bind unix@/s\n monitor-uri /m\n server-template s 3 _h._tcp.x:80 check\n cookie C insert\n retry-on all-retryable-errors\n")
	for _, tc := range wordings {
		f.Add("listen a\n mode http\n bind :80\n http-request return status 200 string " + tc.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := newParser(func(string) (string, bool) { return "", false })
		if p.file("f", text) != nil {
			return
		}
		if _, err := translate(p.sections).Bytes("title"); err != nil {
			t.Errorf("%v: %q", err, text)
		}
	})
}
