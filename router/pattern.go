package router

import (
	"errors"
	"strconv"
	"strings"
)

// MaxSegments is how many segments a route's path may have, its tail included.
const MaxSegments = 32

// MaxParams is how many parameters a route's path may have, its tail included.
const MaxParams = 16

type segmentKind uint8

const (
	literal segmentKind = iota
	param               // ":name", one segment that is not empty
	tail                // "*name", whatever is left, empty as well
)

type segment struct {
	kind segmentKind
	text string // of a literal in the spelling of Normalize, else the parameter's name
}

// parsePattern reads a route's path.
func parsePattern(path string) ([]segment, error) {
	if path == "" || path[0] != '/' {
		return nil, errors.New("a path begins with /")
	}
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return nil, errors.New("a path has no " + path[i:i+1] + ": routes match the path alone, without the query")
	}
	parts := strings.Split(path[1:], "/")
	if len(parts) > MaxSegments {
		return nil, errors.New("a path has at most " + strconv.Itoa(MaxSegments) + " segments")
	}
	segments := make([]segment, len(parts))
	seen := make(map[string]bool)
	for i, text := range parts {
		s, err := parseSegment(text, i == len(parts)-1)
		if err != nil {
			return nil, err
		}
		if s.kind != literal {
			if seen[s.text] {
				return nil, errors.New("parameter " + s.text + " is there twice")
			}
			seen[s.text] = true
		}
		segments[i] = s
	}
	if len(seen) > MaxParams {
		return nil, errors.New("a path has at most " + strconv.Itoa(MaxParams) + " parameters")
	}
	return segments, nil
}

func parseSegment(text string, last bool) (segment, error) {
	switch {
	case text == "*":
		if !last {
			return segment{}, errors.New("only the last segment can be a tail (*)")
		}
		return segment{tail, "*"}, nil
	case strings.HasPrefix(text, "*"), strings.HasPrefix(text, ":"):
		kind := param
		if text[0] == '*' {
			kind = tail
			if !last {
				return segment{}, errors.New("only the last segment can be a tail (" + text + ")")
			}
		}
		if !isParamName(text[1:]) {
			return segment{}, errors.New("a parameter's name is a letter or _ and then letters, digits, _ or -, not " +
				strconv.Quote(text[1:]))
		}
		return segment{kind, text[1:]}, nil
	case strings.Contains(text, "*"):
		return segment{}, errors.New("a * stands for whole segments: write it at the start of the last one")
	case text == "." || text == "..":
		return segment{}, errors.New("a path has no . or .. segments")
	}
	norm, _, ok := Normalize([]byte("/"+text), nil)
	if !ok || (len(norm) == 1 && text != "") { // the latter an escaped dot
		return segment{}, errors.New("segment " + strconv.Quote(text) + " can't be in a request's path")
	}
	return segment{literal, string(norm[1:])}, nil
}

func isParamName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return s != ""
}

// parseHost reads a route's host: the lower-case name without the wildcard, and whether there was one. Any host gives
// the wildcard of the empty name.
func parseHost(host string) (name string, wildcard bool, err error) {
	if host == "" || host == "*" {
		return "", true, nil
	}
	name = strings.ToLower(host)
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		name, wildcard = rest, true
	}
	if strings.HasPrefix(name, "[") {
		if wildcard || !strings.HasSuffix(name, "]") || strings.Trim(name[1:len(name)-1], "0123456789abcdef:.") != "" {
			return "", false, errors.New("an IPv6 host is written like [::1], without a port")
		}
		return name, false, nil
	}
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 {
		return "", false, errors.New("a host name has at most 253 characters")
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" {
			return "", false, errors.New("a host name has no empty labels")
		}
		for i := 0; i < len(label); i++ {
			switch c := label[i]; {
			case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_':
			case c == '*':
				return "", false, errors.New("a wildcard is the first label of a host: *.example.com")
			case c == ':':
				return "", false, errors.New("a route's host has no port")
			case c >= 0x80:
				return "", false, errors.New("a host name is ASCII: write the xn-- form")
			default:
				return "", false, errors.New("a host name has no " + strconv.QuoteRune(rune(c)))
			}
		}
	}
	return name, wildcard, nil
}
