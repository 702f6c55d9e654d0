package config

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// JWTFilter asks for tokens.
type JWTFilter struct {
	Realm                     string
	Algorithms                []string
	KeyFile, SecretFile, URL  string // one of them
	CA                        string // file
	Refresh, MissInterval     time.Duration
	From                      []string // see ParseCredential
	Issuers, Audiences        []string
	Leeway                    time.Duration
	Expiry                    bool
	Require                   []string // "claim" and "claim=value"
	Claims                    []string // "Field=claim"
	UserClaim, UserHeader     string
	Forward                   bool
	MaxToken                  Size
	Keep                      time.Duration
	Entries, Workers, MaxWait int
}

// jwtAlgorithms are those that can be accepted.
var jwtAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"}

const (
	wantRequirement = `a claim, or a claim and its value: "tenant" or "scope=read"`
	wantClaim       = `a field and a claim: "X-User=sub" or "X-Roles=realm_access.roles"`
	wantKeyURL      = "a URL https://host/path, or http:// of this machine"
)

func checkRequirement(text string, _ int64) (want, hint string) {
	claim, value, has := strings.Cut(text, "=")
	if claim == "" || has && value == "" {
		return wantRequirement, ""
	}
	return "", ""
}

func checkClaim(text string, v int64) (want, hint string) {
	name, claim, _ := strings.Cut(text, "=")
	if claim == "" {
		return wantClaim, ""
	}
	if want, hint = checkIdentity(name, v); want != "" {
		return wantClaim, hint
	}
	return "", ""
}

func checkKeyURL(text string, _ int64) (want, hint string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return wantKeyURL, ""
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return "", ""
	}
	return wantKeyURL, "whoever changes the keys on their way lets in whom he likes"
}

