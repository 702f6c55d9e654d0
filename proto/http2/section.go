package http2

import "zproxy/proto"

// A decoded field section becomes a proto.Head here, and what would mean
// something else to a recipient that speaks HTTP/1 is refused: RFC 9113
// sections 8.2, 8.3 and 10.3. This is the file to read about request smuggling,
// beside proto/http1/framing.go.

type sectionMode uint8

const (
	sectionDiscard sectionMode = iota // decoded for the sake of the table
	sectionRequest
	sectionResponse
	sectionTrailers
)

// section gathers the fields of one section: bytes in buf, spans in head.
type section struct {
	head   proto.Head
	buf    []byte
	words  words
	crumbs []byte       // the cookie that they make together
	fault  *proto.Fault // the message is malformed
	over   *proto.Fault // or over a limit

	size, sizeMax      int // RFC 9113 section 6.5.2
	fieldsLeft         int
	authority, host    proto.Span
	path, protocol     proto.Span
	status, prior      proto.Span
	cookie             uint32 // the field of the first crumb of a request
	cookies            int
	unwanted           int // fields behind a fault or a limit
	mode               sectionMode
	wants              bool // more fields
	pseudo             uint8
	regular, expect    bool
	hasLength, hasHost bool
	kept               bool // in the session's repeats
	ended              bool // endRequest has found no fault, with endStream
	endStream          bool
}

// The pseudo-fields, as section.pseudo and proto.Head.NeverIndex have them.
const (
	pseudoMethod = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
	regularFields // of NeverIndex: fields that have proto.FlagNeverIndex
)

func pseudoFault() *proto.Fault { return proto.RequestFault(proto.FaultPseudoField) }

// begin makes x ready for a section.
func (x *section) begin(mode sectionMode, c *Config) {
	x.head.Reset(nil)
	x.head.H2, x.head.KeepAlive = true, true
	x.buf, x.crumbs = x.buf[:0], x.crumbs[:0]
	x.fault, x.over = nil, nil
	x.size, x.sizeMax, x.fieldsLeft = 0, c.HeadBytes, c.Fields
	x.authority, x.host, x.path, x.protocol, x.status, x.prior = none, none, none, none, none, none
	x.cookies, x.unwanted, x.mode, x.pseudo = 0, 0, mode, 0
	x.regular, x.expect, x.hasLength, x.hasHost = false, false, false, false
	x.kept, x.ended = false, false
	x.wants = mode != sectionDiscard
}

var none proto.Span

// field takes one field, which is lent. Behind a fault or a limit nothing is looked at any
// more; the decoder goes on for the table's sake.
func (x *section) field(name, value []byte, flags proto.FieldFlags) {
	x.size += len(name) + len(value) + 32
	switch {
	case x.size > x.sizeMax:
		x.over = proto.RequestFault(proto.FaultHeadTooLarge)
	case len(name) > 0 && name[0] == ':':
		x.fault = x.pseudoField(name, value, flags)
	default:
		x.regular = true
		x.fault = x.regularField(name, value, flags)
	}
	if x.fault != nil || x.over != nil {
		x.wants = false
	}
}

func (x *section) store(v []byte) proto.Span {
	off := len(x.buf)
	x.buf = append(x.buf, v...)
	return proto.Span{Off: uint32(off), Len: uint32(len(v))}
}

func (x *section) bytes(s proto.Span) []byte { return x.buf[s.Off:s.End()] }

// pseudoField: known, once, before the others (RFC 9113 section 8.3).
func (x *section) pseudoField(name, value []byte, flags proto.FieldFlags) *proto.Fault {
	if x.regular || x.mode == sectionTrailers {
		return pseudoFault()
	}
	bit := uint8(0)
	span := &x.status
	switch string(name) {
	case ":method":
		bit, span = pseudoMethod, &x.head.MethodName
	case ":scheme":
		bit, span = pseudoScheme, &x.head.Scheme
	case ":authority":
		bit, span = pseudoAuthority, &x.authority
	case ":path":
		bit, span = pseudoPath, &x.path
	case ":protocol":
		bit, span = pseudoProtocol, &x.protocol
	case ":status":
		bit = pseudoStatus
	}
	if bit == 0 || x.pseudo&bit != 0 || (bit == pseudoStatus) != (x.mode == sectionResponse) {
		return pseudoFault()
	}
	x.pseudo |= bit
	if flags != 0 {
		x.head.NeverIndex |= bit
	}
	*span = x.store(value)
	return nil
}

