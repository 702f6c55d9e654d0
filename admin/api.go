package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// The API is one table: what there is, who may do it, and the types of what goes in and comes out. The OpenAPI
// document is made from it.

const (
	apiPath = "/api/v1"
	// maxBody bounds what is sent, other than a configuration.
	maxBody = 64 << 10
	// defaultItems and maxItems are how many a part of a list has.
	defaultItems, maxItems = 1000, 10000
)

// operation is one method of one path.
type operation struct {
	method, path string // the path behind apiPath
	about        string
	writes       bool
	waits        bool // a change that mostly waits to be in force: see maxWeighing
	private      bool // not for an address where nobody is asked who he is
	query        []parameter
	in, out      reflect.Type // nil: nothing
	raw          bool         // what goes in is a configuration
	stream       bool         // what comes out are events of out
	do           func(*Server, *call) (any, error)
}

// parameter is one of the query.
type parameter struct{ name, kind, about string }

// call is a request of an operation.
type call struct {
	*http.Request
	w    http.ResponseWriter
	who  caller
	body any // a pointer to what goes in
}

// statusError has a status of its own.
type statusError struct {
	status int
	why    string
}

func (e *statusError) Error() string { return e.why }

func wrong(why string) error { return &statusError{http.StatusBadRequest, why} }

var pageParameters = []parameter{
	{"limit", "integer", "How many items at the most: 1000 where it is left out, 10000 at the most."},
	{"cursor", "string", "The cursor of the part before. What begins or ends meanwhile is in the list or not; all else is there once."},
	{"client", "string", "Only those of this address or prefix."},
	{"upstream", "string", "Only those of this upstream."},
	{"endpoint", "string", "Only those of this endpoint."},
	{"route", "string", "Only those of this route."},
}

var dryParameter = parameter{dryQuery, "boolean", "Only say what would change."}

// connectionParameters are those of lists that have both sides.
var connectionParameters = append(pageParameters[:len(pageParameters):len(pageParameters)], parameter{"all", "boolean", "Those to endpoints as well."})

func operations() []operation {
	const endpoint = "/upstreams/{upstream}/endpoints/{endpoint}"
	return []operation{
		{method: "GET", path: "/process", about: "The process", out: typeOf[Process](),
			do: func(s *Server, c *call) (any, error) { return s.src.Process(), nil }},
		{method: "GET", path: "/upstreams", about: "All upstreams with their endpoints", out: typeOf[UpstreamList](), do: (*Server).listUpstreams},
		{method: "GET", path: "/upstreams/{upstream}", about: "One upstream", out: typeOf[Upstream](), do: (*Server).oneUpstream},
		{method: "POST", path: "/upstreams/{upstream}/endpoints", about: "Add an endpoint", writes: true, in: typeOf[NewEndpoint](), out: typeOf[Endpoint](),
			do: func(s *Server, c *call) (any, error) {
				return s.src.AddEndpoint(c.PathValue("upstream"), *c.body.(*NewEndpoint))
			}},
		{method: "DELETE", path: endpoint, about: "Remove an endpoint", writes: true, out: typeOf[Done](),
			do: func(s *Server, c *call) (any, error) {
				return done("removed", s.src.RemoveEndpoint(c.PathValue("upstream"), c.PathValue("endpoint")))
			}},
		{method: "PUT", path: endpoint + "/weight", about: "Set the weight of an endpoint", writes: true, waits: true, in: typeOf[NewWeight](), out: typeOf[Done](), do: (*Server).putWeight},
		{method: "PUT", path: endpoint + "/state", about: "Drain, disable or enable an endpoint", writes: true, waits: true, in: typeOf[NewState](), out: typeOf[Endpoint](),
			do: func(s *Server, c *call) (any, error) {
				return s.src.SetState(c.PathValue("upstream"), c.PathValue("endpoint"), c.body.(*NewState).State)
			}},
		{method: "GET", path: "/connections", about: "Connections", query: connectionParameters, out: typeOf[ConnectionList](), do: paged(Control.Connections)},
		{method: "DELETE", path: "/connections/{id}", about: "End a client's connection, and all there is on it", writes: true, out: typeOf[Done](),
			do: func(s *Server, c *call) (any, error) { return done("ended", s.src.EndConnection(c.PathValue("id"))) }},
		{method: "GET", path: "/streams", about: "Streams of HTTP/2", query: connectionParameters, out: typeOf[StreamList](), do: paged(Control.Streams)},
		{method: "GET", path: "/exchanges", about: "Requests under way, and what each waits for",
			query: append(pageParameters[:len(pageParameters):len(pageParameters)], parameter{"older_ms", "integer", "Only those whose head came so long ago."}),
			out:   typeOf[ExchangeList](), do: paged(Control.Exchanges)},
		{method: "DELETE", path: "/exchanges/{id}", about: "End a request: with status 503, or by breaking off its response", writes: true, out: typeOf[Done](),
			do: func(s *Server, c *call) (any, error) { return done("ended", s.src.EndExchange(c.PathValue("id"))) }},
		{method: "GET", path: "/failures", about: "The last requests that failed, with reasons", out: typeOf[OutcomeList](), do: (*Server).listFailures},
		{method: "POST", path: "/traces", about: "What becomes of requests of a client or route for some seconds", in: typeOf[TraceOrder](), out: typeOf[TraceResult](), do: (*Server).trace},
		{method: "GET", path: "/events", about: "Figures of the last second, every second", stream: true, out: typeOf[Pulse](), do: (*Server).events},
		{method: "GET", path: "/log", about: "The level of the process log", out: typeOf[LogLevel](),
			do: func(s *Server, c *call) (any, error) { return s.src.LogLevel(), nil }},
		{method: "PUT", path: "/log", about: "Set that level", writes: true, in: typeOf[NewLevel](), out: typeOf[LogLevel](),
			do: func(s *Server, c *call) (any, error) {
				err := s.src.SetLogLevel(c.body.(*NewLevel).Level)
				return s.src.LogLevel(), err
			}},
		{method: "POST", path: "/logs/rotate", about: "Go on in a new access log of the same name, as SIGUSR1 does", writes: true, out: typeOf[Done](),
			do: func(s *Server, c *call) (any, error) { return done("rotated", s.src.RotateLogs()) }},
		{method: "GET", path: "/config", about: "The configuration's file", private: true, out: typeOf[Configuration](),
			do: func(s *Server, c *call) (any, error) { return s.src.Configuration() }},
		{method: "PUT", path: "/config", about: "Serve by another configuration, and write it to the file", writes: true, raw: true,
			query: []parameter{dryParameter, {nameQuery, "string", "With dry: the file that it is from, for messages and for the files it names."}},
			out:   typeOf[any](), do: (*Server).putConfig},
		{method: "POST", path: "/reload", about: "Read the configuration's file again", writes: true, query: []parameter{dryParameter}, out: typeOf[any](), do: (*Server).putConfig},
		{method: "GET", path: "/diff", about: "How what is in force differs from the configuration's file", out: typeOf[Differences](),
			do: func(s *Server, c *call) (any, error) { return s.src.Differences() }},
	}
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// api routes what is below apiPath.
func (s *Server) api() http.Handler {
	mux := http.NewServeMux()
	for _, op := range operations() {
		mux.HandleFunc(op.method+" "+apiPath+op.path, func(w http.ResponseWriter, r *http.Request) { s.operate(w, r, &op) })
	}
	mux.HandleFunc("GET "+apiPath+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, "application/json", openAPI)
	})
	return mux
}

