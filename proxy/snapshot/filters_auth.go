package snapshot

import (
	stdtls "crypto/tls"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"zproxy/config"
	"zproxy/filter"
	"zproxy/filter/apikey"
	"zproxy/filter/basicauth"
	"zproxy/filter/forwardauth"
	"zproxy/filter/jwt"
	"zproxy/filter/verify"
	"zproxy/loop"
	"zproxy/upstream"
)

// patience is how long credentials wait to be verified at the most: who has sent them gives up sooner or later, and
// what comes in faster than it can be verified must not make all others wait.
const patience = 5 * time.Second

func newWorkers(places, limit int) *verify.Workers {
	return verify.NewWorkers(places, limit, patience, verify.Late)
}

// kept is how many names and passwords are known.
const keptPasswords = 10_000

func fieldNames(list ...string) (all []*filter.Name) {
	for _, text := range list {
		if text != "" {
			n := filter.NewName(text)
			all = append(all, &n)
		}
	}
	return all
}

func fieldName(text string) *filter.Name {
	if text == "" {
		return nil
	}
	return fieldNames(text)[0]
}

// identity is what becomes of requests that are let in.
func identity(user string, fields, credentials []string, forward bool) verify.Identity {
	id := verify.Identity{User: fieldName(user), Fields: fieldNames(fields...)}
	if !forward {
		id.Strip = fieldNames(credentials...)
	}
	return id
}

// sources are where credentials are, and the fields of them.
func sources(from []string) (list []verify.Source, fields []string) {
	for _, text := range from {
		c, _ := config.ParseCredential(text)
		s := verify.Source{Header: c.Header, Cookie: c.Cookie, Query: c.Query}
		if c.Bearer {
			s.Scheme = "bearer"
		}
		if c.Header != "" {
			fields = append(fields, c.Header)
		}
		list = append(list, s)
	}
	return list, fields
}

func compileBasicAuth(c *config.Config, t *config.BasicAuthFilter) (filter.Step, error) {
	f, err := basicauth.New(basicauth.Config{
		Realm: t.Realm, File: c.Path(t.File), Keep: t.Keep, Entries: keptPasswords, Now: time.Now, Workers: newWorkers(t.Workers, t.MaxWaiting),
		Identity: identity(t.UserHeader, nil, []string{"Authorization"}, t.Forward),
	})
	if err != nil {
		return filter.Step{}, err
	}
	return filter.Step{Class: filter.ClassPassword, Text: fmt.Sprintf("%q, %d names in %s", t.Realm, f.Users(), t.File), Filter: f, Owns: fieldNames(t.UserHeader)}, nil
}

func compileAPIKey(c *config.Config, t *config.APIKeyFilter) (filter.Step, error) {
	list, fields := sources(t.From)
	f, err := apikey.New(apikey.Config{Realm: t.Realm, File: c.Path(t.File), Sources: list, Identity: identity(t.UserHeader, nil, fields, t.Forward)})
	if err != nil {
		return filter.Step{}, err
	}
	return filter.Step{Class: filter.ClassKey, Text: fmt.Sprintf("%s, %d keys in %s", strings.Join(t.From, " "), f.Keys(), t.File), Filter: f, Owns: fieldNames(t.UserHeader)}, nil
}

func compileJWT(c *config.Config, t *config.JWTFilter) (filter.Step, error) {
	list, fields := sources(t.From)
	cfg := jwt.Config{
		Realm: t.Realm, Algorithms: t.Algorithms, Refresh: t.Refresh, Misses: t.MissInterval, Sources: list, Issuers: t.Issuers, Audiences: t.Audiences,
		Leeway: t.Leeway, NoExpiry: !t.Expiry, NameClaim: t.UserClaim, MaxBytes: int(t.MaxToken), Keep: t.Keep, Entries: t.Entries, Now: time.Now,
		Workers: newWorkers(t.Workers, t.MaxWait),
	}
	from := t.URL
	switch {
	case t.KeyFile != "":
		cfg.File, from = c.Path(t.KeyFile), t.KeyFile
	case t.SecretFile != "":
		cfg.SecretFile, from = c.Path(t.SecretFile), t.SecretFile
	default:
		var ca []byte
		if t.CA != "" {
			var err error
			if ca, err = os.ReadFile(c.Path(t.CA)); err != nil {
				return filter.Step{}, err
			}
		}
		var err error
		if cfg.Fetch, err = jwt.Fetcher(t.URL, ca); err != nil {
			return filter.Step{}, err
		}
	}
	for _, text := range t.Require {
		r, _ := jwt.ParseRequirement(text)
		cfg.Required = append(cfg.Required, r)
	}
	var owned []string
	for _, text := range t.Claims {
		name, claim, _ := strings.Cut(text, "=")
		owned = append(owned, name)
		cfg.Claims = append(cfg.Claims, jwt.Claim{Field: fieldName(name), Path: claim})
	}
	cfg.Identity = identity(t.UserHeader, owned, fields, t.Forward)
	f, err := jwt.New(cfg)
	if err != nil {
		return filter.Step{}, err
	}
	return filter.Step{Class: filter.ClassToken, Text: strings.Join(t.Algorithms, " ") + ", keys of " + from, Filter: f, Owns: fieldNames(append(owned, t.UserHeader)...)}, nil
}

