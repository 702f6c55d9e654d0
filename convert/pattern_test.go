package convert

import (
	"slices"
	"testing"
)

func TestExpression(t *testing.T) {
	for _, tc := range []struct {
		text  string
		paths []string // nil: no paths of routes say the same
		group string   // what $1 stands for
		loose bool
	}{
		{"^/api/", []string{"/api/*"}, "", false},
		{"^/api", []string{"/api", "/api/*"}, "", true},
		{"^/api$", []string{"/api"}, "", false},
		{"^/(a|bc)/", []string{"/a/*", "/bc/*"}, "", false},
		{"^/(a|b)$", []string{"/a", "/b"}, "", false},
		{"^/old/(.*)$", []string{"/old/*p1"}, "{path.p1}", false},
		{"^/u/([^/]+)/x$", []string{"/u/:p1/x"}, "{path.p1}", false},
		{"^/u/[0-9]+$", []string{"/u/:p1"}, "", true},
		{"^(.*)$", []string{"/*"}, "{path}", false},
		{"^/a/?$", []string{"/a", "/a/"}, "", false},
		{"(?i)^/Api/", []string{"/Api/*"}, "", true},
		{"/api/", nil, "", false},
		{`\.php$`, nil, "", false},
		{"^/a.c$", nil, "", false},
		{"^/u/x[0-9]+$", nil, "", false},
		{"^/[a-z]{3}", nil, "", false},
		{"^/a$b", nil, "", false},
		{"^/(", nil, "", false},
	} {
		m, ok := Expression(tc.text)
		if ok != (tc.paths != nil) {
			t.Errorf("%s: %v, want that it has paths: %v", tc.text, ok, tc.paths != nil)
			continue
		}
		if ok && (!slices.Equal(m.Paths, tc.paths) || m.Groups["1"] != tc.group || m.Loose != tc.loose) {
			t.Errorf("%s: %q, $1 %q, loose %v, want %q, %q, %v", tc.text, m.Paths, m.Groups["1"], m.Loose, tc.paths, tc.group, tc.loose)
		}
	}
}
