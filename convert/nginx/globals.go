package nginx

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"zproxy/convert"
)

// process writes what the process is.
func (c *converter) process() {
	root := c.doc.Root
	if d := c.main.last("worker_processes"); d != nil {
		if n, err := strconv.Atoi(d.arg(0)); err == nil && n >= 1 && n <= 1024 {
			root.Set("loops", n, d.line)
		}
	}
	if d := c.main.last("user"); d != nil && d.arg(0) != "root" {
		root.Set("user", d.arg(0), d.line)
		if d.arg(1) != "" {
			root.Set("group", d.arg(1))
		}
	}
}

// every are the directives of a name in all blocks of http.
func (c *converter) every(name string) (found []*directive) {
	for _, sc := range c.scopes {
		found = append(found, sc.own(name)...)
	}
	return found
}

// most writes a setting that nginx has for each location and zproxy once: the largest there is. Where others are
// smaller that is no longer so.
func (c *converter) most(name string, usual int64, read func(*directive) (int64, bool), set func(int64, ...convert.Line)) {
	value, from := int64(-1), []convert.Line(nil)
	list := c.every(name)
	for _, d := range list {
		if n, ok := read(d); ok && n > value {
			value, from = n, []convert.Line{d.line}
		}
	}
	if c.http.last(name) == nil && len(list) > 0 && usual > value {
		value, from = usual, nil // it holds where nothing else does
	}
	if value < 0 {
		if usual >= 0 {
			set(usual)
		}
		return
	}
	set(value, from...)
	for _, d := range list {
		if n, ok := read(d); ok && n < value {
			c.doc.Lost(d.line, name, "one value holds for all requests, here the largest that there is")
		}
	}
}

func readTime(d *directive) (int64, bool) {
	t, ok := duration(d.arg(0))
	return int64(t), ok
}

const unlimited = 1 << 62

// globals writes what zproxy has once.
func (c *converter) globals() {
	limits := convert.NewSection()
	c.most("client_max_body_size", 1<<20, func(d *directive) (int64, bool) {
		n, ok := size(d.arg(0))
		if ok && n == 0 {
			n = unlimited
		}
		return n, ok
	}, func(n int64, from ...convert.Line) {
		if n < unlimited {
			limits.Set("body_bytes", convert.Size(n), from...)
		} else {
			limits.Set("body_bytes", 0, from...)
		}
	})
	for _, t := range []struct {
		directive, key string
		usual          time.Duration
		most           time.Duration
	}{{"client_header_timeout", "request_header_timeout", 60 * time.Second, time.Hour}, {"client_body_timeout", "request_body_timeout", -1, time.Hour},
		{"send_timeout", "send_timeout", -1, time.Hour}, {"keepalive_timeout", "keepalive_timeout", -1, 24 * time.Hour}} {
		c.most(t.directive, int64(t.usual), readTime, func(n int64, from ...convert.Line) {
			if n > 0 {
				limits.Set(t.key, convert.Duration(time.Duration(n), time.Millisecond, t.most), from...)
			} else if t.key == "keepalive_timeout" {
				limits.Set("requests_per_connection", 1, from...)
			}
		})
	}
	c.most("keepalive_requests", -1, func(d *directive) (int64, bool) {
		n, err := strconv.ParseInt(d.arg(0), 10, 31)
		return n, err == nil && n > 0
	}, func(n int64, from ...convert.Line) {
		if !limits.Has("requests_per_connection") {
			limits.Set("requests_per_connection", int(min(n, 1<<30)), from...)
		}
	})
	c.most("large_client_header_buffers", -1, func(d *directive) (int64, bool) {
		count, err := strconv.ParseInt(d.arg(0), 10, 16)
		each, ok := size(d.arg(1))
		return min(max(count*each, 1<<10), 1<<20), ok && err == nil
	}, func(n int64, from ...convert.Line) { limits.Set("header_bytes", convert.Size(n), from...) })
	if d := c.events().last("worker_connections"); d != nil {
		if n, err := strconv.Atoi(d.arg(0)); err == nil && n > 0 {
			limits.Set("connections", min(n, 1<<24), d.line)
		}
	}
	if !limits.Empty() {
		c.doc.Root.Put("limits", limits)
	}
	c.most("http2_max_concurrent_streams", -1, func(d *directive) (int64, bool) {
		n, err := strconv.ParseInt(d.arg(0), 10, 17)
		return n, err == nil && n > 0 && n <= 65536
	}, func(n int64, from ...convert.Line) { c.doc.Root.Section("http2").Set("max_streams", int(n), from...) })
	c.forwarding()
	c.accessLog()
	c.processLog()
	c.errorPages()
}

