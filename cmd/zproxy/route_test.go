package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/internal/tlstest"
)

const routed = `listeners:
  - {address: "127.0.0.1:8080"}
  - {address: "127.0.0.1:8081"}
  - {address: "127.0.0.1:9090"}
  - {address: "unix:/run/z.sock"}
upstreams:
  app: {balance: maglev, hash_on: header X-User, endpoints: [{address: "127.0.0.1:9000"}, {address: "127.0.0.1:9001", weight: 3}]}
  canary: {endpoints: [{address: "127.0.0.1:9002"}]}
routes:
  - {path: "/*", upstream: app}
  - {path: "/users/:id", host: api.example.com, methods: [GET], split: [{upstream: app, weight: 95}, {upstream: canary, weight: 5}], sticky: {cookie: u}, fallback: canary}
  - {path: "/users/me", respond: {status: 200, body: "me"}}
  - {path: "/old/*rest", redirect: {to: "https://{host}/{path.rest}", status: 301}}
  - {path: "/admin/*", listener: "127.0.0.1:9090", upstream: canary}
  - {path: "/only", host: only.example, methods: [PUT], upstream: canary}
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRoute(t *testing.T) {
	file := writeConfig(t, routed)
	for _, tc := range []struct {
		args   string // by "|"
		status int
		want   []string
		not    string
	}{
		{"GET|http://api.example.com:8080/users/7", 0, []string{"listener  127.0.0.1:8080\n", "route     GET api.example.com/users/:id  line 11  id=7\n",
			"split     app 95, canary 5\n", "upstream  app  http1, maglev by header X-User\n", "127.0.0.1:9001  weight 3\n", "fallback  canary",
			"not       /*  line 10: it is less specific\n", `not       /users/me  line 12: segment 2 is "me", in the request "7"`, "/admin/*  line 14: it is for listener 127.0.0.1:9090"}, "refused"},
		{"-H|Cookie: u=7|GET|http://api.example.com:8080/users/%37", 0, []string{"path      /users/7, as it is", "upstream  app"}, "split"},
		{"GET|http://api.example.com/users/x", 0, []string{"listener  127.0.0.1:8080, 127.0.0.1:8081, unix:/run/z.sock\n", "listener  127.0.0.1:9090\n"}, "refused"},
		{"-listener|127.0.0.1:9090|GET|/admin/x", 0, []string{"listener  127.0.0.1:9090\n", "route     /admin/*  line 14  *=x\n"}, "8080\n"},
		{"-H|Host: other|GET|/old/a/b?c", 0, []string{"redirect  301 to https://{host}/{path.rest}\n"}, "upstream"},
		{"GET|/users/me", 0, []string{"respond   200\n"}, "upstream"},
		{"OPTIONS|*", 0, []string{"route     /*  line 10  *=\n"}, "refused"},
		{"GET|http://h:8080/a//../b", 1, []string{"refused   400, the path has no single meaning\n"}, "not "},
		{"GET|http://h h:8080/", 1, []string{"refused   400"}, "route"},
		{"-H|Content-Length: 1|-H|Transfer-Encoding: chunked|POST|http://h:8080/", 1, []string{"refused   400"}, "route"},
		{"GET|https://h/", 1, []string{"has no listener for that: name one with -listener, of 127.0.0.1:8080, 127.0.0.1:8081"}, "route  "},
		{"GET|ftp://h/", 2, []string{"usage: zproxy route"}, "listener  "},
		{"GET|/a\r\nb", 2, []string{"usage: zproxy route"}, "listener  "},
		{"-H|X: a\r\nb|GET|/", 2, []string{"want 'NAME: VALUE'"}, "listener  "},
		{"-tls|1.1|GET|/", 2, []string{"want 1.2 or 1.3"}, "listener  "},
		{"GET", 2, []string{"usage: zproxy route"}, "listener  "},
	} {
		status, out, errOut := command(append([]string{"route", "-c", file}, strings.Split(tc.args, "|")...)...)
		for _, want := range tc.want {
			if !strings.Contains(out+errOut, want) {
				t.Errorf("%q lacks %q:\n%s%s", tc.args, want, out, errOut)
			}
		}
		if status != tc.status || strings.Contains(out+errOut, tc.not) {
			t.Errorf("%q: status %d, want %d, and no %q:\n%s%s", tc.args, status, tc.status, tc.not, out, errOut)
		}
	}
	file = writeConfig(t, strings.Replace(routed, `  - {path: "/*", upstream: app}`+"\n", "", 1))
	for args, want := range map[string]string{
		"GET http://only.example:8080/only": "refused   405, routes for this host and path take PUT\n",
		"GET http://h:8080/nothing":         "refused   404, no route is for this host and path\n",
	} {
		if status, out, _ := command(append([]string{"route", "-c", file}, strings.Fields(args)...)...); status != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, %s; want %q", args, status, out, want)
		}
	}
}

// Of a subset its endpoints are listed, and no others.
func TestRouteOfSubset(t *testing.T) {
	file := writeConfig(t, `listeners: [{address: "127.0.0.1:8080"}]
