package http1

import "zproxy/proto"

// connectionOptionsMax bounds the work of comparing connection options with
// fields.
const connectionOptionsMax = 64

// requestFraming decides what the fields of a complete request say about its
// content and its connection, or refuses them. This is where request smuggling
// is prevented: whatever another recipient could read differently is a fault,
// and what is forwarded carries framing fields of our own writing.
func requestFraming(h *proto.Head, s *noted) proto.FaultCode {
	if code := requestHost(h, s); code != proto.FaultNone {
		return code
	}
	if code := connectionFraming(h, s); code != proto.FaultNone {
		return code
	}
	if code := lengthAndCoding(h, s); code != proto.FaultNone {
		return code
	}
	// RFC 9112 section 6.3, rules 6 and 7: without either there is no content.
	if s.has(proto.TokenExpect) && h.Minor > 0 && (h.Body == proto.BodyChunked || h.Length > 0) {
		h.Expect100 = hasElement(h, proto.TokenExpect, "100-continue")
	}
	return proto.FaultNone
}

// requestHost applies RFC 9112 section 3.2: HTTP/1.1 has exactly one Host, no
// version has two, none an invalid one. A request-target that names an
// authority wins over the field (section 3.2.2), which must be valid all the same.
func requestHost(h *proto.Head, s *noted) proto.FaultCode {
	if !s.has(proto.TokenHost) {
		if h.Minor > 0 {
			return proto.FaultHostMissing
		}
		return proto.FaultNone
	}
	if s.twice(proto.TokenHost) {
		return proto.FaultHostDuplicate
	}
	host := h.Fields[s.first[proto.TokenHost]].Value
	if _, _, ok := proto.ParseAuthority(h.Bytes(host)); !ok {
		return proto.FaultHostInvalid
	}
	if h.Form == proto.OriginForm || h.Form == proto.AsteriskForm {
		h.Host = host
	}
	return proto.FaultNone
}

// connectionFraming reads Connection (RFC 9110 section 7.6.1), Upgrade (7.8)
// and TE (10.1.4), and decides about persistence (RFC 9112 section 9.3).
func connectionFraming(h *proto.Head, s *noted) proto.FaultCode {
	h.KeepAlive = h.Minor > 0
	if s.has(proto.TokenTE) {
		h.HasTETrailers = hasElement(h, proto.TokenTE, "trailers")
	}
	if !s.has(proto.TokenConnection) {
		return proto.FaultNone
	}
	options := 0
	keepAlive, upgrade := false, false
	for i := int(s.first[proto.TokenConnection]); i < len(h.Fields); i++ {
		if h.Fields[i].Token != proto.TokenConnection {
			continue
		}
		list := h.Bytes(h.Fields[i].Value)
		for more := true; more; options++ {
			var option []byte
			option, list, more = proto.NextElement(list)
			switch len(option) {
			case len("close"):
				h.ConnClose = h.ConnClose || proto.EqualFold(option, "close")
			case len("upgrade"):
				upgrade = upgrade || proto.EqualFold(option, "upgrade")
			case len("keep-alive"):
				keepAlive = keepAlive || proto.EqualFold(option, "keep-alive")
			}
		}
	}
	if options > connectionOptionsMax {
		return proto.FaultConnectionOptions
	}
	h.KeepAlive = !h.ConnClose && (h.Minor > 0 || keepAlive)
	// RFC 9110 section 7.8: Upgrade in HTTP/1.0 is ignored.
	h.Upgrade = upgrade && h.Minor > 0 && s.has(proto.TokenUpgrade)
	return proto.FaultNone
}

