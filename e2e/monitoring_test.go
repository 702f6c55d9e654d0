package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The alert rules and the dashboard name metrics that there are.
func TestExamplesForMonitoring(t *testing.T) {
	metrics, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"grafana/zproxy.json", "prometheus/zproxy-alerts.yaml"} {
		text, err := os.ReadFile("../examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		names := 0
		for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return !(r >= 'a' && r <= 'z' || r == '_' || r >= '0' && r <= '9') }) {
			if !strings.HasPrefix(word, "zproxy_") {
				continue
			}
			names++
			if name := strings.TrimSuffix(word, "_bucket"); !strings.Contains(string(metrics), "`"+name+"`") {
				t.Errorf("examples/%s has %s, which docs/metrics.md has not", file, name)
			}
		}
		if names == 0 {
			t.Errorf("examples/%s has no metrics", file)
		}
	}
	need(t, "promtool")
	cmd := exec.Command("promtool", "test", "rules", "zproxy-alerts-test.yaml")
	cmd.Dir = "../examples/prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
	if out, err := exec.Command("promtool", "check", "rules", "../examples/prometheus/zproxy-alerts.yaml").CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}
