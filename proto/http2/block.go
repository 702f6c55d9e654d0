package http2

import (
	"strconv"

	"zproxy/proto"
)

// Field blocks as they go out (RFC 7541): indexes of the static table where it
// has the field, literals without indexing and without Huffman otherwise. So a
// block depends on no connection: it is made once and sent on any, and again.

const (
	indexed     = 0x80 // and an index of the static table
	literal     = 0x00 // without indexing
	neverIndex  = 0x10 // literal; no intermediary may index it either (section 7.1.3)
	tableUpdate = 0x20 // to size 0
	insert      = 0x40 // literal that goes into the table
	nameIndexIn = 0x0f // of the first byte of a literal
)

// Indexes of the static table (RFC 7541 appendix A).
const (
	indexAuthority  = 1
	indexGET        = 2
	indexPOST       = 3
	indexSlash      = 4
	indexHTTP       = 6
	indexHTTPS      = 7
	index200        = 8
	indexGzip       = 16
	indexLength     = 28
	gzipDeflate     = "gzip, deflate"
	protocolName    = ":protocol"
	fieldBoundBytes = 1 + 2*5 // a field's prefix and two lengths
	lengthDigitsMax = 19
	pseudoBound     = 5 * (fieldBoundBytes + len(protocolName))
)

// RequestLine is what the pseudo-fields of a request say (RFC 9113 section
// 8.3.1). Empty parts are left out: CONNECT has Method and Authority only.
type RequestLine struct {
	Method, Scheme, Authority, Path, Protocol []byte
}

// AppendRequestBlock appends the block of the request to send: pseudo-fields
// from r, the fields of h without FlagDrop, content-length unless length is
// negative, and extras. Names are in lower case whatever they were; fields
// that belong to a connection, Host and Content-Length of h are never copied:
// a TE: trailers that is to be passed on is one of the extras. What came as a
// literal that is never indexed is one again, whatever has become of its value.
func AppendRequestBlock(dst []byte, h *proto.Head, r *RequestLine, length int64, extras []proto.Extra) []byte {
	if h.NeverIndex&^regularFields != 0 {
		return appendRest(appendLiteralLine(dst, h.NeverIndex, r), h, length, extras)
	}
	switch string(r.Method) { // first: blockMethod looks for it
	case "GET":
		dst = append(dst, indexed|indexGET)
	case "POST":
		dst = append(dst, indexed|indexPOST)
	default:
		dst = appendString(append(dst, literal|indexGET), r.Method)
	}
	switch string(r.Scheme) {
	case "":
	case "http":
		dst = append(dst, indexed|indexHTTP)
	case "https":
		dst = append(dst, indexed|indexHTTPS)
	default:
		dst = appendString(append(dst, literal|indexHTTP), r.Scheme)
	}
	if len(r.Authority) > 0 {
		dst = appendString(append(dst, literal|indexAuthority), r.Authority)
	}
	if len(r.Path) == 1 && r.Path[0] == '/' {
		dst = append(dst, indexed|indexSlash)
	} else if len(r.Path) > 0 {
		dst = appendString(append(dst, literal|indexSlash), r.Path)
	}
	if len(r.Protocol) > 0 {
		dst = append(dst, literal, byte(len(protocolName)))
		dst = appendString(append(dst, protocolName...), r.Protocol)
	}
	return appendRest(dst, h, length, extras)
}

// ReadRequestBlock is the head of a request whose block AppendRequestBlock has made, in memory
// of its own; false if it is none, or one of twice what c allows. What the head says of
// content is the content-length alone.
func ReadRequestBlock(block []byte, c *Config) (*proto.Head, bool) {
	d, x, wide := decoder{}, section{}, *c
	wide.HeadBytes, wide.Fields, wide.LineBytes = 2*c.HeadBytes, 2*c.Fields+32, 2*c.LineBytes
	x.begin(sectionRequest, &wide)
	if d.decode(block, &x) != nil || x.endRequest(&wide, false) != nil || x.over != nil {
		return nil, false
	}
	return &x.head, true
}

// appendLiteralLine spells out the pseudo-fields of r. Those in never are not to be
// indexed.
func appendLiteralLine(dst []byte, never uint8, r *RequestLine) []byte {
	for _, p := range [...]struct {
		bit, index uint8
		value      []byte
	}{
		{pseudoMethod, indexGET, r.Method}, {pseudoScheme, indexHTTP, r.Scheme},
		{pseudoAuthority, indexAuthority, r.Authority}, {pseudoPath, indexSlash, r.Path}, {pseudoProtocol, 0, r.Protocol},
	} {
		if len(p.value) == 0 {
			continue
		}
		kind := byte(literal)
		if never&p.bit != 0 {
			kind = neverIndex
		}
		if dst = append(dst, kind|p.index); p.index == 0 {
			dst = append(append(dst, byte(len(protocolName))), protocolName...)
		}
		dst = appendString(dst, p.value)
	}
	return dst
}

