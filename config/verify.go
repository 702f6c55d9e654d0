package config

import (
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"zproxy/variables"
)

// elsewhere is where a setting of another proxy's configuration language is found in this one, or "".
func elsewhere(key string) string {
	switch key {
	case "listen", "bind", "frontend", "frontends", "server", "servers", "http":
		return "addresses to listen on are under listeners, requests are told apart under routes"
	case "backend", "backends", "clusters", "services":
		return "origins are under upstreams"
	case "location", "locations", "server_name", "rules":
		return "hosts and paths are under routes"
	case "proxy_pass", "use_backend", "default_backend", "service":
		return "a route names its upstream: {path: /*, upstream: NAME}"
	case "worker_processes", "workers", "threads", "nbthread":
		return "see loops"
	case "client_max_body_size":
		return "see limits.body_bytes"
	case "maxconn", "worker_connections":
		return "see limits.connections and upstreams.NAME.pool.max_connections"
	case "ssl", "certificates", "certificate", "ssl_certificate", "ssl_certificate_key":
		return "a listener has tls: {certificates: [{cert: FILE, key: FILE}]}"
	case "return":
		return "see respond and redirect"
	}
	return ""
}

// verify checks what more than one key decides.
func (d *decoder) verify(c *Config, root *yaml.Node) {
	root = resolve(root)
	d.verifyBuffers(c, root)
	listeners := d.verifyListeners(c, root)
	d.verifyAuthorities(c, root)
	d.verifyUpstreams(c, child(root, "upstreams"))
	d.verifyZone(c, root)
	d.verifyRoutes(c, root, listeners)
	d.verifyFilters(c, root)
	d.verifySubsets(c, root)
	d.verifyHTTP2(c, resolve(child(root, "http2")))
	d.verifyForwarding(c, child(root, "forwarding"))
	if c.Landlock != nil {
		c.Landlock.Pos = posOf(child(root, "landlock"))
	}
	if c.AccessLog.Path != "" {
		c.AccessLog.Pos = posOf(child(resolve(child(root, "access_log")), "path"))
	}
	d.verifyLogFormat(c.AccessLog.Format, resolve(child(root, "access_log")))
}

func (d *decoder) warn(c *Config, at Pos, key, value, want string) {
	c.Warnings = append(c.Warnings, Error{File: d.file, Line: at.Line, Col: at.Col, Key: key, Value: value, Want: want})
}

func posOf(n *yaml.Node) Pos { return Pos{n.Line, n.Column} }

func (d *decoder) verifyBuffers(c *Config, root *yaml.Node) {
	n := child(root, "buffers")
	p := &path{up: &path{key: "buffers"}, key: "max_per_loop"}
	if b := &c.Buffers; b.MaxPerLoop%b.Block != 0 {
		d.fail(child(n, "max_per_loop"), p, b.MaxPerLoop.String(), "a multiple of buffers.block, which is "+b.Block.String(), "")
	} else if b.MaxPerLoop < MinPoolBlocks*b.Block {
		least := MinPoolBlocks * b.Block
		d.fail(child(n, "max_per_loop"), p, b.MaxPerLoop.String(), "at least "+least.String()+", "+strconv.Itoa(MinPoolBlocks)+" times buffers.block", "")
	}
}

// MinPoolBlocks is how many blocks a loop has at least: the reserve is a part of
// them, and heads, responses and requests are to have some each.
const MinPoolBlocks = 64

// samePlace tells whether two addresses to listen on are the same one.
func samePlace(a, b string) bool {
	if a == b {
		return true
	}
	if strings.HasPrefix(a, "unix:/") && strings.HasPrefix(b, "unix:/") {
		return filepath.Clean(a[5:]) == filepath.Clean(b[5:])
	}
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	return errX == nil && errY == nil && x == y
}

// overlaps tells whether a socket on b would take connections meant for a, because one of them means all addresses.
// The kernel does not let both be opened. [::] means those of IPv4 as well: listeners are opened with IPV6_V6ONLY off.
func overlaps(a, b string) bool {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	if errX != nil || errY != nil {
		return samePlace(a, b)
	}
	if x.Port() != y.Port() || x.Port() == 0 {
		return false
	}
	p, q := x.Addr().Unmap(), y.Addr().Unmap()
	return p == q || includes(p, q) || includes(q, p)
}

// includes tells whether all, as an address to listen on, means one as well.
func includes(all, one netip.Addr) bool {
	return all == netip.IPv6Unspecified() || all == netip.IPv4Unspecified() && one.Is4()
}

