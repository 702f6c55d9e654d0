package config

import (
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Discover says where the endpoints of an upstream are found, which come and go.
type Discover struct {
	Pos
	File       *DiscoverFile // of the kinds exactly one is not nil
	DNS        *DiscoverDNS
	Consul     *DiscoverConsul
	Kubernetes *DiscoverKubernetes
	Empty      string        // "keep" or "drain"
	Wait       time.Duration // for the first endpoints
}

// DiscoverFile is a file with a list of endpoints.
type DiscoverFile struct {
	Path string // as one that can be opened, once verified
}

// DiscoverDNS is a name, and which of its records are endpoints.
type DiscoverDNS struct {
	Name    string
	Records string   // "address", "a", "aaaa" or "srv"
	Port    int      // 0: SRV records have it
	Servers []string // "ip:port"; nil: the system's

	MinInterval, MaxInterval time.Duration
}

// Room is how many endpoints that are found an upstream has room for, as the server has chosen.
type Room struct {
	Slots int // 0: not yet
	Round int // has another value for other slots
}

// discoverKinds are the keys of the kinds.
var discoverKinds = []string{"file", "dns", "consul", "kubernetes"}

func discoverFields() []field {
	return []field{
		{key: "file", kind: kindSection, optional: true, at: at(func(d *Discover) *DiscoverFile { d.File = new(DiscoverFile); return d.File }),
			doc: "A file with a list of endpoints in YAML or JSON, which is read again whenever it changes.",
			fields: []field{
				{key: "path", kind: kindText, required: true, check: checkFile, want: wantFile, at: at(func(f *DiscoverFile) *string { return &f.Path }),
					doc: "The file, relative to the folder of the configuration. It need not be there at the start."}}},
		{key: "dns", kind: kindSection, optional: true, at: at(func(d *Discover) *DiscoverDNS { d.DNS = new(DiscoverDNS); return d.DNS }), fields: discoverDNSFields(),
			doc: "The addresses of a name, or the services that its SRV records list, which are asked for again as their times to live say."},
		{key: "consul", kind: kindSection, optional: true, at: at(func(d *Discover) *DiscoverConsul { d.Consul = new(DiscoverConsul); return d.Consul }), fields: discoverConsulFields(),
			doc: "The healthy instances of a service in Consul, which tells of each change at once."},
		{key: "kubernetes", kind: kindSection, optional: true, at: at(func(d *Discover) *DiscoverKubernetes { d.Kubernetes = new(DiscoverKubernetes); return d.Kubernetes }), fields: discoverKubernetesFields(),
			doc: "The pods of a service in Kubernetes that are ready, as its EndpointSlices have them, which are watched."},
		{key: "empty", kind: kindEnum, def: "keep", enum: []string{"keep", "drain"}, at: at(func(d *Discover) *string { return &d.Empty }),
			doc: "What becomes of the endpoints when the source says that there are none. `keep`: the last ones stay, since that is more often a mistake than meant; `drain`: they get no more requests, and what comes is answered 503."},
		{key: "wait", kind: kindDuration, def: "5s", max: int64(5 * time.Minute), at: at(func(d *Discover) *time.Duration { return &d.Wait }),
			zero: "not at all", doc: "How long the start, or a reload that adds the upstream, waits for its first endpoints. After that requests are answered 503 until there are some."},
	}
}

const (
	wantFile       = "a file name"
	wantRecordName = "a name, e.g. app.internal or _http._tcp.app.internal"
	wantNameServer = "the address of a name server, e.g. 10.0.0.53 or \"[2001:db8::53]:5353\""
)

func discoverDNSFields() []field {
	return []field{
		{key: "name", kind: kindText, required: true, check: checkRecordName, want: wantRecordName, at: at(func(d *DiscoverDNS) *string { return &d.Name }),
			doc: "The name. With the system's name servers its search list holds, unless the name ends in a dot."},
		{key: "records", kind: kindEnum, def: "address", enum: []string{"address", "a", "aaaa", "srv"}, at: at(func(d *DiscoverDNS) *string { return &d.Records }),
			doc: "Which records are endpoints: `address`, A and AAAA; `a` or `aaaa` alone; `srv`, those of the best priority that have an address, with their ports and weights."},
		{key: "port", kind: kindCount, max: 65535, def: "0", at: at(func(d *DiscoverDNS) *int { return &d.Port }),
			zero: "that of the SRV record", doc: "The port of the endpoints. Needed unless `records` is `srv`."},
		{key: "servers", kind: kindTexts, min: 1, max: 16, at: at(func(d *DiscoverDNS) *[]string { return &d.Servers }),
			elem: &field{kind: kindText, check: checkNameServer, want: wantNameServer},
			zero: "those of /etc/resolv.conf", doc: "Name servers, which are asked in this order until one answers. The port is 53 if there is none."},
		{key: "min_interval", kind: kindDuration, def: "1s", min: int64(10 * time.Millisecond), max: int64(24 * time.Hour), at: at(func(d *DiscoverDNS) *time.Duration { return &d.MinInterval }),
			doc: "The name is asked for again when the shortest time to live of what was answered is over, but not sooner than this; after a failure at first after this time, then after twice as long, and so on."},
		{key: "max_interval", kind: kindDuration, def: "60s", min: int64(10 * time.Millisecond), max: int64(24 * time.Hour), at: at(func(d *DiscoverDNS) *time.Duration { return &d.MaxInterval }),
			doc: "... and not later than this."},
	}
}

// checkRecordName takes what can be looked up, SRV names and a final dot included.
func checkRecordName(text string, _ int64) (want, hint string) {
	name := strings.TrimSuffix(text, ".")
	if name == "" || len(name) > 253 {
		return wantRecordName, ""
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return wantRecordName, "letters, digits, - and _, at most 63 of them between two dots"
		}
	}
	return "", ""
}

