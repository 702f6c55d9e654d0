package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs the command in this process and gives its status and output.
func command(args ...string) (status int, out, errOut string) {
	var o, e bytes.Buffer
	status = run(args, &o, &e)
	return status, o.String(), e.String()
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		status int
		want   string // in either output
	}{
		{nil, 2, "zproxy run [-c FILE]"},
		{[]string{"help"}, 0, "zproxy run [-c FILE]"},
		{[]string{"walk"}, 2, `unknown command "walk"`},
		{[]string{"check"}, 2, "usage: zproxy check -c FILE"},
		{[]string{"check", "-x"}, 2, "flag provided but not defined"},
		{[]string{"check", "file.yaml"}, 2, "named with -c FILE"},
		{[]string{"check", "-c", "/does/not/exist.yaml"}, 1, "/does/not/exist.yaml"},
		{[]string{"run", "-c", "/does/not/exist.yaml"}, 1, "/does/not/exist.yaml"},
		{[]string{"version"}, 0, "backends epoll"},
	} {
		status, out, errOut := command(tc.args...)
		if status != tc.status || !strings.Contains(out+errOut, tc.want) {
			t.Errorf("%q: status %d, output %q; want %d and %q", tc.args, status, out+errOut, tc.status, tc.want)
		}
	}
}

// check finds what the loader cannot know: routes that exclude each other are
// the router's to find, and are reported with their line all the same.
func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes:\n- {path: /a, respond: {status: 200}}\n"
	write(good)
	if status, out, errOut := command("check", "-c", file); status != 0 || !strings.Contains(out, "valid") || !strings.Contains(out, "127.0.0.1:8080") {
		t.Errorf("good file: status %d, %q %q", status, out, errOut)
	}
	write(good + "- {path: /a, respond: {status: 204}}\n")
	if status, _, errOut := command("check", "-c", file); status != 1 || !strings.Contains(errOut, "c.yaml:4:") {
		t.Errorf("two routes for one path: status %d, %q; want 1 and the line", status, errOut)
	}
	write(good + "lisners: 1\n")
	if status, _, errOut := command("check", "-c", file); status != 1 || !strings.Contains(errOut, "c.yaml:4:1: lisners") || !strings.Contains(errOut, "listeners") {
		t.Errorf("unknown key: status %d, %q", status, errOut)
	}
}
