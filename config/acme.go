package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ACME is how a listener gets certificates from an authority by itself (RFC 8555).
type ACME struct {
	Pos
	Names         []string // as written, one entry for each certificate: see Groups
	Email         string
	AcceptTerms   bool
	Directory     string // a URL
	CA            string // file, "": the system's authorities
	Challenge     string // "http-01" or "tls-alpn-01"
	KeyType       string // of acmeKeyTypes
	Profile       string
	Storage       string // folder, as written
	RenewBefore   int    // percent of a certificate's lifetime that are left
	ExternalKeyID string
	ExternalKey   string // file

	// Issued are the certificates that there are, by entry of Names. Who manages them
	// fills it in; where there is none yet the PEM fields are empty.
	Issued []Certificate
}

var (
	acmeChallenges = []string{"tls-alpn-01", "http-01"}
	acmeKeyTypes   = []string{"p256", "p384", "rsa2048", "rsa4096"}
)

// maxACMENames is how many names one certificate has at the most: what Let's Encrypt takes.
const maxACMENames = 100

// maxFirstName leaves room for the endings of a file's name.
const maxFirstName = 230

func acmeFields() []field {
	return []field{
		{key: "names", kind: kindTexts, required: true, min: 1, max: 1024, elem: &field{kind: kindText, check: checkACMENames, want: wantACMENames}, at: at(func(a *ACME) *[]string { return &a.Names }),
			doc: "The host names to get certificates for. Each entry is a certificate of its own, so that a name that cannot be validated keeps no other one waiting; names in one entry, with spaces between them, share one: `[example.com www.example.com, other.example]` is two. " +
				"No wildcards: neither challenge proves them."},
		{key: "accept_terms", kind: kindBool, def: "false", at: at(func(a *ACME) *bool { return &a.AcceptTerms }),
			doc: "Has to be true: that you accept the authority's terms of service (those of Let's Encrypt: <https://letsencrypt.org/repository/>)."},
		{key: "email", kind: kindText, at: at(func(a *ACME) *string { return &a.Email }), check: checkEmail, want: wantEmail,
			zero: "none is given", doc: "Where the authority reaches you about the account."},
		{key: "challenge", kind: kindEnum, def: acmeChallenges[0], enum: acmeChallenges, at: at(func(a *ACME) *string { return &a.Challenge }),
			doc: "How it is proven that the names are yours: `tls-alpn-01` by a handshake on port 443 (RFC 8737), which any listener with `tls` answers; `http-01` by a request on port 80, which any listener answers before its routes do. The names have to lead here from the authority's point of view."},
		{key: "directory", kind: kindText, def: "https://acme-v02.api.letsencrypt.org/directory", at: at(func(a *ACME) *string { return &a.Directory }), check: checkDirectory, want: wantDirectory,
			doc: "The authority, by the URL of its directory. To try things out use one whose limits are wide, such as <https://acme-staging-v02.api.letsencrypt.org/directory>."},
		{key: "ca", kind: kindText, at: at(func(a *ACME) *string { return &a.CA }),
			zero: "the system's authorities", doc: "A PEM file, relative to the configuration file, with the authorities that vouch for `directory` itself, where that is one of your own."},
		{key: "key_type", kind: kindEnum, def: acmeKeyTypes[0], enum: acmeKeyTypes, at: at(func(a *ACME) *string { return &a.KeyType }),
			doc: "The key of a certificate; each certificate has a new one. Clients of the last ten years take `p256`, and nothing costs less."},
		{key: "profile", kind: kindText, at: at(func(a *ACME) *string { return &a.Profile }), check: checkProfile, want: wantProfile,
			zero: "the authority's own choice", doc: "Which kind of certificate, of those that the authority has names for, such as Let's Encrypt's `shortlived`."},
		{key: "storage", kind: kindText, def: "/var/lib/zproxy/acme", at: at(func(a *ACME) *string { return &a.Storage }), check: checkStorage, want: wantStorage,
			doc: "The folder, relative to the configuration file, where the account and the certificates are kept, with their keys. It is made when it is not there, for the user zproxy runs as and for nobody else. Keep it: an authority gives so many certificates a week and no more."},
		{key: "renew_before", kind: kindCount, def: "33", min: 5, max: 90, at: at(func(a *ACME) *int { return &a.RenewBefore }),
			doc: "When to renew, where the authority does not say it (RFC 9773): when so many percent of the certificate's lifetime are left, and a little earlier, so that not all come at once."},
		{key: "external_account", kind: kindSection, at: at(func(a *ACME) *ACME { return a }), fields: []field{
			{key: "key_id", kind: kindText, at: at(func(a *ACME) *string { return &a.ExternalKeyID }),
				zero: "none", doc: "The name of the key, as the authority gives it."},
			{key: "key", kind: kindText, at: at(func(a *ACME) *string { return &a.ExternalKey }),
				zero: "none", doc: "A file, relative to the configuration file, with the key in Base64 as the authority gives it."},
		}, doc: "The account that you have with the authority already, where it asks for one (RFC 8555 7.3.4)."},
	}
}

