package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/internal/longtest"
)

// securePage loads scripts of its own, asks for more, and talks by a WebSocket; its title says
// by which protocol, and what came of it.
const securePage = `<!DOCTYPE html><title>waiting</title><script>
let loaded = 0;
const resources = [...Array(20).keys()].map(i => "/part/" + i);
const socket = new Promise(done => {
	const s = new WebSocket(location.origin.replace("http", "ws") + "/echo"), text = "x".repeat(200000);
	s.onopen = () => s.send(text);
	let same = false;
	s.onmessage = e => { same = e.data === text; s.close(3456); };
	s.onclose = e => done([e.code, same, e.wasClean].join(":"));
});
const body = new Uint8Array(1 << 20).map((_, i) => i % 251);
const upload = fetch("/echo", {method: "POST", body}).then(r => r.arrayBuffer()).then(b => new Uint8Array(b).every((x, i) => x === body[i]) && b.byteLength);
addEventListener("DOMContentLoaded", async () => {
	const fetched = await Promise.all(resources.map(r => fetch(r + "?again").then(r => r.text())));
	const said = [loaded, fetched.length, await upload, await socket];
	const spoken = new Set([...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
		.filter(e => e.name.includes("/part/") || e.entryType === "navigation").map(e => e.nextHopProtocol));
	document.title = "done: " + [...spoken].join(",") + " " + said.join(" ");
	fetch("/done");
});
</script>SCRIPTS<img src="/wait">`

// A browser that trusts the test's authority loads a page with all that belongs to it by
// HTTP/2, and opens a WebSocket by way of the same listener.
func TestLengthyTLSBrowser(t *testing.T) {
	longtest.Need(t)
	need(t, "chromium", "certutil")
	eachBackend(t, func(t *testing.T, backend string) {
		mux := http.NewServeMux()
		mux.HandleFunc("/part/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprintf(w, "loaded++; // %s\n", strings.Repeat(r.URL.Path, 5000))
		})
		waitForPage(mux)
		z, ca, port := startForeign(t, backend, mux)
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			scripts := ""
			for i := range 20 {
				scripts += fmt.Sprintf(`<script src="/part/%d"></script>`, i)
			}
			io.WriteString(w, strings.Replace(securePage, "SCRIPTS", scripts, 1))
		})
		home := t.TempDir()
		store := filepath.Join(home, ".pki", "nssdb")
		if err := os.MkdirAll(store, 0o700); err != nil {
			t.Fatal(err)
		}
		run(t, "certutil", "-d", "sql:"+store, "-N", "--empty-password")
		run(t, "certutil", "-d", "sql:"+store, "-A", "-n", "ca", "-t", "C,,", "-i", ca.file)
		title, err := browse(t, home, "https://localhost:"+port+"/")
		if want := "done: h2 20 20 1048576 3456:true:true"; title != want {
			t.Errorf("the page says %q, %v; want %q", title, err, want)
		}
		m := z.metrics(t)
		if n := m.sum("zproxy_websockets_total"); n != 1 {
			t.Errorf("%v WebSockets", n)
		}
		if n := m.sum("zproxy_tls_failed_total"); n != 0 {
			t.Errorf("%v handshakes failed", n)
		}
		t.Logf("%v connections of HTTP/2, %v handshakes", m.sum("zproxy_http2_connections_total"), m.sum("zproxy_tls_handshakes_total"))
	})
}
