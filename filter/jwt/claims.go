package jwt

import (
	"encoding/json"
	"slices"
	"strings"

	"zproxy/filter"
)

// Claim is one whose value goes into a field of the request.
type Claim struct {
	Field *filter.Name
	Path  string // names within each other have dots between them
}

// Requirement is a claim that has to be there.
type Requirement struct {
	Path  string
	Value string // "": any but false and null
}

// ParseRequirement reads "claim", or "claim=value".
func ParseRequirement(text string) (r Requirement, ok bool) {
	path, value, has := strings.Cut(text, "=")
	return Requirement{path, value}, path != "" && (!has || value != "")
}

// holds: a text is the value, or a list of words between spaces with it, as scope is (RFC 8693 4.2); a list has it.
func (r *Requirement) holds(claims map[string]any) bool {
	switch v := find(claims, r.Path).(type) {
	case nil:
		return false
	case bool:
		return r.Value == "" && v || r.Value == "true" && v || r.Value == "false" && !v
	case string:
		return r.Value == "" || v == r.Value || r.isWords() && slices.Contains(strings.Split(v, " "), r.Value)
	case json.Number:
		return r.Value == "" || v.String() == r.Value
	case []any:
		if r.Value == "" {
			return len(v) > 0
		}
		return slices.ContainsFunc(v, func(one any) bool {
			text, ok := one.(string)
			return ok && text == r.Value
		})
	}
	return r.Value == ""
}

// isWords: what is no list of words has spaces that belong to it, and what is behind one may be what its owner likes.
func (r *Requirement) isWords() bool {
	name := r.Path[strings.LastIndexByte(r.Path, '.')+1:]
	return name == "scope" || name == "scp"
}

// find gives the claim at path. A name may have dots itself: the longest name that is there is taken first.
func find(claims map[string]any, path string) any {
	if v, ok := claims[path]; ok {
		return v
	}
	for i := len(path) - 1; i > 0; i-- {
		if path[i] != '.' {
			continue
		}
		if inner, ok := claims[path[:i]].(map[string]any); ok {
			if v := find(inner, path[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// maxFieldBytes is how long a field of a claim may be.
const maxFieldBytes = 4 << 10

// fieldValue writes a claim as the value of a field: a text as it is, a list of texts with commas between them, all
// else as JSON. A list with a text that has a comma itself is JSON as well. "" is a claim that is not there. Not ok:
// it cannot be in a field.
func fieldValue(claim any) (value string, ok bool) {
	switch v := claim.(type) {
	case nil:
		return "", true
	case string:
		value = v
	case json.Number:
		value = v.String()
	case []any:
		if value, ok = joined(v); ok {
			break
		}
		return inJSON(v)
	default:
		return inJSON(v)
	}
	return value, isFieldValue(value)
}

func joined(list []any) (string, bool) {
	var texts []string
	for _, one := range list {
		text, ok := one.(string)
		if !ok || text == "" || strings.Contains(text, ",") || !isFieldValue(text) {
			return "", false
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ","), true
}

// inJSON has no control characters: they are escaped.
func inJSON(claim any) (string, bool) {
	text, err := json.Marshal(claim)
	return string(text), err == nil && isFieldValue(string(text))
}

// isFieldValue: what RFC 9110 5.5 has for a value, without tabs.
func isFieldValue(text string) bool {
	return len(text) <= maxFieldBytes && strings.TrimSpace(text) == text && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
