package main

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"zproxy/config"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
	"zproxy/router"
	"zproxy/server"
)

const routeUsage = `usage: zproxy route -c FILE [-listener ADDRESS] [-H 'NAME: VALUE']... [-tls 1.2|1.3] [-client-cert FILE] [-all] METHOD URL`

// asked is the request that zproxy route is about.
type asked struct {
	method, authority, target string
	secure, absolute          bool // by the URL
	host                      string
	fields                    []string
	listener                  string
	version                   uint16 // of TLS
	cert                      string // file of the client's certificate, "": it shows none
	all                       bool   // routes are listed however many there are
}

// cmdRoute says what becomes of a request. Status 1: the proxy would refuse it.
func cmdRoute(args []string, out, errOut io.Writer) int {
	a := asked{version: stdtls.VersionTLS13}
	fs := flag.NewFlagSet("zproxy route", flag.ContinueOnError) // prints its own complaint
	fs.SetOutput(errOut)
	file := fs.String("c", "", "configuration `FILE`")
	fs.StringVar(&a.listener, "listener", "", "`ADDRESS` of the listener, as in FILE; otherwise those for the URL's scheme and port")
	fs.StringVar(&a.cert, "client-cert", "", "`FILE` with the certificate that the client shows; it is taken for verified")
	fs.BoolVar(&a.all, "all", false, "list all other routes, however many there are")
	fs.Func("H", "a field of the request, `'NAME: VALUE'`; may be repeated", func(field string) error {
		name, value, ok := strings.Cut(field, ":")
		if !ok || strings.ContainsAny(field, "\r\n") {
			return errors.New("want 'NAME: VALUE'")
		}
		if strings.EqualFold(name, "Host") {
			a.host = strings.TrimSpace(value)
			return nil
		}
		a.fields = append(a.fields, field)
		return nil
	})
	fs.Func("tls", "`VERSION` of TLS of the client's connection, 1.2 or 1.3 (default 1.3)", func(v string) error {
		var ok bool
		a.version, ok = map[string]uint16{"1.2": stdtls.VersionTLS12, "1.3": stdtls.VersionTLS13}[v]
		if !ok {
			return errors.New("want 1.2 or 1.3")
		}
		return nil
	})
	if fs.Parse(args) != nil {
		return 2
	}
	if *file == "" || fs.NArg() != 2 || !a.url(fs.Arg(0), fs.Arg(1)) {
		fmt.Fprintln(errOut, routeUsage)
		return 2
	}
	refused, err := a.explain(*file, out)
	if err != nil {
		fmt.Fprintln(errOut, err)
	}
	if err != nil || refused {
		return 1
	}
	return 0
}

// url takes an absolute URL or a path. What is behind the authority stays as it is written: it is for the
// proxy's own parser to judge.
func (a *asked) url(method, url string) bool {
	if strings.ContainsAny(method+url, "\r\n") {
		return false
	}
	scheme, rest, absolute := strings.Cut(url, "://")
	a.method, a.target, a.absolute, a.secure = method, url, absolute, strings.EqualFold(scheme, "https")
	if !absolute {
		return strings.HasPrefix(url, "/") || url == "*"
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		rest, end = rest+"/", len(rest)
	}
	a.authority, a.target = rest[:end], rest[end:]
	if a.target[0] != '/' {
		a.target = "/" + a.target
	}
	a.target, _, _ = strings.Cut(a.target, "#") // a client sends no fragment (RFC 9110 7.1)
	return a.secure || strings.EqualFold(scheme, "http")
}

// explain says for each listener that the request may come to what becomes of it there.
func (a *asked) explain(file string, out io.Writer) (refused bool, err error) {
	c, err := server.Load(file)
	if err != nil {
		return false, err
	}
	s, err := snapshot.NewRegistry(1, nil).Compile(c)
	if err != nil {
		return false, err
	}
	listeners, err := a.listeners(c)
	if err != nil {
		return false, err
	}
	secure, err := a.session()
	if err != nil {
		return false, err
	}
	var texts []string
	addresses := map[string][]string{} // by text
	for _, i := range listeners {
		var t *transport.Session
		if c.Listeners[i].TLS != nil {
			t = secure
		}
		var b strings.Builder
		ex := explanation{c: c, s: s, l: s.Listeners[s.Listener(i)], address: c.Listeners[i].Address, t: t, a: a, out: &b}
		refused = !ex.write() || refused
		if addresses[b.String()] == nil {
			texts = append(texts, b.String())
		}
		addresses[b.String()] = append(addresses[b.String()], c.Listeners[i].Address)
	}
	for _, text := range texts {
		fmt.Fprintf(out, "listener  %s\n%s", strings.Join(addresses[text], ", "), text)
	}
	return refused, nil
}

