package hostile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errShort: the message goes on behind the bytes there are.
var errShort = errors.New("incomplete")

// fault is why bytes are no unambiguous message.
func fault(format string, args ...any) error { return fmt.Errorf(format, args...) }

// Oracle judges messages. One that is Fair also takes what is not in its
// plainest form, but valid and read by all in the same way: HTTP/1.0, a target
// in absolute-form, options of Connection and trailer fields that ought to have
// been removed, a status line without the space behind the status.
type Oracle struct{ Fair bool }

// ParseRequest reads the one message b begins with as an origin must be given
// it: every byte in the one place the grammar has for it, in its plainest
// form, with one way to tell where it ends. n == 0 without an error: the
// message goes on behind b. What is invalid, or valid but known to be read in
// more than one way, is an error.
func (o Oracle) ParseRequest(b string) (m Message, n int, err error) {
	line, rest, err := cutLine(b)
	if err != nil {
		return m, 0, short(err)
	}
	parts := strings.Split(line, " ")
	if len(parts) != 3 {
		return m, 0, fault("request line %q is not of three parts", line)
	}
	m.Method, m.Target = parts[0], parts[1]
	if !isToken(m.Method) {
		return m, 0, fault("method %q", m.Method)
	}
	path := m.Target
	if rest, ok := strings.CutPrefix(path, "http://"); ok && o.Fair {
		authority, _, _ := strings.Cut(rest, "/")
		path = "/" + rest[len(authority):]
		if !isAuthority(strings.TrimRight(authority, "?")) {
			return m, 0, fault("request-target %q", m.Target)
		}
	}
	if !isTarget(path) {
		return m, 0, fault("request-target %q", m.Target)
	}
	old := o.Fair && parts[2] == "HTTP/1.0"
	if parts[2] != "HTTP/1.1" && !old {
		return m, 0, fault("version %q", parts[2])
	}
	fields, rest, err := section(rest)
	if err != nil {
		return m, 0, short(err)
	}
	hosts := values(fields, "host")
	if len(hosts) == 1 {
		m.Host = hosts[0]
	}
	if (len(hosts) != 1 || !isAuthority(m.Host)) && !(old && len(hosts) == 0) {
		return m, 0, fault("Host %q", hosts)
	}
	f, err := o.framingOf(fields)
	if err != nil {
		return m, 0, err
	}
	for _, field := range fields {
		switch lower := strings.ToLower(field.Name); lower {
		case "host", "content-length", "transfer-encoding":
		default:
			m.Fields = append(m.Fields, field)
		}
	}
	m.Chunked, m.Close = f.chunked, f.close || old
	if !f.chunked && f.length < 0 {
		f.length = 0
	}
	m.Body, m.Trailers, rest, err = o.content(rest, f)
	if err != nil {
		return m, 0, short(err)
	}
	return m, len(b) - len(rest), nil
}

// Received is a response as a client has received it.
type Received struct {
	Status   int
	Fields   []Field
	Body     string
	Trailers []Field
	ToClose  bool // its end is that of the connection
	Close    bool // Connection: close
}

// ParseResponse is ParseRequest for the response to a request with method. A
// body that only the end of the connection ends is what is there: ToClose.
func (o Oracle) ParseResponse(b, method string) (r Received, n int, err error) {
	line, rest, err := cutLine(b)
	if err != nil {
		return r, 0, short(err)
	}
	if o.Fair {
		line = strings.Replace(line, "HTTP/1.0 ", "HTTP/1.1 ", 1)
		if len(line) == 12 {
			line += " "
		}
	}
	if len(line) < 13 || line[:9] != "HTTP/1.1 " || line[12] != ' ' || !isValue(line[13:]) {
		return r, 0, fault("status line %q", line)
	}
	r.Status, err = strconv.Atoi(line[9:12])
	if err != nil || r.Status < 100 {
		return r, 0, fault("status %q", line[9:12])
	}
	fields, rest, err := section(rest)
	if err != nil {
		return r, 0, short(err)
	}
	f, err := o.framingOf(fields)
	if err != nil {
		return r, 0, err
	}
	r.Fields, r.Close = fields, f.close
	bare := r.Status < 200 || r.Status == 204
	if bare && (f.chunked || f.length >= 0) {
		return r, 0, fault("framing fields in a %d", r.Status)
	}
	if bare || r.Status == 304 || method == "HEAD" {
		return r, len(b) - len(rest), nil
	}
	if r.ToClose = !f.chunked && f.length < 0; r.ToClose {
		r.Body = rest
		return r, len(b), nil
	}
	r.Body, r.Trailers, rest, err = o.content(rest, f)
	if err != nil {
		return r, 0, short(err)
	}
	return r, len(b) - len(rest), nil
}

// short turns an end too soon into no error.
func short(err error) error {
	if err == errShort {
		return nil
	}
	return err
}

// cutLine takes a line that ends with CRLF and has no other CR or LF.
func cutLine(b string) (line, rest string, err error) {
	i := strings.IndexByte(b, '\n')
	if i < 0 {
		if cr := strings.IndexByte(b, '\r'); cr >= 0 && cr < len(b)-1 {
			return "", "", fault("bare CR in %q", limit(b))
		}
		return "", "", errShort
	}
	line, rest = b[:i], b[i+1:]
	if !strings.HasSuffix(line, "\r") {
		return "", "", fault("bare LF behind %q", limit(line))
	}
	if line = line[:len(line)-1]; strings.IndexByte(line, '\r') >= 0 {
		return "", "", fault("bare CR in %q", limit(line))
	}
	return line, rest, nil
}

