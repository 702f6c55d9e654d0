package config

import (
	"strings"
	"testing"
)

func TestLabels(t *testing.T) {
	l := Labels{"version": "v2", "stage": "canary"}
	for _, c := range []struct {
		of   map[string]string
		want bool
	}{
		{nil, false}, {map[string]string{"version": "v2"}, false}, {map[string]string{"version": "v2", "stage": "prod"}, false},
		{map[string]string{"version": "v2", "stage": "canary"}, true}, {map[string]string{"version": "v2", "stage": "canary", "zone": "z"}, true},
	} {
		if got := l.Fit(c.of); got != c.want {
			t.Errorf("%v fits %v: %v", c.of, l, got)
		}
	}
	if !(Labels)(nil).Fit(nil) || (Labels{"a": ""}).Fit(nil) || !(Labels{"a": ""}).Fit(Labels{"a": ""}) {
		t.Error("what is empty does not fit as it should")
	}
	if got := l.String(); got != "stage=canary,version=v2" {
		t.Errorf("as text they are %q", got)
	}
	keys := map[string]Subset{}
	for _, s := range []Subset{{"app", nil}, {"app", Labels{"a": "b"}}, {"app", Labels{"a": "b,c=d"}}, {"app", Labels{"a": "b", "c": "d"}}, {"app", Labels{"a": "b c"}}, {"other", Labels{"a": "b"}}} {
		if other, known := keys[s.Key()]; known {
			t.Errorf("%v and %v have the same key", s, other)
		}
		keys[s.Key()] = s
	}
}

const labelled = listener + `upstreams:
  app: {endpoints: [{address: "10.0.0.1:80", labels: {version: v1}}, {address: "10.0.0.2:80", labels: {version: v2, stage: canary}}, {address: "10.0.0.3:80"}]}
  found: {discover: {file: {path: /run/list}}}
routes:
`

func TestSubsets(t *testing.T) {
	c := mustParse(t, labelled+`
  - {path: /a, upstream: app, subset: {version: v2}, subset_fallback: any}
  - {path: /b, split: [{upstream: app, weight: 9, subset: {version: v1}}, {upstream: app, weight: 1, subset: {version: v2}, subset_fallback: none}, {upstream: app, weight: 1}]}
  - {path: /c, upstream: found, subset: {any: thing}}
`)
	if r := c.Routes[0]; r.Subset.String() != "version=v2" || r.SubsetFallback != "any" || len(r.Subsets()) != 1 {
		t.Errorf("the first route is %+v", r)
	}
	if got := c.Routes[1].Subsets(); len(got) != 3 || got[0].Labels.String() != "version=v1" || got[2].Labels != nil {
		t.Errorf("the second route goes to %+v", got)
	}
	part := c.Upstreams[0].Part(c.Routes[0].Subset)
	if len(part.Endpoints) != 1 || part.Endpoints[0].Address != "10.0.0.2:80" || len(c.Upstreams[0].Endpoints) != 3 {
		t.Errorf("the subset has %+v", part.Endpoints)
	}
}

func TestSubsetErrors(t *testing.T) {
	for route, want := range map[string]string{
		"{path: /a, upstream: app, subset: {version: v3}}":                                   `routes[0].subset: found "version=v3", expected labels that an endpoint of app has: version=v1, stage=canary,version=v2`,
		"{path: /a, upstream: app, subset: {version: v1, stage: canary}}":                    `routes[0].subset: found "stage=canary,version=v1", expected labels that an endpoint of app has`,
		"{path: /a, upstream: app, subset: {version: 2}}":                                    `routes[0].subset.version: found 2, expected a label's value: at most 128 bytes of text in one line (text that looks like something else needs quotes: "2")`,
		"{path: /a, upstream: app, subset: {}}":                                              `routes[0].subset: found a mapping of 0, expected a mapping of 1 to 16 labels`,
		"{path: /a, upstream: app, subset: v2}":                                              `routes[0].subset: found "v2", expected a mapping of 1 to 16 labels`,
		"{path: /a, upstream: app, subset: {\"a b\": c}}":                                    `expected a label's name: letters, digits, and ._/-, at most 128`,
		"{path: /a, upstream: app, subset: {a: \"b\\nc\"}}":                                  `expected a label's value`,
		"{path: /a, upstream: app, subset_fallback: any}":                                    `routes[0].subset_fallback: found "any", expected subset beside it`,
		"{path: /a, subset: {version: v1}, respond: {status: 200}}":                          `routes[0].subset: found a subset, expected an upstream beside it`,
		"{path: /a, split: [{upstream: app, weight: 1, subset: {version: v9}}]}":             `routes[0].split[0].subset: found "version=v9"`,
		"{path: /a, split: [{upstream: app, weight: 1}, {upstream: app, weight: 1}]}":        `routes[0].split[1].upstream: found "app" a second time, expected each upstream once, or each subset of it`,
		"{path: /a, upstream: app, subset: {version: v1}, subset_fallback: all}":             `routes[0].subset_fallback: found "all", expected one of any, none`,
		"{path: /a, upstream: app, subset: {version: v1, version: v2}}":                      `the key a second time`,
		"{path: /a, upstream: app, subset: {" + strings.Repeat("x", 129) + ": a}}":           `expected a label's name`,
		"{path: /a, upstream: app, subset: {version: \"" + strings.Repeat("x", 129) + "\"}}": `expected a label's value`,
	} {
		_, err := Parse("f", []byte(labelled+"  - "+route+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", route, err, want)
		}
	}
}
