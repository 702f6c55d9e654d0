package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// Change asks for another configuration.
type Change struct {
	Text []byte // of it; nil: what the configuration's file holds
	Name string // file that Text is from, for messages and for the files it names; "": the configuration's
	Dry  bool   // only to say what would change
}

const (
	reloadPath  = "/reload"
	configPath  = "/config"
	dryQuery    = "dry"  // of either: Change.Dry
	nameQuery   = "file" // of configPath: Change.Name
	changeLimit = 2 * time.Minute
	// maxText bounds a configuration that is sent; config has its own bound for files.
	maxText = 64 << 20
)

// answer is the body of all responses here.
type answer struct {
	Error  string `json:"error,omitempty"`
	Result any    `json:"result,omitempty"`
}

// change is the entrance to what changes something. Nothing that a page in a browser could ask
// for is done: an admin address that is a TCP port has no other bound.
func (s *Server) change(w http.ResponseWriter, r *http.Request) {
	method, weighs := http.MethodPost, strings.HasPrefix(r.URL.Path, upstreamsPath)
	if weighs || r.URL.Path == configPath {
		method = http.MethodPut
	}
	refusal := ""
	switch {
	case r.Method != method:
		w.Header().Set("Allow", method)
		reply(w, http.StatusMethodNotAllowed, plainText, []byte("method not allowed: "+method+"\n"))
		return
	case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
		refusal = "a page in a browser may not change anything here"
	case weighs && s.file == nil:
		refusal = "only an admin address that is a unix: socket takes weights: who may write there is told by its file"
	case r.URL.Path == configPath && s.file == nil:
		refusal = "only an admin address that is a unix: socket takes a configuration: who may write there is told by its file. Here, write the configuration's file and POST " + reloadPath
	}
	if refusal != "" {
		say(w, http.StatusForbidden, answer{Error: refusal})
		return
	}
	slots := s.changes
	if weighs {
		slots = s.weighing
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		w.Header().Set("Retry-After", "1")
		say(w, http.StatusServiceUnavailable, answer{Error: "too many changes are asked for at once"})
		return
	}
	if weighs {
		s.setWeight(w, r)
		return
	}
	s.changeOne(w, r)
}

func (s *Server) changeOne(w http.ResponseWriter, r *http.Request) {
	// Names of new upstreams are looked up, and addresses awaited that a process is about to leave.
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(changeLimit))
	_ = c.SetWriteDeadline(time.Now().Add(changeLimit))
	ask := Change{Dry: r.URL.Query().Has(dryQuery), Name: r.URL.Query().Get(nameQuery)}
	if r.URL.Path == configPath {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxText))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			say(w, http.StatusRequestEntityTooLarge, answer{Error: "the configuration is too large"})
			return
		case err != nil || len(text) == 0:
			say(w, http.StatusBadRequest, answer{Error: "the request has no configuration"})
			return
		}
		ask.Text = text
	}
	result, err := s.src.Change(ask)
	if err != nil {
		say(w, http.StatusUnprocessableEntity, answer{Error: err.Error()})
		return
	}
	say(w, http.StatusOK, answer{Result: result})
}

func say(w http.ResponseWriter, status int, a answer) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(a); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString("{}\n")
	}
	reply(w, status, "application/json", []byte(b.String()))
}
