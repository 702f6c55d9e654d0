package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"zproxy/config"
	"zproxy/proto"
	"zproxy/router"
)

const (
	// lookupLimit is how long the name of an endpoint may take that has the port
	// of a listener.
	lookupLimit = time.Second
	// loopHops is how many routes a request is followed through.
	loopHops = 8
	// loopWarnings is how many routes to themselves are named.
	loopWarnings = 20
	// anyHost and anySegment stand for what a route leaves open.
	anyHost    = "any.host.invalid"
	anySegment = "zproxy-check"
)

func addressesOf(host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs
}

// request is one that a route takes, as it comes to a listener.
type request struct {
	listener           int
	host, path, method string
}

// loopFinder follows requests through the routes of this proxy alone.
type loopFinder struct {
	*checker
	routers []*router.Router
	back    map[string][]int // by upstream: the listeners that its endpoints are
	via     map[string]int   // by upstream: the first such endpoint
	names   map[string]int   // upstreams by name
	match   router.Match
	start   int // the route at hand
}

// loops warns of routes that send requests, or clients, to themselves.
func (k *checker) loops() {
	f := &loopFinder{checker: k, back: map[string][]int{}, via: map[string]int{}, names: map[string]int{}}
	suspects := 0
	for i := range k.cfg.Upstreams {
		u := &k.cfg.Upstreams[i]
		f.names[u.Name] = i
		for j := range u.Endpoints {
			if found := k.listeners(u.Endpoints[j].Address); len(found) > 0 && f.back[u.Name] == nil {
				f.back[u.Name], f.via[u.Name] = found, j
				suspects++
			}
		}
	}
	for i := range k.cfg.Routes {
		if k.cfg.Routes[i].Redirect != nil {
			suspects++
		}
	}
	if suspects == 0 || !f.build() {
		return
	}
	for i, warned := 0, 0; i < len(k.cfg.Routes) && warned < loopWarnings; i++ {
		if f.check(i) {
			warned++
		}
	}
}

// build makes the routers; false when routes exclude each other, which is
// reported elsewhere.
func (f *loopFinder) build() bool {
	for i := range f.cfg.Listeners {
		b := router.NewBuilder()
		for j := range f.cfg.Routes {
			r := &f.cfg.Routes[j]
			if r.Listener != "" && r.Listener != f.cfg.Listeners[i].Address || r.TLS != nil {
				continue // what is sent on comes back without the client's TLS
			}
			if b.Add(r.Host, r.Path, r.Methods, int32(j)) != nil {
				return false
			}
		}
		f.routers = append(f.routers, b.Build())
	}
	return true
}

func (f *loopFinder) check(i int) bool {
	r := &f.cfg.Routes[i]
	name := f.leadsBack(r)
	if r.Redirect == nil && name == "" {
		return false
	}
	f.start = i
	for l := range f.cfg.Listeners {
		if r.Listener != "" && r.Listener != f.cfg.Listeners[l].Address {
			continue
		}
		q := request{listener: l, host: sampleHost(r.Host), path: samplePath(r.Path), method: "GET"}
		if len(r.Methods) > 0 {
			q.method = r.Methods[0]
		}
		if !f.returns(q, i, loopHops) {
			continue
		}
		key := "routes[" + strconv.Itoa(i) + "]"
		if r.Redirect != nil {
			f.warn(r.Pos, key+".redirect.to", strconv.Quote(r.Redirect.To), "a target that does not lead back to this route",
				"a client that follows it comes here again, until it gives up")
			return true
		}
		u := &f.cfg.Upstreams[f.names[name]]
		e := &u.Endpoints[f.via[u.Name]]
		f.warn(r.Pos, key+".upstream", strconv.Quote(name), "an origin that does not send the request back to this route",
			fmt.Sprintf("its endpoint %s (line %d) is listeners[%d] of this proxy", e.Address, e.Line, f.back[u.Name][0]))
		return true
	}
	return false
}

// returns tells whether a request that route i takes comes back to the route
// that the search began with.
func (f *loopFinder) returns(q request, i, hops int) bool {
	r := &f.cfg.Routes[i]
	switch {
	case hops == 0:
		return false
	case r.Redirect != nil:
		next, ok := f.redirected(q, r)
		return ok && f.arrives(next, hops)
	}
	for _, name := range r.Upstreams() {
		next := q
		if u := &f.cfg.Upstreams[f.names[name]]; u.Host != "" {
			next.host = u.Host
		}
		for _, l := range f.back[name] {
			next.listener = l
			if f.arrives(next, hops) {
				return true
			}
		}
	}
	return false
}

// leadsBack names the first of the route's upstreams that this proxy is an endpoint of, if one is.
func (f *loopFinder) leadsBack(r *config.Route) string {
	for _, name := range r.Upstreams() {
		if f.back[name] != nil {
			return name
		}
	}
	return ""
}

func (f *loopFinder) arrives(q request, hops int) bool {
	j, ok := f.lookup(q)
	return ok && (j == f.start || f.returns(q, j, hops-1))
}

func (f *loopFinder) lookup(q request) (route int, ok bool) {
	path, _, ok := router.Normalize([]byte(q.path), make([]byte, 0, router.NormalizedBound(len(q.path))))
	if !ok {
		return 0, false
	}
	found := f.routers[q.listener].Lookup([]byte(q.host), path, proto.ParseMethod([]byte(q.method)), []byte(q.method), &f.match)
	return int(f.match.Value), found == router.Found
}

// redirected is the request of a client that follows a redirect. Not ok: it
// goes elsewhere, by https for instance.
func (f *loopFinder) redirected(q request, r *config.Route) (next request, ok bool) {
	to := strings.NewReplacer("{scheme}", "http", "{host}", q.host, "{path}", q.path, "{query}", "").Replace(r.Redirect.To)
	base := url.URL{Scheme: "http", Host: q.host, Path: q.path}
	target, err := base.Parse(to)
	if err != nil || target.Scheme != "http" {
		return next, false
	}
	next = q
	next.path = target.EscapedPath()
	if next.path == "" {
		next.path = "/"
	}
	if s := r.Redirect.Status; s == 303 || (s == 301 || s == 302) && q.method == "POST" {
		next.method = "GET"
	}
	next.host = target.Hostname()
	if _, port, _ := net.SplitHostPort(f.cfg.Listeners[q.listener].Address); target.Port() != "" && target.Port() != port {
		// Another port, as far as it is one of this proxy's.
		found := f.listeners(net.JoinHostPort(target.Hostname(), target.Port()))
		if len(found) == 0 {
			return next, false
		}
		next.listener = found[0]
	} else if next.host != q.host {
		// Another host: it is served here if a route says so by name.
		j, ok := f.lookup(next)
		return next, ok && f.cfg.Routes[j].Host != ""
	}
	return next, true
}

func sampleHost(pattern string) string {
	switch {
	case pattern == "":
		return anyHost
	case strings.HasPrefix(pattern, "*."):
		return anySegment + pattern[1:]
	}
	return pattern
}

func samplePath(pattern string) string {
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		if strings.HasPrefix(s, ":") || strings.HasPrefix(s, "*") {
			segments[i] = anySegment
		}
	}
	return strings.Join(segments, "/")
}