// section reads field lines up to the empty line.
func section(b string) (fields []Field, rest string, err error) {
	for rest = b; ; {
		line, after, err := cutLine(rest)
		if err != nil {
			return nil, "", err
		}
		rest = after
		if line == "" {
			return fields, rest, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return nil, "", fault("field line %q", limit(line))
		}
		if value = strings.Trim(value, " \t"); !isValue(value) {
			return nil, "", fault("field value %q", limit(value))
		}
		fields = append(fields, Field{name, value})
	}
}

// framing is how a message ends.
type framing struct {
	length  int64 // -1: not said
	chunked bool
	close   bool
}

func (o Oracle) framingOf(fields []Field) (f framing, err error) {
	f.length = -1
	lengths, codings := values(fields, "content-length"), values(fields, "transfer-encoding")
	if len(lengths)+len(codings) > 1 {
		return f, fault("Content-Length %q with Transfer-Encoding %q", lengths, codings)
	}
	if len(lengths) == 1 {
		if f.length, err = number(lengths[0], 10); err != nil {
			return f, fault("Content-Length %q", lengths[0])
		}
	}
	if len(codings) == 1 {
		if !strings.EqualFold(codings[0], "chunked") {
			return f, fault("Transfer-Encoding %q", codings[0])
		}
		f.chunked = true
	}
	for _, v := range values(fields, "connection") {
		if o.Fair {
			f.close = f.close || strings.EqualFold(v, "close")
			continue
		}
		for _, option := range strings.Split(v, ",") {
			switch strings.ToLower(strings.TrimSpace(option)) {
			case "close":
				f.close = true
			case "host", "content-length", "transfer-encoding", "content-type", "authorization", "cookie":
				return f, fault("Connection %q", v)
			}
		}
	}
	return f, nil
}

// number reads digits and nothing else.
func number(s string, base int) (int64, error) {
	for _, c := range []byte(s) {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return 0, errors.New("not a digit")
		}
	}
	n, err := strconv.ParseInt(s, base, 64)
	return n, err
}

// content reads what follows the head.
func (o Oracle) content(b string, f framing) (body string, trailers []Field, rest string, err error) {
	if !f.chunked {
		if int64(len(b)) < f.length {
			return "", nil, "", errShort
		}
		return b[:f.length], nil, b[f.length:], nil
	}
	var data strings.Builder
	for rest = b; ; {
		line, after, err := cutLine(rest)
		if err != nil {
			return "", nil, "", err
		}
		// An extension is nothing that has to be forwarded (RFC 9112 7.1.1), and
		// is read in many ways.
		size, err := number(line, 16)
		if err != nil || line == "" {
			return "", nil, "", fault("chunk size %q", limit(line))
		}
		rest = after
		if size == 0 {
			break
		}
		if int64(len(rest)) < size+2 {
			return "", nil, "", errShort
		}
		if rest[size:size+2] != "\r\n" {
			return "", nil, "", fault("%q behind a chunk", rest[size:size+2])
		}
		data.WriteString(rest[:size])
		rest = rest[size+2:]
	}
	trailers, rest, err = section(rest)
	if err != nil {
		return "", nil, "", err
	}
	for _, f := range trailers {
		if o.Fair {
			break
		}
		switch strings.ToLower(f.Name) {
		case "host", "content-length", "transfer-encoding", "connection", "trailer", "te", "authorization", "content-encoding", "content-type":
			return "", nil, "", fault("trailer field %s", f.Name)
		}
	}
	return data.String(), trailers, rest, nil
}

// values lists the values of the fields with a name, which is given in lower case.
func values(fields []Field, lower string) (v []string) {
	for _, f := range fields {
		if strings.ToLower(f.Name) == lower {
			v = append(v, f.Value)
		}
	}
	return v
}

// Missing says which of an expectation's lines is not there, or which name is.
func Missing(fields []Field, with, without []string) string {
	for _, line := range with {
		name, value, _ := strings.Cut(line, ": ")
		found := false
		for _, v := range values(fields, strings.ToLower(name)) {
			found = found || v == value
		}
		if !found {
			return "no " + line
		}
	}
	for _, name := range without {
		if v := values(fields, strings.ToLower(name)); len(v) > 0 {
			return name + ": " + v[0]
		}
	}
	return ""
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func isToken(s string) bool { return s != "" && strings.Trim(s, letters+"!#$%&'*+-.^_`|~") == "" }

// isTarget: origin-form or "*", in visible ASCII.
func isTarget(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>#`, c) >= 0 {
			return false
		}
	}
	return s == "*" || strings.HasPrefix(s, "/")
}

func isAuthority(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
	}
	if strings.HasPrefix(host, "[") {
		inner, closed := strings.CutSuffix(host[1:], "]")
		return closed && inner != "" && strings.Trim(inner, "0123456789abcdefABCDEF:.v") == "" && strings.Trim(port, "0123456789") == ""
	}
	return host != "" && strings.Trim(host, letters+"-._~%!$&'()*+,;=") == "" && strings.Trim(port, "0123456789") == ""
}

// isValue: visible ASCII, obs-text, space and HTAB (RFC 9110 5.5).
func isValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func limit(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