// lengthAndCoding reads Content-Length and Transfer-Encoding into ContentLength,
// Body and Length (RFC 9112 sections 6.1 to 6.3).
func lengthAndCoding(h *proto.Head, s *noted) proto.FaultCode {
	if s.has(proto.TokenTransferEncoding) {
		// Section 6.1: in HTTP/1.0 the framing is faulty, whatever it says.
		if h.Minor == 0 {
			return proto.FaultCodingInOldVersion
		}
		// Section 6.3 rule 3: the sign of an attempt at smuggling or splitting.
		if s.has(proto.TokenContentLength) {
			return proto.FaultLengthAndCoding
		}
		if code := transferCoding(h, s); code != proto.FaultNone {
			return code
		}
		h.Body = proto.BodyChunked
		return proto.FaultNone
	}
	if !s.has(proto.TokenContentLength) {
		return proto.FaultNone
	}
	// Section 6.3 rule 5 would allow "5, 5" to be taken for 5; refusing costs
	// nobody anything, and no two readers can differ on it.
	if s.twice(proto.TokenContentLength) {
		return proto.FaultLengthDuplicate
	}
	n, code := proto.ParseContentLength(s.value(h, proto.TokenContentLength))
	h.ContentLength, h.Length, h.Body = n, n, proto.BodyLength
	return code
}

// transferCoding accepts "chunked" and nothing else: once, last (RFC 9112
// section 6.3 rule 4), without parameters (section 7.1), in any letter case.
// Other codings before it are valid but unknown here (section 6.1).
func transferCoding(h *proto.Head, s *noted) proto.FaultCode {
	if !s.twice(proto.TokenTransferEncoding) && proto.EqualFold(s.value(h, proto.TokenTransferEncoding), "chunked") {
		return proto.FaultNone
	}
	chunked, unknown, last := false, false, false
	for i := range h.Fields {
		if h.Fields[i].Token != proto.TokenTransferEncoding {
			continue
		}
		list := h.Bytes(h.Fields[i].Value)
		for more := true; more; {
			var coding []byte
			coding, list, more = proto.NextElement(list)
			name := coding[:proto.TokenPrefix(coding)]
			parameters := proto.TrimSpace(coding[len(name):])
			if len(name) == 0 || len(parameters) > 0 && parameters[0] != ';' {
				return proto.FaultCodingInvalid
			}
			last = proto.EqualFold(name, "chunked")
			if last && (chunked || len(parameters) > 0) {
				return proto.FaultCodingInvalid
			}
			chunked = chunked || last
			unknown = unknown || !last
		}
	}
	if !last {
		return proto.FaultCodingNotFinal
	}
	if unknown {
		return proto.FaultCodingUnknown
	}
	return proto.FaultNone
}

// responseFraming is requestFraming for a response to a request with method req.
func responseFraming(h *proto.Head, s *noted, req proto.Method) proto.FaultCode {
	if code := connectionFraming(h, s); code != proto.FaultNone {
		return code
	}
	// RFC 9112 section 6.3 rule 2: after 2xx to CONNECT comes a tunnel, and both
	// fields are ignored.
	if req == proto.CONNECT && h.Status/100 == 2 {
		return proto.FaultNone
	}
	if code := lengthAndCoding(h, s); code != proto.FaultNone {
		return code
	}
	// Rule 1: these have no content whatever the fields say.
	switch {
	case h.Status < 200: // RFC 9112 section 6.1, RFC 9110 section 8.6: not allowed
		if h.Body == proto.BodyChunked {
			return proto.FaultCodingForbidden
		}
		if h.Length > 0 {
			return proto.FaultLengthForbidden
		}
		h.Body, h.Length = proto.BodyNone, -1
	case h.Status == 204:
		// Not allowed either, but common enough. The sender may follow its own
		// fields, so the connection is good for nothing afterwards.
		if h.Body == proto.BodyChunked || h.Length > 0 {
			h.KeepAlive = false
		}
		h.Body, h.Length = proto.BodyNone, -1
	case req == proto.HEAD || h.Status == 304:
		h.Body, h.Length = proto.BodyNone, -1
	case h.Body == proto.BodyNone: // rule 8
		h.Body, h.KeepAlive = proto.BodyUntilClose, false
	}
	return proto.FaultNone
}

// hasElement looks for an element, which may have parameters, in the lists of
// all fields of one token.
func hasElement(h *proto.Head, t proto.Token, lower string) bool {
	for i := range h.Fields {
		if h.Fields[i].Token != t {
			continue
		}
		list := h.Bytes(h.Fields[i].Value)
		for more := true; more; {
			var element []byte
			element, list, more = proto.NextElement(list)
			if proto.EqualFold(element[:proto.TokenPrefix(element)], lower) {
				return true
			}
		}
	}
	return false
}
