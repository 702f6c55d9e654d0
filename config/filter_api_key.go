package config

import (
	"strings"
)

// APIKeyFilter asks for keys.
type APIKeyFilter struct {
	Realm      string
	File       string
	From       []string // see ParseCredential
	UserHeader string   // "": none
	Forward    bool
}

// Credential is where credentials are.
type Credential struct {
	Header string // in lower case
	Bearer bool   // in Authorization
	Cookie string
	Query  string
}

const wantCredential = "bearer, header:NAME, cookie:NAME or query:NAME"

// ParseCredential reads "bearer", "header:NAME", "cookie:NAME" and "query:NAME".
func ParseCredential(text string) (c Credential, ok bool) {
	where, name, _ := strings.Cut(text, ":")
	switch where {
	case "bearer":
		return Credential{Header: "authorization", Bearer: true}, text == where
	case "header":
		want, _ := checkIdentity(name, 0)
		return Credential{Header: strings.ToLower(name)}, want == ""
	case "cookie":
		return Credential{Cookie: name}, isName(name)
	case "query":
		return Credential{Query: name}, isName(name)
	}
	return c, false
}

func checkCredential(text string, _ int64) (want, hint string) {
	if _, ok := ParseCredential(text); !ok {
		return wantCredential, ""
	}
	return "", ""
}

func credentialsField(of func(any) any, def, what string) field {
	return field{key: "from", kind: kindTexts, def: def, min: 1, max: 8, at: of,
		elem: &field{kind: kindText, check: checkCredential, want: wantCredential, pattern: "^(bearer|(header|cookie|query):.+)$"},
		doc:  "Where " + what + " is looked for; the first place that has one decides: `bearer` (`Authorization: Bearer ...`), `header:NAME`, `cookie:NAME`, `query:NAME`. Two at one place are refused: the origin might read the other one."}
}

func init() {
	registerFilter[APIKeyFilter]("api_key", "Asks for a key: 401 without, or with one that is not known. See [authentication.md](authentication.md#api-keys).",
		[]field{
			{key: "file", kind: kindText, required: true, at: at(func(f *APIKeyFilter) *string { return &f.File }),
				doc: "A file of lines `name:hash`, relative to the configuration file, where the hash is the SHA-256 of a key in hexadecimal: `zproxy apikey NAME` makes a key and its line. It is read again when it changes; one that is no good changes nothing, and is logged."},
			credentialsField(at(func(f *APIKeyFilter) *[]string { return &f.From }), "header:X-API-Key", "the key"),
			realmField(at(func(f *APIKeyFilter) *string { return &f.Realm })),
			userHeaderField(at(func(f *APIKeyFilter) *string { return &f.UserHeader }), "the name of the key"),
			forwardField(at(func(f *APIKeyFilter) *bool { return &f.Forward }), "the field with the key"),
		}, nil, nil)
}