// RequestBlockBound is a length AppendRequestBlock does not exceed.
func RequestBlockBound(h *proto.Head, r *RequestLine, extras []proto.Extra) int {
	return len(r.Method) + len(r.Scheme) + len(r.Authority) + len(r.Path) + len(r.Protocol) + pseudoBound + restBound(h, extras)
}

// AppendResponseBlock is AppendRequestBlock for a response with h.Status.
func AppendResponseBlock(dst []byte, h *proto.Head, length int64, extras []proto.Extra) []byte {
	at := len(dst)
	if dst = AppendStatus(dst, int(h.Status)); h.NeverIndex&pseudoStatus != 0 {
		dst = appendStatusLiteral(dst[:at], neverIndex, int(h.Status))
	}
	return appendRest(dst, h, length, extras)
}

// ResponseBlockBound is a length AppendResponseBlock does not exceed.
func ResponseBlockBound(h *proto.Head, extras []proto.Extra) int {
	return fieldBoundBytes + 3 + restBound(h, extras)
}

// AppendTrailerBlock appends the block of a trailer section: the fields of h
// without FlagDrop.
func AppendTrailerBlock(dst []byte, h *proto.Head) []byte { return appendFields(dst, h) }

// TrailerBlockBound is a length AppendTrailerBlock does not exceed.
func TrailerBlockBound(h *proto.Head) int { return restBound(h, nil) }

// AppendStatus begins the block of a response the proxy prepares itself.
func AppendStatus(dst []byte, status int) []byte {
	switch status {
	case 200:
		return append(dst, indexed|index200)
	case 204:
		return append(dst, indexed|index200+1)
	case 206:
		return append(dst, indexed|index200+2)
	case 304:
		return append(dst, indexed|index200+3)
	case 400:
		return append(dst, indexed|index200+4)
	case 404:
		return append(dst, indexed|index200+5)
	case 500:
		return append(dst, indexed|index200+6)
	}
	return appendStatusLiteral(dst, literal, status)
}

func appendStatusLiteral(dst []byte, kind byte, status int) []byte {
	return append(dst, kind|index200, 3, byte('0'+status/100%10), byte('0'+status/10%10), byte('0'+status%10))
}

// AppendField appends one field to such a block, under the name in lower case.
// Control characters in the value become spaces. A field that is about an HTTP/1
// connection is left out: nobody's field has a place here (RFC 9113 section 8.2.2).
func AppendField(dst []byte, f *proto.Extra) []byte {
	token := f.Token
	if token == proto.TokenOther {
		token = proto.LookupToken(f.Name)
	}
	if connectionSpecific(token, f.Value) {
		return dst
	}
	if token != proto.TokenOther {
		dst = append(dst, namePrefixes[token]...)
	} else {
		dst = appendLength(append(dst, literal), len(f.Name))
		begin := len(dst)
		dst = append(dst, f.Name...)
		lower(dst[begin:])
	}
	dst = appendLength(dst, len(f.Value))
	begin := len(dst)
	dst = append(dst, f.Value...)
	if !proto.PlainText(f.Value) {
		for i := proto.ValueEnd(dst, begin); i < len(dst); i = proto.ValueEnd(dst, i) {
			dst[i] = ' '
		}
	}
	return dst
}

func appendRest(dst []byte, h *proto.Head, length int64, extras []proto.Extra) []byte {
	dst = appendFields(dst, h)
	if length >= 0 {
		var digits [lengthDigitsMax]byte
		at := len(dst)
		dst = append(dst, namePrefixes[proto.TokenContentLength]...)
		dst[at] |= neverBit(h, proto.TokenContentLength)
		dst = appendString(dst, strconv.AppendInt(digits[:0], length, 10))
	}
	for i := range extras {
		at := len(dst)
		if dst = AppendField(dst, &extras[i]); len(dst) > at {
			dst[at] |= neverBit(h, extras[i].Token)
		}
	}
	return dst
}

// neverBit is what makes a literal one that is never indexed, where h has a field t
// that came as one: what is written stands in its place.
func neverBit(h *proto.Head, t proto.Token) byte {
	if h.NeverIndex&regularFields == 0 || t == proto.TokenOther {
		return 0
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Token == t && f.Flags&proto.FlagNeverIndex != 0 {
			return neverIndex
		}
	}
	return 0
}

