package http1

import "zproxy/proto"

// MarkHopByHop flags with FlagDrop what belongs to the connection the head came
// by and not to the message (RFC 9110 section 7.6.1): the fields defined as
// such, the framing fields, which the writer writes itself, and every field
// Connection names. Proxy-Authenticate and Proxy-Authorization stay: a reverse
// proxy is not the proxy they are about.
func MarkHopByHop(h *proto.Head) {
	named := false
	for i := range h.Fields {
		f := &h.Fields[i]
		switch f.Token {
		case proto.TokenConnection:
			named = named || f.Value.Len > 0
			f.Flags |= proto.FlagDrop
		case proto.TokenKeepAlive, proto.TokenProxyConnection, proto.TokenTE, proto.TokenTransferEncoding,
			proto.TokenContentLength, proto.TokenUpgrade, proto.TokenHTTP2Settings:
			f.Flags |= proto.FlagDrop
		}
	}
	if !named {
		return
	}
	for i := range h.Fields {
		if h.Fields[i].Token != proto.TokenConnection {
			continue
		}
		list := h.Bytes(h.Fields[i].Value)
		for more := true; more; {
			var option []byte
			option, list, more = proto.NextElement(list)
			dropNamed(h, option)
		}
	}
}

// dropNamed flags the fields a connection option names. Fields meant for every
// recipient must not be named (RFC 9110 section 7.6.1); a client that names
// them wants to strip what the origin relies on, so they stay.
func dropNamed(h *proto.Head, option []byte) {
	if len(option) == 0 || proto.EqualFold(option, "close") || proto.EqualFold(option, "keep-alive") {
		return
	}
	token := proto.LookupToken(option)
	if endToEnd(token) {
		return
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token == token && (token != proto.TokenOther || proto.EqualFoldBytes(h.Bytes(f.Name), option)) {
			f.Flags |= proto.FlagDrop
		}
	}
}

// endToEnd reports fields that routing, access control, caching or the meaning
// of the content depend on.
func endToEnd(t proto.Token) bool {
	switch t {
	case proto.TokenHost, proto.TokenExpect, proto.TokenTrailer, proto.TokenAuthorization, proto.TokenCookie,
		proto.TokenSetCookie, proto.TokenCacheControl, proto.TokenContentType, proto.TokenContentEncoding,
		proto.TokenContentRange, proto.TokenDate, proto.TokenETag, proto.TokenLocation, proto.TokenOrigin,
		proto.TokenVary, proto.TokenVia, proto.TokenForwarded, proto.TokenXForwardedFor, proto.TokenXForwardedHost,
		proto.TokenXForwardedPort, proto.TokenXForwardedProto, proto.TokenXRealIP:
		return true
	}
	return false
}