// regularField checks a field (RFC 9113 section 8.2.1) and keeps it, unless it
// is about the connection (8.2.2).
func (x *section) regularField(name, value []byte, flags proto.FieldFlags) *proto.Fault {
	token := proto.LookupLower(name)
	if token == proto.TokenOther && !lowerToken(name) {
		return nameFault(name)
	}
	if !proto.PlainText(value) && proto.ValueEnd(value, 0) < len(value) ||
		len(value) > 0 && (space(value[0]) || space(value[len(value)-1])) {
		return proto.RequestFault(proto.FaultFieldValue)
	}
	if token == proto.TokenCookie && x.mode == sectionRequest {
		if x.cookies++; x.cookies > 1 {
			x.crumb(value)
			return nil
		}
		x.cookie = uint32(len(x.head.Fields))
	}
	if x.fieldsLeft == 0 {
		x.over = proto.RequestFault(proto.FaultTooManyFields)
		return nil
	}
	x.fieldsLeft--
	n, v := x.store(name), x.store(value)
	if flags != 0 {
		x.noteNever(token)
	}
	if token <= proto.TokenProxyConnection && token != proto.TokenOther {
		if keep, fault := x.special(token, v); !keep {
			return fault
		}
	}
	if token == proto.TokenPriority {
		x.prior = v
	}
	h := &x.head
	if len(h.Fields) < cap(h.Fields) {
		h.Fields = h.Fields[:len(h.Fields)+1]
	} else {
		h.Fields = append(h.Fields, proto.Field{})
	}
	f := &h.Fields[len(h.Fields)-1]
	f.Name, f.Value, f.End, f.Token, f.Flags = n, v, 0, token, flags
	if x.mode == sectionTrailers && proto.ForbiddenTrailer(token) {
		f.Flags |= proto.FlagDrop
	}
	return nil
}

// noteNever notes a field that came as such a literal. Host goes on as :authority.
func (x *section) noteNever(t proto.Token) {
	x.head.NeverIndex |= regularFields
	if t == proto.TokenHost {
		x.head.NeverIndex |= pseudoAuthority
	}
}

func space(c byte) bool { return c == ' ' || c == '\t' }

// special looks at the fields that decide about framing or the connection.
func (x *section) special(t proto.Token, v proto.Span) (keep bool, fault *proto.Fault) {
	b := x.bytes(v)
	h := &x.head
	switch t {
	case proto.TokenConnection, proto.TokenProxyConnection, proto.TokenKeepAlive, proto.TokenTransferEncoding, proto.TokenUpgrade:
		return false, proto.RequestFault(proto.FaultConnectionField)
	case proto.TokenTE:
		if !proto.EqualFold(b, "trailers") {
			return false, &faultTE
		}
		h.HasTETrailers = true
	case proto.TokenHost:
		if x.mode != sectionRequest {
			return true, nil
		}
		if x.hasHost {
			return false, proto.RequestFault(proto.FaultHostDuplicate)
		}
		x.hasHost = true
		x.host = v
		return false, nil
	case proto.TokenContentLength:
		if x.mode == sectionTrailers {
			return true, nil
		}
		if x.hasLength {
			return false, proto.RequestFault(proto.FaultLengthDuplicate)
		}
		x.hasLength = true
		length, code := proto.ParseContentLength(b)
		if code != proto.FaultNone {
			return false, proto.RequestFault(code)
		}
		h.ContentLength = length
	case proto.TokenExpect:
		x.expect = x.expect || proto.EqualFold(b, "100-continue")
	}
	return true, nil
}

// priority lends the value of the priority field, nil without one.
func (x *section) priority() []byte {
	if x.prior == none {
		return nil
	}
	return x.bytes(x.prior)
}

