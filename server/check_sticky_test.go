package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/config"
)

// The secret of sticky sessions is for the process alone, and for the user that it becomes as well.
func TestCheckStickySecret(t *testing.T) {
	for _, c := range []struct {
		mode os.FileMode
		user string
		want string // in warnings; "": none
	}{
		{0o600, "", ""},
		{0o604, "", `upstreams.app.sticky.secret_file: found "secret" with mode -rw----r--, expected a key that others may not read`},
		{0o600, "user: nobody\n", "expected a file that user nobody may read"},
	} {
		if c.user != "" && os.Getuid() != 0 {
			t.Log("only root can become another user: run the tests as root for the rest")
			continue
		}
		dir := t.TempDir()
		secret, file := filepath.Join(dir, "secret"), filepath.Join(dir, "c.yaml")
		text := c.user + "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: /, upstream: app}]\n" +
			"upstreams: {app: {endpoints: [{address: \"127.0.0.1:9000\"}], sticky: {cookie: zp, secret_file: secret}}}\n"
		for name, data := range map[string]string{secret: "0123456789abcdef", file: text} {
			if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(secret, c.mode); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err == nil {
			err = Check(cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, w := range cfg.Warnings {
			got += w.Error() + "\n"
		}
		if c.want == "" && strings.Contains(got, "sticky") || !strings.Contains(got, c.want) || c.want != "" && !strings.Contains(got, "sticky.secret_file") {
			t.Errorf("mode %v, %q: warnings %q, want %q", c.mode, c.user, got, c.want)
		}
	}
}
