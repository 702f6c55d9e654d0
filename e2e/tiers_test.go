package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Backups serve when nothing else is up, at once and without an error, and no more when it is back.
func TestBackupServes(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		first, backup := startMoody(t, 200), startMoody(t, 200)
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
loops: 2
upstreams: {app: {health_check: {interval: 50ms, fall: 2, rise: 2}, endpoints: [{address: %q}, {address: %q, backup: true}]}}
routes: [{path: "/*", upstream: app}]
`, first.addr(), backup.addr()))
		// checks are requests as well: those of clients are the others.
		serves := func(o *moodyOrigin) bool {
			before := o.served.Load()
			n := z.errors(t, 100)
			return n == 0 && o.served.Load()-before >= 100
		}
		if !serves(first) {
			t.Error("the first does not serve")
		}
		if page := string(z.page(t, "/status")); !strings.Contains(page, `"backup":true`) && !strings.Contains(page, `"backup": true`) {
			t.Errorf("/status does not say which is the backup: %s", page)
		}
		first.status.Store(503)
		eventually(t, patience, "the backup serves", func() (bool, string) { return serves(backup), z.out.String() })
		first.status.Store(200)
		eventually(t, patience, "the first one serves again", func() (bool, string) { return serves(first), z.out.String() })
	})
}

// Endpoints of the first tier, and of it those of the proxy's own zone, serve; what they lack the others do. A
// file moves them.
func TestTiersAndZones(t *testing.T) {
	if err := os.Setenv("ZPROXY_TEST_ZONE", "eu-1a"); err != nil {
		t.Fatal(err)
	}
	besides(t, func(t *testing.T, backend string) {
		addrs := []string{startNumbered(t, 0), startNumbered(t, 1), startNumbered(t, 2), startNumbered(t, 3)}
		d := startDiscovering(t, backend, "http1", "", list(addrs...))
		text := strings.ReplaceAll(fmt.Sprintf(foundInFile, "http1", d.endpoints, "", ""), "LISTEN", fmt.Sprintf("%q", d.addr))
		if !d.reload(t, "zone: $ZPROXY_TEST_ZONE"+text) {
			t.Fatal("it does not reload")
		}
		of := func(more ...string) string {
			text := ""
			for i, addr := range addrs {
				text += fmt.Sprintf("- {address: %q%s}\n", addr, more[i])
			}
			return text
		}
		for _, tt := range []struct {
			list string
			want string // who serves
		}{
			{of("", ", priority: 1", ", priority: 1", ", backup: true"), "0"},
			{of(", priority: 2", "", "", ", priority: 1"), "12"},
			{of(", backup: true", ", zone: eu-1a", ", zone: eu-1b", ", priority: 1"), "1"},
			{of(", zone: eu-1b", ", priority: 1, zone: eu-1a", ", zone: eu-1b", ", priority: 1"), "02"},
			{of(", zone: eu-1b", ", zone: eu-1b", ", zone: eu-1b", ", zone: eu-1a"), "0123"},
		} {
			d.replace(t, tt.list)
			eventually(t, patience, "endpoints "+tt.want+" serve", func() (bool, string) {
				got := d.each(t, 40)
				serve := ""
				for i := range addrs {
					if got[fmt.Sprint(i)] > 0 {
						serve += fmt.Sprint(i)
					}
				}
				return serve == tt.want, fmt.Sprint(got, tail(d.out.String()))
			})
		}
	})
}