// endRequest checks the section as that of a request (RFC 9113 section 8.3.1)
// and completes the head. One that is over a limit has what came before.
func (x *section) endRequest(c *Config, end bool) *proto.Fault {
	h := &x.head
	h.Buf = x.buf
	if x.fault != nil {
		return x.fault
	}
	h.Method = proto.ParseMethod(x.bytes(h.MethodName))
	if x.over != nil {
		h.Length, h.Body = -1, proto.BodyNone
		if !end {
			h.Body = proto.BodyChunked
		}
		return nil
	}
	if h.Method == proto.MethodOther && x.pseudo&pseudoMethod != 0 && !proto.IsToken(x.bytes(h.MethodName)) {
		return proto.RequestFault(proto.FaultBadMethod)
	}
	if fault := x.target(c); fault != nil {
		return fault
	}
	if fault := x.effectiveHost(); fault != nil {
		return fault
	}
	x.joinCookies()
	switch {
	case end:
		if h.ContentLength > 0 && h.Method != proto.CONNECT {
			return proto.RequestFault(proto.FaultLengthDiffers)
		}
		return nil
	case h.ContentLength >= 0 && h.Method != proto.CONNECT:
		h.Body, h.Length = proto.BodyLength, h.ContentLength
	default:
		h.Body = proto.BodyChunked
	}
	h.Expect100 = x.expect && (h.Body == proto.BodyChunked || h.Length > 0)
	return nil
}

// target decides about the pseudo-fields of the method: all of them, for
// CONNECT the authority alone (section 8.5), for extended CONNECT all and one
// more (RFC 8441 section 4).
func (x *section) target(c *Config) *proto.Fault {
	const all = pseudoMethod | pseudoScheme | pseudoPath
	h := &x.head
	have := x.pseudo &^ pseudoAuthority
	method := h.Method
	switch {
	case method == proto.CONNECT && have == pseudoMethod && x.pseudo&pseudoAuthority != 0:
		h.Target = x.authority
		if code := h.SetTarget(-1); code != proto.FaultNone {
			return proto.RequestFault(code)
		}
		return nil
	case method == proto.CONNECT && c.ConnectProtocol && have == all|pseudoProtocol && x.pseudo&pseudoAuthority != 0:
		if !proto.IsToken(x.bytes(x.protocol)) {
			return pseudoFault()
		}
		h.Protocol = x.protocol
	case method != proto.CONNECT && have == all:
	default:
		return pseudoFault()
	}
	if scheme := x.bytes(h.Scheme); !proto.EqualFold(scheme, "http") && !proto.EqualFold(scheme, "https") {
		return proto.RequestFault(proto.FaultBadScheme)
	}
	h.Target = x.path
	b := x.bytes(x.path)
	end, query := proto.ScanTarget(x.buf[:x.path.End()], int(x.path.Off))
	if end != int(x.path.End()) || len(b) == 0 || b[0] != '/' && string(b) != "*" {
		return proto.RequestFault(proto.FaultBadTarget)
	}
	if len(b) > c.LineBytes {
		x.over = proto.RequestFault(proto.FaultTargetTooLong)
	}
	if method == proto.CONNECT {
		h.Method = proto.GET // a path, whatever the method
	}
	code := h.SetTarget(query)
	h.Method = method
	if code != proto.FaultNone {
		return proto.RequestFault(code)
	}
	return nil
}

// effectiveHost: :authority and host name the same, and one of them is there
// (RFC 9113 section 8.3.1). A port that is empty or the scheme's own says nothing
// more than none (RFC 9110 section 4.2.3). Of two spellings :authority goes on.
func (x *section) effectiveHost() *proto.Fault {
	h := &x.head
	host := x.host
	if x.pseudo&pseudoAuthority != 0 {
		b := x.bytes(x.authority)
		if _, _, ok := proto.ParseAuthority(b); !ok {
			return proto.RequestFault(proto.FaultBadAuthority)
		}
		if x.hasHost && !proto.SameAuthority(b, x.bytes(host), x.bytes(h.Scheme)) {
			return &faultHostDiffers
		}
		host = x.authority
	} else if !x.hasHost {
		return proto.RequestFault(proto.FaultHostMissing)
	} else if _, _, ok := proto.ParseAuthority(x.bytes(host)); !ok {
		return proto.RequestFault(proto.FaultHostInvalid)
	}
	h.Host = host
	return nil
}