// operate does op, if the one who asks may.
func (s *Server) operate(w http.ResponseWriter, r *http.Request, op *operation) {
	who, no := s.admit(r)
	switch {
	case no != nil:
	case op.writes:
		no = mayChange(r, who)
	case op.private && who.open:
		no = &refusal{http.StatusForbidden, "anybody on this machine may ask here, and the configuration may hold secrets: use an admin address that is a unix: socket, or set admin.tokens"}
	}
	if no != nil {
		if no.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="zproxy"`)
		}
		if op.writes {
			s.src.Audit(Audit{Who: who.name, From: r.RemoteAddr, What: r.Method + " " + r.URL.Path, Outcome: "refused: " + no.why})
		}
		say(w, no.status, answer{Error: no.why})
		return
	}
	c := &call{Request: r, w: w, who: who}
	slots := s.slots
	switch {
	case op.waits:
		slots = s.weighing
	case op.writes:
		slots = s.changes
	}
	if op.method == "GET" || op.writes { // a trace lasts, and waits for nobody
		select {
		case slots <- struct{}{}:
			if !op.stream {
				defer func() { <-slots }()
			} else {
				<-slots
			}
		default:
			w.Header().Set("Retry-After", "1")
			say(w, http.StatusServiceUnavailable, answer{Error: "too many requests to the admin address at once"})
			return
		}
	}
	out, err := s.perform(c, op)
	if op.writes {
		outcome := "done"
		if err != nil {
			outcome = err.Error()
		}
		s.src.Audit(Audit{Who: who.name, From: r.RemoteAddr, What: r.Method + " " + r.URL.RequestURI(), Outcome: outcome})
	}
	if err != nil {
		say(w, statusOf(err), answer{Error: err.Error()})
	} else if !op.stream {
		sayJSON(w, http.StatusOK, out)
	}
}

// perform reads what goes in, and does op.
func (s *Server) perform(c *call, op *operation) (any, error) {
	switch {
	case op.raw:
	case op.in != nil:
		c.body = reflect.New(op.in).Interface()
		text, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxBody))
		if err != nil {
			return nil, wrong("the request is not whole, or larger than " + strconv.Itoa(maxBody) + " bytes")
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(c.body); err != nil {
			return nil, wrong("the request is no JSON of the kind that " + apiPath + "/openapi.json describes: " + err.Error())
		}
	}
	return op.do(s, c)
}

func statusOf(err error) int {
	var own *statusError
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrBusy):
		return http.StatusConflict
	}
	return http.StatusUnprocessableEntity
}

func done(what string, err error) (any, error) { return Done{what}, err }

// sayJSON answers with what comes out.
func sayJSON(w http.ResponseWriter, status int, out any) {
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		say(w, http.StatusInternalServerError, answer{Error: err.Error()})
		return
	}
	reply(w, status, "application/json", append(text, '\n'))
}

// paged lists a part.
func paged[L any](list func(Control, Page) (L, error)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		p, err := pageOf(c.Request)
		if err != nil {
			return nil, err
		}
		return list(s.src, p)
	}
}

// pageOf reads the query of a list.
func pageOf(r *http.Request) (p Page, err error) {
	q := r.URL.Query()
	p = Page{Cursor: q.Get("cursor"), Limit: defaultItems, Upstream: q.Get("upstream"), Endpoint: q.Get("endpoint"), Route: q.Get("route"), Both: isTrue(r, "all")}
	if text := q.Get("limit"); text != "" {
		if p.Limit, err = strconv.Atoi(text); err != nil || p.Limit < 1 || p.Limit > maxItems {
			return p, wrong("limit: expected 1 to " + strconv.Itoa(maxItems))
		}
	}
	if text := q.Get("older_ms"); text != "" {
		if p.OlderMs, err = strconv.ParseInt(text, 10, 64); err != nil || p.OlderMs < 0 {
			return p, wrong("older_ms: expected a number of milliseconds")
		}
	}
	p.Client, err = prefixOf(q.Get("client"))
	return p, err
}

// isTrue: a parameter that is there, and not false.
func isTrue(r *http.Request, name string) bool {
	q := r.URL.Query()
	return q.Has(name) && q.Get(name) != "false"
}

// prefixOf is an address or prefix; not valid where text is empty.
func prefixOf(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, wrong("client: expected an address, or a prefix such as 192.0.2.0/24")
	}
	return p.Masked(), nil
}

func (s *Server) listUpstreams(c *call) (any, error) {
	list, err := s.src.Upstreams()
	return UpstreamList{list}, err
}

func (s *Server) oneUpstream(c *call) (any, error) {
	list, err := s.src.Upstreams()
	for _, u := range list {
		if u.Name == c.PathValue("upstream") {
			return u, nil
		}
	}
	if err == nil {
		err = ErrNotFound
	}
	return nil, err
}

func (s *Server) listFailures(c *call) (any, error) {
	list, err := s.src.Failures()
	return OutcomeList{list}, err
}

func (s *Server) putWeight(c *call) (any, error) {
	to := c.body.(*NewWeight)
	w := Weight{Upstream: c.PathValue("upstream"), Endpoint: c.PathValue("endpoint"), Weight: -1}
	if to.Weight != nil {
		if w.Weight = *to.Weight; w.Weight < 0 {
			return nil, wrong("weight: expected 0 to 65536, or null")
		}
	}
	return done("set", s.src.SetWeight(w))
}

// putConfig is for both ways to another configuration.
func (s *Server) putConfig(c *call) (any, error) {
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Now().Add(changeLimit))
	_ = control.SetWriteDeadline(time.Now().Add(changeLimit))
	ask := Change{Dry: isTrue(c.Request, dryQuery), Name: c.URL.Query().Get(nameQuery)}
	if c.Method == http.MethodPut {
		text, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxText))
		if err != nil || len(text) == 0 {
			return nil, wrong("the request has no configuration, or one that is too large")
		}
		ask.Text = text
	}
	return s.src.Change(ask)
}

// maxTraceSeconds bounds a trace, and maxTraced its items.
const (
	maxTraceSeconds = 60
	maxTraced       = 10000
)

func (s *Server) trace(c *call) (any, error) {
	t := *c.body.(*TraceOrder)
	if t.Limit == 0 {
		t.Limit = defaultItems
	}
	switch _, err := prefixOf(t.Client); {
	case err != nil:
		return nil, err
	case !(t.Seconds > 0 && t.Seconds <= maxTraceSeconds):
		return nil, wrong("seconds: expected more than 0, and " + strconv.Itoa(maxTraceSeconds) + " at the most")
	case t.Limit < 1 || t.Limit > maxTraced:
		return nil, wrong("limit: expected 1 to " + strconv.Itoa(maxTraced))
	}
	lasts := time.Duration(t.Seconds * float64(time.Second))
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(lasts + writeTimeout))
	ctx, cancel := context.WithTimeout(c.Context(), lasts)
	defer cancel()
	return s.src.Trace(ctx, t)
}

// Prefix is the client of t.
func (t *TraceOrder) Prefix() netip.Prefix {
	p, _ := prefixOf(t.Client)
	return p
}

// belowAPI says that a path is the API's.
func belowAPI(path string) bool { return strings.HasPrefix(path, apiPath+"/") || path == apiPath }