func compileForwardAuth(c *config.Config, t *config.ForwardAuthFilter, of *upstream.Cluster) (filter.Step, error) {
	i := slices.IndexFunc(c.Upstreams, func(u config.Upstream) bool { return u.Name == t.Upstream })
	u := &c.Upstreams[i]
	configs, err := OriginTLS(u)
	if err != nil {
		return filter.Step{}, err
	}
	cfg := forwardauth.Config{
		Endpoints: func() []forwardauth.Endpoint { return endpointsOf(of, configs) },
		Path:      t.Path, Host: t.Host, Take: fieldNames(t.Take...), NameField: fieldName(t.UserHeader), Timeout: t.Timeout, Keep: t.Keep, Entries: t.Entries,
		Now: time.Now, Workers: newWorkers(t.Workers, t.MaxWaiting),
	}
	if cfg.Host == "" {
		cfg.Host = u.Host
	}
	if t.UserHeader != "" && !slices.ContainsFunc(t.Take, func(name string) bool { return strings.EqualFold(name, t.UserHeader) }) {
		cfg.Take = append(cfg.Take, cfg.NameField)
	}
	for _, name := range t.Send {
		cfg.Send = append(cfg.Send, strings.ToLower(name))
	}
	for _, text := range t.KeepBy {
		if part := slices.Index(config.KeepParts, text); part >= 0 {
			cfg.KeyParts |= 1 << part
			continue
		}
		by, _ := config.ParseCredential(text)
		cfg.KeyFields = append(cfg.KeyFields, by.Header)
	}
	cfg.Identity = verify.Identity{Fields: cfg.Take}
	return filter.Step{Class: filter.ClassAsk, Text: t.Upstream + " for " + t.Path, Filter: forwardauth.New(cfg), Owns: cfg.Take}, nil
}

// endpointsOf are those of an upstream that there are now.
func endpointsOf(of *upstream.Cluster, configs []*stdtls.Config) (list []forwardauth.Endpoint) {
	for i, e := range of.Endpoints() {
		if len(e.Addrs()) == 0 {
			continue
		}
		one := forwardauth.Endpoint{Addresses: e.Addrs(), Usable: !e.Down(loop.Clock())}
		if len(configs) > 0 {
			one.TLS = configs[min(i, len(configs)-1)]
		}
		list = append(list, one)
	}
	return list
}

// Looker is a filter that looks now and then whether what it reads has changed. An error means that what it has read
// before stays in force.
type Looker interface {
	Look() (changed bool, err error)
}

// Lookers gives the filters of s that do, with what they are called in the log.
func (s *Snapshot) Lookers(yield func(name string, l Looker)) {
	for _, steps := range s.filters {
		for i := range steps {
			if l, ok := steps[i].step.Filter.(Looker); ok {
				yield(fmt.Sprintf("%s in line %d", steps[i].step.Kind, steps[i].step.Line), l)
			}
		}
	}
}

// asks is the upstream that a filter asks, nil: none.
func (s *Snapshot) asks(f *config.Filter) *upstream.Cluster {
	t, ok := f.Settings.(*config.ForwardAuthFilter)
	if !ok {
		return nil
	}
	all := s.Upstreams()
	if i := slices.IndexFunc(all, func(c *upstream.Cluster) bool { return c.Name() == t.Upstream }); i >= 0 {
		return all[i]
	}
	return nil
}
