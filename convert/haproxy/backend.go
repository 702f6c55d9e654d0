package haproxy

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"zproxy/convert"
)

const maxIdle = 24 * time.Hour

// server is a server line with what default-server says.
type server struct {
	*line
	options []string // of default-server, and behind them its own
}

// value is that of an option, the last one counts.
func (s *server) value(option string) string {
	value := ""
	for i, w := range s.options {
		if w == option && i+1 < len(s.options) {
			value = s.options[i+1]
		}
	}
	return value
}

// has says whether a flag is set.
func (s *server) has(flag string) bool {
	return slices.Contains(s.options, flag) && !slices.Contains(s.options, "no-"+flag)
}

// servers are those of a backend.
func (p *party) servers() (list []*server) {
	var usual []string
	for _, l := range p.lines {
		switch {
		case l.words[0] == "default-server":
			usual = append(usual, l.words[1:]...)
		case (l.words[0] == "server" || l.words[0] == "server-template") && len(l.words) > 2:
			list = append(list, &server{l, append(slices.Clone(usual), l.words[min(3, len(l.words)):]...)})
		}
	}
	return list
}

// upstream is the name of what a backend is, "" if it has no server. It is made when it is first asked for.
func (c *converter) upstream(p *party) string {
	if name, ok := c.names[p.name]; ok {
		return name
	}
	servers := p.servers()
	out := convert.NewSection()
	if len(servers) > 0 {
		c.protocol(p, servers[0], out)
	}
	c.balance(p, out)
	if !c.endpoints(p, servers, out) {
		c.names[p.name] = ""
		return ""
	}
	c.pool(p, servers, out)
	c.times(p, out)
	c.retries(p, out)
	c.check(p, servers, out)
	name := convert.Name(p.name)
	for i := 2; c.doc.Root.Section("upstreams").Has(name); i++ {
		name = convert.Name(p.name) + "-" + strconv.Itoa(i)
	}
	c.names[p.name] = name
	c.doc.Root.Section("upstreams").Put(name, out, p.at)
	if l := p.last("option", "forwardfor"); l != nil {
		c.forwarded = &l.at
	} else {
		for _, f := range c.fronts {
			if l := f.last("option", "forwardfor"); l != nil {
				c.forwarded = &l.at
			}
		}
	}
	if l := p.last("cookie"); l != nil {
		c.doc.Lost(l.at, "cookie", "sticky sessions need a secret of their own: see sticky in docs/upstreams.md")
	}
	return name
}

// protocol writes how endpoints are spoken to: as the first server is.
func (c *converter) protocol(p *party, s *server, out convert.Section) {
	h2 := s.value("proto") == "h2" || s.value("alpn") == "h2"
	secure := s.has("ssl")
	switch {
	case h2 && secure:
		out.Set("protocol", "h2", s.at)
	case h2:
		out.Set("protocol", "h2c", s.at)
	case secure && strings.Contains(s.value("alpn"), "h2"):
		out.Set("protocol", "auto", s.at)
	}
	if secure {
		tls := out.Section("tls", s.at)
		if name, ok := strings.CutPrefix(s.value("sni"), "str("); ok {
			tls.Set("server_name", strings.TrimSuffix(name, ")"))
		} else if name := s.value("verifyhost"); name != "" {
			tls.Set("server_name", name)
		} else if s.value("sni") != "" {
			c.doc.Lost(s.at, "server", "the name that endpoints are asked for is one for each upstream")
		}
		verifyNone := c.global.last("ssl-server-verify")
		switch ca := s.value("ca-file"); {
		case s.value("verify") == "none" || s.value("verify") == "" && verifyNone != nil && verifyNone.word(1) == "none":
			tls.Set("verify", false)
		case ca != "" && ca != "@system-ca":
			tls.Set("ca", c.base(ca))
		}
		if crt := s.value("crt"); crt != "" {
			own := tls.Section("certificate")
			own.Set("cert", c.base(crt))
			own.Set("key", c.base(crt))
		}
		if s.value("ssl-min-ver") == "TLSv1.3" {
			tls.Set("min_version", "1.3")
		}
	}
	if s.has("send-proxy") {
		out.Set("send_proxy", "v1", s.at)
	} else if s.has("send-proxy-v2") || s.has("send-proxy-v2-ssl") || s.has("send-proxy-v2-ssl-cn") {
		out.Set("send_proxy", "v2", s.at)
	}
}