// verifyListeners returns the addresses in use.
func (d *decoder) verifyListeners(c *Config, root *yaml.Node) []string {
	n := resolve(child(root, "listeners"))
	var addresses []string
	for i := range c.Listeners {
		l := &c.Listeners[i]
		l.Address = listenAddress(l.Address)
		if i < len(n.Content) {
			d.verifyTLS(c, l, resolve(n.Content[i]), &path{up: &path{key: "listeners"}, index: i})
			d.verifySocketFile(l.Address, resolve(child(n.Content[i], "socket")), &path{up: &path{up: &path{key: "listeners"}, index: i}, key: "socket"})
		}
		if l.Address == "" {
			continue // reported already
		}
		for j, other := range addresses {
			at, key := child(n.Content[i], "address"), &path{up: &path{up: &path{key: "listeners"}, index: i}, key: "address"}
			switch {
			case samePlace(l.Address, other):
				d.fail(at, key, quote(l.Address)+" a second time", "each address once", "first in listeners["+strconv.Itoa(j)+"]")
			case overlaps(l.Address, other):
				d.fail(at, key, quote(l.Address)+" beside "+quote(other), "addresses that do not include each other",
					"listeners["+strconv.Itoa(j)+"] and this one cannot both be opened: 0.0.0.0 means all IPv4 addresses, [::] all of IPv6 and IPv4")
			}
		}
		addresses = append(addresses, l.Address)
	}
	if c.Admin.Address == "" {
		return addresses
	}
	c.Admin.Address = listenAddress(c.Admin.Address)
	at := child(child(root, "admin"), "address")
	c.Admin.Pos = posOf(at)
	d.verifySocketFile(c.Admin.Address, resolve(child(root, "admin")), &path{key: "admin"})
	key := &path{up: &path{key: "admin"}, key: "address"}
	for i, other := range addresses {
		if overlaps(c.Admin.Address, other) {
			d.fail(at, key, quote(c.Admin.Address), "an address of its own", "listeners["+strconv.Itoa(i)+"] has "+quote(other))
		}
	}
	d.verifyAdmin(c, resolve(child(root, "admin")), &path{key: "admin"})
	return addresses
}

// verifySocketFile: only a unix socket has a file.
func (d *decoder) verifySocketFile(address string, n *yaml.Node, p *path) {
	if strings.HasPrefix(address, "unix:") || address == "" {
		return
	}
	for _, key := range [...]string{"mode", "user", "group"} {
		if v := written(n, key); v != nil {
			d.fail(v, &path{up: p, key: key}, shown(resolve(v)), "a unix: address, which has a file", "whoever reaches "+address+" may connect")
		}
	}
}

func (d *decoder) verifyUpstreams(c *Config, n *yaml.Node) {
	n = resolve(n)
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		if u.Name == "" {
			continue // its key was refused
		}
		here := &path{up: &path{key: "upstreams"}, key: u.Name}
		item := child(n, u.Name)
		d.verifyUpstreamTLS(c, u, resolve(item), here)
		d.verifyDiscover(c, u, item, here)
		d.verifyPool(u, resolve(child(item, "pool")), &path{up: here, key: "pool"})
		d.verifyRetry(u, item, here)
		d.verifyBalance(u, item, here)
		d.verifyTiers(u, resolve(child(item, "endpoints")), here)
		d.verifySticky(u, item, here)
		d.verifyHealthCheck(c, u, resolve(child(item, "health_check")), &path{up: here, key: "health_check"})
		endpoints := resolve(child(item, "endpoints"))
		seen := make(map[string]bool, len(u.Endpoints))
		for j := range u.Endpoints {
			address := strings.ToLower(u.Endpoints[j].Address)
			if strings.HasPrefix(address, "unix:") {
				address = u.Endpoints[j].Address
			}
			if seen[address] && address != "" {
				p := &path{up: &path{up: &path{up: here, key: "endpoints"}, index: j}, key: "address"}
				d.fail(child(endpoints.Content[j], "address"), p, quote(u.Endpoints[j].Address)+" a second time", "each endpoint once", "give it a larger weight instead")
			}
			seen[address] = true
		}
	}
}

// written is the value of a key of mapping n, or nil when it is not there.
func written(n *yaml.Node, key string) *yaml.Node {
	if v := child(n, key); v != n && n.Kind == yaml.MappingNode {
		return v
	}
	return nil
}

