package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/config"
)

// What a configuration names is within what Landlock leaves, or is told by its key; a link counts for
// what it points to.
func TestDomainLacks(t *testing.T) {
	top := t.TempDir()
	for _, dir := range []string{"read/below", "write", "outside"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(top, "outside"), filepath.Join(top, "write/away")); err != nil {
		t.Fatal(err)
	}
	d := &domain{Read: []string{top + "/read"}, Write: []string{top + "/write"}}
	for _, c := range []struct{ file, text, lacks string }{
		{"read/z.yaml", "access_log: {path: %s/write/a.log}", ""},
		{"read/below/z.yaml", "", ""},
		{"outside/z.yaml", "", "the configuration file"},
		{"write/z.yaml", "admin: {address: \"unix:%s/write/s\"}", ""},
		{"read/z.yaml", "admin: {address: \"unix:%s/write/s\"}", "admin.address"}, // PUT /config writes there
		{"read/z.yaml", "access_log: {path: %s/read/a.log}", "access_log.path"},
		{"read/z.yaml", "access_log: {path: %s/writes/a.log}", "access_log.path"},
		{"read/z.yaml", "access_log: {path: %s/write/away/a.log}", "access_log.path"},
		{"read/z.yaml", "landlock: {write: [%s/outside]}", "landlock.write[0]"},
		{"read/z.yaml", "landlock: {read: [/etc, below, ../outside]}", "landlock.read[2]"},
		{"read/z.yaml", "access_log: {path: \"-\"}", ""},
	} {
		text := "listeners: [{address: \"127.0.0.1:1\"}]\nroutes: [{path: /, respond: {body: x}}]\n" + strings.ReplaceAll(c.text, "%s", top) + "\n"
		cfg, err := config.Parse(filepath.Join(top, c.file), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		err = d.lacks(cfg)
		if (err == nil) != (c.lacks == "") || err != nil && !strings.Contains(err.Error(), ": "+c.lacks+": found") {
			t.Errorf("%s with %s: %v, want %q", c.file, c.text, err, c.lacks)
		}
		if err := (*domain)(nil).lacks(cfg); err != nil {
			t.Errorf("nothing is restricted, and yet %v", err)
		}
	}
}

// What is to be left has to be there.
func TestCheckLandlock(t *testing.T) {
	dir := t.TempDir()
	text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:1\"}]\nroutes: [{path: /, respond: {body: x}}]\nlandlock: {without: warn, read: [%s, %s/none]}\n", dir, dir)
	cfg, err := config.Parse(filepath.Join(dir, "z.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err = Check(cfg); err == nil || !strings.Contains(err.Error(), "landlock.read[1]: found") || strings.Contains(err.Error(), "landlock.read[0]") {
		t.Errorf("it says %v", err)
	}
}