// listeners are the numbers of those that the request may come to.
func (a *asked) listeners(c *config.Config) (list []int, err error) {
	var known []string
	_, port, _ := net.SplitHostPort(a.authority)
	usual := map[bool]string{false: "80", true: "443"}[a.secure]
	var hasUsual bool
	for i := range c.Listeners {
		l := &c.Listeners[i]
		known = append(known, l.Address)
		_, its, _ := net.SplitHostPort(l.Address)
		switch {
		case a.listener != "":
			if l.Address != a.listener {
				continue
			}
		case a.absolute && (a.secure != (l.TLS != nil) || port != "" && its != port):
			continue
		}
		hasUsual = hasUsual || its == usual
		list = append(list, i)
	}
	if a.listener == "" && a.absolute && port == "" && hasUsual {
		list = slices.DeleteFunc(list, func(i int) bool {
			_, its, _ := net.SplitHostPort(c.Listeners[i].Address)
			return its != usual
		})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no listener for that: name one with -listener, of %s", c.File, strings.Join(known, ", "))
	}
	return list, nil
}

// session is the TLS of the client's connection.
func (a *asked) session() (*transport.Session, error) {
	t := &transport.Session{Version: a.version}
	if a.cert == "" {
		return t, nil
	}
	text, err := os.ReadFile(a.cert)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: it begins with no certificate in PEM", a.cert)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.cert, err)
	}
	chain := []*x509.Certificate{leaf}
	t.Client, err = credentials.Identify(&stdtls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}})
	return t, err
}

// explanation is what becomes of a request by one listener.
type explanation struct {
	c       *config.Config
	s       *snapshot.Snapshot
	l       *snapshot.Listener
	address string
	t       *transport.Session // nil: in clear
	a       *asked
	out     *strings.Builder

	h    proto.Head
	path []byte // as it is routed
}

func (e *explanation) line(label, format string, args ...any) {
	fmt.Fprintf(e.out, "  %-9s %s\n", label, fmt.Sprintf(format, args...))
}

// write explains; false: the request is refused.
func (e *explanation) write() bool {
	host := e.a.host
	if host == "" {
		host = e.a.authority
	}
	if host == "" { // as of a client that was given the listener's address alone
		if host = e.address; strings.HasPrefix(host, "unix:") {
			host = "localhost"
		}
	}
	b := []byte(e.a.method + " " + e.a.target + " HTTP/1.1\r\nHost: " + host + "\r\n")
	for _, field := range e.a.fields {
		b = append(b, field+"\r\n"...)
	}
	b = append(b, "\r\n"...)
	if _, _, f := http1.ParseRequest(b, http1.Cursor{}, &e.s.HeadLimits, &e.h); f != nil {
		e.line("refused", "%d, %s", f.Status, f.Reason)
		return false
	}
	e.path = e.h.Bytes(e.h.Path)
	if e.h.Form == proto.AsteriskForm || len(e.path) == 0 {
		e.path = []byte("/")
	}
	norm, changed, ok := router.Normalize(e.path, nil)
	if !ok {
		e.line("refused", "400, the path has no single meaning")
		return false
	}
	if e.path = norm; changed {
		e.line("path", "%s, as it is routed and passed on", norm)
	}
	var m router.Match
	m.Holds = e.s.Holds(e.t)
	found := int32(-1)
	result := e.l.Router.Lookup(e.h.Bytes(e.h.Host), norm, e.h.Method, e.h.Bytes(e.h.MethodName), &m)
	switch result {
	case router.NotFound:
		e.line("refused", "404, no route is for this host and path")
	case router.MethodNotAllowed:
		e.line("refused", "405, routes for this host and path take %s", m.Allow.AppendAllow(nil))
	default:
		found = m.Value
		e.route(found, m.Params[:m.NParams])
	}
	e.others(found)
	return result == router.Found
}

// pattern is what a route matches, as a line of its own.
func pattern(r *config.Route) string {
	text := r.Host + r.Path
	if len(r.Methods) > 0 {
		text = strings.Join(r.Methods, ",") + " " + text
	}
	if r.TLS != nil {
		text += " " + r.TLS.String()
	}
	return text
}

