package config

import (
	"crypto/x509"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// DiscoverConsul is a service of Consul's catalog, and which of its instances are endpoints.
type DiscoverConsul struct {
	Service    string
	URL        string // scheme and host, without a final slash
	Health     string // "passing" or "warning"
	Tags       []string
	Filter     string
	Datacenter string // "": that of the agent
	Namespace  string // "": the token's
	Partition  string // "": that of the agent
	TokenFile  string // as one that can be opened, once verified; "": no token
	Stale      bool
	QueryWait  time.Duration
	ZoneMeta   string
	TLS        *DiscoverTLS // nil: where the URL says TLS, the system's authorities are trusted
}

// DiscoverTLS is how a server that knows endpoints is told from another one, and shown who asks.
type DiscoverTLS struct {
	ServerName string // "": that of the URL
	CA         string // file, "": the system's
	CAPEM      []byte // filled in by Load
	Client     *Certificate
}

// Files are the names of all files that t is made from.
func (t *DiscoverTLS) Files() (names []string) {
	if t.CA != "" {
		names = append(names, t.CA)
	}
	if t.Client != nil {
		names = append(names, t.Client.Cert, t.Client.Key)
	}
	return names
}

func discoverConsulFields() []field {
	return []field{
		{key: "service", kind: kindText, required: true, check: checkServiceName, want: wantServiceName, at: at(func(c *DiscoverConsul) *string { return &c.Service }),
			doc: "The name of the service."},
		{key: "url", kind: kindText, def: "http://127.0.0.1:8500", check: checkServerURL, want: wantServerURL, pattern: patternServerURL, at: at(func(c *DiscoverConsul) *string { return &c.URL }),
			doc: "The agent, or a server, whose HTTP API is asked."},
		{key: "health", kind: kindEnum, def: "passing", enum: []string{"passing", "warning"}, at: at(func(c *DiscoverConsul) *string { return &c.Health }),
			doc: "Which instances are endpoints: those whose checks all pass, or also those with a check that warns, with the weight that they have for that. Critical ones never are."},
		{key: "tags", kind: kindTexts, min: 1, max: 64, at: at(func(c *DiscoverConsul) *[]string { return &c.Tags }),
			elem: &field{kind: kindText, check: checkNotEmpty, want: "a tag"},
			zero: "any", doc: "Only instances that have all of these tags."},
		{key: "filter", kind: kindText, at: at(func(c *DiscoverConsul) *string { return &c.Filter }),
			zero: "none", doc: "Only instances for which this expression of Consul's holds, e.g. `Node.Meta.rack == \"r1\"`."},
		{key: "datacenter", kind: kindText, at: at(func(c *DiscoverConsul) *string { return &c.Datacenter }),
			zero: "that of the agent", doc: "The datacenter that the service is in."},
		{key: "namespace", kind: kindText, at: at(func(c *DiscoverConsul) *string { return &c.Namespace }),
			zero: "that of the token", doc: "The namespace that the service is in (Consul Enterprise)."},
		{key: "partition", kind: kindText, at: at(func(c *DiscoverConsul) *string { return &c.Partition }),
			zero: "that of the agent", doc: "The admin partition that the service is in (Consul Enterprise)."},
		{key: "token_file", kind: kindText, check: checkFile, want: wantFile, at: at(func(c *DiscoverConsul) *string { return &c.TokenFile }),
			zero: "no token", doc: "A file, relative to the folder of the configuration, with the ACL token to ask with. It is read for each query."},
		{key: "stale", kind: kindBool, def: "false", at: at(func(c *DiscoverConsul) *bool { return &c.Stale }),
			doc: "Let any server answer, also one that is behind the leader, which takes load off the leader."},
		{key: "query_wait", kind: kindDuration, def: "60s", min: int64(time.Second), max: int64(10 * time.Minute), at: at(func(c *DiscoverConsul) *time.Duration { return &c.QueryWait }),
			doc: "How long Consul holds a query while nothing changes. An agent that has gone without a word is noticed some seconds after that."},
		{key: "zone_meta", kind: kindText, def: "zone", at: at(func(c *DiscoverConsul) *string { return &c.ZoneMeta }),
			doc: "The key under which an instance's metadata, or else its node's, has the zone. Where neither has it, the zone is the datacenter."},
		{key: "tls", kind: kindSection, optional: true, fields: discoverTLSFields(),
			at:  at(func(c *DiscoverConsul) *DiscoverTLS { c.TLS = new(DiscoverTLS); return c.TLS }),
			doc: "TLS with the agent, where `url` begins with https."},
	}
}

func discoverTLSFields() []field {
	return []field{
		{key: "server_name", kind: kindText, check: checkServerName, want: "a host name without a port", at: at(func(t *DiscoverTLS) *string { return &t.ServerName }),
			zero: "the host of the URL", doc: "The name that the certificate must be for, e.g. `server.dc1.consul`."},
		{key: "ca", kind: kindText, at: at(func(t *DiscoverTLS) *string { return &t.CA }),
			zero: "those of the system", doc: "A PEM file, relative to the configuration file, with the certificates of the authorities that are trusted to vouch for it."},
		{key: "certificate", kind: kindSection, optional: true, fields: certificateFields(),
			at:  at(func(t *DiscoverTLS) *Certificate { t.Client = new(Certificate); return t.Client }),
			doc: "Shown where one is asked for."},
	}
}

const (
	wantServerURL    = "a URL with a host and no path, e.g. https://consul.internal:8501"
	wantServiceName  = "the name of a service"
	patternServerURL = "^https?://[^/]+/?$"
)

func checkNotEmpty(text string, _ int64) (want, hint string) {
	if text == "" {
		return "a text that is not empty", ""
	}
	return "", ""
}

func checkServiceName(text string, _ int64) (want, hint string) {
	if text == "" || len(text) > 255 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }) {
		return wantServiceName, "without / and spaces"
	}
	return "", ""
}

func checkServerURL(text string, _ int64) (want, hint string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return wantServerURL, ""
	}
	if u.User != nil {
		return wantServerURL, "a token goes into token_file"
	}
	return "", ""
}

// verifyConsul checks what keys mean together, and reads the files of its TLS.
func (d *decoder) verifyConsul(c *Config, s *DiscoverConsul, n *yaml.Node, p *path) {
	if s == nil {
		return
	}
	s.URL = strings.TrimSuffix(s.URL, "/")
	if s.TokenFile != "" {
		s.TokenFile = c.Path(s.TokenFile)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return // reported already
	}
	if s.TokenFile != "" && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		d.warn(c, posOf(n), p.String(), quote(s.URL)+" with token_file", "https, or an agent on this machine: the token is sent in clear")
	}
	if s.TLS == nil {
		return
	}
	at, key := resolve(child(n, "tls")), &path{up: p, key: "tls"}
	if u.Scheme != "https" {
		d.fail(at, key, "tls with "+quote(s.URL), "a url that begins with https", "")
	}
	s.TLS.CAPEM, _ = d.contentsOf(child(at, "ca"), &path{up: key, key: "ca"}, s.TLS.CA)
	if s.TLS.CAPEM != nil && !x509.NewCertPool().AppendCertsFromPEM(s.TLS.CAPEM) {
		d.fail(child(at, "ca"), &path{up: key, key: "ca"}, quote(s.TLS.CA), "a PEM file with a certificate", "")
	}
	if s.TLS.Client != nil {
		d.certificate(c, s.TLS.Client, resolve(child(at, "certificate")), &path{up: key, key: "certificate"})
	}
}

func isLoopback(host string) bool {
	at, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && at.IsLoopback()
}
