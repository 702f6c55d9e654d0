package proto

// Span is a range of bytes of Head.Buf. The zero Span means "not there" where
// a part is optional.
type Span struct{ Off, Len uint32 }

// End is the offset just behind the span.
func (s Span) End() uint32 { return s.Off + s.Len }

// FieldFlags say what becomes of a field line.
type FieldFlags uint8

const (
	// FlagDrop: do not forward.
	FlagDrop FieldFlags = 1 << iota
	// FlagNeverIndex: it came as a literal that is never indexed, and goes on as one
	// (RFC 7541 section 6.2.3). HTTP/1 has no such thing.
	FlagNeverIndex
)

// Field is one field line (RFC 9110 section 5). Value has no surrounding
// whitespace. End is the offset behind the line's CRLF when the head came as
// HTTP/1 lines (Head.Lines), so that neighbouring lines can be copied as one run.
type Field struct {
	Name, Value Span
	End         uint32
	Token       Token
	Flags       FieldFlags
}

// Extra is a field the proxy adds. Name is spelled as HTTP/1 writes it; Token may
// be that of Name, which saves looking it up.
type Extra struct {
	Name  string
	Value []byte
	Token Token
}

// NewExtra is a field with the name of t.
func NewExtra(t Token, value []byte) Extra { return Extra{Name: names[t], Value: value, Token: t} }

// BodyKind says how the end of a message's content is found.
type BodyKind uint8

const (
	BodyNone       BodyKind = iota // no content at all
	BodyLength                     // Head.Length bytes
	BodyChunked                    // until its last piece says so: chunked coding, or the frames of HTTP/2
	BodyUntilClose                 // everything until the connection ends (responses only)
)

func (k BodyKind) String() string {
	switch k {
	case BodyNone:
		return "none"
	case BodyLength:
		return "length"
	case BodyChunked:
		return "chunked"
	case BodyUntilClose:
		return "until-close"
	}
	return "invalid"
}

// Head is the head of one request or response, whatever version carried it.
// A Head is meant to be reused: Reset keeps the capacity of Fields.
type Head struct {
	Buf    []byte  // borrowed: the bytes all spans point into
	Fields []Field // in the order received

	Length     int64 // content bytes when Body is BodyLength, else -1 (see ContentLength for HEAD and 304)
	MethodName Span  // requests: as sent
	Target     Span  // requests: request-target as sent
	Scheme     Span  // absolute-form only
	Host       Span  // effective authority, host[:port], validated; empty for HTTP/1.0 without one
	Path       Span  // without query; "/" for an absolute-form without path; empty in authority-form
	Query      Span  // without '?'; Off is 0 when the target has no '?'
	Protocol   Span  // :protocol of an extended CONNECT (RFC 8441), else empty
	Reason     Span  // responses: reason phrase as sent, may be empty

	// ContentLength is the value of a valid Content-Length field, -1 without
	// one. It differs from Length where the field describes content that is
	// not sent: responses to HEAD and 304 (RFC 9110 section 8.6).
	ContentLength int64

	Status uint16     // responses: 100 to 999
	Minor  uint8      // HTTP/1.Minor, 0 or 1; higher minors are processed as 1 (RFC 9110 section 2.5)
	Method Method     // requests
	Form   TargetForm // requests
	Body   BodyKind

	NeverIndex uint8 // HTTP/2: what came as literals that are never indexed, as package http2 has it

	H2            bool // came as HTTP/2; Minor says nothing then
	Lines         bool // Fields are HTTP/1 lines in Buf ("name: value CRLF"), so runs of them may be copied
	KeepAlive     bool // what the sender's version and Connection say; false also when framing makes reuse unsafe
	ConnClose     bool // Connection names close
	Expect100     bool // Expect: 100-continue on a request with content (RFC 9110 section 10.1.1)
	Upgrade       bool // Connection names upgrade and an Upgrade field is present (RFC 9110 section 7.8)
	HasTETrailers bool // TE says trailers are welcome (RFC 9110 section 10.1.4)
}

// Reset makes h empty over buf, keeping the capacity of Fields.
func (h *Head) Reset(buf []byte) {
	fields := h.Fields[:0]
	*h = Head{}
	h.Buf, h.Fields = buf, fields
	h.Length, h.ContentLength = -1, -1
}

// Bytes lends the bytes of s.
func (h *Head) Bytes(s Span) []byte {
	end := uint64(s.Off) + uint64(s.Len)
	return h.Buf[s.Off:end:end]
}

// Extent is how many bytes of Buf are in use.
func (h *Head) Extent() (end uint32) {
	for _, s := range [...]Span{h.MethodName, h.Target, h.Scheme, h.Host, h.Path, h.Query, h.Protocol, h.Reason} {
		end = max(end, s.End())
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		end = max(end, f.Name.End(), f.Value.End(), f.End)
	}
	return end
}

// Get lends the value of the first field with token t that is not dropped.
func (h *Head) Get(t Token) (value []byte, ok bool) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Token == t && f.Flags&FlagDrop == 0 {
			return h.Bytes(f.Value), true
		}
	}
	return nil, false
}

// Drop flags every field with token t as not to be forwarded.
func (h *Head) Drop(t Token) {
	for i := range h.Fields {
		if h.Fields[i].Token == t {
			h.Fields[i].Flags |= FlagDrop
		}
	}
}

// AppendOriginTarget appends the request-target to send to an origin: path
// and query, or "*" for OPTIONS without a path (RFC 9112 sections 3.2.1, 3.2.4).
func (h *Head) AppendOriginTarget(dst []byte) []byte {
	switch h.Form {
	case OriginForm, AsteriskForm, AuthorityForm:
		return append(dst, h.Bytes(h.Target)...)
	}
	if h.Method == OPTIONS && h.Query.Off == 0 && h.Path.Off < h.Host.Off {
		return append(dst, '*')
	}
	dst = append(dst, h.Bytes(h.Path)...)
	if h.Query.Off != 0 {
		dst = append(dst, '?')
		dst = append(dst, h.Bytes(h.Query)...)
	}
	return dst
}