// balance writes how an endpoint is chosen.
func (c *converter) balance(p *party, out convert.Section) {
	l := p.last("balance")
	if l == nil {
		return
	}
	hash := func(on string) {
		kind := "maglev"
		if h := p.last("hash-type"); h != nil && h.word(1) == "consistent" {
			kind = "ring_hash"
		}
		out.Set("balance", kind, l.at)
		out.Set("hash_on", on)
		c.doc.Note(l.at, "balance", "the same key goes to the same endpoint, but another one than with HAProxy")
	}
	switch algorithm := l.word(1); {
	case algorithm == "roundrobin" || algorithm == "static-rr":
		out.Set("balance", "round_robin", l.at)
	case algorithm == "leastconn":
		out.Set("balance", "least_conn", l.at)
	case strings.HasPrefix(algorithm, "random"):
		out.Set("balance", "p2c", l.at)
	case algorithm == "source":
		hash("source")
	case algorithm == "uri":
		hash("path")
	case algorithm == "url_param" && l.word(2) != "":
		hash("query " + l.word(2))
	case strings.HasPrefix(algorithm, "hdr(") && strings.HasSuffix(algorithm, ")"):
		hash("header " + algorithm[len("hdr("):len(algorithm)-1])
	default:
		c.doc.Lost(l.at, "balance", algorithm+" has no equivalent; endpoints take turns")
	}
}

// known options of server lines, with how many words behind them.
var serverOptions = map[string]int{"weight": 1, "backup": 0, "check": 0, "no-check": 0, "inter": 1, "fastinter": 1, "downinter": 1, "fall": 1, "rise": 1, "maxconn": 1, "minconn": 1, "maxqueue": 1, "ssl": 0, "verify": 1, "ca-file": 1, "sni": 1, "alpn": 1,
	"proto": 1, "send-proxy": 0, "send-proxy-v2": 0, "send-proxy-v2-ssl": 0, "send-proxy-v2-ssl-cn": 0, "cookie": 1, "disabled": 0, "enabled": 0, "crt": 1, "port": 1, "addr": 1, "slowstart": 1, "resolvers": 1, "resolve-prefer": 1, "init-addr": 1, "id": 1, "verifyhost": 1,
	"ssl-min-ver": 1, "ssl-max-ver": 1, "ciphers": 1, "ciphersuites": 1, "check-ssl": 0, "no-check-ssl": 0, "check-sni": 1, "check-alpn": 1, "check-send-proxy": 0, "pool-max-conn": 1, "pool-purge-delay": 1, "pool-low-conn": 1, "on-marked-down": 1, "on-error": 1, "error-limit": 1,
	"observe": 1, "no-ssl": 0, "no-backup": 0, "track": 1, "resolve-net": 1, "no-sslv3": 0, "crl-file": 1, "log-proto": 1, "check-proto": 1, "shard": 1, "ws": 1, "tfo": 0, "max-reuse": 1, "redir": 1, "source": 1, "namespace": 1, "agent-check": 0, "agent-port": 1, "agent-inter": 1, "agent-addr": 1, "agent-send": 1, "non-stick": 0}

// endpoints writes the servers; false: there is none that may serve.
func (c *converter) endpoints(p *party, servers []*server, out convert.Section) bool {
	weights := make([]int, len(servers))
	for i, s := range servers {
		weights[i] = 1
		if n, err := strconv.Atoi(s.value("weight")); err == nil {
			weights[i] = n
		}
	}
	any, backups := false, 0
	for i, s := range servers {
		c.options(s)
		if s.words[0] == "server-template" {
			c.template(s, out)
			return true
		}
		host, port := s.word(2), ""
		if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasPrefix(host, "/") && !strings.HasPrefix(host, "unix@") {
			host, port = host[:i], host[i+1:]
		}
		address := net.JoinHostPort(strings.Trim(strings.TrimPrefix(strings.TrimPrefix(host, "ipv4@"), "ipv6@"), "[]"), port)
		if path := strings.TrimPrefix(host, "unix@"); strings.HasPrefix(path, "/") {
			address = "unix:" + path
		} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			c.doc.Lost(s.at, "server", "its port is not a number of its own")
			continue
		}
		if weights[i] == 0 || s.has("disabled") {
			c.doc.Note(s.at, "server", "it gets no requests, so it is left out")
			continue
		}
		e := out.Append("endpoints", s.at)
		e.Set("address", address)
		if weights[i] != 1 {
			e.Set("weight", min(weights[i], 256))
		}
		if s.has("backup") {
			e.Set("backup", true)
			if backups++; backups == 2 && p.last("option", "allbackups") == nil {
				c.doc.Note(s.at, "server", "the backups share the requests; HAProxy takes the first one alone without option allbackups")
			}
		}
		any = true
	}
	return any
}

