package config

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"zproxy/variables"
)

// HeaderChanges are what becomes of the fields of a head, in this order.
type HeaderChanges struct {
	Rename []Pair
	Remove []string
	Set    []Pair
	Add    []Pair
}

// RequestHeaders changes what origins get, ResponseHeaders what clients get.
type (
	RequestHeaders  struct{ HeaderChanges }
	ResponseHeaders struct{ HeaderChanges }
)

const (
	mostHeaders       = 256
	wantChangedField  = "a field name such as X-User"
	wantResponseField = "a field name such as X-Frame-Options"
	patternFieldName  = "^[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}$"
)

func init() {
	const vars = "`{scheme}`, `{host}`, `{path}`, `{query}`, `{method}`, `{client_ip}`, `{request_id}`, `{tls_sni}`, `{tls_version}`, `{user}`, `{header.NAME}`, `{cookie.NAME}` and, on a route, `{path.NAME}`"
	keys := []string{"rename", "remove", "set", "add"}
	registerFilter("request_headers", "Changes the fields of requests before origins get them: [headers](filters.md#headers). Names match whatever the case, and `_` is `-`. Values have variables: "+vars+".",
		headerFields(func(f *RequestHeaders) *HeaderChanges { return &f.HeaderChanges }, checkRequestField, wantChangedField), keys,
		func(d *decoder, f *RequestHeaders, at *filterPlace) { verifyHeaders(d, &f.HeaderChanges, at) })
	registerFilter("response_headers", "Changes the fields of responses before clients get them, those of the proxy's own as well: [headers](filters.md#headers). Values have the variables of `request_headers`, which are about the request.",
		headerFields(func(f *ResponseHeaders) *HeaderChanges { return &f.HeaderChanges }, checkResponseField, wantResponseField), keys,
		func(d *decoder, f *ResponseHeaders, at *filterPlace) { verifyHeaders(d, &f.HeaderChanges, at) })
}

func headerFields[S any](of func(*S) *HeaderChanges, check func(string, int64) (want, hint string), want string) []field {
	name := &field{kind: kindText, check: check, want: want, pattern: patternFieldName}
	value := &field{kind: kindText, want: "a value, with variables in braces"}
	return []field{
		{key: "rename", kind: kindPairs, min: 1, max: mostHeaders, name: name, elem: name, at: at(func(s *S) *[]Pair { return &of(s).Rename }),
			doc: "`OLD: NEW`. Fields that are called NEW already are dropped where there is one that is called OLD."},
		{key: "remove", kind: kindTexts, min: 1, max: mostHeaders, elem: name, at: at(func(s *S) *[]string { return &of(s).Remove }),
			doc: "Names of fields that go no further, the proxy's own as well."},
		{key: "set", kind: kindPairs, min: 1, max: mostHeaders, name: name, elem: value, at: at(func(s *S) *[]Pair { return &of(s).Set }),
			doc: "`NAME: VALUE`. Fields of that name are dropped, also where the value turns out to be empty, with which no field is added."},
		{key: "add", kind: kindPairs, min: 1, max: mostHeaders, name: name, elem: value, at: at(func(s *S) *[]Pair { return &of(s).Add }),
			doc: "`NAME: VALUE`. Fields of that name stay."},
	}
}

// framingFields are those that are about the connection, or that decide where a message ends: no filter changes them.
var framingFields = []string{"connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "max-forwards", "proxy-connection",
	"te", "trailer", "transfer-encoding", "upgrade"}

func checkRequestField(text string, _ int64) (want, hint string) {
	want = wantChangedField
	switch name := strings.ReplaceAll(strings.ToLower(text), "_", "-"); {
	case !isFieldName(text):
		return want, "letters, digits and !#$%&'*+-.^_|~, at most 64"
	case name == "host":
		return want, "key host of the upstream sets it"
	case slices.Contains(framingFields, name) || strings.HasPrefix(name, "sec-websocket-"):
		return want, text + " is about the connection: the proxy writes it itself"
	}
	return "", ""
}

func checkResponseField(text string, _ int64) (want, hint string) {
	if want, hint = checkRequestField(text, 0); want == "" && strings.EqualFold(text, "location") {
		hint, want = "Location is that of the response, or of redirect", wantResponseField
	} else if want != "" {
		want = wantResponseField
	}
	return want, hint
}

func isFieldName(text string) bool {
	for i := range len(text) {
		if c := text[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_|~", c) < 0 {
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// verifyHeaders checks the variables of values.
func verifyHeaders(d *decoder, f *HeaderChanges, at *filterPlace) {
	for _, list := range []struct {
		key   string
		pairs []Pair
	}{{"set", f.Set}, {"add", f.Add}} {
		for _, p := range list.pairs {
			if _, err := variables.ParseField(p.Value, at.params); err != nil {
				d.fail(child(child(at.n, list.key), p.Name), &path{up: &path{up: at.p, key: list.key}, key: p.Name}, err.Found, err.Want, "")
			}
		}
	}
}

// Rules says in a few words what the filter does.
func (f *HeaderChanges) Rules() string {
	var did []string
	say := func(what string, names []string) {
		if len(names) > 3 {
			names = append(slices.Clone(names[:3]), strconv.Itoa(len(names)-3)+" more")
		}
		if len(names) > 0 {
			did = append(did, what+" "+strings.Join(names, " "))
		}
	}
	names := func(pairs []Pair) (list []string) {
		for _, p := range pairs {
			list = append(list, p.Name)
		}
		return list
	}
	say("rename", names(f.Rename))
	say("remove", f.Remove)
	say("set", names(f.Set))
	say("add", names(f.Add))
	return strings.Join(did, ", ")
}

// Pair is an entry of a mapping from names to texts.
type Pair struct{ Name, Value string }

// pairs decodes a mapping from names to texts, in file order.
func (d *decoder) pairs(at *yaml.Node, f *field, target *[]Pair, p *path) {
	n := resolve(at)
	if n.Kind != yaml.MappingNode {
		d.fail(at, p, shown(n), f.wants(), "")
		return
	}
	if count := int64(len(n.Content) / 2); count < f.min || count > f.max {
		d.fail(at, p, strconv.FormatInt(count, 10)+" entries", f.wants(), "")
		return
	}
	d.keys(n, p, func(key, value *yaml.Node) {
		here, pair := &path{up: p, key: key.Value}, Pair{Name: key.Value}
		if want, hint := f.name.check(key.Value, 0); want != "" {
			d.fail(key, p, shown(key), want, hint)
			return
		}
		if slices.ContainsFunc(*target, func(p Pair) bool { return strings.EqualFold(p.Name, key.Value) }) {
			d.fail(key, here, "the name a second time", "it once", "letter case makes no difference")
			return
		}
		d.scalar(value, f.elem, &pair.Value, here)
		*target = append(*target, pair)
	})
}
