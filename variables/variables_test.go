package variables

import (
	"net/url"
	"strings"
	"testing"
)

func values() *Values {
	v := &Values{}
	for n, s := range map[Name]string{Scheme: "http", Host: "a.example", Path: "/x/42", Query: "q=1&r=2", ClientIP: "192.0.2.1", RequestID: "00ff"} {
		v.Of[n] = []byte(s)
	}
	v.Params[0], v.Params[1] = []byte("x"), []byte("42")
	return v
}

func TestAppendURL(t *testing.T) {
	for _, c := range []struct {
		text   string
		change func(v *Values)
		want   string
	}{
		{"/plain", nil, "/plain"},
		{"https://{host}{path}?{query}", nil, "https://a.example/x/42?q=1&r=2"},
		{"https://{host}{path}?{query}", func(v *Values) { v.Of[Query] = nil }, "https://a.example/x/42"},
		{"/new?a=b&{query}", func(v *Values) { v.Of[Query] = nil }, "/new?a=b"},
		{"/new?{query}&a=b", func(v *Values) { v.Of[Query] = nil }, "/new&a=b"},
		{"{scheme}://www.{host}/{path.b}/{path.a}", nil, "http://www.a.example/42/x"},
		{"/from/{client_ip}/{request_id}", nil, "/from/192.0.2.1/00ff"},
		{"{path}", func(v *Values) { v.Of[Path] = []byte("//evil.example/") }, "/.//evil.example/"},
		{"/{path.a}", func(v *Values) { v.Params[0] = []byte("/evil.example") }, "/.//evil.example"},
		{"//cdn.example{path}", nil, "//cdn.example/x/42"},
		{"{path}", func(v *Values) { v.Of[Path] = []byte(`/\evil.example`) }, "/%5Cevil.example"},
		{"/{path.a}", func(v *Values) { v.Params[0] = []byte("a\r\nSet-Cookie: b\x00\x7f \xe9#%20") }, "/a%0D%0ASet-Cookie:%20b%00%7F%20%E9%23%20"},
	} {
		tpl, err := Parse(c.text, []string{"a", "b"})
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		v := values()
		if c.change != nil {
			c.change(v)
		}
		if got := string(tpl.AppendURL([]byte("before "), v)); got != "before "+c.want {
			t.Errorf("%s gives %q, want %q", c.text, got, c.want)
		}
		if tpl.Constant() != !strings.Contains(c.text, "{") || tpl.Uses(Host) != strings.Contains(c.text, "{host}") {
			t.Errorf("%s: constant %v, uses host %v", c.text, tpl.Constant(), tpl.Uses(Host))
		}
	}
}

func TestParseErrors(t *testing.T) {
	const known = "one of {scheme}, {host}, {path}, {query}, {client_ip}, {request_id}, {path.id}"
	for _, c := range []struct {
		text   string
		offset int
		found  string
		want   string
	}{
		{"/{hots}", 1, "{hots}", known},
		{"/{path.other}", 1, "{path.other}", known},
		{"/{Host}", 1, "{Host}", known},
		{"/{host", 1, "{host", wantBraces},
		{"/a{}", 2, "{}", wantBraces},
		{"/a}b", 2, "}", wantBraces},
		{"/{{host}}", 1, "{{", wantBraces},
		{"/{a b}", 1, "{a ", wantBraces},
	} {
		if _, err := Parse(c.text, []string{"id"}); err == nil || *err != (Error{c.offset, c.found, c.want}) {
			t.Errorf("%s: %+v, want %q at %d, expected %s", c.text, err, c.found, c.offset, c.want)
		}
	}
}

func TestAppendURLAllocatesNothing(t *testing.T) {
	tpl, _ := Parse("https://{host}{path}?{query}&id={path.a}", []string{"a"})
	v, dst := values(), make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { dst = tpl.AppendURL(dst[:0], v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever a client sends, the reference stays one line, and where the text names
// a host it is that host.
func FuzzAppendURL(f *testing.F) {
	f.Add("/x", "q", "p")
	f.Add("//evil.example", "\r\n\r\n", "/")
	f.Add("/%zz", "?#", "@evil.example")
	f.Fuzz(func(t *testing.T, path, query, param string) {
		if !strings.HasPrefix(path, "/") {
			t.Skip("no path of a request")
		}
		v := values()
		v.Of[Path], v.Of[Query], v.Params[0] = []byte(path), []byte(query), []byte(param)
		for _, text := range []string{"{path}?{query}", "/{path.a}", "https://host.example{path}?{query}", "https://host.example/{path.a}/{path.a}?{query}"} {
			tpl, err := Parse(text, []string{"a"})
			if err != nil {
				t.Fatal(err)
			}
			got := string(tpl.AppendURL(nil, v))
			for i := range len(got) {
				if got[i] <= ' ' || got[i] >= 0x7f || got[i] == '\\' || got[i] == '#' {
					t.Fatalf("%s gives %q", text, got)
				}
			}
			host := ""
			if strings.HasPrefix(text, "https") {
				host = "host.example"
			}
			if u, err := url.Parse(got); err == nil && u.Host != host {
				t.Fatalf("%s gives %q, a reference to host %q", text, got, u.Host)
			}
		}
	})
}
