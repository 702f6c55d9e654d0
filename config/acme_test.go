package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What an acme section must be, and which sections go together.
func TestACME(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &pemFiles{t, t.TempDir(), key}
	f.certificate("ca", time.Hour)
	f.write("mac", []byte("c2VjcmV0"))
	const terms = "accept_terms: true"
	for _, c := range []struct{ first, second, wrong string }{
		{terms + ", names: [A.example b.example, c.example]", "", ""},
		{terms + ", names: [a.example], ca: ca.pem, external_account: {key_id: k, key: mac}, profile: shortlived, key_type: rsa4096", "", ""},
		{"names: [a.example]", "", "acme: found acme without accept_terms: true, expected accept_terms: true"},
		{terms, "", "acme.names: found nothing"},
		{terms + ", names: []", "", "acme.names: found an empty list"},
		{terms + ", names: [' ']", "", "1 to 100 of them"},
		{terms + ", names: ['*.example']", "", "a wildcard is proven by DNS alone"},
		{terms + ", names: [192.0.2.1]", "", "names only, no addresses"},
		{terms + ", names: ['a.example:443']", "", "without a port"},
		{terms + ", names: [bücher.example]", "", "in the form of DNS: xn--"},
		{terms + ", names: [a..example]", "", "each part between the dots has 1 to 63 characters"},
		{terms + ", names: [-a.example]", "", "no part begins or ends with -"},
		{terms + ", names: [../a.example]", "", "each part between the dots"},
		{terms + ", names: [a/b.example]", "", "letters, digits, - and dots"},
		{terms + ", names: [" + strings.Repeat(strings.Repeat("a", 49)+".", 5) + "example]", "", "a file is called after it"},
		{terms + ", names: [a.example A.example]", "", "a.example is there twice"},
		{terms + ", names: [a.example b.example, c.example b.example]", "", "acme.names[1]: found b.example a second time, expected each name once"},
		{terms + ", names: [a.example], email: 'mailto:me@a.example'", "", "without mailto:"},
		{terms + ", names: [a.example], directory: 'http://ca.example/dir'", "", `acme.directory: found "http://ca.example/dir", expected a URL https://host/path`},
		{terms + ", names: [a.example], challenge: dns-01", "", "acme.challenge"},
		{terms + ", names: [a.example], ca: none.pem", "", `acme.ca: found "none.pem"`},
		{terms + ", names: [a.example], ca: mac", "", `acme.ca: found "mac", expected certificates in PEM`},
		{terms + ", names: [a.example], profile: 'a b'", "", "acme.profile"},
		{terms + ", names: [a.example], storage: ''", "", "acme.storage"},
		{terms + ", names: [a.example], external_account: {key_id: k}", "", "external_account: found one of key_id and key, expected both, or none"},
		{terms + ", names: [a.example], external_account: {key_id: k, key: none}", "", `external_account.key: found "none"`},
		// Two listeners.
		{terms + ", names: [a.example]", terms + ", names: [a.example]", ""},
		{terms + ", names: [a.example]", terms + ", names: [b.example], key_type: p384, challenge: http-01", ""},
		{terms + ", names: [a.example]", terms + ", names: [a.example b.example]", `listeners[1].tls.acme.names[0]: found "a.example b.example" with other names than on another listener, expected the same as there`},
		{terms + ", names: [a.example]", terms + ", names: [a.example], key_type: p384", "with another key_type than on another listener"},
		{terms + ", names: [a.example]", terms + ", names: [a.example], key_type: p384, storage: other", ""},
		{terms + ", names: [a.example]", terms + ", names: [b.example], email: me@a.example", "listeners[1].tls.acme: found email, ca or external_account other than on another listener"},
		{terms + ", names: [a.example]", terms + ", names: [b.example], email: me@a.example, directory: 'https://ca.example/dir'", ""},
	} {
		text := ""
		for i, section := range []string{c.first, c.second} {
			if section != "" {
				text += fmt.Sprintf("  - {address: \"127.0.0.1:%d\", tls: {acme: {%s}}}\n", 8080+i, section)
			}
		}
		f.write("c.yaml", []byte("listeners:\n"+text+"routes: [{path: /, respond: {body: x}}]\n"))
		wrong := ""
		if _, err := Load(filepath.Join(f.dir, "c.yaml")); err != nil {
			wrong = err.Error()
		}
		if c.wrong == "" && wrong != "" || !strings.Contains(wrong, c.wrong) {
			t.Errorf("%s; %s: %q, want %q", c.first, c.second, wrong, c.wrong)
		}
	}
}
