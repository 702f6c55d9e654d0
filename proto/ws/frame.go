package ws

const (
	// CloseMax bounds what AppendClose appends, ControlMax what AppendControl does.
	CloseMax   = 2 + 4 + controlMax
	ControlMax = CloseMax
)

// AppendControl appends a control frame. With a mask it is a client's (RFC 6455
// section 5.3); 0 is none, so it is never the mask of a client. payload is cut
// at 125 bytes.
func AppendControl(dst []byte, op Opcode, payload []byte, mask uint32) []byte {
	payload = payload[:min(len(payload), controlMax)]
	if mask == 0 {
		dst = append(dst, bitFin|byte(op), byte(len(payload)))
		return append(dst, payload...)
	}
	dst = append(dst, bitFin|byte(op), bitMask|byte(len(payload)),
		byte(mask), byte(mask>>8), byte(mask>>16), byte(mask>>24))
	for i, c := range payload {
		dst = append(dst, c^byte(mask>>(i&3*8)))
	}
	return dst
}

// AppendClose appends a Close frame with a code and a reason, which is cut at
// 123 bytes and best ASCII.
func AppendClose(dst []byte, code uint16, reason string, mask uint32) []byte {
	var payload [controlMax]byte
	payload[0], payload[1] = byte(code>>8), byte(code)
	return AppendControl(dst, Close, payload[:2+copy(payload[2:], reason)], mask)
}
