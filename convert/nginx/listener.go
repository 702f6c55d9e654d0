package nginx

import (
	"net"
	"strconv"
	"strings"

	"zproxy/convert"
)

// listener is an address that servers listen on.
type listener struct {
	address       string
	lines         []convert.Line
	tls, h2       bool
	both          bool // HTTP/2 beside HTTP/1 on one port without TLS
	proxyProtocol bool
	socket        [][2]string // options of the socket
	servers       []*server   // the default one first
	hasDefault    bool
}

// server is a server block.
type server struct {
	line      convert.Line
	scope     *scope
	names     []string
	listeners []*listener
}

func (c *converter) server(d *directive) *server {
	s := &server{line: d.line, scope: &scope{up: c.http, list: d.block}}
	c.addScopes(s.scope)
	for _, names := range s.scope.own("server_name") {
		for _, name := range names.args {
			switch name = strings.ToLower(name); {
			case strings.HasPrefix(name, "~"):
				c.doc.Lost(names.line, "server_name", name+": a host is matched by its name or by a wildcard in front (*.example.com), not by an expression")
			case strings.HasPrefix(name, "."):
				s.names = append(s.names, name[1:], "*"+name)
			case strings.HasSuffix(name, ".*"):
				c.doc.Lost(names.line, "server_name", name+": a wildcard is the first label of a host, not the last one")
			case name == "" || name == "_":
				// for requests that no other name fits
			case strings.ContainsAny(name, "*_!@#$ /") && !strings.HasPrefix(name, "*."):
				c.doc.Note(names.line, "server_name", name+": no host that a client can ask for")
			default:
				s.names = append(s.names, name)
			}
		}
	}
	return s
}

// addScopes notes a scope, and those of the locations within it.
func (c *converter) addScopes(s *scope) {
	c.scopes = append(c.scopes, s)
	for _, d := range s.list {
		if d.name == "location" {
			c.addScopes(&scope{up: s, list: d.block})
		}
	}
}

// listen makes the listeners out of all listen directives.
func (c *converter) listen() {
	byAddress := map[string]*listener{}
	all := map[string]bool{} // ports of [::]
	for _, s := range c.servers {
		for _, d := range s.scope.own("listen") {
			if a := address(d.arg(0)); strings.HasPrefix(a, "[::]:") {
				all[a[len("[::]:"):]] = true
			}
		}
	}
	for _, s := range c.servers {
		listens := s.scope.own("listen")
		if len(listens) == 0 {
			listens = []*directive{{name: "listen", args: []string{"80"}, line: s.line}}
		}
		for _, d := range listens {
			a := address(d.arg(0))
			if a == "" {
				c.doc.Lost(d.line, "listen", "not an address that is understood here")
				continue
			}
			if port, ok := strings.CutPrefix(a, "0.0.0.0:"); ok && all[port] {
				a = "[::]:" + port // which takes connections over IPv4 as well
			}
			l := byAddress[a]
			if l == nil {
				l = &listener{address: a}
				byAddress[a] = l
				c.listeners = append(c.listeners, l)
			}
			c.options(s, l, d)
		}
	}
	for _, l := range c.listeners {
		c.listener(l)
	}
}

// address is that of a listen directive as zproxy writes it, "" if it is none.
func address(s string) string {
	if strings.HasPrefix(s, "unix:") {
		return s
	}
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return "0.0.0.0:" + s
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), "80"
	}
	return convert.Address(host, port)
}

// options reads the words behind an address.
func (c *converter) options(s *server, l *listener, d *directive) {
	l.lines = append(l.lines, d.line)
	first := false
	for _, option := range d.args[min(1, len(d.args)):] {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "ssl":
			l.tls = true
		case "http2":
			l.h2 = true
		case "proxy_protocol":
			l.proxyProtocol = true
		case "default_server", "default":
			first = true
		case "backlog":
			l.socket = append(l.socket, [2]string{"backlog", value})
		case "fastopen":
			l.socket = append(l.socket, [2]string{"fast_open", value})
		case "reuseport", "bind", "so_keepalive", "deferred", "rcvbuf", "sndbuf":
		case "ipv6only":
			if value == "on" && strings.HasPrefix(l.address, "[::]:") {
				c.doc.Note(d.line, "listen", "[::] takes connections over IPv4 as well")
			}
		case "quic":
			c.doc.Lost(d.line, "listen", "zproxy speaks HTTP/1.1 and HTTP/2")
		default:
			c.doc.Lost(d.line, "listen", "the option "+key+" has no equivalent")
		}
	}
	if s.scope.on("http2") {
		l.h2, l.both = true, true
	}
	for _, other := range s.listeners {
		if other == l {
			return
		}
	}
	s.listeners = append(s.listeners, l)
	if first && !l.hasDefault {
		l.hasDefault = true
		l.servers = append([]*server{s}, l.servers...)
		return
	}
	l.servers = append(l.servers, s)
}

