package ws

import (
	"crypto/sha1"

	"zproxy/proto"
)

// What is wrong with a handshake. A faulty request is answered 400 or 426, a
// faulty response becomes 502.
var (
	faultMethod    = proto.Fault{Reason: "websocket handshake is not a GET", Status: 400, Code: proto.FaultWebSocket}
	faultKey       = proto.Fault{Reason: "sec-websocket-key is not one key of 16 bytes", Status: 400, Code: proto.FaultWebSocket}
	faultOffer     = proto.Fault{Reason: "invalid sec-websocket-protocol or -extensions", Status: 400, Code: proto.FaultWebSocket}
	faultAccept    = proto.Fault{Reason: "sec-websocket-accept is not the one for the key", Status: 502, Code: proto.FaultWebSocket}
	faultProtocol  = proto.Fault{Reason: "origin chose a subprotocol that was not offered", Status: 502, Code: proto.FaultWebSocket}
	faultExtension = proto.Fault{Reason: "origin chose an extension that was not offered", Status: 502, Code: proto.FaultWebSocket}
)

const (
	keyBytes    = 24 // base64 of 16 bytes
	acceptBytes = 28 // base64 of 20 bytes
	guid        = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	protocol    = "websocket"
	deflate     = "permessage-deflate"
)

// Version is the one this package speaks.
const Version = "13"

// Offered tells whether the Upgrade fields of h, dropped ones included, or the
// :protocol of an extended CONNECT name websocket, and whether they name
// anything else.
func Offered(h *proto.Head) (websocket, others bool) {
	if h.Protocol.Len > 0 {
		return proto.EqualFold(h.Bytes(h.Protocol), protocol), false
	}
	for i := range h.Fields {
		if h.Fields[i].Token != proto.TokenUpgrade {
			continue
		}
		list := h.Bytes(h.Fields[i].Value)
		for len(list) > 0 {
			var element []byte
			element, list = nextElement(list)
			switch {
			case proto.EqualFold(element, protocol):
				websocket = true
			case len(element) > 0:
				others = true
			}
		}
	}
	return websocket, others
}

// CheckRequest judges the opening handshake of a client that asks to upgrade to
// websocket (RFC 6455 section 4.2.1) and has no content. By HTTP/2 there is no
// key (RFC 8441 section 5).
func CheckRequest(h *proto.Head) *proto.Fault {
	if h.Method != proto.GET {
		return &faultMethod
	}
	version, ok := single(h, proto.TokenSecWebSocketVersion)
	if !ok || string(version) != Version { // section 4.4
		return proto.RequestFault(proto.FaultWebSocketVersion)
	}
	if key, ok := single(h, proto.TokenSecWebSocketKey); !h.H2 && (!ok || !validKey(key)) {
		return &faultKey
	}
	if !validLists(h) {
		return &faultOffer
	}
	return nil
}

// single is the value of the field t, provided that there is exactly one.
func single(h *proto.Head, t proto.Token) (value []byte, ok bool) {
	n := 0
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Token == t && f.Flags&proto.FlagDrop == 0 {
			value = h.Bytes(f.Value)
			n++
		}
	}
	return value, n == 1
}

// validKey accepts base64 of 16 bytes.
func validKey(key []byte) bool {
	if len(key) != keyBytes || key[keyBytes-1] != '=' || key[keyBytes-2] != '=' {
		return false
	}
	for _, c := range key[:keyBytes-2] {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// validLists checks that subprotocols are tokens, and that extensions begin
// with one (section 9.1).
func validLists(h *proto.Head) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Flags&proto.FlagDrop != 0 || f.Token != proto.TokenSecWebSocketProtocol && f.Token != proto.TokenSecWebSocketExtensions {
			continue
		}
		list := h.Bytes(f.Value)
		for len(list) > 0 {
			var element []byte
			element, list = nextElement(list)
			name := extensionName(element)
			if len(name) == 0 && len(element) > 0 || f.Token == proto.TokenSecWebSocketProtocol && len(name) != len(element) {
				return false
			}
		}
	}
	return true
}

// AppendOffer appends what CheckResponse has to know of a request: the accept
// value for key, the subprotocols and the extensions it offers.
func AppendOffer(dst []byte, h *proto.Head, key []byte) []byte {
	dst = AppendAccept(dst, key)
	dst = appendList(dst, h, proto.TokenSecWebSocketProtocol)
	dst = append(dst, '\n')
	return appendList(dst, h, proto.TokenSecWebSocketExtensions)
}

