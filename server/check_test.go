package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/config"
)

// What keeps a configuration from starting on this machine is wrong, with its
// place; what leads a request or a client in circles is warned of.
func TestCheck(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const one = "listeners: [{address: \"127.0.0.1:8080\"}]\n"
	const all = "listeners: [{address: \"0.0.0.0:8080\"}]\n"
	const other = "listeners: [{address: \"127.0.0.1:8080\"}, {address: \"127.0.0.1:8081\"}]\n"
	app := func(endpoint, more string) string {
		return "upstreams: {app: {endpoints: [{address: \"" + endpoint + "\"}]" + more + "}}\n"
	}
	const everything = "routes: [{path: \"/*\", upstream: app}]\n"
	for name, c := range map[string]struct {
		text   string
		wrong  string // in the error; "": none
		doubts string // in the warnings; "": none
	}{
		"nothing": {one + app("127.0.0.1:9000", "") + everything, "", ""},
		"no folder for the log": {one + "access_log:\n  path: DIR/none/access.log\nroutes: [{path: /, respond: {status: 200}}]\n",
			"c.yaml:3:9: access_log.path: found \"DIR/none/access.log\", expected a file in a folder that is there", ""},
		"the log is a folder":    {one + "access_log: {path: DIR}\nroutes: [{path: /, respond: {status: 200}}]\n", "c.yaml:2:20: access_log.path", ""},
		"the log's folder":       {one + "access_log: {path: DIR/access.log}\nroutes: [{path: /, respond: {status: 200}}]\n", "", ""},
		"no folder for a socket": {"listeners: [{address: \"unix:DIR/none/s\"}]\nadmin: {address: \"unix:DIR/no/s\"}\nroutes: [{path: /, respond: {status: 200}}]\n", "c.yaml:1:13: listeners[0].address", ""},
		"no such user":           {"listeners: [{address: \"unix:DIR/s\", socket: {user: no-such-user}}]\nroutes: [{path: /, respond: {status: 200}}]\n", "c.yaml:1:13: listeners[0].socket.user", ""},
		"no such group":          {one + "admin: {address: \"unix:DIR/s\", group: no-such-group}\nroutes: [{path: /, respond: {status: 200}}]\n", "c.yaml:2:18: admin.group", ""},
		"user and group":         {one + "admin: {address: \"unix:DIR/s\", user: root, group: \"54321\", mode: 0600}\nroutes: [{path: /, respond: {status: 200}}]\n", "", ""},
		"no folder for admin":    {one + "admin: {address: \"unix:DIR/no/s\"}\nroutes: [{path: /, respond: {status: 200}}]\n", "c.yaml:2:18: admin.address", ""},

		"itself":                     {one + app("127.0.0.1:8080", "") + everything, "", "c.yaml:3:10: routes[0].upstream"},
		"by a name":                  {one + app("localhost:8080", "") + everything, "", "c.yaml:3:10: routes[0].upstream"},
		"all addresses":              {all + app("127.0.0.1:8080", "") + everything, "", "routes[0].upstream"},
		"all addresses, by its name": {all + app(host+":8080", "") + everything, "", "routes[0].upstream"},
		"another port":               {all + app("127.0.0.1:8081", "") + everything, "", ""},
		"another machine":            {all + app("192.0.2.1:8080", "") + everything, "", ""},
		"by a socket file":           {"listeners: [{address: \"unix:/tmp/s\"}]\n" + app("unix:/tmp//s", "") + everything, "", "routes[0].upstream"},
		"an answer of its own behind": {other + app("127.0.0.1:8081", "") + "routes:\n- {listener: \"127.0.0.1:8080\", path: \"/*\", upstream: app}\n" +
			"- {listener: \"127.0.0.1:8081\", path: \"/*\", respond: {body: x}}\n", "", ""},
		"another host behind":       {one + app("127.0.0.1:8080", ", host: b.example") + "routes:\n- {host: a.example, path: \"/*\", upstream: app}\n- {host: b.example, path: \"/*\", respond: {body: x}}\n", "", ""},
		"the host stays":            {one + app("127.0.0.1:8080", "") + "routes:\n- {host: a.example, path: \"/*\", upstream: app}\n- {host: b.example, path: \"/*\", respond: {body: x}}\n", "", "c.yaml:4:3: routes[0].upstream"},
		"in two steps":              {other + "upstreams: {a: {endpoints: [{address: \"127.0.0.1:8081\"}]}, b: {endpoints: [{address: \"127.0.0.1:8080\"}]}}\nroutes:\n- {listener: \"127.0.0.1:8080\", path: \"/*\", upstream: a}\n- {listener: \"127.0.0.1:8081\", path: \"/*\", upstream: b}\n", "", "routes[1].upstream"},
		"redirect":                  {one + "routes: [{path: /a, redirect: {to: /a}}]\n", "", "c.yaml:2:10: routes[0].redirect.to"},
		"redirect of all":           {one + "routes: [{path: \"/*\", redirect: {to: /b}}]\n", "", "routes[0].redirect.to"},
		"redirect to its host":      {one + "routes: [{host: a.example, path: \"/*\", redirect: {to: \"http://a.example/\"}}]\n", "", "routes[0].redirect.to"},
		"redirect of a wildcard":    {one + "routes: [{host: \"*.example\", path: \"/*\", redirect: {to: \"http://www.example/\"}}]\n", "", "routes[0].redirect.to"},
		"redirect to https":         {one + "routes: [{host: a.example, path: \"/*\", redirect: {to: \"https://a.example/\"}}]\n", "", ""},
		"redirect elsewhere":        {one + "routes: [{path: \"/*\", redirect: {to: \"http://www.example/\"}}]\n", "", ""},
		"redirect to another":       {one + "routes:\n- {path: \"/*\", redirect: {to: /b}}\n- {path: /b, respond: {body: x}}\n", "", ""},
		"redirects in a circle":     {one + "routes:\n- {path: /a, redirect: {to: /b}}\n- {path: /b, redirect: {to: /a}}\n", "", "routes[1].redirect.to"},
		"redirect to the other one": {other + "routes:\n- {listener: \"127.0.0.1:8080\", path: \"/*\", redirect: {to: \"http://127.0.0.1:8081/\"}}\n- {listener: \"127.0.0.1:8081\", path: \"/*\", respond: {body: x}}\n", "", ""},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "c.yaml")
		put := strings.NewReplacer("DIR", dir)
		if err := os.WriteFile(file, []byte(put.Replace(c.text)), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		before := len(cfg.Warnings)
		wrong := ""
		if err := Check(cfg); err != nil {
			wrong = err.Error()
		}
		if want := put.Replace(c.wrong); want == "" && wrong != "" || !strings.Contains(wrong, want) {
			t.Errorf("%s: wrong is %q, want %q", name, wrong, want)
		}
		var doubts strings.Builder
		for i := range cfg.Warnings[before:] {
			doubts.WriteString(cfg.Warnings[before+i].Error() + "\n")
		}
		if c.doubts == "" && doubts.Len() > 0 || !strings.Contains(doubts.String(), c.doubts) {
			t.Errorf("%s: doubts are %q, want %q", name, doubts.String(), c.doubts)
		}
	}
}
