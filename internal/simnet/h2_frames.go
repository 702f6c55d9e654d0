package simnet

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2/hpack"
)

// Types, flags, settings and errors of RFC 9113, as numbers on the wire.
const (
	h2Data         = 0
	h2Headers      = 1
	h2RST          = 3
	h2Settings     = 4
	h2Push         = 5
	h2Ping         = 6
	h2GoAway       = 7
	h2WindowUpdate = 8
	h2Continuation = 9

	h2EndStream   = 0x1
	h2Ack         = 0x1
	h2EndHeaders  = 0x4
	h2Padded      = 0x8
	h2Prioritised = 0x20

	h2SetTable   = 1
	h2SetStreams = 3
	h2SetWindow  = 4
	h2SetConnect = 8 // RFC 8441

	h2NoError     = 0
	h2Internal    = 2
	h2Refused     = 7
	h2Cancel      = 8
	h2Calm        = 11
	h2FirstWindow = 65535
	h2MaxWindow   = 1<<31 - 1
	h2FirstFrame  = 16384
)

const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// h2Frame is one frame; the payload is the receiver's until it reads on.
type h2Frame struct {
	kind, flags byte
	id          uint32
	payload     []byte
}

func appendFrame(dst []byte, kind, flags byte, id uint32, payload []byte) []byte {
	dst = append(dst, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(dst, id), payload...)
}

// cutFrame takes the frame that b begins with; n is 0 when it is not whole.
func cutFrame(b []byte) (f h2Frame, n int, err error) {
	if len(b) < 9 {
		return f, 0, nil
	}
	size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	f = h2Frame{kind: b[3], flags: b[4], id: binary.BigEndian.Uint32(b[5:])}
	switch {
	case size > h2FirstFrame:
		return f, 0, fmt.Errorf("a frame of type %d has %d bytes", f.kind, size)
	case f.id>>31 != 0:
		return f, 0, fmt.Errorf("stream %#x has its reserved bit set", f.id)
	case len(b) < 9+size:
		return f, 0, nil
	}
	f.payload = b[9 : 9+size]
	return f, 9 + size, nil
}

// content is the payload without padding and priority.
func (f *h2Frame) content() ([]byte, error) {
	b := f.payload
	if f.flags&h2Padded != 0 {
		if len(b) == 0 || int(b[0]) > len(b)-1 {
			return nil, fmt.Errorf("more padding than frame")
		}
		b = b[1 : len(b)-int(b[0])]
	}
	if f.kind == h2Headers && f.flags&h2Prioritised != 0 {
		if len(b) < 5 {
			return nil, fmt.Errorf("HEADERS too short for its priority")
		}
		b = b[5:]
	}
	return b, nil
}

// h2Fields is a field section in the form the HTTP/1 peers use: start is empty,
// names are as they came.
func h2Fields(list []hpack.HeaderField) *head {
	h := &head{}
	for _, f := range list {
		h.fields = append(h.fields, [2]string{f.Name, f.Value})
	}
	return h
}

// checkFields holds a section to what RFC 9113 8.2 and 8.3 want of a sender.
func checkFields(list []hpack.HeaderField, pseudo map[string]bool) error {
	seen, regular := map[string]bool{}, false
	for _, f := range list {
		if f.Name == "" || bytes.ContainsFunc([]byte(f.Name), func(r rune) bool { return r <= ' ' || r >= 'A' && r <= 'Z' || r >= 0x7f }) {
			return fmt.Errorf("field name %q", f.Name)
		}
		if f.Name[0] == ':' {
			if regular || seen[f.Name] || !pseudo[f.Name] {
				return fmt.Errorf("pseudo-field %s is twice, too late or not wanted", f.Name)
			}
			seen[f.Name] = true
			continue
		}
		regular = true
		switch f.Name {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
			return fmt.Errorf("field %s", f.Name)
		}
	}
	for name, must := range pseudo {
		if must && !seen[name] {
			return fmt.Errorf("no %s", name)
		}
	}
	return nil
}
