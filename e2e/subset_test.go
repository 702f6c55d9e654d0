package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Endpoints that are found get the requests of routes by their labels, which change under load without an error; a weight
// that is set holds in each subset, and where a subset is empty requests go to all endpoints, or nowhere.
func TestSubsets(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		addrs := []string{startNumbered(t, 0), startNumbered(t, 1), startNumbered(t, 2)}
		labels := func(versions ...string) string {
			text := ""
			for i, v := range versions {
				text += fmt.Sprintf("- {address: %q, labels: {version: %s}}\n", addrs[i], v)
			}
			return text
		}
		d := &discovering{endpoints: t.TempDir() + "/endpoints.yaml"}
		d.replace(t, labels("v1", "v1", "v2"))
		d.zproxy = start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
loops: 2
upstreams: {app: {discover: {file: {path: %q}}}}
routes:
- {path: "/one/*", upstream: app, subset: {version: v1}}
- {path: "/two/*", upstream: app, subset: {version: v2}, subset_fallback: any}
- {path: "/split/*", split: [{upstream: app, weight: 1, subset: {version: v1}}, {upstream: app, weight: 1, subset: {version: v2}}]}
- {path: "/*", upstream: app}
`, d.endpoints))
		serve := func(path, want string) {
			t.Helper()
			eventually(t, patience, want+" serve "+path, func() (bool, string) {
				got, who := which(t, d.addr+path, 24), ""
				for i := range addrs {
					if got[fmt.Sprint(i)] > 0 {
						who += fmt.Sprint(i)
					}
				}
				return who == want, fmt.Sprint(got, tail(d.out.String()))
			})
		}
		serve("/one", "01")
		serve("/two", "2")
		serve("/split", "012")
		serve("", "012")
		if page := string(d.page(t, "/status")); !strings.Contains(page, "app[version=v1]") || !strings.Contains(page, "app[version=v2]") {
			t.Errorf("/status does not tell subsets apart: %s", page)
		}
		l := startLoad(d.addr, "/one/", "ok", 4)
		d.replace(t, labels("v1", "v2", "v2"))
		serve("/one", "0")
		serve("/two", "12")
		d.replace(t, labels("v2", "v1", "v1"))
		serve("/one", "12")
		serve("/two", "0")
		if answered, failed, _ := l.stop(t); failed != 0 || answered == 0 {
			t.Errorf("of %d requests %d failed", answered+failed, failed)
		}
		d.replace(t, labels("v3", "v3", "v3"))
		serve("/two", "012")
		eventually(t, patience, "a subset without endpoints has none", func() (bool, string) {
			resp, err := once.Get(d.url("/one/which"))
			if err != nil {
				return false, err.Error()
			}
			resp.Body.Close()
			return resp.StatusCode == 503, resp.Status
		})
	})
}
