package haproxy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"zproxy/convert"
)

// listener is an address of a frontend.
type listener struct {
	address string
	line    *line
	front   *party
	tls     bool
}

// bind notes the addresses of a frontend.
func (c *converter) bind(p *party) {
	for _, l := range p.all("bind") {
		for _, text := range strings.Split(l.word(1), ",") {
			a := address(text, slices.Contains(l.words, "v4v6"))
			if a == "" {
				c.doc.Lost(l.at, "bind", text+" is not an address that is understood here")
				continue
			}
			if slices.ContainsFunc(c.listeners, func(other *listener) bool { return other.address == a }) {
				c.doc.Lost(l.at, "bind", a+" is another listener's already")
				continue
			}
			c.listeners = append(c.listeners, &listener{address: a, line: l, front: p, tls: slices.Contains(l.words, "ssl")})
		}
	}
}

// address is that of a bind line as zproxy writes it, "" if it is none.
func address(s string, both bool) string {
	for _, prefix := range []string{"ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"} {
		s = strings.TrimPrefix(s, prefix)
	}
	if path, ok := strings.CutPrefix(s, "unix@"); ok {
		return "unix:" + path
	}
	if strings.HasPrefix(s, "/") {
		return "unix:" + s
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return ""
	}
	host, port := strings.Trim(s[:i], "[]"), s[i+1:]
	return convert.Address(host, port)
}

// listener writes one.
func (c *converter) listener(l *listener) {
	out := c.doc.Root.Append("listeners", l.line.at)
	out.Set("address", l.address)
	words := l.line.words
	h2 := strings.Contains(l.line.after("alpn"), "h2") || l.line.after("proto") == "h2"
	switch {
	case l.tls && !h2:
		out.Set("protocols", []string{"http1"})
	case !l.tls && h2:
		out.Set("protocols", []string{"h2c"})
	}
	if slices.Contains(words, "accept-proxy") && !strings.HasPrefix(l.address, "unix:") {
		out.Section("proxy_protocol").Set("from", []string{"0.0.0.0/0", "::/0"})
		c.doc.Note(l.line.at, "bind", "better write the load balancer's network at proxy_protocol.from than all there are")
	}
	for _, option := range [][2]string{{"mode", "mode"}, {"user", "user"}, {"group", "group"}} {
		if value := l.line.after(option[0]); value != "" && strings.HasPrefix(l.address, "unix:") {
			out.Section("socket").Set(option[1], value)
		}
	}
	c.bindOptions(l.line)
	if l.tls {
		c.tls(l, out.Section("tls"))
	}
}

// bindOptions lists the options of a bind line that have no equivalent.
func (c *converter) bindOptions(l *line) {
	values := []string{"crt", "alpn", "proto", "mode", "user", "group", "uid", "gid", "ca-file", "crl-file", "verify", "ssl-min-ver", "ssl-max-ver", "name", "maxconn", "backlog", "ciphers", "ciphersuites", "curves", "ecdhe", "id", "level", "process", "thread", "nice", "npn", "tcp-ut", "mss", "crt-list", "interface", "namespace", "severity-output", "tls-ticket-keys", "ca-verify-file", "ca-sign-file", "crt-ignore-err", "ca-ignore-err"}
	flags := []string{"ssl", "accept-proxy", "v4v6", "v6only", "strict-sni", "no-sslv3", "no-tlsv10", "no-tlsv11", "no-tls-tickets", "prefer-client-ciphers", "defer-accept", "tfo", "transparent", "force-tlsv12", "force-tlsv13", "allow-0rtt", "expose-fd", "listeners"}
	for i := 2; i < len(l.words); i++ {
		w := l.words[i]
		switch {
		case slices.Contains([]string{"crt-list", "interface", "namespace", "tls-ticket-keys", "transparent", "ca-sign-file"}, w):
			c.doc.Lost(l.at, "bind", "the option "+w+" has no equivalent")
		case !slices.Contains(values, w) && !slices.Contains(flags, w):
			c.doc.Lost(l.at, "bind", "the option "+w+" is not known here")
		}
		if slices.Contains(values, w) {
			i++
		}
	}
}

// tls writes a listener's certificates and what goes with them.
func (c *converter) tls(l *listener, out convert.Section) {
	b := l.line
	found := false
	for i, w := range b.words {
		if w != "crt" {
			continue
		}
		for _, file := range c.certificates(b, b.word(i+1)) {
			one := out.Append("certificates")
			one.Set("cert", file, b.at)
			key := file
			if _, err := os.Stat(file + ".key"); err == nil {
				key = file + ".key"
			}
			one.Set("key", key)
			found = true
		}
	}
	if !found {
		c.doc.Lost(b.at, "bind", "no certificate is found for it")
	}
	if ca := b.after("ca-file"); ca != "" && b.after("verify") != "none" && b.after("verify") != "" {
		auth := out.Section("client_auth")
		auth.Set("mode", map[bool]string{true: "request", false: "require"}[b.after("verify") == "optional"])
		auth.Set("ca", c.base(ca))
		if crl := b.after("crl-file"); crl != "" {
			auth.Set("crl", c.base(crl))
		}
	}
	if b.after("ssl-min-ver") == "TLSv1.3" || slices.Contains(b.words, "force-tlsv13") {
		out.Set("min_version", "1.3")
	}
	if slices.Contains(b.words, "strict-sni") {
		out.Set("strict_sni", true)
	}
	if slices.Contains(b.words, "no-tls-tickets") {
		out.Set("tickets", false)
	}
}

func (c *converter) base(name string) string {
	if filepath.IsAbs(name) || c.crtBase == "" {
		return name
	}
	return filepath.Join(c.crtBase, name)
}

// certificates are the files that a crt means: one, or all of a directory.
func (c *converter) certificates(b *line, name string) []string {
	name = c.base(name)
	entries, err := os.ReadDir(name)
	if err != nil {
		return []string{name}
	}
	var files []string
	for _, e := range entries {
		if extension := filepath.Ext(e.Name()); !e.IsDir() && extension != ".key" && extension != ".ocsp" && extension != ".issuer" && extension != ".sctl" && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	return files
}
