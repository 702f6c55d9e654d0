package headers

import (
	"bytes"

	"zproxy/filter"
	"zproxy/proto"
	"zproxy/variables"
)

// Field is a field that is set or added: the name, and the pieces of the value.
type Field struct {
	Name  string
	Parts []variables.FieldPart
}

// Config is what becomes of the fields of a head, in this order.
type Config struct {
	Rename [][2]string // what is called like the first goes on as the second
	Remove []string
	Set    []Field
	Add    []Field
}

// field is a Field, compiled.
type field struct {
	name  filter.Name
	parts []part
	text  []byte // the value, where no part is a variable
	plain bool   // none is
}

type part struct {
	variables.FieldPart
	name filter.Name // of FieldHeader
}

type changes struct {
	rename   [][2]filter.Name
	remove   []filter.Name
	set, add []field
}

func compile(c *Config) (out changes) {
	for _, r := range c.Rename {
		out.rename = append(out.rename, [2]filter.Name{filter.NewName(r[0]), filter.NewName(r[1])})
	}
	for _, name := range c.Remove {
		out.remove = append(out.remove, filter.NewName(name))
	}
	out.set, out.add = compileFields(c.Set), compileFields(c.Add)
	return out
}

func compileFields(list []Field) (out []field) {
	for _, f := range list {
		one := field{name: filter.NewName(f.Name), plain: true}
		for _, p := range f.Parts {
			next := part{FieldPart: p}
			if p.Source == variables.FieldHeader {
				next.name = filter.NewName(p.Text)
			}
			one.parts = append(one.parts, next)
			one.text = append(one.text, p.Text...)
			one.plain = one.plain && p.Source == variables.FieldLiteral
		}
		out = append(out, one)
	}
	return out
}

// Uses says that a value has what comes from source.
func (c *Config) Uses(source variables.FieldSource) bool {
	for _, list := range [2][]Field{c.Set, c.Add} {
		for i := range list {
			for _, p := range list[i].Parts {
				if p.Source == source {
					return true
				}
			}
		}
	}
	return false
}

// Requests changes the fields of requests. Immutable.
type Requests struct{ changes }

// NewRequests makes a filter for what origins get.
func NewRequests(c *Config) *Requests { return &Requests{compile(c)} }

// Request makes the changes.
func (f *Requests) Request(q *filter.Request) filter.Verdict {
	for i := range f.rename {
		q.Forward.Rename(q.Head, &f.rename[i][0], &f.rename[i][1])
	}
	f.apply(q, q.Forward, q.Head)
	return filter.Continue
}

// Responses changes the fields of responses, of origins and of the proxy's own. Immutable.
type Responses struct{ changes }

// NewResponses makes a filter for what clients get.
func NewResponses(c *Config) *Responses { return &Responses{compile(c)} }

// Renames says that the filter has to see the head of the response.
func (f *Responses) Renames() bool { return len(f.rename) > 0 }

// Request notes the changes, whose values are about the request, which is gone when the response comes.
func (f *Responses) Request(q *filter.Request) filter.Verdict {
	f.apply(q, q.Respond, nil)
	return filter.Continue
}

// Response makes those changes that are about the values of the response.
func (f *Responses) Response(r *filter.Response) {
	for i := range f.rename {
		r.Change.Rename(r.Head, &f.rename[i][0], &f.rename[i][1])
	}
}

// apply makes all changes of h but for those of names. h is nil where it is not there yet.
func (f *changes) apply(q *filter.Request, to *filter.Changes, h *proto.Head) {
	for i := range f.remove {
		to.Remove(h, &f.remove[i])
	}
	for i := range f.set {
		one := &f.set[i]
		text := to.Open()
		if !one.plain {
			text = one.expand(text, q) // before what it is made of is removed
		}
		to.Remove(h, &one.name)
		one.put(to, text)
	}
	for i := range f.add {
		one := &f.add[i]
		text := to.Open()
		if !one.plain {
			text = one.expand(text, q)
		}
		one.put(to, text)
	}
}

// put adds the field. A value that is empty is none.
func (f *field) put(to *filter.Changes, text []byte) {
	switch {
	case !f.plain:
		to.Close(&f.name, text)
	case len(f.text) > 0:
		to.Lend(&f.name, f.text)
	}
}

// expand appends the value that the field has for q.
func (f *field) expand(dst []byte, q *filter.Request) []byte {
	h := q.Head
	for i := range f.parts {
		p := &f.parts[i]
		switch p.Source {
		case variables.FieldLiteral:
			dst = append(dst, p.Text...)
		case variables.FieldScheme:
			dst = append(dst, q.Scheme...)
		case variables.FieldHost:
			host := h.Bytes(h.Host)
			n, _, _ := proto.ParseAuthority(host)
			dst = append(dst, host[:n]...)
		case variables.FieldPath:
			dst = append(dst, q.Path...)
		case variables.FieldQuery:
			dst = append(dst, h.Bytes(h.Query)...)
		case variables.FieldClientIP:
			if q.Client.IsValid() {
				dst = q.Client.AppendTo(dst)
			}
		case variables.FieldRequestID:
			dst = append(dst, q.ID...)
		case variables.FieldMethod:
			dst = append(dst, h.Bytes(h.MethodName)...)
		case variables.FieldSNI, variables.FieldTLSVersion:
			dst = appendTLS(dst, q, p.Source)
		case variables.FieldUser:
			dst = append(dst, q.User...)
		case variables.FieldParameter:
			if p.Param < len(q.Params) {
				at := q.Params[p.Param]
				dst = append(dst, q.Path[at.Off:at.Off+at.Len]...)
			}
		case variables.FieldHeader:
			dst = appendFields(dst, h, &p.name)
		case variables.FieldCookie:
			dst = appendCookie(dst, h, p.Text)
		}
	}
	return dst
}

// appendTLS appends what a connection within TLS has agreed on.
func appendTLS(dst []byte, q *filter.Request, what variables.FieldSource) []byte {
	switch {
	case q.TLS == nil:
		return dst
	case what == variables.FieldSNI:
		return append(dst, q.TLS.Name...)
	case q.TLS.Version == 0x0303:
		return append(dst, "TLSv1.2"...)
	}
	return append(dst, "TLSv1.3"...)
}

// appendFields appends the values of all fields n of h as one (RFC 9110 section 5.3).
func appendFields(dst []byte, h *proto.Head, n *filter.Name) []byte {
	begin := len(dst)
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Flags&proto.FlagDrop == 0 && n.Names(h, f) {
			if len(dst) > begin {
				dst = append(dst, ", "...)
			}
			dst = append(dst, h.Bytes(f.Value)...)
		}
	}
	return dst
}

// appendCookie appends the value of the first cookie with a name (RFC 6265 section 4.2.1).
func appendCookie(dst []byte, h *proto.Head, name string) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != proto.TokenCookie || f.Flags&proto.FlagDrop != 0 {
			continue
		}
		for list := h.Bytes(f.Value); len(list) > 0; {
			var pair []byte
			pair, list, _ = bytes.Cut(list, []byte{';'})
			key, value, ok := bytes.Cut(bytes.TrimLeft(pair, " "), []byte{'='})
			if ok && string(key) == name {
				return append(dst, bytes.TrimRight(value, " ")...)
			}
		}
	}
	return dst
}
