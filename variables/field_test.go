package variables

import (
	"slices"
	"strings"
	"testing"
)

func TestParseField(t *testing.T) {
	const known = "one of {scheme}, {host}, {path}, {query}, {client_ip}, {request_id}, {method}, {tls_sni}, {tls_version}, {user}, {header.NAME}, {cookie.NAME}, {path.id}"
	for _, c := range []struct {
		text string
		want []FieldPart
		err  Error
	}{
		{text: ""},
		{text: "a b", want: []FieldPart{{Text: "a b"}}},
		{text: "{method} {path.id}; {header.X-A}={cookie.s_1}", want: []FieldPart{{Source: FieldMethod}, {Text: " "}, {Source: FieldParameter}, {Text: "; "},
			{Source: FieldHeader, Text: "X-A"}, {Text: "="}, {Source: FieldCookie, Text: "s_1"}}},
		{text: "x{path.other}", err: Error{1, "{path.other}", known}},
		{text: "{header.}", err: Error{0, "{header.}", known}},
		{text: "{jwt.sub}", err: Error{0, "{jwt.sub}", known}},
		{text: "{}", err: Error{0, "{}", wantBraces}},
		{text: "a\r\nb", err: Error{1, "a byte that no field may have", "printable ASCII on one line"}},
		{text: "{host}\u00e4", err: Error{6, "a byte that no field may have", "printable ASCII on one line"}},
		{text: strings.Repeat("a", MaxFieldText+1), err: Error{0, "a longer text", "at most 4096 bytes"}},
	} {
		got, err := ParseField(c.text, []string{"id"})
		if err == nil {
			err = &Error{}
		}
		if !slices.Equal(got, c.want) || *err != c.err {
			t.Errorf("%.40q: %v, %+v; want %v, %+v", c.text, got, *err, c.want, c.err)
		}
	}
}
