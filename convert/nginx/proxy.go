package nginx

import (
	"net"
	"strconv"
	"strings"
	"time"

	"zproxy/convert"
)

// forwards is what origins are told of clients, by any location.
type forwards struct {
	any                       bool // anything is passed on at all
	xForwarded, realIP, reqID *convert.Line
}

// passed is what a proxy_pass or grpc_pass makes of a request.
func (c *converter) passed(rq request, p *place, d *directive) action {
	lines := []convert.Line{p.line, d.line}
	to := c.value(p.scope, d.arg(0))
	scheme, rest, ok := strings.Cut(to, "://")
	if !ok && d.name == "grpc_pass" {
		scheme, rest, ok = "grpc", to, true
	}
	authority, uri := rest, ""
	if path, isUnix := strings.CutPrefix(rest, "unix:"); isUnix {
		path, uri, _ = strings.Cut(path, ":")
		authority = "unix:" + path
	} else if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, uri = rest[:i], rest[i:]
	}
	if name, _ := variable(authority+" ", 0); name != "" {
		if split := c.variables["$"+name]; split != nil && split.name == "split_clients" && "${"+name+"}" != authority && "$"+name == authority {
			return c.split(rq, p, d, split, scheme)
		}
	}
	if !ok || strings.Contains(authority, "$") || authority == "" {
		c.doc.Lost(d.line, d.name, "which origin it is has to be known before a request comes; its requests are answered 503")
		return respond(503, lines...)
	}
	c.uri(p, d, uri)
	name := c.upstream(p.scope, d, scheme, authority)
	return action{lines, func(out convert.Section) { out.Set("upstream", name, d.line) }}
}

// uri looks at what stands in the place of a location's path.
func (c *converter) uri(p *place, d *directive, uri string) {
	path, ok := strings.CutSuffix(uri, "$request_uri")
	if uri == "" || ok && path == "" || uri == p.path && p.kind != "~" && p.kind != "~*" {
		return
	}
	c.doc.Lost(d.line, d.name, "the path that was routed is the path that is passed on; no equivalent yet")
}

// split is a route to several upstreams, each with its share.
func (c *converter) split(rq request, p *place, d, split *directive, scheme string) action {
	type share struct {
		name   string
		weight int
	}
	var shares []share
	left := 1000000
	for _, s := range split.block {
		weight := left
		if s.name != "*" {
			percent, err := strconv.ParseFloat(strings.TrimSuffix(s.name, "%"), 64)
			if err != nil || percent < 0 || percent > 100 {
				c.doc.Lost(s.line, "split_clients", "not a share")
				continue
			}
			weight = min(left, int(percent*10000))
		}
		left -= weight
		if s.arg(0) != "" {
			shares = append(shares, share{c.upstream(p.scope, d, scheme, s.arg(0)), weight})
		}
	}
	if len(shares) == 0 {
		return respond(503, p.line, d.line)
	}
	c.doc.Note(split.line, "split_clients", "each request is given its share by itself; with sticky a cookie or field decides")
	return action{[]convert.Line{p.line, d.line, split.line}, func(out convert.Section) {
		for _, s := range shares {
			one := out.Append("split").Flow()
			one.Set("upstream", s.name)
			one.Set("weight", s.weight)
		}
	}}
}

// upstream is the name of what a location passes requests to, which is made if there is none like it.
func (c *converter) upstream(sc *scope, d *directive, scheme, authority string) string {
	c.forwards.any = true
	prefix := strings.TrimSuffix(d.name, "_pass") // proxy or grpc
	secure := scheme == "https" || scheme == "grpcs"
	out := convert.NewSection()
	var lines []convert.Line
	block := c.upstreams[authority]
	if prefix == "grpc" {
		out.Set("protocol", map[bool]string{false: "h2c", true: "h2"}[secure], d.line)
	}
	if secure {
		c.originTLS(sc, prefix, d, out, block == nil, authority)
	}
	base := authority
	if block != nil {
		lines = append(lines, block.line)
		c.block(block, out)
	} else {
		usual := map[bool]string{false: "80", true: "443"}[secure]
		out.Append("endpoints").Flow().Set("address", endpoint(authority, usual))
		if path, ok := strings.CutPrefix(authority, "unix:"); ok {
			base = path[strings.LastIndexByte(path, '/')+1:]
		}
	}
	host := authority
	if strings.HasPrefix(authority, "unix:") {
		host = "localhost"
	}
	c.fields(sc, prefix, host, out)
	c.times(sc, prefix, out)
	c.retries(sc, prefix, block, out)
	return c.name(convert.Name(base), out, lines)
}

// name gives an upstream a name, unless there is one that says the same.
func (c *converter) name(base string, out convert.Section, lines []convert.Line) string {
	if name, ok := c.made[out.Key()]; ok {
		return name
	}
	name := base
	for i := 2; c.names[name]; i++ {
		name = base + "-" + strconv.Itoa(i)
	}
	c.made[out.Key()] = name
	c.names[name] = true
	c.doc.Root.Section("upstreams").Put(name, out, lines...)
	return name
}

