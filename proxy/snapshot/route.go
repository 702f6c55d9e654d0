package snapshot

import (
	"slices"
	"strings"

	"zproxy/config"
	"zproxy/filter"
	"zproxy/proto"
	"zproxy/proxy/tunnel"
	"zproxy/variables"
)

// InterimRule is what a route says about interim responses.
type InterimRule uint8

const (
	interimListener InterimRule = iota // as the listener
	InterimPass
	InterimDrop
)

func compileInterim(r *config.Route) InterimRule {
	switch r.Interim {
	case "pass":
		return InterimPass
	case "drop":
		return InterimDrop
	}
	return interimListener
}

// Route is what becomes of requests that one entry of the routes matches.
type Route struct {
	id        uint64        // stays from one snapshot to the next
	config    *config.Route // it is made from
	Path      string
	Place                         // where its requests go
	Split     []Share             // more than one instead
	sticky    *config.Sticky      // of Split: nil: each request for itself
	Urgency   uint8               // see upstream.Concurrency
	Fallback  int                 // the number, and 1, of the upstream instead of one with no endpoint up; 0: none
	Series    uint16              // of metrics
	Response  *Response           // instead of a cluster
	To        *variables.Template // Location of answer, where it differs by request
	Interim   InterimRule
	WebSocket *tunnel.Rules
	Chain     *filter.Chain // nil: no filters
	Methods   []byte        // of Allow; empty: any

	MaxStreamNs int64 // from the head of the request to the end of the exchange, 0: no limit
}

// ID is a number of the route's own that stays from one snapshot to the next.
func (r *Route) ID() uint64 { return r.id }

func compileRoute(r *config.Route, clusters map[string]int) Route {
	switch {
	case r.Respond != nil:
		return Route{config: r, Path: r.Path, Response: NewResponse(r.Respond.Status, r.Respond.ContentType, nil, r.Respond.Body)}
	case r.Redirect != nil:
		return compileRedirect(r)
	}
	rt := Route{
		config: r, Path: r.Path, Place: placeOf(config.Subset{Upstream: r.Upstream, Labels: r.Subset}, r.SubsetFallback, clusters), Interim: compileInterim(r), WebSocket: plainWebSocket,
		Methods: []byte(strings.Join(r.Methods, ", ")), MaxStreamNs: int64(r.MaxStreamDuration), Urgency: r.Urgency(),
	}
	if r.Split != nil {
		rt.Split = compileSplit(r.Split, clusters)
		rt.sticky = r.Sticky
	}
	if r.Fallback != "" {
		rt.Fallback = clusters[r.Fallback] + 1
	}
	if r.WebSocket != nil {
		rt.WebSocket = compileWebSocket(r.WebSocket)
	}
	return rt
}

// compileRedirect prepares the answer of a route that redirects. (What is wrong
// with its variables config has found.)
func compileRedirect(r *config.Route) Route {
	to, err := variables.Parse(r.Redirect.To, config.Params(r.Path))
	if err != nil || to.Constant() {
		return Route{config: r, Path: r.Path, Response: NewResponse(r.Redirect.Status, "", []proto.Extra{{Name: "Location", Value: []byte(r.Redirect.To)}}, "")}
	}
	return Route{config: r, Path: r.Path, Response: NewResponse(r.Redirect.Status, "", nil, ""), To: to}
}

// Leads says whether a request that was sent by r, a route of s or of a snapshot before it, to an
// endpoint of cl may still be sent there by s. Without an endpoint (-1) it is about the upstream.
func (s *Snapshot) Leads(r *Route, cl *Cluster, endpoint int) bool {
	at, ok := s.routeByID[r.id]
	if !ok {
		return false
	}
	next := &s.Routes[at]
	if next.Response != nil {
		return false
	}
	for _, to := range next.leadsTo() {
		if s.Clusters[to].Name == cl.Name && s.Clusters[to].has(cl, endpoint) {
			return true
		}
	}
	return false
}

// has says that c, which has the name of cl, has an endpoint of it; -1: any.
func (c *Cluster) has(cl *Cluster, endpoint int) bool {
	if endpoint < 0 || c == cl {
		return true
	}
	if cl.config.Discover != nil || c.config.Discover != nil {
		return true // which endpoints there are is not configured
	}
	address := cl.config.Endpoints[endpoint].Address
	return slices.ContainsFunc(c.config.Endpoints, func(e config.Endpoint) bool { return e.Address == address })
}