// crumbsMax is how many crumbs one cookie may come in: browsers keep at most 180 for
// a site, and send each by itself.
const crumbsMax = 256

// crumb takes one more of a cookie, of which one field is made where the first one was
// (RFC 9113 section 8.2.3): what follows may not know that there can be several. So
// they count as one, but not more than crumbsMax of them.
func (x *section) crumb(value []byte) {
	if x.cookies > crumbsMax {
		x.over = proto.RequestFault(proto.FaultTooManyFields)
		return
	}
	if x.cookies == 2 {
		x.crumbs = append(x.crumbs, x.bytes(x.head.Fields[x.cookie].Value)...)
	}
	x.crumbs = append(append(x.crumbs, "; "...), value...)
}

// joinCookies makes one field of the crumbs.
func (x *section) joinCookies() {
	if x.cookies > 1 {
		x.head.Fields[x.cookie].Value = x.store(x.crumbs)
		x.head.Buf = x.buf
	}
}

// endResponse checks the section as the head of a response (RFC 9113 section
// 8.3.2) on st. What RFC 9112 section 6.3 says about content holds here too.
func (x *section) endResponse(st *Stream, end bool) *proto.Fault {
	h := &x.head
	h.Buf = x.buf
	if x.fault != nil || x.over != nil {
		return x.fault
	}
	b := x.bytes(x.status)
	if x.pseudo&pseudoStatus == 0 {
		return pseudoFault()
	}
	if len(b) != 3 || b[0]-'1' > 8 || b[1]-'0' > 9 || b[2]-'0' > 9 {
		return proto.RequestFault(proto.FaultBadStatus)
	}
	h.Status = uint16(b[0]-'0')*100 + uint16(b[1]-'0')*10 + uint16(b[2]-'0')
	if h.Status == 101 { // section 8.6
		return proto.RequestFault(proto.FaultBadStatus)
	}
	tunnel := st.flags&streamCONNECT != 0 && h.Status/100 == 2
	silent := st.flags&streamHEAD != 0 || h.Status == 204 || h.Status == 304
	switch {
	case h.Status < 200:
		if end {
			return &faultInterimEnd
		}
	case end && !silent && !tunnel:
		if h.ContentLength > 0 {
			return proto.RequestFault(proto.FaultLengthDiffers)
		}
		// HTTP/2 needs no field to say that this is all. A recipient that speaks
		// HTTP/1 does: without one the content ends with the connection (RFC 9112
		// section 6.3 rule 8).
		h.Body, h.Length = proto.BodyLength, 0
	case end, silent:
	case h.ContentLength >= 0 && !tunnel:
		h.Body, h.Length = proto.BodyLength, h.ContentLength
	default:
		h.Body = proto.BodyChunked
	}
	return nil
}

func (x *section) endTrailers() *proto.Fault {
	x.head.Buf = x.buf
	return x.fault
}

// lowerToken checks an unknown name (RFC 9113 section 8.2.1: in lower case).
func lowerToken(name []byte) bool {
	for i := range len(name) {
		if !lowerChars[name[i]] {
			return false
		}
	}
	return len(name) > 0
}

func nameFault(name []byte) *proto.Fault {
	if proto.IsToken(name) {
		return &faultUpperCase
	}
	return proto.RequestFault(proto.FaultFieldName)
}

var lowerChars = func() (t [256]bool) {
	for c := range t {
		t[c] = proto.IsToken([]byte{byte(c)}) && (c < 'A' || c > 'Z')
	}
	return t
}()

// parsePriority reads the value of a priority field (RFC 9218 section 4): a
// dictionary of which only u and i matter. What it does not say, or says
// wrongly, stays as it was.
func parsePriority(b []byte, urgency uint8, incremental bool) (uint8, bool) {
	for more := true; more; {
		var m []byte
		m, b, more = proto.NextElement(b)
		for i, c := range m {
			if c == ';' { // parameters
				m = m[:i]
				break
			}
		}
		switch {
		case len(m) == 3 && m[0] == 'u' && m[1] == '=' && m[2]-'0' <= 7:
			urgency = m[2] - '0'
		case string(m) == "i", string(m) == "i=?1":
			incremental = true
		case string(m) == "i=?0":
			incremental = false
		}
	}
	return urgency, incremental
}
