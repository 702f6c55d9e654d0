package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/config"
)

// What filters know of passwords and keys is for the process alone.
func TestCheckFilesOfFilters(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	text := "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: /, respond: {status: 204}}]\n" +
		"filters: [{basic_auth: {file: open}}, {basic_auth: {file: closed}}, {jwt: {key_file: public, algorithms: [RS256]}}]\n"
	for name, mode := range map[string]os.FileMode{"open": 0o644, "closed": 0o640, "public": 0o644, "c.yaml": 0o600} {
		data := ""
		if name == "c.yaml" {
			data = text
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
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
	if !strings.Contains(got, `filters[0].basic_auth.file: found "open" with mode -rw-r--r--, expected a key that others may not read`) || strings.Count(got, "filters[") != 1 {
		t.Errorf("%s", got)
	}
}
