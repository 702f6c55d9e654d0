package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConvert(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nginx.conf")
	for _, tc := range []struct {
		args         []string
		text         string
		status       int
		out, problem string // parts of either output
	}{
		{[]string{"convert"}, "", 2, "", "usage: zproxy convert nginx|haproxy FILE"},
		{[]string{"convert", "apache", file}, "", 2, "", "usage:"},
		{[]string{"convert", "nginx", file + ".none"}, "", 1, "", "no such file"},
		{[]string{"convert", "nginx", file}, "http {\n server { listen 8080 }\n", 1, "", `nginx.conf:2: unexpected '}'`},
		{[]string{"convert", "nginx", file}, "http {\nserver { listen 8080; location / { proxy_pass http://127.0.0.1:9000; } }\n}\n", 0, "upstream: 127.0.0.1-9000 # " + file + ":2: server", ""},
		{[]string{"convert", "nginx", file}, "http {\nserver { listen 8080;\nssi on;\n}\n}\n", 3, "# No equivalent:\n#   " + file + ":3: ssi on;\n", file + ":3: no equivalent: ssi: "},
		{[]string{"convert", "haproxy", file}, "listen a\n mode http\n bind :8080\n server a 127.0.0.1:9000\n", 0, "upstream: a", ""},
		{[]string{"convert", "haproxy", file}, "mode http\n", 1, "", `nginx.conf:1: "mode" outside of a section`},
	} {
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		status, out, errOut := command(tc.args...)
		if status != tc.status || !strings.Contains(out, tc.out) || !strings.Contains(errOut, tc.problem) {
			t.Errorf("%q of %q: status %d, want %d\n%s\n%s", tc.args, tc.text, status, tc.status, out, errOut)
		}
	}
}