func appendList(dst []byte, h *proto.Head, t proto.Token) []byte {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Token == t && f.Flags&proto.FlagDrop == 0 {
			dst = append(dst, h.Bytes(f.Value)...)
			dst = append(dst, ',')
		}
	}
	return dst
}

// AcceptOf lends the accept value of an offer.
func AcceptOf(offer []byte) []byte { return offer[:acceptBytes] }

// AppendKey appends a Sec-WebSocket-Key of 16 bytes. It need not be hard to
// guess: it shows that the other side speaks WebSocket (section 1.3).
func AppendKey(dst []byte, a, b uint64) []byte {
	var raw [16]byte
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	return appendBase64(dst, raw[:])
}

// AppendAccept appends the Sec-WebSocket-Accept of a key (section 4.2.2).
func AppendAccept(dst, key []byte) []byte {
	var joined [keyBytes + len(guid)]byte
	n := copy(joined[:], key)
	n += copy(joined[n:], guid)
	sum := sha1.Sum(joined[:n])
	return appendBase64(dst, sum[:])
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

func appendBase64(dst, b []byte) []byte {
	for ; len(b) >= 3; b = b[3:] {
		v := uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
		dst = append(dst, base64Digits[v>>18], base64Digits[v>>12&63], base64Digits[v>>6&63], base64Digits[v&63])
	}
	switch len(b) {
	case 1:
		dst = append(dst, base64Digits[b[0]>>2], base64Digits[b[0]&3<<4], '=', '=')
	case 2:
		v := uint32(b[0])<<8 | uint32(b[1])
		dst = append(dst, base64Digits[v>>10], base64Digits[v>>4&63], base64Digits[v&15<<2], '=')
	}
	return dst
}

// CheckResponse judges a 101 whose Upgrade field names websocket (section 4.1),
// or its counterpart of HTTP/2, which has no accept value, by the offer it
// answers, and says what was agreed on.
func CheckResponse(h *proto.Head, offer []byte) (Extensions, *proto.Fault) {
	accept, ok := single(h, proto.TokenSecWebSocketAccept)
	if !h.H2 && (!ok || string(accept) != string(AcceptOf(offer))) {
		return 0, &faultAccept
	}
	protocols := offer[acceptBytes:]
	at := 0
	for protocols[at] != '\n' {
		at++
	}
	extensions := protocols[at+1:]
	protocols = protocols[:at]
	if chosen, ok := single(h, proto.TokenSecWebSocketProtocol); ok {
		if !listed(protocols, chosen) {
			return 0, &faultProtocol
		}
	} else if _, ok := h.Get(proto.TokenSecWebSocketProtocol); ok {
		return 0, &faultProtocol // several
	}
	return agreed(h, extensions)
}

// agreed looks at the extensions of a response, which must be some of those
// that were offered.
func agreed(h *proto.Head, offered []byte) (ext Extensions, fault *proto.Fault) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != proto.TokenSecWebSocketExtensions || f.Flags&proto.FlagDrop != 0 {
			continue
		}
		list := h.Bytes(f.Value)
		for len(list) > 0 {
			var element []byte
			element, list = nextElement(list)
			name := extensionName(element)
			switch {
			case len(element) == 0:
			case len(name) == 0 || !listed(offered, name):
				return 0, &faultExtension
			case proto.EqualFold(name, deflate):
				ext |= Deflate
			default:
				ext |= Unknown
			}
		}
	}
	return ext, nil
}

// listed looks for an element of a list by its name, the part before any
// parameter.
func listed(list, name []byte) bool {
	for len(list) > 0 {
		var element []byte
		element, list = nextElement(list)
		if len(name) > 0 && string(extensionName(element)) == string(name) {
			return true
		}
	}
	return false
}

// extensionName is the token an element begins with; empty when something else
// than a parameter follows it.
func extensionName(element []byte) []byte {
	n := proto.TokenPrefix(element)
	if rest := proto.TrimSpace(element[n:]); len(rest) > 0 && rest[0] != ';' {
		return nil
	}
	return element[:n]
}

// nextElement takes the first element off a comma-separated list, without the
// whitespace around it. A comma in a quoted string separates nothing.
func nextElement(list []byte) (element, rest []byte) {
	i, quoted := 0, false
	for i < len(list) && (quoted || list[i] != ',') {
		switch list[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		}
		i++
	}
	if i >= len(list) {
		return proto.TrimSpace(list), nil
	}
	return proto.TrimSpace(list[:i]), list[i+1:]
}