// options lists what a server line has that has no equivalent.
func (c *converter) options(s *server) {
	for i := 0; i < len(s.options); i++ {
		w := s.options[i]
		n, known := serverOptions[w]
		switch {
		case !known:
			c.doc.Lost(s.at, "server", "the option "+w+" is not known here")
		case slices.Contains([]string{"track", "redir", "source", "namespace", "agent-check", "observe", "on-error", "minconn"}, w):
			c.doc.Lost(s.at, "server", "the option "+w+" has no equivalent")
		}
		i += n
	}
}

// template writes servers that are found by DNS.
func (c *converter) template(s *server, out convert.Section) {
	host, port, err := net.SplitHostPort(s.word(3))
	if err != nil {
		host = s.word(3)
	}
	dns := out.Section("discover", s.at).Section("dns")
	dns.Set("name", host)
	if n, err := strconv.Atoi(port); err == nil {
		dns.Set("port", n)
	}
	if strings.HasPrefix(host, "_") {
		dns.Set("records", "srv")
	}
}

// pool writes how many connections there may be.
func (c *converter) pool(p *party, servers []*server, out convert.Section) {
	most := 0
	for _, s := range servers {
		if n, err := strconv.Atoi(s.value("maxconn")); err == nil && n > 0 {
			if most > 0 && n != most {
				c.doc.Note(s.at, "server", "maxconn is one number for all endpoints, here the largest")
			}
			most = max(most, n)
		}
		if t, ok := span(s.value("slowstart")); ok && t > 0 && !out.Has("hash_on") {
			out.Set("slow_start", convert.Duration(t, 0, 24*time.Hour), s.at)
		}
	}
	if most > 0 {
		out.Section("pool").Set("max_connections", min(most, 1<<20))
	}
	l := p.last("timeout", "queue")
	if l == nil {
		l = p.last("timeout", "connect")
	}
	if l != nil {
		if t, ok := span(l.word(2)); ok && t > 0 {
			out.Section("pool").Set("queue_timeout", convert.Duration(t, time.Millisecond, 10*time.Minute), l.at)
		}
	}
}

func (c *converter) times(p *party, out convert.Section) {
	set := func(name, key string, most time.Duration) {
		if l := p.last("timeout", name); l != nil {
			if t, ok := span(l.word(2)); ok && t > 0 {
				out.Section("timeouts").Set(key, convert.Duration(t, time.Millisecond, most), l.at)
			}
		}
	}
	set("connect", "connect", 10*time.Minute)
	set("server", "response", 24*time.Hour)
	set("server", "idle", 24*time.Hour)
}

// retries writes when a request is tried again.
func (c *converter) retries(p *party, out convert.Section) {
	n := 3
	l := p.last("retries")
	if l != nil {
		n, _ = strconv.Atoi(l.word(1))
	}
	on := p.last("retry-on")
	if on == nil || on.word(1) == "none" || on.word(1) == "conn-failure" {
		if l != nil {
			out.Set("retries", max(0, min(n, 5)), l.at)
		}
		return
	}
	var causes []string
	add := func(cause string) {
		if !slices.Contains(causes, cause) {
			causes = append(causes, cause)
		}
	}
	for _, w := range on.words[1:] {
		switch w {
		case "conn-failure":
			add("connect")
		case "empty-response", "junk-response", "0rtt-rejected":
			add("reset")
		case "response-timeout":
			add("timeout")
		case "all-retryable-errors":
			for _, cause := range []string{"connect", "reset", "timeout", "500", "502", "503", "504"} {
				add(cause)
			}
		default:
			if status, err := strconv.Atoi(w); err == nil && status >= 400 && status < 600 {
				add(w)
			} else {
				c.doc.Lost(on.at, "retry-on", w+" has no equivalent")
			}
		}
	}
	if len(causes) == 0 || n < 1 {
		return
	}
	retry := out.Section("retry")
	retry.Set("attempts", min(n, 5))
	retry.Set("on", causes, on.at)
	retry.Set("methods", "all")
	c.doc.Note(on.at, "retry-on", "methods: all is as HAProxy has it: what a POST does may be done twice; safe is better")
}