func (e *explanation) route(i int32, params []router.Param) {
	r, rt := &e.c.Routes[i], &e.s.Routes[i]
	text := fmt.Sprintf("%s  line %d", pattern(r), r.Line)
	for _, p := range params {
		text += fmt.Sprintf("  %s=%s", p.Name, e.path[p.Off:p.Off+p.Len])
	}
	e.line("route", "%s", text)
	if rt.Chain != nil {
		for i := range rt.Chain.Steps {
			step := &rt.Chain.Steps[i]
			e.line("filter", "%s  line %d", stepText(step), step.Line)
		}
	}
	switch {
	case r.Respond != nil:
		e.line("respond", "%d", r.Respond.Status)
		return
	case r.Redirect != nil:
		e.line("redirect", "%d to %s", r.Redirect.Status, r.Redirect.To)
		return
	case r.Split == nil:
		e.upstream(r.Upstream, r.Subset, r.SubsetFallback)
	default:
		if draw, ok := rt.Draw(&e.h); ok {
			to := rt.Target(draw)
			i := slices.IndexFunc(rt.Split, func(s snapshot.Share) bool { return s.Place == *to })
			e.upstream(r.Split[i].Upstream, r.Split[i].Subset, r.Split[i].SubsetFallback)
			break
		}
		var shares []string
		for _, s := range r.Split {
			shares = append(shares, fmt.Sprintf("%s %d", titleOf(s.Upstream, s.Subset), s.Weight))
		}
		e.line("split", "%s", strings.Join(shares, ", "))
		for _, s := range r.Split {
			if s.Weight > 0 {
				e.upstream(s.Upstream, s.Subset, s.SubsetFallback)
			}
		}
	}
	if r.Fallback != "" {
		e.line("fallback", "%s, while that has no endpoint up", r.Fallback)
		if !slices.ContainsFunc(r.Split, func(share config.Share) bool { return share.Upstream == r.Fallback }) {
			e.upstream(r.Fallback, nil, "")
		}
	}
}

// titleOf names an upstream, or a subset of it.
func titleOf(name string, subset config.Labels) string {
	if subset == nil {
		return name
	}
	return name + "[" + subset.String() + "]"
}

func (e *explanation) upstream(name string, subset config.Labels, fallback string) {
	i := slices.IndexFunc(e.c.Upstreams, func(u config.Upstream) bool { return u.Name == name })
	u := &e.c.Upstreams[i]
	if subset != nil {
		u = u.Part(subset)
	}
	text := titleOf(name, subset) + "  " + u.Protocol + ", " + u.Balance
	if u.HashOn != "" {
		text += " by " + u.HashOn
	}
	e.line("upstream", "%s", text)
	for _, ep := range u.Endpoints {
		e.line("", "%s  weight %d", ep.Address, ep.Weight)
	}
	if u.Discover != nil {
		text := u.Discover.Kind()
		if subset != nil {
			text += " with " + subset.String()
		}
		e.line("", "what is found by %s", text)
	}
	if fallback == "any" {
		e.line("", "all endpoints of %s, while none of these is up", name)
	}
}

// mostOthers is how many other routes are listed without -all.
const mostOthers = 20

// others says why the other routes are not for the request: first of those that come closest.
func (e *explanation) others(found int32) {
	const less, elsewhere = "it is less specific", "it is for listener "
	var like, unlike []string
	for i := range e.c.Routes {
		r := &e.c.Routes[i]
		if int32(i) == found {
			continue
		}
		why, near := router.Mismatch(r.Host, r.Path, r.Methods, e.h.Bytes(e.h.Host), e.path, e.a.method), false
		switch {
		case r.Listener != "" && r.Listener != e.address:
			why = elsewhere + r.Listener
		case why == "" && !e.s.Fits(i, e.t):
			why, near = "the client's connection is not "+r.TLS.String(), true
		case why == "":
			why, near = less, true
		default:
			near = router.Mismatch(r.Host, r.Path, nil, e.h.Bytes(e.h.Host), e.path, e.a.method) == ""
		}
		text := fmt.Sprintf("%s  line %d: %s", pattern(r), r.Line, why)
		if near {
			like = append(like, text)
		} else {
			unlike = append(unlike, text)
		}
	}
	all := append(like, unlike...)
	n := len(all)
	if !e.a.all {
		n = min(n, mostOthers)
	}
	for _, text := range all[:n] {
		e.line("not", "%s", text)
	}
	if n < len(all) {
		e.line("", "and %d more, which -all lists", len(all)-n)
	}
}