// verifyPool checks prewarm <= max_idle <= max_connections; a default gives way to what is written.
func (d *decoder) verifyPool(u *Upstream, n *yaml.Node, p *path) {
	pool := &u.Pool
	if pool.MaxIdle > pool.MaxConnections {
		if at := written(n, "max_idle"); at != nil {
			d.fail(at, &path{up: p, key: "max_idle"}, strconv.Itoa(pool.MaxIdle), "at most max_connections, which is "+strconv.Itoa(pool.MaxConnections), "")
			return
		}
		pool.MaxIdle = pool.MaxConnections
	}
	if pool.Prewarm > pool.MaxIdle {
		d.fail(child(n, "prewarm"), &path{up: p, key: "prewarm"}, strconv.Itoa(pool.Prewarm), "at most max_idle, which is "+strconv.Itoa(pool.MaxIdle), "")
	}
}

func (d *decoder) verifyRoutes(c *Config, root *yaml.Node, listeners []string) {
	names := make([]string, 0, len(c.Upstreams))
	used := make(map[string]bool, len(c.Upstreams))
	for i := range c.Upstreams {
		names = append(names, c.Upstreams[i].Name)
		used[c.Upstreams[i].Name] = false
	}
	n := resolve(child(root, "routes"))
	for i := range c.Routes {
		p := &path{up: &path{key: "routes"}, index: i}
		d.verifyRoute(&c.Routes[i], n.Content[i], p, names, used, listeners)
		d.verifyRouteTLS(c, &c.Routes[i], n.Content[i], p)
	}
	for name := range c.asked() {
		used[name] = true
	}
	for i := range c.Upstreams {
		if u := &c.Upstreams[i]; u.Name != "" && !used[u.Name] {
			d.warn(c, u.Pos, "upstreams."+u.Name, "no route to it", "a route that names it")
		}
	}
}

func (d *decoder) verifyRoute(r *Route, n *yaml.Node, p *path, names []string, used map[string]bool, listeners []string) {
	r.Host = strings.ToLower(r.Host)
	has := func(key string) bool { return resolve(n).Kind == yaml.MappingNode && child(n, key) != resolve(n) }
	if resolve(n).Kind != yaml.MappingNode {
		return // reported already
	}
	var actions []string
	for _, key := range routeActions {
		if has(key) {
			actions = append(actions, key)
		}
	}
	if len(actions) != 1 {
		found := "none of them"
		if len(actions) > 0 {
			found = strings.Join(actions, " and ")
		}
		d.fail(n, p, found, "exactly one of "+strings.Join(routeActions[:], ", "), "")
	}
	d.verifyTargets(r, n, p, names, used)
	if a := r.Respond; a != nil && (a.Status == 204 || a.Status == 304) && a.Body != "" {
		at := &path{up: &path{up: p, key: "respond"}, key: "body"}
		d.fail(child(child(n, "respond"), "body"), at, quote(a.Body), "no body with status "+strconv.Itoa(a.Status), "")
	}
	d.verifyRedirect(r, n, &path{up: &path{up: p, key: "redirect"}, key: "to"})
	d.verifyWebSocket(r, n, &path{up: p, key: "websocket"})
	if r.Listener == "" {
		return
	}
	r.Listener = listenAddress(r.Listener)
	for _, address := range listeners {
		if samePlace(address, r.Listener) {
			r.Listener = address
			return
		}
	}
	d.fail(child(n, "listener"), &path{up: p, key: "listener"}, quote(r.Listener), "the address of a listener: "+someOf(listeners), "")
}

// Params lists the names of the parameters of a route's path, in their order.
func Params(routePath string) (names []string) {
	for segment := range strings.SplitSeq(routePath, "/") {
		if len(segment) > 1 && segment[0] == ':' || segment != "" && segment[0] == '*' {
			names = append(names, segment[1:])
		}
	}
	return names
}

// verifyLogFormat checks access_log.format: a name, or a text with fields.
func (d *decoder) verifyLogFormat(format string, n *yaml.Node) {
	if f := child(n, "format"); format == "json" || format == "combined" || format == "" && (f == nil || f.Tag != "!!str") {
		return
	}
	_, err := variables.ParseLog(format)
	if err == nil {
		return
	}
	hint := ""
	if like := nearest(format, []string{"json", "combined"}); like != "" {
		hint = "did you mean " + quote(like) + "?"
	} else if name, ok := strings.CutSuffix(strings.TrimPrefix(err.Found, "{"), "}"); ok {
		if like = nearest(name, variables.FieldNames()); like != "" {
			hint = "did you mean {" + like + "}?"
		}
	}
	d.fail(child(n, "format"), &path{up: &path{key: "access_log"}, key: "format"}, err.Found, err.Want, hint)
}