// endpoint is an address with a port.
func endpoint(address, port string) string {
	if strings.HasPrefix(address, "unix:") {
		return address
	}
	if host, its, err := net.SplitHostPort(address); err == nil {
		return net.JoinHostPort(host, its)
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

// originTLS writes how endpoints are spoken to within TLS.
func (c *converter) originTLS(sc *scope, prefix string, d *directive, out convert.Section, direct bool, authority string) {
	tls := out.Section("tls", d.line)
	if sc.on(prefix + "_ssl_verify") {
		if ca := sc.last(prefix + "_ssl_trusted_certificate"); ca != nil {
			tls.Set("ca", c.path(ca.arg(0)), ca.line)
		}
	} else {
		tls.Set("verify", false)
		c.doc.Note(d.line, d.name, "as with nginx the endpoint's certificate is not verified; take verify: false out to have it so")
	}
	name := authority
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	if given := sc.last(prefix + "_ssl_name"); given != nil {
		name = c.value(sc, given.arg(0))
	}
	switch {
	case name == "$host" || name == "$http_host" || strings.HasPrefix(name, "$ssl_"):
		c.doc.Lost(sc.last(prefix+"_ssl_name").line, prefix+"_ssl_name", "the name that endpoints are asked for is one for each upstream")
	case net.ParseIP(strings.Trim(name, "[]")) == nil && !strings.HasPrefix(name, "unix:") && !strings.ContainsAny(name, "$_"):
		tls.Set("server_name", name)
	}
	if cert, key := sc.last(prefix+"_ssl_certificate"), sc.last(prefix+"_ssl_certificate_key"); cert != nil && key != nil {
		own := tls.Section("certificate")
		own.Set("cert", c.path(cert.arg(0)), cert.line)
		own.Set("key", c.path(key.arg(0)), key.line)
	}
	if d := sc.last(prefix + "_ssl_protocols"); d != nil {
		c.versions(d, tls)
	}
}

// fields looks at what fields requests are given, and notes what all origins are told of clients.
func (c *converter) fields(sc *scope, prefix, host string, out convert.Section) {
	for _, d := range sc.all(prefix + "_set_header") {
		name, value := strings.ToLower(d.arg(0)), c.value(sc, d.arg(1))
		at := d.line
		switch {
		case name == "host":
			switch value {
			case "$host", "$http_host", "$host:$server_port", "$host:$proxy_port":
				host = ""
				if value != "$http_host" {
					c.doc.Note(at, d.name, "the Host field is passed on as the client wrote it, with its port and letter case: nginx's $http_host")
				}
				continue
			case "$proxy_host":
				continue
			}
			if strings.Contains(value, "$") {
				c.doc.Lost(at, d.name, "the Host field is the client's or one for each upstream")
				host = ""
				continue
			}
			host = value
		case name == "connection", name == "upgrade", name == "te":
			// what passes between two hops is the proxy's own; WebSocket and gRPC pass as they are
		case name == "x-forwarded-for" && (value == "$proxy_add_x_forwarded_for" || value == "$remote_addr"),
			name == "x-forwarded-proto" && value == "$scheme",
			name == "x-forwarded-host" && (value == "$host" || value == "$http_host"):
			c.forwards.xForwarded = &at
			c.doc.Note(at, d.name, "all origins get X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host, here and where no line asks for one")
		case name == "x-real-ip" && value == "$remote_addr":
			c.forwards.realIP = &at
		case name == "x-request-id" && value == "$request_id":
			c.forwards.reqID = &at
		case name == "accept-encoding" && value == "":
			c.doc.Note(at, d.name, "what clients accept is passed on as it is")
		default:
			c.doc.Lost(at, d.name, filters)
		}
	}
	if host != "" {
		out.Set("host", host)
	}
}

// times writes how long endpoints may take.
func (c *converter) times(sc *scope, prefix string, out convert.Section) {
	set := func(directive, key string, most time.Duration) {
		d := sc.last(prefix + directive)
		if d == nil {
			if key == "connect" { // nginx's default is longer than zproxy's
				out.Section("timeouts").Set(key, "1m")
			}
			return
		}
		if t, ok := duration(d.arg(0)); ok {
			out.Section("timeouts").Set(key, convert.Duration(t, time.Millisecond, most), d.line)
		}
	}
	set("_connect_timeout", "connect", 10*time.Minute)
	set("_read_timeout", "response", 24*time.Hour)
	set("_read_timeout", "idle", 24*time.Hour)
	if read, send := sc.last(prefix+"_read_timeout"), sc.last(prefix+"_send_timeout"); send != nil && (read == nil || read.arg(0) != send.arg(0)) {
		c.doc.Note(send.line, send.name, "one time, timeouts.idle, holds for what is sent and what is read: that of "+prefix+"_read_timeout")
	}
}