func restBound(h *proto.Head, extras []proto.Extra) int {
	n := fieldBoundBytes + lengthDigitsMax
	for i := range h.Fields {
		n += fieldBoundBytes + int(h.Fields[i].Name.Len+h.Fields[i].Value.Len)
	}
	for i := range extras {
		n += fieldBoundBytes + len(extras[i].Name) + len(extras[i].Value)
	}
	return n
}

// appendFields appends the fields of h that are passed on.
func appendFields(dst []byte, h *proto.Head) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Flags&proto.FlagDrop != 0 || ofConnection[f.Token] {
			continue
		}
		value := h.Bytes(f.Value)
		never := f.Flags&proto.FlagNeverIndex != 0
		if f.Token == proto.TokenAcceptEncoding && string(value) == gzipDeflate && !never {
			dst = append(dst, indexed|indexGzip)
			continue
		}
		at := len(dst)
		if f.Token != proto.TokenOther {
			dst = append(dst, namePrefixes[f.Token]...)
		} else {
			dst = appendLength(append(dst, literal), int(f.Name.Len))
			begin := len(dst)
			dst = append(dst, h.Bytes(f.Name)...)
			lower(dst[begin:])
		}
		if never {
			dst[at] |= neverIndex
		}
		dst = appendString(dst, value)
	}
	return dst
}

// ofConnection is what this package writes itself or not at all.
var ofConnection = [proto.TokenCount]bool{
	proto.TokenHost: true, proto.TokenConnection: true, proto.TokenContentLength: true, proto.TokenTransferEncoding: true,
	proto.TokenUpgrade: true, proto.TokenTE: true, proto.TokenKeepAlive: true, proto.TokenProxyConnection: true,
	proto.TokenHTTP2Settings: true,
}

// connectionSpecific reports the fields that must not be in a field section (RFC
// 9113 section 8.2.2; HTTP2-Settings: RFC 7540 section 3.2.1). Of TE "trailers"
// alone may be there.
func connectionSpecific(t proto.Token, value []byte) bool {
	switch t {
	case proto.TokenConnection, proto.TokenTransferEncoding, proto.TokenUpgrade, proto.TokenKeepAlive,
		proto.TokenProxyConnection, proto.TokenHTTP2Settings:
		return true
	case proto.TokenTE:
		return !proto.EqualFold(value, "trailers")
	}
	return false
}

func lower(b []byte) {
	for i, c := range b {
		if c-'A' <= 'Z'-'A' {
			b[i] = c | 0x20
		}
	}
}

// appendString appends a string literal (RFC 7541 section 5.2), not compressed.
func appendString(dst, v []byte) []byte {
	return append(appendLength(dst, len(v)), v...)
}

// appendLength appends an integer with a prefix of 7 bits, of which the first
// bit says "not Huffman" (RFC 7541 section 5.1).
func appendLength(dst []byte, n int) []byte {
	if n < 0x7f {
		return append(dst, byte(n))
	}
	dst = append(dst, 0x7f)
	for n -= 0x7f; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

// blockMethod is the method of a request's block of ours, "" for GET and POST.
func blockMethod(b []byte) string {
	if len(b) < 2 || b[0]&^neverIndex != literal|indexGET || len(b) < 2+int(b[1]) {
		return ""
	}
	switch string(b[2 : 2+int(b[1])]) {
	case "HEAD":
		return "HEAD"
	case "CONNECT":
		return "CONNECT"
	}
	return ""
}

// interimBlock reports a response's block of ours with a status below 200.
func interimBlock(b []byte) bool {
	return len(b) > 2 && b[0]&^neverIndex == literal|index200 && b[2] == '1'
}

// namePrefixes are what a literal with a token's name begins with: an index, or
// the name itself.
var namePrefixes = func() (prefixes [proto.TokenCount]string) {
	for t := proto.Token(1); int(t) < proto.TokenCount; t++ {
		name := []byte(t.String())
		lower(name)
		kind := byte(literal)
		switch t {
		case proto.TokenAuthorization, proto.TokenProxyAuthorization, proto.TokenCookie, proto.TokenSetCookie:
			kind = neverIndex
		}
		switch i := staticIndex(string(name)); {
		case i == 0:
			prefixes[t] = string(append([]byte{kind, byte(len(name))}, name...))
		case i < nameIndexIn:
			prefixes[t] = string([]byte{kind | byte(i)})
		default:
			prefixes[t] = string([]byte{kind | nameIndexIn, byte(i - nameIndexIn)})
		}
	}
	return prefixes
}()

// staticIndex is the first index with a name, 0 without one.
func staticIndex(name string) int {
	for i := range staticTable {
		if staticTable[i].name == name && i > 0 {
			return i
		}
	}
	return 0
}