const (
	wantACMENames = "host names such as example.com, with spaces between those that share a certificate"
	wantEmail     = "an address such as admin@example.com"
	wantDirectory = "a URL https://host/path"
	wantProfile   = "the name of a profile: letters, digits, - and _"
	wantStorage   = "the path of a folder"
)

// Groups are the names of each certificate, in lower case.
func (a *ACME) Groups() [][]string {
	groups := make([][]string, len(a.Names))
	for i, entry := range a.Names {
		groups[i] = strings.Fields(strings.ToLower(entry))
	}
	return groups
}

func checkACMENames(text string, _ int64) (want, hint string) {
	names := strings.Fields(strings.ToLower(text))
	if len(names) == 0 || len(names) > maxACMENames {
		return wantACMENames, "1 to " + strconv.Itoa(maxACMENames) + " of them"
	}
	if len(names[0]) > maxFirstName {
		return wantACMENames, "the first one has at most " + strconv.Itoa(maxFirstName) + " characters: a file is called after it"
	}
	for i, name := range names {
		if strings.HasPrefix(name, "*") {
			return wantACMENames, "a wildcard is proven by DNS alone: put a certificate for it into certificates"
		}
		if _, err := netip.ParseAddr(name); err == nil {
			return wantACMENames, "names only, no addresses"
		}
		if hint := hostNameFault(name); hint != "" {
			return wantACMENames, hint
		}
		for _, other := range names[:i] {
			if other == name {
				return wantACMENames, name + " is there twice"
			}
		}
	}
	return "", ""
}

// hostNameFault says why no authority gives a certificate for a name (RFC 1123 2.1).
func hostNameFault(name string) string {
	if len(name) > 253 {
		return "a name has at most 253 characters"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "" || len(label) > 63:
			return "each part between the dots has 1 to 63 characters"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "no part begins or ends with -"
		}
		for _, c := range label {
			switch {
			case c > 0x7f:
				return "other letters in the form of DNS: xn--..."
			case (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-':
				return "letters, digits, - and dots, without a port"
			}
		}
	}
	return ""
}

func checkEmail(text string, _ int64) (want, hint string) {
	at := strings.IndexByte(text, '@')
	if text != "" && (at < 1 || at == len(text)-1 || strings.ContainsAny(text, " ,:?<>")) {
		return wantEmail, "one, without mailto:"
	}
	return "", ""
}

// checkDirectory: RFC 8555 6.1 wants HTTPS.
func checkDirectory(text string, _ int64) (want, hint string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return wantDirectory, ""
	}
	return "", ""
}

func checkProfile(text string, _ int64) (want, hint string) {
	for _, c := range text {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return wantProfile, ""
		}
	}
	return "", ""
}

