package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestAuthenticationFilters(t *testing.T) {
	for _, c := range []struct{ filter, wrong string }{
		{"basic_auth: {file: users}", ""},
		{"basic_auth: {file: users, realm: Staff only, user_header: X-User, forward: true, keep: 0, workers: 2, max_waiting: 5}", ""},
		{"basic_auth: {}", "filters[0].basic_auth.file: found nothing, expected"},
		{`basic_auth: {file: users, realm: 'a"b'}`, `basic_auth.realm: found "a\"b", expected ASCII without quotes`},
		{"basic_auth: {file: users, realm: 'a\u00e9'}", "basic_auth.realm: found"},
		{"basic_auth: {file: users, user_header: Host}", "basic_auth.user_header: found"},
		{"basic_auth: {file: users, user_header: X-*}", "basic_auth.user_header: found"},
		{"basic_auth: {file: users, user_header: 'X: y'}", "basic_auth.user_header: found"},
		{"basic_auth: {file: users, workers: 0}", "basic_auth.workers: found"},
		{"api_key: {file: keys}", ""},
		{"api_key: {file: keys, from: [bearer, 'header:X-Key', 'cookie:key', 'query:key']}", ""},
		{"api_key: {file: keys, from: [body]}", `api_key.from[0]: found "body", expected bearer, header:NAME, cookie:NAME or query:NAME`},
		{"api_key: {file: keys, from: ['query:a=b']}", "api_key.from[0]: found"},
		{"api_key: {file: keys, from: ['header:Host']}", "api_key.from[0]: found"},
		{"jwt: {key_file: k, algorithms: [RS256]}", ""},
		{"jwt: {secret_file: k, algorithms: [HS256, HS512]}", ""},
		{"jwt: {url: 'https://id.example/keys', algorithms: [ES256], require: [scope=a, tenant], claims: [X-User=sub, X-Roles=a.b]}", ""},
		{"jwt: {url: 'http://127.0.0.1:1/keys', algorithms: [ES256]}", ""},
		{"jwt: {algorithms: [RS256]}", "exactly one of key_file, secret_file and url"},
		{"jwt: {key_file: k, secret_file: k, algorithms: [RS256]}", "exactly one of key_file, secret_file and url"},
		{"jwt: {key_file: k}", "jwt.algorithms: found nothing"},
		{"jwt: {key_file: k, algorithms: [none]}", "jwt.algorithms[0]: found"},
		{"jwt: {key_file: k, algorithms: [RS256, HS256]}", `jwt.algorithms: found "HS256" beside others`},
		{"jwt: {url: 'https://id.example/keys', algorithms: [HS256]}", `jwt.algorithms: found "HS256" with url`},
		{"jwt: {secret_file: k, algorithms: [RS256]}", "expected HS256, HS384 or HS512"},
		{"jwt: {url: 'http://id.example/keys', algorithms: [RS256]}", "lets in whom he likes"},
		{"jwt: {url: 'https://u:p@id.example/keys', algorithms: [RS256]}", "jwt.url: found"},
		{"jwt: {key_file: k, algorithms: [RS256], claims: [sub]}", "jwt.claims[0]: found"},
		{"jwt: {key_file: k, algorithms: [RS256], claims: ['Host=sub']}", "jwt.claims[0]: found"},
		{"jwt: {key_file: k, algorithms: [RS256], require: ['=a']}", "jwt.require[0]: found"},
		{"forward_auth: {upstream: app}", ""},
		{"forward_auth: {upstream: app, path: '/a?b', send: [Cookie], take: [X-User], user_header: X-User, keep: 5s, keep_by: ['header:Cookie', path]}", ""},
		{"forward_auth: {upstream: none}", `forward_auth.upstream: found "none", expected the name of an upstream`},
		{"forward_auth: {upstream: two}", "expected an upstream of protocol http1"},
		{"forward_auth: {upstream: app, keep: 5s}", "expected both keep and keep_by, or neither"},
		{"forward_auth: {upstream: app, keep_by: [path]}", "expected both keep and keep_by, or neither"},
		{"forward_auth: {upstream: app, keep: 5s, keep_by: ['cookie:a']}", "forward_auth.keep_by[0]: found"},
		{"forward_auth: {upstream: app, path: 'a b'}", "forward_auth.path: found"},
	} {
		text := `listeners: [{address: "127.0.0.1:80"}]
upstreams: {app: {endpoints: [{address: "h:1"}]}, two: {protocol: h2c, endpoints: [{address: "h:1"}]}}
routes: [{path: /, upstream: app}, {path: /two, upstream: two}]
filters: [{` + c.filter + "}]\n"
		_, err := Parse("c.yaml", []byte(text))
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v, want %q", c.filter, err, c.wrong)
		}
	}
}

func TestFilterFiles(t *testing.T) {
	c, err := Parse("c.yaml", []byte(`listeners: [{address: "127.0.0.1:80"}]
upstreams: {app: {endpoints: [{address: "h:1"}]}}
filters: [{api_key: {file: keys}}]
hosts: [{host: a.example, filters: [{basic_auth: {file: users}}]}]
routes: [{host: a.example, path: "/*", upstream: app, filters: [{jwt: {url: "https://id.example/keys", ca: authority, algorithms: [RS256]}}, {jwt: {secret_file: s, algorithms: [HS256]}}]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, f := range c.FilterFiles() {
		got += fmt.Sprintln(f.Key, f.Name, f.Secret, f.Line > 0)
	}
	const want = "filters[0].api_key.file keys true true\n" +
		"hosts[0].filters[0].basic_auth.file users true true\n" +
		"routes[0].filters[0].jwt.ca authority false true\n" +
		"routes[0].filters[1].jwt.secret_file s true true\n"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
