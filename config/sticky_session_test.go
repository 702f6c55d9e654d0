package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStickySession(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"secret": "\n0123456789abcdef\n", "short": "  0123456789abcde\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ section, wrong string }{
		{"{cookie: zp, secret_file: secret}", ""},
		{"{cookie: zp, secret_file: secret, path: /app, max_age: 1h, same_site: none, secure: always}", ""},
		{"{secret_file: secret}", "upstreams.app.sticky.cookie: found nothing, expected"},
		{"{cookie: zp}", "upstreams.app.sticky.secret_file: found nothing, expected"},
		{"{cookie: 'z p', secret_file: secret}", `sticky.cookie: found "z p", expected a name of letters, digits, and -._`},
		{"{cookie: zp, secret_file: none}", `sticky.secret_file: found "none", `},
		{"{cookie: zp, secret_file: short}", `sticky.secret_file: found "short" of 15 bytes, expected at least 16 (openssl rand -base64 32)`},
		{"{cookie: zp, secret_file: secret, path: '/a;b'}", `sticky.path: found "/a;b", expected a path such as /app`},
		{"{cookie: zp, secret_file: secret, path: app}", `sticky.path: found "app", expected a path such as /app`},
		{"{cookie: zp, secret_file: secret, path: ''}", `sticky.path: found "", expected`},
		{"{cookie: zp, secret_file: secret, same_site: none}", "sticky.same_site: found none, expected secure: always beside it (browsers drop the cookie otherwise)"},
	} {
		file := filepath.Join(dir, "c.yaml")
		text := "listeners: [{address: \"127.0.0.1:80\"}]\nroutes: [{path: /, upstream: app}]\nupstreams: {app: {endpoints: [{address: \"h:1\"}], sticky: " + c.section + "}}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(file)
		switch {
		case c.wrong == "" && err != nil, c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: %v, want %q", c.section, err, c.wrong)
		case err == nil && string(cfg.Upstreams[0].Sticky.Secret) != "0123456789abcdef":
			t.Errorf("%s: the secret is %q", c.section, cfg.Upstreams[0].Sticky.Secret)
		case err != nil && strings.Contains(err.Error(), "0123456789"):
			t.Errorf("%s: the secret is in %q", c.section, err)
		}
	}
}
