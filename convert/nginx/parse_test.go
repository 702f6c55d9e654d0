package nginx

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// memory is files in memory.
type memory map[string]string

func (m memory) read(name string) ([]byte, error) {
	text, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func (m memory) glob(pattern string) (names []string, err error) {
	for name := range m {
		ok, err := path.Match(pattern, name)
		if err != nil {
			return nil, err
		}
		if ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Texts, and the words they have by nginx's rules; nil: nginx refuses them.
var wordings = []struct {
	text  string
	words []string
}{
	{`set $x a;`, []string{"$x", "a"}},
	{`set $x "a b";`, []string{"$x", "a b"}},
	{`set $x 'a "b"';`, []string{"$x", `a "b"`}},
	{`set $x "a\"b\\c\td\.e";`, []string{"$x", "a\"b\\c\td\\.e"}},
	{`set $x a\;b\ c;`, []string{"$x", `a\;b\ c`}},
	{`set $x a"b"c;`, []string{"$x", `a"b"c`}},
	{`set $x a#b;`, []string{"$x", "a#b"}},
	{"set $x # comment; }\n a;", []string{"$x", "a"}},
	{`set $x ${y}z;`, []string{"$x", "${y}z"}},
	{`set $x a}b;`, []string{"$x", "a}b"}},
	{`set $x "a""b";`, nil},
	{`set $x "a"b;`, nil},
	{`set $x a`, nil},
	{`set $x "a;`, nil},
	{`set $x };`, nil},
	{`;`, nil},
	{`{ }`, nil},
}

func TestWords(t *testing.T) {
	for _, tc := range wordings {
		list, err := parse(memory{"/f": "server {\n" + tc.text + "\n}"}, "/f")
		switch {
		case tc.words == nil:
			if err == nil {
				t.Errorf("%s: %q, want an error", tc.text, list[0].block[0].args)
			}
		case err != nil:
			t.Errorf("%s: %v", tc.text, err)
		case !slices.Equal(list[0].block[0].args, tc.words):
			t.Errorf("%s: %q, want %q", tc.text, list[0].block[0].args, tc.words)
		}
	}
}

// nginx itself takes and refuses the same.
func TestWordsAsNginxHasThem(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("nginx is missing: apt-get install -y nginx-core")
	}
	dir := t.TempDir()
	for _, tc := range wordings {
		file := filepath.Join(dir, "nginx.conf")
		text := "pid " + dir + "/pid; error_log stderr; events {} http { access_log off; server { listen unix:" + dir + "/s; set $y y;\n" + tc.text + "\n} }"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("nginx", "-t", "-c", file, "-p", dir).CombinedOutput()
		if (err == nil) != (tc.words != nil) {
			t.Errorf("%s: nginx says %v, want that it is fine: %v\n%s", tc.text, err, tc.words != nil, out)
		}
	}
}

func TestIncludes(t *testing.T) {
	list, err := parse(memory{"/etc/nginx.conf": "include conf.d/*.conf; include none/*.conf; z;", "/etc/conf.d/a.conf": "a 1;", "/etc/conf.d/b.conf": "b {\nc;\n}\n"}, "/etc/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range list {
		names = append(names, d.name)
	}
	if got := strings.Join(names, " "); got != "a b z" || list[1].block[0].line.String() != "/etc/conf.d/b.conf:2: c;" {
		t.Errorf("%s, %v", got, list[1].block[0].line)
	}
	if _, err := parse(memory{"/f": "include f;"}, "/f"); err == nil {
		t.Error("a file that includes itself is read for ever")
	}
	if _, err := parse(memory{"/f": "include g;"}, "/f"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Whatever is in a file, it is translated or refused, and the translation is a file.
func FuzzTranslate(f *testing.F) {
	f.Add("http { upstream u { server a weight=3; server b:1 backup; hash $cookie_x consistent; } server { listen 80; listen 443 ssl; server_name a *.b; location ~ ^/(a|b)/(.*)$ { proxy_pass http://u; } location = /x { return 301 https://$host$request_uri; } rewrite ^/o/(.*)$ /n/$1 permanent; if ($host = a) { return 404; } } }")
	f.Add("http { split_clients $x $v { 5% a; * b; } server { location /a/ { proxy_pass https://$v; limit_except GET { deny all; } try_files $uri @n; } location @n { grpc_pass grpcs://z; } error_page 502 /e.html; root /r; log_format f '$status {'; access_log /l f; } }")
	for _, tc := range wordings {
		f.Add(tc.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := translate(memory{"/f": text}, "/f")
		if err != nil {
			return
		}
		if _, err := doc.Bytes("title"); err != nil {
			t.Errorf("%v: %q", err, text)
		}
	})
}