func (c *converter) events() *scope {
	sc := &scope{}
	for _, d := range c.main.own("events") {
		sc.list = append(sc.list, d.block...)
	}
	return sc
}

// forwarding writes what origins are told of clients, and who is believed.
func (c *converter) forwarding() {
	out := convert.NewSection()
	set := func(key string, usual bool, line *convert.Line) {
		switch {
		case line != nil:
			out.Set(key, true, *line)
		case usual:
			out.Set(key, false)
		}
	}
	set("x_forwarded", c.forwards.any, c.forwards.xForwarded)
	set("x_real_ip", false, c.forwards.realIP)
	set("request_id", false, c.forwards.reqID)
	if from := c.realIPFrom(); len(from) > 0 {
		if d := c.every("real_ip_header"); len(d) == 0 || strings.EqualFold(d[0].arg(0), "X-Real-IP") {
			c.doc.Note(c.every("set_real_ip_from")[0].line, "set_real_ip_from", "X-Forwarded-For of these is believed, not X-Real-IP")
		} else if name := d[0].arg(0); !strings.EqualFold(name, "X-Forwarded-For") && name != "proxy_protocol" {
			c.doc.Lost(d[0].line, "real_ip_header", "the client's address is taken from X-Forwarded-For, Forwarded or the PROXY protocol")
		}
		out.Set("trusted_proxies", from, c.every("set_real_ip_from")[0].line)
	}
	if !out.Empty() {
		c.doc.Root.Put("forwarding", out)
	}
}

// realIPFrom are the networks that are believed.
func (c *converter) realIPFrom() (list []string) {
	for _, d := range c.every("set_real_ip_from") {
		text := d.arg(0)
		_, errAddr := netip.ParseAddr(text)
		_, errNet := netip.ParsePrefix(text)
		switch {
		case errAddr == nil || errNet == nil:
			if !slices.Contains(list, text) {
				list = append(list, text)
			}
		case text != "unix:":
			c.doc.Lost(d.line, d.name, "proxies that are believed are addresses or networks")
		}
	}
	return list
}

// errorPages writes bodies of responses that the proxy makes itself.
func (c *converter) errorPages() {
	seen := map[string]string{}
	for _, sc := range c.scopes {
		for _, d := range sc.own("error_page") {
			uri := d.arg(len(d.args) - 1)
			if !strings.HasPrefix(uri, "/") || len(d.args) < 2 || strings.HasPrefix(d.args[len(d.args)-2], "=") || strings.Contains(uri, "$") {
				c.doc.Lost(d.line, d.name, "a page is a file of the response's own status; for another upstream see fallback in docs/routing.md")
				continue
			}
			file := c.page(sc, uri)
			if file == "" {
				c.doc.Lost(d.line, d.name, "where the file is cannot be told: "+uri)
				continue
			}
			for _, status := range d.args[:len(d.args)-1] {
				n, err := strconv.Atoi(status)
				switch {
				case err != nil || n < 400 || n > 599:
					c.doc.Lost(d.line, d.name, status+" is no status that the proxy makes by itself")
				case seen[status] == "":
					seen[status] = file
					c.doc.Root.Section("error_pages").Set(status, file, d.line)
				case seen[status] != file:
					c.doc.Lost(d.line, d.name, "there is one page for a status; another line has that for "+status)
				}
			}
		}
	}
	for _, d := range c.every("proxy_intercept_errors") {
		if d.arg(0) == "on" {
			c.doc.Lost(d.line, d.name, "responses of origins are never replaced")
		}
	}
}

// page is the file of an error page: of the location that it is in.
func (c *converter) page(sc *scope, uri string) string {
	list, _ := places(sc, 0)
	best := &place{scope: sc}
	for _, p := range list {
		if p.kind == "=" && p.path == uri {
			best = p
			break
		}
		if (p.kind == "" || p.kind == "^~") && strings.HasPrefix(uri, p.path) && len(p.path) >= len(best.path) {
			best = p
		}
	}
	if alias := best.scope.own("alias"); len(alias) > 0 {
		return c.path(alias[0].arg(0) + strings.TrimPrefix(uri, best.path))
	}
	root := best.scope.last("root")
	if root == nil || strings.Contains(root.arg(0), "$") {
		return ""
	}
	return c.path(root.arg(0)) + uri
}
