package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zproxy/config"
)

// What sources read while the proxy runs may be missing, and is warned of; Landlock leaves all of it.
func TestCheckDiscovery(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("[]"), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	kubeconfig := `{clusters: [{name: c, cluster: {server: "https://c"}}], users: [{name: u, user: {tokenFile: secret}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}`
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	write("open", 0o644)
	write("secret", 0o600)
	write("list", 0o600)
	for _, c := range []struct{ discover, doubts string }{
		{"file: {path: none}", `discover.file.path: found "` + dir + `/none", expected a list of endpoints`},
		{"file: {path: list}", "there are none"},
		{"consul: {service: a, token_file: none}", `discover.consul.token_file: found "` + dir + `/none", expected a file that can be read`},
		{"consul: {service: a, token_file: open}", "expected a key that others may not read"},
		{"consul: {service: a, token_file: secret}", ""},
		{"kubernetes: {service: a, kubeconfig: none}", `discover.kubernetes: found "` + dir + `/none", expected credentials for the API server`},
		{"kubernetes: {service: a, kubeconfig: kubeconfig}", ""},
		{"kubernetes: {service: a}", "outside of one kubeconfig is needed"},
		{"consul: {service: a, token_file: secret, url: \"http://192.0.2.1:8500\"}", "the token is sent in clear"},
		{"consul: {service: a, token_file: secret, url: \"https://192.0.2.1:8500\"}", ""},
	} {
		file := filepath.Join(dir, "c.yaml")
		text := "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: /, upstream: app}]\nupstreams: {app: {discover: {" + c.discover + "}}}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err == nil {
			err = Check(cfg)
		}
		if err != nil {
			t.Errorf("%s: %v", c.discover, err)
			continue
		}
		got := ""
		for _, w := range cfg.Warnings {
			got += w.Error() + "\n"
		}
		if c.doubts == "" && len(cfg.Warnings) > 0 || !strings.Contains(got, c.doubts) {
			t.Errorf("%s: warnings %s, expected %q", c.discover, got, c.doubts)
		}
		if needs := dirNeeds(cfg); !slices.ContainsFunc(needs, func(n dirNeed) bool { return n.dir == dir && strings.Contains(n.key, "discover") }) && (strings.Contains(c.discover, "token") || strings.Contains(c.discover, "kubeconfig")) {
			t.Errorf("%s: Landlock leaves %v", c.discover, needs)
		}
	}
}