upstreams:
  app: {endpoints: [{address: "127.0.0.1:9000", labels: {version: v1}}, {address: "127.0.0.1:9001", labels: {version: v2}}]}
  found: {discover: {file: {path: list}}}
routes:
  - {path: /v2, upstream: app, subset: {version: v2}, subset_fallback: any}
  - {path: /split, split: [{upstream: app, weight: 9, subset: {version: v1}}, {upstream: app, weight: 1, subset: {version: v2}}], sticky: {cookie: u}}
  - {path: /found, upstream: found, subset: {version: v2, stage: canary}}
`)
	for args, want := range map[string][]string{
		"GET /v2":    {"upstream  app[version=v2]  http1, round_robin\n            127.0.0.1:9001  weight 1\n            all endpoints of app, while none of these is up\n"},
		"GET /split": {"split     app[version=v1] 9, app[version=v2] 1\n", "upstream  app[version=v1]  http1, round_robin\n            127.0.0.1:9000  weight 1\n  upstream  app[version=v2]"},
		"GET /found": {"upstream  found[stage=canary,version=v2]  http1, round_robin\n            what is found by file with stage=canary,version=v2\n"},
	} {
		status, out, errOut := command(append([]string{"route", "-c", file}, strings.Fields(args)...)...)
		for _, w := range want {
			if status != 0 || !strings.Contains(out, w) {
				t.Errorf("%s: status %d, lacks %q:\n%s%s", args, status, w, out, errOut)
			}
		}
	}
	if _, out, _ := command("route", "-c", file, "-H", "Cookie: u=7", "GET", "/split"); strings.Count(out, "  upstream  app[version=v") != 1 {
		t.Errorf("with a cookie: %s", out)
	}
}

// Of many other routes those are listed that come closest.
func TestRouteListsSome(t *testing.T) {
	text := "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes:\n"
	for i := range 30 {
		text += "- {path: /" + strings.Repeat("x", i+1) + ", respond: {status: 200}}\n"
	}
	file := writeConfig(t, text+"- {path: /*, respond: {status: 200}}\n")
	_, out, _ := command("route", "-c", file, "GET", "/x")
	if lines := strings.Split(out, "\n"); strings.Count(out, "  not ") != 20 || !strings.Contains(out, "and 10 more, which -all lists") || !strings.HasPrefix(lines[3], "  not       /*  ") {
		t.Errorf("%s", out)
	}
	if _, out, _ = command("route", "-c", file, "-all", "GET", "/x"); strings.Count(out, "  not ") != 30 {
		t.Errorf("with -all: %s", out)
	}
}

// Routes with a tls section depend on the connection.
func TestRouteWithinTLS(t *testing.T) {
	certPEM, keyPEM := tlstest.PEM(t, tlstest.Certificate(t, "ecdsa"))
	cert, key := filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem")
	if err := errors.Join(os.WriteFile(cert, certPEM, 0o600), os.WriteFile(key, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	file := writeConfig(t, `listeners:
  - {address: "127.0.0.1:8443", tls: {certificates: [{cert: `+cert+`, key: `+key+`}], client_auth: {mode: request, ca: `+cert+`}}}
routes:
  - {path: "/*", tls: {client_cert: {dns: [zproxy.test]}}, respond: {status: 201}}
  - {path: "/*", tls: {version: "1.2"}, respond: {status: 202}}
  - {path: "/*", respond: {status: 203}}
`)
	for args, want := range map[string]string{
		"GET https://zproxy.test:8443/":                           "respond   203\n",
		"-tls 1.2 GET https://zproxy.test:8443/":                  "respond   202\n",
		"-client-cert " + cert + " GET https://zproxy.test:8443/": "respond   201\n",
	} {
		if status, out, errOut := command(append([]string{"route", "-c", file}, strings.Fields(args)...)...); status != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, %s%s; want %q", args, status, out, errOut, want)
		}
	}
	if _, out, _ := command("route", "-c", file, "GET", "https://zproxy.test:8443/"); !strings.Contains(out, "not tls (client_cert, dns zproxy.test)") {
		t.Errorf("%s", out)
	}
}
