package config

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// StickySession has the clients of an upstream come back to the endpoint that served them, by a cookie.
type StickySession struct {
	Cookie     string // its name
	SecretFile string
	Secret     []byte        // what is in it, less white space around it
	Path       string        // of the cookie
	MaxAge     time.Duration // 0: as long as the browser runs
	SameSite   string        // "lax", "strict" or "none"
	Secure     string        // "auto": for clients within TLS, or "always"
}

// leastSecretBytes is how long a secret is at the least.
const leastSecretBytes = 16

func stickySessionFields() []field {
	return []field{
		{key: "cookie", kind: kindText, required: true, check: checkToken, want: "a name of letters, digits, and -._", pattern: "^[A-Za-z0-9._-]{1,64}$",
			at: at(func(s *StickySession) *string { return &s.Cookie }), doc: "The cookie's name."},
		{key: "secret_file", kind: kindText, required: true, at: at(func(s *StickySession) *string { return &s.SecretFile }),
			doc: "A file with at least 16 random bytes, e.g. by `openssl rand -base64 32`, relative to the configuration file. What the cookie says is made with it, so that no client can choose an endpoint. All instances that serve the same clients have the same."},
		{key: "path", kind: kindText, def: "/", check: checkCookiePath, want: "a path such as /app", pattern: "^/[!-:<-~]*$", at: at(func(s *StickySession) *string { return &s.Path }),
			doc: "For which paths clients send it."},
		{key: "max_age", kind: kindDuration, def: "0", max: int64(400 * 24 * time.Hour), at: at(func(s *StickySession) *time.Duration { return &s.MaxAge }),
			zero: "until the browser ends", doc: "How long clients keep it, whole seconds. It counts from when it was set."},
		{key: "same_site", kind: kindEnum, def: "lax", enum: []string{"lax", "strict", "none"}, at: at(func(s *StickySession) *string { return &s.SameSite }),
			doc: "The attribute SameSite. `none` needs `secure: always`."},
		{key: "secure", kind: kindEnum, def: "auto", enum: []string{"auto", "always"}, at: at(func(s *StickySession) *string { return &s.Secure }),
			doc: "The attribute Secure: `auto` for clients within TLS, `always` where something in front does the TLS."},
	}
}

// checkCookiePath: what RFC 6265 4.1.1 has for path-value.
func checkCookiePath(text string, _ int64) (want, hint string) {
	if !strings.HasPrefix(text, "/") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ';' }) {
		return "a path such as /app", ""
	}
	return "", ""
}

// verifySticky reads the secret.
func (d *decoder) verifySticky(u *Upstream, n *yaml.Node, here *path) {
	s := u.Sticky
	if s == nil {
		return
	}
	at, key := resolve(child(n, "sticky")), &path{up: here, key: "sticky"}
	if s.SameSite == "none" && s.Secure != "always" {
		d.fail(child(at, "same_site"), &path{up: key, key: "same_site"}, "none", "secure: always beside it", "browsers drop the cookie otherwise")
	}
	file := &path{up: key, key: "secret_file"}
	data, ok := d.contentsOf(child(at, "secret_file"), file, s.SecretFile)
	if s.Secret = bytes.TrimSpace(data); ok && len(s.Secret) < leastSecretBytes {
		d.fail(child(at, "secret_file"), file, quote(s.SecretFile)+" of "+strconv.Itoa(len(s.Secret))+" bytes", "at least "+strconv.Itoa(leastSecretBytes), "openssl rand -base64 32")
	}
}
