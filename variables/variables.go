// Package variables is the syntax of texts in the configuration in which
// "{name}" stands for something of a request. Texts are compiled when the
// configuration is read; to expand one allocates nothing.
package variables

// Part is a piece of a text: literal, or a variable.
type Part struct {
	Text     string // the literal, or the variable's name
	Variable bool
	Offset   int // in the text
}

// Error says what is wrong with a text, and where.
type Error struct {
	Offset int    // byte of the text
	Found  string // what is there, e.g. "{hots}"
	Want   string // what was expected
}

func (e *Error) Error() string { return "found " + e.Found + ", expected " + e.Want }

const wantBraces = `a name in braces, such as {host}`

// Split cuts text at its variables. A brace that is none of a variable's is an
// error.
func Split(text string) ([]Part, *Error) {
	var parts []Part
	begin := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '}':
			return nil, &Error{i, "}", wantBraces}
		case '{':
			if i > begin {
				parts = append(parts, Part{Text: text[begin:i], Offset: begin})
			}
			end := i + 1
			for end < len(text) && isNameByte(text[end]) {
				end++
			}
			if end == len(text) || text[end] != '}' || end == i+1 {
				return nil, &Error{i, text[i:min(end+1, len(text))], wantBraces}
			}
			parts = append(parts, Part{Text: text[i+1 : end], Variable: true, Offset: i})
			i, begin = end, end+1
		}
	}
	if begin < len(text) {
		parts = append(parts, Part{Text: text[begin:], Offset: begin})
	}
	return parts, nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

// Name is a variable.
type Name uint8

// The variables of a request.
const (
	Scheme    Name = iota // "http" or "https", of the connection the request came by
	Host                  // host that was asked for, without port
	Path                  // path as it was routed
	Query                 // query, without "?"
	ClientIP              // address of the client, behind trusted proxies too
	RequestID             // identifier of the request
	numNames
	parameter // of the route's path
)

var names = [numNames]string{"scheme", "host", "path", "query", "client_ip", "request_id"}

// ParameterPrefix stands in front of the name of a parameter of the route's path:
// {path.id} is what ":id" stands for.
const ParameterPrefix = "path."

// MaxParams is how many parameters a route may have.
const MaxParams = 16

// Values are what variables stand for. They are borrowed.
type Values struct {
	Of     [numNames][]byte
	Params [MaxParams][]byte // of the route's path, in its order
}

type part struct {
	text  string // literal
	name  Name
	param uint8
}

// Template is a compiled text, immutable.
type Template struct {
	parts []part // with text "" where it is a variable
	uses  [numNames]bool
}

// Parse compiles text, in which params may be used as well: the names of the
// parameters of a route's path, in their order.
func Parse(text string, params []string) (*Template, *Error) {
	pieces, err := Split(text)
	if err != nil {
		return nil, err
	}
	t := &Template{}
	for _, p := range pieces {
		if !p.Variable {
			t.parts = append(t.parts, part{text: p.Text})
			continue
		}
		found, ok := find(p.Text, params)
		if !ok {
			return nil, &Error{p.Offset, "{" + p.Text + "}", known(params)}
		}
		if found.name < numNames {
			t.uses[found.name] = true
		}
		t.parts = append(t.parts, found)
	}
	return t, nil
}

func find(name string, params []string) (part, bool) {
	for i, s := range names {
		if s == name {
			return part{name: Name(i)}, true
		}
	}
	for i, s := range params {
		if ParameterPrefix+s == name {
			return part{name: parameter, param: uint8(i)}, true
		}
	}
	return part{}, false
}

// known lists what there is, for errors.
func known(params []string) string {
	list := "one of "
	for i, s := range names {
		if i > 0 {
			list += ", "
		}
		list += "{" + s + "}"
	}
	for _, s := range params {
		list += ", {" + ParameterPrefix + s + "}"
	}
	return list
}

// Constant says that t has no variables.
func (t *Template) Constant() bool {
	for i := range t.parts {
		if t.parts[i].text == "" {
			return false
		}
	}
	return true
}

// Uses says that n is in t.
func (t *Template) Uses(n Name) bool { return t.uses[n] }

// AppendURL appends t as a URI reference (RFC 3986 section 4.1). Bytes of values
// that no URI has are percent-encoded, so whatever a client sends stays within the
// reference, and the reference within its line. Where {query} is empty, a "?" or
// "&" right before it is left out. A path that begins with "//" would name another
// host: it gets "/." in front, which means the same path (RFC 3986 section 5.2.4).
func (t *Template) AppendURL(dst []byte, v *Values) []byte {
	begin := len(dst)
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.text != "":
			dst = append(dst, p.text...)
		case p.name == parameter:
			dst = appendEncoded(dst, v.Params[p.param])
		default:
			value := v.Of[p.name]
			if p.name == Query && len(value) == 0 && len(dst) > begin && (dst[len(dst)-1] == '?' || dst[len(dst)-1] == '&') {
				dst = dst[:len(dst)-1]
			}
			dst = appendEncoded(dst, value)
		}
	}
	if out := dst[begin:]; len(out) > 1 && out[0] == '/' && out[1] == '/' && !t.namesHost() {
		dst = append(dst, "/."...)
		copy(dst[begin+2:], dst[begin:len(dst)-2])
		copy(dst[begin:], "/.")
	}
	return dst
}

// namesHost says that it is the text itself that begins with "//".
func (t *Template) namesHost() bool {
	return len(t.parts[0].text) > 1 && t.parts[0].text[:2] == "//"
}

// inURI marks the characters of RFC 3986 section 2: unreserved, reserved but for
// "#", which would end what a server sees, and "%".
var inURI = func() (t [256]bool) {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?[]@!$&'()*+,;=%"
	for i := range len(plain) {
		t[plain[i]] = true
	}
	return t
}()

func appendEncoded(dst, value []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range value {
		if inURI[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
