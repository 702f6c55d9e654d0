package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"zproxy/internal/mixedload"
)

// The page shows what /metrics has, in a real browser, at the size of a desk and of a phone.
func TestPageInBrowser(t *testing.T) {
	need(t, "chromium")
	origin := loadedOrigin(t)
	z := start(t, backends[0], fmt.Sprintf(shownText, origin.addr, origin.another(t)))
	load := mixedload.Start(mixedload.Clients{Clear: z.addr, Prior: z.addr, Kinds: []mixedload.Kind{mixedload.Kept, mixedload.Streams, mixedload.WebSocket}, Each: 3, Pauses: []time.Duration{10 * time.Millisecond, 40 * time.Millisecond}})
	defer load.Stop()
	for range 3 {
		_, _ = once.Get(z.url("/down"))
		_, _ = once.Get(z.url("/nothing"))
	}
	b := openTab(t)
	b.look(1280, 900, "light")
	b.call("Page.navigate", map[string]any{"url": "http://" + z.admin + "/"})
	eventually(t, 3*patience, "the page is live", func() (bool, string) {
		says := b.eval("document.getElementById('live').textContent")
		return says == "live", says + strings.Join(b.console, "\n")
	})
	for _, c := range []struct {
		width, height int
		colours       string
	}{{1280, 900, "light"}, {1280, 900, "dark"}, {390, 844, "light"}, {390, 844, "dark"}} {
		b.look(c.width, c.height, c.colours)
		if wide, room := b.eval("document.documentElement.scrollWidth"), b.eval("document.documentElement.clientWidth"); wide != room || b.eval("innerWidth") != strconv.Itoa(c.width) {
			t.Errorf("at %d px the page is %s px wide, and has room for %s", c.width, wide, room)
		}
		back := b.eval("getComputedStyle(document.body).backgroundColor")
		if dark := back == "rgb(15, 19, 24)"; dark != (c.colours == "dark") {
			t.Errorf("%s: the background is %s", c.colours, back)
		}
		for _, want := range []string{"app", "down", "/down", origin.addr, "node"} {
			if has := b.eval(fmt.Sprintf("document.body.textContent.includes(%q)", want)); has != "true" {
				t.Errorf("the page lacks %s", want)
			}
		}
	}
	if file := os.Getenv("ZPROXY_PAGE_PICTURE"); file != "" { // for docs/control-page.png
		time.Sleep(10 * time.Second)
		b.look(1280, 1150, "light")
		b.picture(file)
	}
	// Figures grow until the load ends; then they are the same.
	load.Stop()
	eventually(t, patience, "the page has what /metrics has", func() (bool, string) {
		m := z.metrics(t)
		want := fmt.Sprintf("%.0f %.0f", m.sum("zproxy_requests_total"), m.sum("zproxy_responses_total", `class="2xx"`))
		got := b.eval("document.getElementById('requests').dataset.value + ' ' + document.getElementById('requests').dataset.responses.split(',')[2]")
		return got == want, got + ", expected " + want
	})
	if len(b.console) > 0 {
		t.Errorf("the console says: %s", strings.Join(b.console, "\n"))
	}
}
