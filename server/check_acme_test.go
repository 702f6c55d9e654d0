package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/config"
)

// What is foolish about an acme section is said, without an authority being asked: there is none at that address.
func TestCheckACME(t *testing.T) {
	const tls = `listeners: [{address: "127.0.0.1:8443", tls: {acme: {names: [a.example www.a.example, b.example], accept_terms: true, directory: "https://127.0.0.1:1/", MORE}}}`
	for name, c := range map[string]struct {
		more, other, host string
		wrong, doubts     string // in error and warnings; "": none
	}{
		"right":               {"storage: new/store", "", "WWW.a.example", "", ""},
		"a folder":            {"storage: private", "", "b.example", "", ""},
		"open to others":      {"storage: open", "", "b.example", "", `acme.storage: found "open" with mode -rwxr-xr-x, expected a folder for its owner alone (chmod 700 `},
		"a file":              {"storage: file", "", "b.example", `acme.storage: found "file", expected a folder`, ""},
		"in a file":           {"storage: file/store", "", "b.example", `acme.storage: found "file/store", expected a folder`, ""},
		"no such name":        {"storage: new", "", "c.example", "", `routes[0].host: found "c.example", expected a name that a certificate of listener 127.0.0.1:8443 is for`},
		"nobody answers":      {"storage: new, challenge: http-01", "", "a.example", "", `acme.challenge: found "http-01" where all listeners have tls`},
		"a listener does":     {"storage: new, challenge: http-01", `, {address: "127.0.0.1:8080"}`, "a.example", "", ""},
		"no certificate else": {"storage: new, external_account: {key_id: me, key: mac}", "", "a.example", "", `acme.external_account.key: found "mac" with mode -rw-r--r--`},
	} {
		dir := t.TempDir()
		text := strings.Replace(tls, "MORE", c.more, 1) + c.other + "]\nroutes: [{host: " + c.host + ", path: /, respond: {body: x}}]\n"
		for file, data := range map[string]string{"file": "", "mac": "c2VjcmV0", "c.yaml": text} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for folder, mode := range map[string]os.FileMode{"private": 0o700, "open": 0o755} {
			if err := os.Mkdir(filepath.Join(dir, folder), mode); err != nil {
				t.Fatal(err)
			}
		}
		wrong, doubts := "", ""
		cfg, err := config.Load(filepath.Join(dir, "c.yaml"))
		if err == nil {
			err = Check(cfg)
		}
		if err != nil {
			wrong = err.Error()
		} else {
			for _, w := range cfg.Warnings {
				doubts += w.Error() + "\n"
			}
		}
		if c.wrong == "" && wrong != "" || !strings.Contains(wrong, c.wrong) {
			t.Errorf("%s: wrong is %q, want %q", name, wrong, c.wrong)
		}
		if c.doubts == "" && doubts != "" || !strings.Contains(doubts, c.doubts) {
			t.Errorf("%s: warnings are %q, want %q", name, doubts, c.doubts)
		}
		if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
			t.Errorf("%s: a check has made the folder", name)
		}
	}
}
