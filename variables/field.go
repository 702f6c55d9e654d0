package variables

import "strings"

// FieldSource is what a piece of a field's value stands for.
type FieldSource uint8

// The sources, as docs/filters.md has them.
const (
	FieldLiteral FieldSource = iota
	FieldScheme
	FieldHost
	FieldPath
	FieldQuery
	FieldClientIP
	FieldRequestID
	FieldMethod
	FieldSNI
	FieldTLSVersion
	FieldUser      // whom a filter has found the client to be
	FieldParameter // of the route's path: Param
	FieldHeader    // all fields of the request named Text
	FieldCookie    // the first cookie named Text
)

var fieldVariables = [...]string{
	FieldScheme: "scheme", FieldHost: "host", FieldPath: "path", FieldQuery: "query", FieldClientIP: "client_ip", FieldRequestID: "request_id",
	FieldMethod: "method", FieldSNI: "tls_sni", FieldTLSVersion: "tls_version", FieldUser: "user",
}

// FieldPart is a piece of a field's value.
type FieldPart struct {
	Source FieldSource
	Text   string // the literal, or a name
	Param  int
}

// MaxFieldText is the longest value of a field, variables as they are written there.
const MaxFieldText = 4096

// ParseField compiles the value of a field of requests or responses. params are the names of the parameters of the
// route's path.
func ParseField(text string, params []string) ([]FieldPart, *Error) {
	if len(text) > MaxFieldText {
		return nil, &Error{0, "a longer text", "at most 4096 bytes"}
	}
	pieces, err := Split(text)
	if err != nil {
		return nil, err
	}
	var parts []FieldPart
	for _, p := range pieces {
		if !p.Variable {
			if i := strings.IndexFunc(p.Text, func(r rune) bool { return r < ' ' || r >= 0x7f }); i >= 0 {
				return nil, &Error{p.Offset + i, "a byte that no field may have", "printable ASCII on one line"}
			}
			parts = append(parts, FieldPart{Text: p.Text})
			continue
		}
		part, ok := findField(p.Text, params)
		if !ok {
			return nil, &Error{p.Offset, "{" + p.Text + "}", knownFields(params)}
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func findField(name string, params []string) (FieldPart, bool) {
	for i, s := range fieldVariables {
		if s == name {
			return FieldPart{Source: FieldSource(i)}, true
		}
	}
	for i, s := range params {
		if ParameterPrefix+s == name {
			return FieldPart{Source: FieldParameter, Param: i}, true
		}
	}
	if rest, ok := strings.CutPrefix(name, "header."); ok && rest != "" {
		return FieldPart{Source: FieldHeader, Text: rest}, true
	}
	if rest, ok := strings.CutPrefix(name, "cookie."); ok && rest != "" {
		return FieldPart{Source: FieldCookie, Text: rest}, true
	}
	return FieldPart{}, false
}

// knownFields lists what there is, for errors.
func knownFields(params []string) string {
	list := "one of {" + strings.Join(fieldVariables[1:], "}, {") + "}, {header.NAME}, {cookie.NAME}"
	for _, s := range params {
		list += ", {" + ParameterPrefix + s + "}"
	}
	return list
}
