package server

import (
	"strings"
	"testing"

	"zproxy/config"
)

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("c.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const changing = `
listeners: [{address: "127.0.0.1:80"}, {address: "127.0.0.1:81"}]
upstreams: {a: {endpoints: [{address: "127.0.0.1:90"}]}, b: {endpoints: [{address: "127.0.0.1:91"}]}}
routes:
- {path: /a, upstream: a}
- {path: /a, methods: [GET, HEAD], upstream: b}
- {path: /b, host: b.test, listener: "127.0.0.1:81", upstream: b}
limits: {headers: 90}
buffers: {max_per_loop: 64MiB}
`

func TestDifference(t *testing.T) {
	for _, c := range []struct{ replace, by, want string }{
		{"limits", "limits", "nothing is different\n"},
		{"/a, upstream: a}", "/a, upstream: b}", "routes: changed /a\n"},
		{"[GET, HEAD]", "[GET]", "routes: added GET /a; removed GET,HEAD /a\n"},
		{"host: b.test, ", "", "routes: added /b on 127.0.0.1:81; removed b.test/b on 127.0.0.1:81\n"},
		{`, {address: "127.0.0.1:81"}`, `, {address: "127.0.0.1:81", interim: drop}`, "listeners: changed 127.0.0.1:81\n"},
		{`[{address: "127.0.0.1:80"}, {`, `[{address: "127.0.0.1:82"}, {`, "listeners: added 127.0.0.1:82; removed 127.0.0.1:80\n"},
		{"127.0.0.1:90", "127.0.0.1:92", "upstreams: changed a\n"},
		{"headers: 90}\nbuffers: {max_per_loop: 64MiB}", "headers: 91}\nbuffers: {max_per_loop: 32MiB}", "sections: changed buffers, limits\n"},
		{"limits", strings.Repeat("- {path: /PATH, upstream: b}\n", 6) + "limits", "routes: added 6\n"},
	} {
		text := strings.Replace(changing, c.replace, c.by, 1)
		for i := 0; strings.Contains(text, "PATH"); i++ {
			text = strings.Replace(text, "PATH", string(rune('A'+i)), 1)
		}
		d := Difference(parsed(t, changing), parsed(t, text))
		if got := d.String(); got != c.want {
			t.Errorf("%s for %s: %q, want %q", c.by, c.replace, got, c.want)
		}
		if restart := strings.Contains(c.by, "32MiB"); restart != (len(d.Restart) > 0) {
			t.Errorf("%s for %s: restart for %v", c.by, c.replace, d.Restart)
		}
	}
}
