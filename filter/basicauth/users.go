package basicauth

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"zproxy/filter/verify"
)

// users are what a file says. They do not change.
type users struct {
	scope  uint64
	hashes map[string]hash
	decoy  hash // what the passwords of names that there are not are compared with; nil: there are no names
}

const (
	maxUsers     = 100_000
	maxNameBytes = 256
)

// lineError says what is wrong with a line, and never what is in it.
type lineError struct {
	line int
	what string
}

func (e *lineError) Error() string { return fmt.Sprintf("%d: %s", e.line, e.what) }

// parse reads lines "name:hash", as htpasswd writes them; what follows another colon is a comment, as are lines that
// begin with "#".
func parse(data []byte) (*users, error) {
	u := &users{scope: verify.NewScope(), hashes: map[string]hash{}}
	work := 0.0
	for n := 1; len(data) > 0; n++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		text := strings.TrimSuffix(string(line), "\r")
		if strings.TrimSpace(text) == "" || text[0] == '#' {
			continue
		}
		name, rest2, ok := strings.Cut(text, ":")
		if !ok {
			return nil, &lineError{n, "expected name:hash, as htpasswd -B writes it"}
		}
		if why := badName(name); why != "" {
			return nil, &lineError{n, why}
		}
		if _, twice := u.hashes[name]; twice {
			return nil, &lineError{n, "the name is in the file before: leave one of the lines out"}
		}
		text, _, _ = strings.Cut(rest2, ":")
		h, err := parseHash(text)
		if err != nil {
			return nil, &lineError{n, err.Error()}
		}
		if len(u.hashes) == maxUsers {
			return nil, &lineError{n, fmt.Sprintf("more than %d names", maxUsers)}
		}
		u.hashes[name] = h
		if w := h.work(); u.decoy == nil || w > work {
			u.decoy, work = h, w
		}
	}
	return u, nil
}

// badName: a name goes into a field of requests and into the log. White space around it would be lost there, and
// make it another name.
func badName(name string) string {
	switch {
	case name == "" || len(name) > maxNameBytes:
		return fmt.Sprintf("expected a name of 1 to %d bytes", maxNameBytes)
	case strings.TrimSpace(name) != name:
		return "expected a name without spaces around it"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
		return "expected a name in UTF-8, without control characters"
	}
	return ""
}