// listener writes one.
func (c *converter) listener(l *listener) {
	out := c.doc.Root.Append("listeners", l.lines...)
	out.Set("address", l.address)
	switch {
	case l.tls && !l.h2:
		out.Set("protocols", []string{"http1"})
	case !l.tls && l.both:
		out.Set("protocols", []string{"http1", "h2c"})
	case !l.tls && l.h2:
		out.Set("protocols", []string{"h2c"})
	}
	for _, option := range l.socket {
		if n, err := strconv.Atoi(option[1]); err == nil && n > 0 && n < 65536 {
			out.Section("socket").Set(option[0], n)
		}
	}
	if l.proxyProtocol {
		pp := out.Section("proxy_protocol")
		if from := c.realIPFrom(); len(from) > 0 {
			pp.Set("from", from)
		} else if !strings.HasPrefix(l.address, "unix:") {
			pp.Set("from", []string{"0.0.0.0/0", "::/0"})
		}
	}
	if l.tls {
		c.tls(l, out.Section("tls"))
	}
}

// tls writes a listener's certificates and what goes with them.
func (c *converter) tls(l *listener, out convert.Section) {
	seen := map[string]bool{}
	for _, s := range l.servers {
		certs, keys := s.scope.all("ssl_certificate"), s.scope.all("ssl_certificate_key")
		for i, cert := range certs {
			if i >= len(keys) || seen[cert.arg(0)] {
				continue
			}
			seen[cert.arg(0)] = true
			if strings.Contains(cert.arg(0)+keys[i].arg(0), "$") || strings.HasPrefix(keys[i].arg(0), "engine:") {
				c.doc.Lost(cert.line, cert.name, "certificates are files with fixed names, and chosen by the names in them")
				continue
			}
			one := out.Append("certificates")
			one.Set("cert", c.path(cert.arg(0)), cert.line)
			one.Set("key", c.path(keys[i].arg(0)), keys[i].line)
			c.clientAuth(s, one)
		}
		if d := s.scope.last("ssl_protocols"); d != nil {
			c.versions(d, out)
		}
		if d := s.scope.last("ssl_session_tickets"); d != nil && d.arg(0) == "off" {
			out.Set("tickets", false, d.line)
		}
	}
	if len(seen) == 0 {
		c.doc.Lost(l.lines[0], "listen", "no server here has a certificate")
	}
}

// clientAuth writes what a server asks of clients' certificates.
func (c *converter) clientAuth(s *server, cert convert.Section) {
	verify := s.scope.last("ssl_verify_client")
	if verify == nil || verify.arg(0) == "off" {
		return
	}
	ca := s.scope.last("ssl_client_certificate")
	if ca == nil {
		ca = s.scope.last("ssl_trusted_certificate")
	}
	if ca == nil || verify.arg(0) == "optional_no_ca" {
		c.doc.Lost(verify.line, verify.name, "a certificate that a client shows is always verified, by a file of authorities")
		return
	}
	auth := cert.Section("client_auth")
	auth.Set("mode", map[string]string{"on": "require", "optional": "request"}[verify.arg(0)], verify.line)
	auth.Set("ca", c.path(ca.arg(0)), ca.line)
	if crl := s.scope.last("ssl_crl"); crl != nil {
		auth.Set("crl", c.path(crl.arg(0)), crl.line)
	}
}

// versions reads a list of TLS versions.
func (c *converter) versions(d *directive, out convert.Section) {
	least := "1.3"
	for _, v := range d.args {
		switch v {
		case "TLSv1.2":
			least = "1.2"
		case "TLSv1.3":
		default:
			least = "1.2"
			c.doc.Note(d.line, d.name, v+" is not spoken any more")
		}
	}
	if least == "1.3" && !out.Has("min_version") {
		out.Set("min_version", least, d.line)
	}
}
