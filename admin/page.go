package admin

import (
	_ "embed"
	"net/http"
)

// page is the page at /, whole: nothing of it comes from elsewhere.
//
//go:embed page.html
var pageHTML []byte

// pagePolicy lets the page load nothing but its own figures (CSP).
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// servePage sends the page, which holds no figures: it asks for them, with a token where one is wanted.
func servePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		reply(w, http.StatusMethodNotAllowed, plainText, []byte("method not allowed: GET or HEAD\n"))
		return
	}
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	reply(w, http.StatusOK, "text/html; charset=utf-8", pageHTML)
}
