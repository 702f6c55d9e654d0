package snapshot

import (
	"slices"
	"strings"
	"unique"

	"zproxy/config"
	"zproxy/proto/tls"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// condition is what a route asks of the TLS of a request's connection. Lists are sorted; one
// that is empty asks nothing. Immutable.
type condition struct {
	config               *config.RouteTLS
	cert                 bool // there is a client's certificate
	cn, dns, fingerprint []string
	uri, uriPrefix       []string
}

func newCondition(t *config.RouteTLS) *condition {
	c := &condition{config: t}
	if t.ClientCert == nil {
		return c
	}
	c.cert = true
	c.cn, c.dns = slices.Sorted(slices.Values(t.ClientCert.CN)), slices.Sorted(slices.Values(t.ClientCert.DNS))
	c.fingerprint = slices.Sorted(slices.Values(t.ClientCert.Fingerprint))
	for _, uri := range t.ClientCert.URI {
		if prefix, ok := strings.CutSuffix(uri, "*"); ok {
			c.uriPrefix = append(c.uriPrefix, prefix)
		} else {
			c.uri = append(c.uri, uri)
		}
	}
	slices.Sort(c.uri)
	return c
}

// Holds is router.Match.Holds for requests of a connection; t is nil where it is in clear.
func (s *Snapshot) Holds(t *transport.Session) (set uint64) {
	if t == nil {
		return 0
	}
	var client credentials.Client
	shown := t.Client != unique.Handle[credentials.Client]{}
	if shown {
		client = t.Client.Value()
	}
	for i, c := range s.conditions {
		if version := c.config.Version; version != "" && version != tls.VersionName(t.Version) || c.cert && (!shown || !c.fits(&client)) {
			continue
		}
		set |= 1 << (i + 1)
	}
	return set
}

// Fits says whether the tls section of route number i holds for requests of a connection; t is nil where it is in
// clear. A route without one fits any. It is for people who ask, not for requests.
func (s *Snapshot) Fits(i int, t *transport.Session) bool {
	section := s.Routes[i].config.TLS
	at := slices.IndexFunc(s.conditions, func(c *condition) bool { return section != nil && config.Same(c.config, section) })
	return at < 0 || s.Holds(t)>>(at+1)&1 != 0
}

// fits says whether a certificate has one of each list.
func (c *condition) fits(client *credentials.Client) bool {
	return has(c.cn, client.CommonName) && has(c.fingerprint, client.Fingerprint) &&
		(len(c.dns) == 0 || hasLine(c.dns, nil, client.DNS)) &&
		(len(c.uri)+len(c.uriPrefix) == 0 || hasLine(c.uri, c.uriPrefix, client.URI))
}

func has(list []string, text string) bool {
	_, found := slices.BinarySearch(list, text)
	return found || len(list) == 0
}

// hasLine says whether a line of text is in list, or begins with a prefix.
func hasLine(list, prefixes []string, text string) bool {
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if _, found := slices.BinarySearch(list, line); found {
			return true
		}
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				return true
			}
		}
	}
	return false
}