func init() {
	registerFilter("jwt", "Asks for a signed token (RFC 7519): 401 without, or with one that is not valid, 403 where it lacks a claim. See [authentication.md](authentication.md#tokens).",
		append([]field{
			{key: "key_file", kind: kindText, at: at(func(f *JWTFilter) *string { return &f.KeyFile }), zero: "none",
				doc: "A file, relative to the configuration file, with public keys or certificates in PEM, or a JSON Web Key Set. It is read again when it changes. Exactly one of `key_file`, `secret_file` and `url` is there."},
			{key: "secret_file", kind: kindText, at: at(func(f *JWTFilter) *string { return &f.SecretFile }), zero: "none",
				doc: "A file with the secret of an HMAC, at least 32 bytes, less white space around it."},
			{key: "url", kind: kindText, check: checkKeyURL, want: wantKeyURL, at: at(func(f *JWTFilter) *string { return &f.URL }), zero: "none",
				doc: "Where a JSON Web Key Set is got from, in the background: the `jwks_uri` of an issuer."},
			{key: "ca", kind: kindText, at: at(func(f *JWTFilter) *string { return &f.CA }), zero: "those of the system",
				doc: "A PEM file with the authorities that are trusted for `url`."},
			{key: "refresh", kind: kindDuration, def: "5m", min: int64(time.Second), max: maxKeep, at: at(func(f *JWTFilter) *time.Duration { return &f.Refresh }),
				doc: "How often `url` is asked."},
			{key: "miss_interval", kind: kindDuration, def: "10s", min: int64(time.Second), max: maxKeep, at: at(func(f *JWTFilter) *time.Duration { return &f.MissInterval }),
				doc: "How often, at the most, it is asked for a key that a token names and that is not known. That token waits for the answer; others that name unknown keys in the meantime are refused."},
			{key: "algorithms", kind: kindTexts, required: true, min: 1, max: 13, at: at(func(f *JWTFilter) *[]string { return &f.Algorithms }),
				elem: &field{kind: kindEnum, enum: jwtAlgorithms},
				doc:  "What tokens may be signed with. Each key is used for algorithms of its kind alone, whatever a token says; `none` cannot be listed."},
			credentialsField(at(func(f *JWTFilter) *[]string { return &f.From }), "bearer", "the token"),
			realmField(at(func(f *JWTFilter) *string { return &f.Realm })),
			{key: "issuers", kind: kindTexts, max: 32, elem: &field{kind: kindText}, at: at(func(f *JWTFilter) *[]string { return &f.Issuers }),
				zero: "any", doc: "`iss` has to be one of these."},
			{key: "audiences", kind: kindTexts, max: 32, elem: &field{kind: kindText}, at: at(func(f *JWTFilter) *[]string { return &f.Audiences }),
				zero: "any", doc: "`aud` has to have one of these. Without it a token that was made for another service is accepted."},
			{key: "leeway", kind: kindDuration, def: "0s", max: int64(10 * time.Minute), at: at(func(f *JWTFilter) *time.Duration { return &f.Leeway }),
				zero: "none", doc: "By how much the clocks of issuers may differ, for `exp` and `nbf`."},
			{key: "expiry", kind: kindBool, def: "true", at: at(func(f *JWTFilter) *bool { return &f.Expiry }),
				doc: "Whether a token has to have `exp`."},
			{key: "require", kind: kindTexts, max: 32, elem: &field{kind: kindText, check: checkRequirement, want: wantRequirement}, at: at(func(f *JWTFilter) *[]string { return &f.Require }),
				zero: "none", doc: "Claims that have to be there: `name`, or `name=value`; names within each other have dots between them. A list has to have the value, `scope` and `scp` have it among their words."},
			{key: "claims", kind: kindTexts, max: 32, elem: &field{kind: kindText, check: checkClaim, want: wantClaim}, at: at(func(f *JWTFilter) *[]string { return &f.Claims }),
				zero: "none", doc: "Claims that the origin gets in fields: `X-User=sub`, `X-Roles=realm_access.roles`. Lists of texts have commas between them, all else is JSON. What a client sends under these names is dropped, in any letter case and with `_` for `-`."},
			{key: "user_claim", kind: kindText, def: "sub", check: checkNotEmpty, at: at(func(f *JWTFilter) *string { return &f.UserClaim }),
				doc: "The claim that says who it is, for `user_header` and the access log."},
			userHeaderField(at(func(f *JWTFilter) *string { return &f.UserHeader }), "the claim `user_claim`"),
			forwardField(at(func(f *JWTFilter) *bool { return &f.Forward }), "the field with the token"),
			{key: "max_token", kind: kindSize, def: "8KiB", min: 256, max: 64 << 10, at: at(func(f *JWTFilter) *Size { return &f.MaxToken }),
				doc: "How long a token may be."},
			keepField(at(func(f *JWTFilter) *time.Duration { return &f.Keep }), "1h", "For how long the verdict about a token is kept at the most; it ends when the token expires, or keys change."),
			{key: "entries", kind: kindCount, def: "10000", min: 1, max: 10_000_000, at: at(func(f *JWTFilter) *int { return &f.Entries }),
				doc: "How many verdicts are kept."},
		}, workerFields(at(func(f *JWTFilter) *int { return &f.Workers }), at(func(f *JWTFilter) *int { return &f.MaxWait }), "1", "tokens are verified")...), nil, verifyJWT)
}

func verifyJWT(d *decoder, f *JWTFilter, at *filterPlace) {
	sources := 0
	for _, text := range []string{f.KeyFile, f.SecretFile, f.URL} {
		if text != "" {
			sources++
		}
	}
	if sources != 1 {
		d.fail(at.n, at.p, "more or less than one source of keys", "exactly one of key_file, secret_file and url", "")
	}
	symmetric := slices.IndexFunc(f.Algorithms, func(name string) bool { return strings.HasPrefix(name, "HS") })
	others := slices.ContainsFunc(f.Algorithms, func(name string) bool { return !strings.HasPrefix(name, "HS") })
	switch {
	case symmetric >= 0 && others:
		at.fail(d, "algorithms", quote(f.Algorithms[symmetric])+" beside others", "either HS256, HS384 and HS512, or the others", "who knows the secret of the former can make tokens; a public key is known to all")
	case symmetric >= 0 && f.URL != "":
		at.fail(d, "algorithms", quote(f.Algorithms[symmetric])+" with url", "an algorithm with public keys", "whoever asks the URL gets the secret")
	case f.SecretFile != "" && others:
		at.fail(d, "algorithms", quote(strings.Join(f.Algorithms, ", "))+" with secret_file", "HS256, HS384 or HS512", "")
	}
}