func checkStorage(text string, _ int64) (want, hint string) {
	if text == "" || strings.ContainsRune(text, 0) {
		return wantStorage, ""
	}
	return "", ""
}

// verifyACME checks what the table cannot say, and reads no file but ca.
func (d *decoder) verifyACME(a *ACME, at *yaml.Node, key *path) {
	if a == nil {
		return
	}
	n, here := resolve(at), &path{up: key, key: "acme"}
	a.Pos = posOf(n)
	if !a.AcceptTerms {
		d.fail(n, here, "acme without accept_terms: true", "accept_terms: true", "it says that you accept the authority's terms of service")
	}
	if data, ok := d.contentsOf(child(n, "ca"), &path{up: here, key: "ca"}, a.CA); ok {
		if _, err := ParseCertificates(data); err != nil {
			d.fail(child(n, "ca"), &path{up: here, key: "ca"}, quote(a.CA), "certificates in PEM", err.Error())
		}
	}
	if (a.ExternalKeyID == "") != (a.ExternalKey == "") {
		d.fail(child(n, "external_account"), &path{up: here, key: "external_account"}, "one of key_id and key", "both, or none", "")
	}
	d.contentsOf(child(n, "external_account"), &path{up: &path{up: here, key: "external_account"}, key: "key"}, a.ExternalKey)
	in := map[string]int{}
	for i, group := range a.Groups() {
		for _, name := range group {
			if j, twice := in[name]; twice && j != i {
				d.fail(resolve(child(n, "names")).Content[i], &path{up: &path{up: here, key: "names"}, index: i}, name+" a second time", "each name once", "")
			}
			in[name] = i
		}
	}
}

// verifyAuthorities has certificates of different listeners that are kept in the same file be the same certificate.
func (d *decoder) verifyAuthorities(c *Config, root *yaml.Node) {
	first, accounts := map[string]*ACME{}, map[string]*ACME{}
	for i := range c.Listeners {
		if c.Listeners[i].TLS == nil || c.Listeners[i].TLS.ACME == nil {
			continue
		}
		a := c.Listeners[i].TLS.ACME
		here := &path{up: &path{up: &path{up: &path{key: "listeners"}, index: i}, key: "tls"}, key: "acme"}
		at := resolve(child(resolve(child(resolve(child(root, "listeners")).Content[i], "tls")), "acme"))
		folder := filepath.Join(c.Path(a.Storage), a.Directory)
		if other := accounts[folder]; other == nil {
			accounts[folder] = a
		} else if other.Email != a.Email || other.CA != a.CA || other.ExternalKeyID != a.ExternalKeyID || other.ExternalKey != a.ExternalKey {
			d.fail(at, here, "email, ca or external_account other than on another listener", "the same for one account with "+a.Directory, "or another storage for one of them")
			continue
		}
		for j, group := range a.Groups() {
			if len(group) == 0 {
				continue // which is refused already
			}
			file := filepath.Join(folder, group[0])
			other := first[file]
			if other == nil {
				first[file] = a
				continue
			}
			if same := other.sameAs(a, group); same != "" {
				d.fail(at, &path{up: &path{up: here, key: "names"}, index: j}, quote(a.Names[j])+" with "+same+" than on another listener", "the same as there", "or another storage for one of them")
			}
		}
	}
}

// sameAs says what the certificate that begins with a name has that is another in b, "" if nothing.
func (a *ACME) sameAs(b *ACME, group []string) string {
	switch {
	case a.KeyType != b.KeyType:
		return "another key_type"
	case a.Profile != b.Profile:
		return "another profile"
	case a.Challenge != b.Challenge:
		return "another challenge"
	case a.RenewBefore != b.RenewBefore:
		return "another renew_before"
	}
	for _, own := range a.Groups() {
		if len(own) > 0 && own[0] == group[0] && strings.Join(own, " ") != strings.Join(group, " ") {
			return "other names"
		}
	}
	return ""
}
