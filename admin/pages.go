package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"zproxy/metrics"
)

// pages are the paths there are, for the router and for the index page.
var pages = []struct {
	path, about string
	serve       page
}{
	{"/metrics", "counters and histograms, Prometheus text format", bounded((*Server).metrics)},
	{"/healthz", "200 as soon as this server answers", (*Server).healthz},
	{"/readyz", "200 while the proxy takes requests, else 503 and why", (*Server).readyz},
	{"/status", "loops, buffers, pools and endpoints as JSON", bounded((*Server).status)},
}

type page = func(*Server, http.ResponseWriter)

const plainText = "text/plain; charset=utf-8"

func (s *Server) handler() http.Handler {
	routes := map[string]page{"/": (*Server).index}
	for _, p := range pages {
		routes[p.path] = p.serve
	}
	api := s.api()
	return s.audited(func(w http.ResponseWriter, r *http.Request) {
		serve := routes[r.URL.Path]
		if no := s.refuses(r); no != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="zproxy"`)
			reply(w, no.status, plainText, []byte(no.why+"\n"))
			return
		}
		switch {
		case belowAPI(r.URL.Path):
			api.ServeHTTP(w, r)
		case r.URL.Path == "/" && strings.Contains(r.Header.Get("Accept"), "text/html"):
			servePage(w, r)
		case isChange(r):
			s.change(w, r)
		case serve == nil:
			reply(w, http.StatusNotFound, plainText, []byte("not found; / lists the pages\n"))
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			reply(w, http.StatusMethodNotAllowed, plainText, []byte("method not allowed: GET or HEAD\n"))
		default:
			serve(s, w)
		}
	})
}

// refuses says why who asks does not get in: of an address with tokens, everybody without one. The API
// looks for itself, and what holds no figures is for all.
func (s *Server) refuses(r *http.Request) *refusal {
	g := s.src.Gate()
	if g == nil || len(g.Tokens) == 0 || belowAPI(r.URL.Path) || r.URL.Path == "/healthz" || r.URL.Path == "/readyz" || r.URL.Path == "/" {
		return nil
	}
	who, no := s.admit(r)
	if no == nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
		no = mayChange(r, who)
	}
	return no
}

// isChange says that a path beside the API is asked to change something.
func isChange(r *http.Request) bool {
	return r.URL.Path == reloadPath || r.URL.Path == configPath || strings.HasPrefix(r.URL.Path, upstreamsPath)
}

// audited writes down what changes something beside the API, which does so itself, and the attempt.
func (s *Server) audited(serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isChange(r) || r.Method == http.MethodGet || r.Method == http.MethodHead {
			serve(w, r)
			return
		}
		seen := &noted{ResponseWriter: w}
		serve(seen, r)
		who, _ := s.admit(r)
		outcome := "done"
		if seen.status != http.StatusOK {
			outcome = "refused: status " + strconv.Itoa(seen.status)
		}
		s.src.Audit(Audit{Who: cmp.Or(who.name, "anybody"), From: r.RemoteAddr, What: r.Method + " " + r.URL.RequestURI(), Outcome: outcome})
	})
}

// noted remembers the status of a response.
type noted struct {
	http.ResponseWriter
	status int
}

func (n *noted) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (n *noted) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// bounded limits how many of the costly pages are being answered at a time.
// More than that is a monitoring system gone wrong; it hears so at once, and the
// proxy keeps its memory. Health and readiness cost nothing and always answer.
func bounded(serve page) page {
	return func(s *Server, w http.ResponseWriter) {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
			serve(s, w)
		default:
			w.Header().Set("Retry-After", "1")
			reply(w, http.StatusServiceUnavailable, plainText, []byte("too many requests to the admin address at once\n"))
		}
	}
}

// reply sends a whole response; its length is known, so nothing is chunked.
func reply(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body))) // also for HEAD
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

func (s *Server) index(w http.ResponseWriter) {
	body := []byte("zproxy admin\n\n")
	for _, p := range pages {
		body = append(body, p.path...)
		body = append(body, "            "[len(p.path):]...)
		body = append(body, p.about...)
		body = append(body, '\n')
	}
	body = append(body, apiPath+"      an API, which "+apiPath+"/openapi.json describes\n\nA browser gets a page here.\n"...)
	reply(w, http.StatusOK, plainText, body)
}

func (s *Server) metrics(w http.ResponseWriter) {
	snapshot, err := s.src.Snapshot()
	if err != nil {
		reply(w, http.StatusServiceUnavailable, plainText, []byte("no metrics: "+err.Error()+"\n"))
		return
	}
	snapshot.Gauges = append(snapshot.Gauges[:len(snapshot.Gauges):len(snapshot.Gauges)], metrics.ProcessGauges()...)
	var page bytes.Buffer
	if err := snapshot.WritePrometheus(&page); err != nil {
		// The page is valid without the samples that could not be shown.
		s.http.ErrorLog.Print(err)
	}
	reply(w, http.StatusOK, metrics.ContentType, page.Bytes())
}

func (s *Server) healthz(w http.ResponseWriter) {
	reply(w, http.StatusOK, plainText, []byte("ok\n"))
}

func (s *Server) readyz(w http.ResponseWriter) {
	ready, reason := s.src.Ready()
	if !ready {
		if reason == "" {
			reason = "not ready"
		}
		reply(w, http.StatusServiceUnavailable, plainText, []byte(reason+"\n"))
		return
	}
	reply(w, http.StatusOK, plainText, []byte("ok\n"))
}

func (s *Server) status(w http.ResponseWriter) {
	body, err := json.MarshalIndent(s.src.Status(), "", "  ")
	if err != nil {
		s.http.ErrorLog.Printf("/status: %v", err)
		reply(w, http.StatusInternalServerError, plainText, []byte("no status: "+err.Error()+"\n"))
		return
	}
	reply(w, http.StatusOK, "application/json", append(body, '\n'))
}