// verifyRedirect checks the variables of redirect.to.
func (d *decoder) verifyRedirect(r *Route, n *yaml.Node, p *path) {
	if r.Redirect == nil || r.Redirect.To == "" {
		return // or reported already
	}
	if _, err := variables.Parse(r.Redirect.To, Params(r.Path)); err != nil {
		d.fail(child(child(n, "redirect"), "to"), p, err.Found, err.Want, "")
	}
}

// verifyWebSocket: what looks at frames needs the mode that does.
func (d *decoder) verifyWebSocket(r *Route, n *yaml.Node, p *path) {
	s := r.WebSocket
	if s == nil {
		return
	}
	at := child(n, "websocket")
	if r.Respond != nil || r.Redirect != nil {
		d.fail(at, p, "settings for WebSocket", "a route with upstream", "an answer of the proxy's own opens none")
		return
	}
	if s.Mode != "tunnel" {
		return
	}
	for _, only := range []struct {
		key string
		set bool
	}{{"max_message", s.MaxMessage > 0}, {"max_frame", s.MaxFrame > 0}, {"ping_interval", s.PingInterval > 0}} {
		if only.set {
			v := child(at, only.key)
			d.fail(v, &path{up: p, key: only.key}, shown(resolve(v)), "mode: frames with it", "a tunnel knows nothing of frames")
		}
	}
}

// someOf lists names, but not hundreds of them.
func someOf(names []string) string {
	if len(names) > 8 {
		return strings.Join(names[:8], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

// verifyHTTP2 checks stream_window <= connection_window, where a default gives way, and fills in idle_timeout.
func (d *decoder) verifyHTTP2(c *Config, n *yaml.Node) {
	h := &c.HTTP2
	if h.IdleTimeout == 0 {
		h.IdleTimeout = c.Limits.KeepaliveTimeout
	}
	if h.StreamWindow <= h.ConnectionWindow {
		return
	}
	if at := written(n, "connection_window"); at != nil {
		d.fail(at, &path{up: &path{key: "http2"}, key: "connection_window"}, h.ConnectionWindow.String(), "at least stream_window, which is "+h.StreamWindow.String(), "")
		return
	}
	h.ConnectionWindow = h.StreamWindow
}

func (d *decoder) verifyForwarding(c *Config, n *yaml.Node) {
	for _, prefix := range c.Forwarding.TrustedProxies {
		if prefix.Bits() == 0 {
			d.warn(c, posOf(child(n, "trusted_proxies")), "forwarding.trusted_proxies", prefix.String(),
				"the addresses of your own proxies, for now every client may claim to be another")
		}
	}
}

// pages decodes the mapping from statuses to files, and reads them.
func (d *decoder) pages(at *yaml.Node, f *field, target *map[int]ErrorPage, p *path) {
	n := resolve(at)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(at, p, shown(n), f.wants(), "e.g. {404: pages/404.html}")
		return
	}
	pages := make(map[int]ErrorPage, len(n.Content)/2)
	*target = pages
	d.keys(n, p, func(key, value *yaml.Node) {
		here := &path{up: p, key: key.Value}
		status, ok := parseCount(key.Value)
		if !ok || status < f.min || status > f.max {
			d.fail(key, p, shown(key), "a status from 400 to 599", "")
			return
		}
		file := resolve(value)
		if file.Kind != yaml.ScalarNode || file.ShortTag() != "!!str" || file.Value == "" {
			d.fail(value, here, shown(file), "a file name", "")
			return
		}
		page := ErrorPage{Pos: posOf(value), File: file.Value, ContentType: contentTypeOf(file.Value)}
		if d.readFile != nil {
			body, err := d.readFile(file.Value)
			switch {
			case err != nil:
				d.fail(value, here, quote(file.Value)+", "+reasonOf(err), "a file that can be read", "relative to the configuration file")
			case len(body) > MaxBodyBytes:
				d.fail(value, here, quote(file.Value)+" of "+strconv.Itoa(len(body))+" bytes", "at most "+Size(MaxBodyBytes).String(), "")
			case !utf8.Valid(body):
				d.fail(value, here, quote(file.Value)+", not UTF-8", "text in UTF-8", "")
			}
			page.Body = string(body)
		}
		pages[int(status)] = page
	})
}

func contentTypeOf(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".json":
		return "application/json"
	}
	return "text/html; charset=utf-8"
}

const wantFolder = "a directory"

func checkFolder(text string, _ int64) (want, hint string) {
	if text == "" || strings.ContainsRune(text, 0) {
		return wantFolder, ""
	}
	return "", ""
}