func checkNameServer(text string, _ int64) (want, hint string) {
	if _, ok := serverAt(text); !ok {
		return wantNameServer, ""
	}
	return "", ""
}

// serverAt adds the port of name servers where there is none.
func serverAt(text string) (string, bool) {
	if at, err := netip.ParseAddrPort(text); err == nil && at.Port() != 0 {
		return text, true
	}
	at, err := netip.ParseAddr(text)
	return netip.AddrPortFrom(at, 53).String(), err == nil
}

// verifyDNS checks what keys mean together.
func (d *decoder) verifyDNS(s *DiscoverDNS, n *yaml.Node, p *path) {
	if s == nil {
		return
	}
	switch at := written(n, "port"); {
	case s.Records == "srv" && at != nil:
		d.fail(at, &path{up: p, key: "port"}, shown(resolve(at)), "no port with records: srv", "SRV records have ports of their own")
	case s.Records != "srv" && s.Port == 0:
		d.fail(child(n, "name"), p, "no port", "port with records: "+s.Records, "addresses have no ports")
	}
	if s.MinInterval > s.MaxInterval {
		d.fail(child(n, "min_interval"), &path{up: p, key: "min_interval"}, s.MinInterval.String(), "at most max_interval, which is "+s.MaxInterval.String(), "")
	}
	for i, text := range s.Servers {
		s.Servers[i], _ = serverAt(text)
	}
}

func checkFile(text string, _ int64) (want, hint string) {
	if text == "" || strings.ContainsRune(text, 0) {
		return wantFile, ""
	}
	return "", ""
}

// verifyDiscover checks where the endpoints of an upstream are from: they are listed, or found.
func (d *decoder) verifyDiscover(c *Config, u *Upstream, item *yaml.Node, p *path) {
	item = resolve(item)
	if item.Kind != yaml.MappingNode && !isNull(item) {
		return // reported already
	}
	listed := written(item, "endpoints")
	switch {
	case u.Discover == nil && listed == nil:
		d.fail(item, p, "neither endpoints nor discover", "one of them", "endpoints lists origin servers, discover says where they are found")
	case u.Discover == nil:
		return
	case listed != nil:
		d.fail(listed, &path{up: p, key: "endpoints"}, shown(resolve(listed)), "endpoints or discover, not both", "")
	}
	if u.Discover == nil {
		return
	}
	n, here := resolve(child(item, "discover")), &path{up: p, key: "discover"}
	u.Discover.Pos = posOf(n)
	var kinds []string
	for _, kind := range discoverKinds {
		if written(n, kind) != nil {
			kinds = append(kinds, kind)
		}
	}
	if n.Kind == yaml.MappingNode && len(kinds) != 1 {
		found := "none of them"
		if len(kinds) > 0 {
			found = strings.Join(kinds, " and ")
		}
		d.fail(n, here, found, "exactly one of "+strings.Join(discoverKinds, ", "), "")
	}
	if u.Protocol == "auto" {
		d.fail(child(item, "protocol"), &path{up: p, key: "protocol"}, quote(u.Protocol), "http1, h2c or h2 with discover", "what endpoints agree to is asked of those that are listed")
	}
	if t := u.TLS; t != nil && t.Verify && t.ServerName == "" && len(t.Pins) == 0 {
		d.fail(child(item, "tls"), &path{up: p, key: "tls"}, "no server_name", "server_name with discover", "endpoints that are found have addresses, and certificates are for names")
	}
	d.verifyDNS(u.Discover.DNS, resolve(child(n, "dns")), &path{up: here, key: "dns"})
	d.verifyConsul(c, u.Discover.Consul, resolve(child(n, "consul")), &path{up: here, key: "consul"})
	d.verifyKubernetes(c, u.Discover.Kubernetes, resolve(child(n, "kubernetes")), &path{up: here, key: "kubernetes"})
	if f := u.Discover.File; f != nil && f.Path != "" && !filepath.IsAbs(f.Path) {
		f.Path = filepath.Join(filepath.Dir(c.File), f.Path)
	}
}

// Kind is the key of the kind.
func (d *Discover) Kind() string {
	switch {
	case d.DNS != nil:
		return "dns"
	case d.Consul != nil:
		return "consul"
	case d.Kubernetes != nil:
		return "kubernetes"
	}
	return "file"
}

// Files are the names of all files that d names.
func (d *Discover) Files() (names []string) {
	if d.File != nil {
		names = append(names, d.File.Path)
	}
	if d.Kubernetes != nil && d.Kubernetes.Kubeconfig != "" {
		names = append(names, d.Kubernetes.Kubeconfig)
	}
	if c := d.Consul; c != nil {
		if c.TokenFile != "" {
			names = append(names, c.TokenFile)
		}
		if c.TLS != nil {
			names = append(names, c.TLS.Files()...)
		}
	}
	return names
}
