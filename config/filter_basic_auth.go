package config

import (
	"strings"
	"time"
)

// BasicAuthFilter asks for names and passwords.
type BasicAuthFilter struct {
	Realm      string
	File       string
	UserHeader string // "": none
	Forward    bool
	Keep       time.Duration
	Workers    int // goroutines
	MaxWaiting int
}

const (
	wantRealm    = `ASCII without quotes and backslashes, e.g. "Staff only"`
	wantIdentity = "a field name such as X-User"
	maxKeep      = int64(24 * time.Hour)
)

// checkRealm: what stands between the quotes of a challenge.
func checkRealm(text string, _ int64) (want, hint string) {
	if text == "" || len(text) > 200 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return wantRealm, ""
	}
	return "", ""
}

// checkIdentity is about a field that says who asks.
func checkIdentity(text string, v int64) (want, hint string) {
	if strings.HasSuffix(text, "*") {
		return wantIdentity, ""
	}
	if want, hint = checkRequestField(text, v); want != "" {
		return wantIdentity, hint
	}
	return "", ""
}

func realmField(of func(any) any) field {
	return field{key: "realm", kind: kindText, def: "restricted", check: checkRealm, want: wantRealm, pattern: `^[ !#-\[\]-~]{1,200}$`, at: of,
		doc: "What is asked for, as `WWW-Authenticate` says it: browsers show it to their users."}
}

func userHeaderField(of func(any) any, who string) field {
	return field{key: "user_header", kind: kindText, check: checkIdentity, want: wantIdentity, at: of, zero: "none",
		doc: "The field of the request in which the origin gets " + who + ". What a client sends under that name is dropped, in any letter case and with `_` for `-`."}
}

func forwardField(of func(any) any, what string) field {
	return field{key: "forward", kind: kindBool, def: "false", at: of, doc: "Whether the origin gets " + what + " as well."}
}

func keepField(of func(any) any, def, doc string) field {
	return field{key: "keep", kind: kindDuration, def: def, max: maxKeep, at: of, zero: "not at all", doc: doc}
}

func workerFields(workers, waiting func(any) any, def, what string) []field {
	return []field{
		{key: "workers", kind: kindCount, def: def, min: 1, max: 1024, at: workers, doc: "How many of them " + what + " at once, on threads beside the loops."},
		{key: "max_waiting", kind: kindCount, def: "1000", min: 1, max: 100000, at: waiting, doc: "How many requests may wait for that. Those beyond are answered 503."},
	}
}

func init() {
	registerFilter[BasicAuthFilter]("basic_auth", "Asks for a name and a password (RFC 7617, nginx: `auth_basic`): 401 without, or with wrong ones. See [authentication.md](authentication.md#names-and-passwords).",
		append([]field{
			{key: "file", kind: kindText, required: true, at: at(func(f *BasicAuthFilter) *string { return &f.File }),
				doc: "A file of lines `name:hash`, relative to the configuration file, as `htpasswd -B` writes it: hashes by bcrypt, argon2id (`$argon2id$v=19$...`), apr1, sha256-crypt, sha512-crypt and `{SHA}`. It is read again when it changes; one that is no good changes nothing, and is logged."},
			realmField(at(func(f *BasicAuthFilter) *string { return &f.Realm })),
			userHeaderField(at(func(f *BasicAuthFilter) *string { return &f.UserHeader }), "the name"),
			forwardField(at(func(f *BasicAuthFilter) *bool { return &f.Forward }), "`Authorization`"),
			keepField(at(func(f *BasicAuthFilter) *time.Duration { return &f.Keep }), "1m", "For how long a right password is known without being hashed again; a wrong one is for 10s at the most. A change of the file ends it at once."),
		}, workerFields(at(func(f *BasicAuthFilter) *int { return &f.Workers }), at(func(f *BasicAuthFilter) *int { return &f.MaxWaiting }), "1", "passwords are hashed")...), nil, nil)
}
