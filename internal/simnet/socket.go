package simnet

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// A WebSocket is an upgrade whose two bodies travel as messages: whatever way
// they are cut into frames, their payloads in a row are the body.

const (
	socketKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	socketAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	// ownPing begins the payload of pings and pongs of peers.
	ownPing = "sim"
)

// checkOffer holds a handshake to what RFC 6455 4.2.1 wants of it, and gives the
// value that accepts it.
func checkOffer(h *head, q *Request) (accept string, err error) {
	key, _, err := h.get("sec-websocket-key")
	if err != nil {
		return "", err
	}
	if b, err := base64.StdEncoding.DecodeString(key); err != nil || len(b) != 16 || !q.H2 && key != socketKey {
		return "", fmt.Errorf("the key is %q (%v)", key, err)
	}
	for name, want := range map[string]string{"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"} {
		if v, _, err := h.get(name); err != nil || v != want {
			return "", fmt.Errorf("%s is %q (%v)", name, v, err)
		}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// checkAccept holds an answer that agrees to a WebSocket to RFC 6455 4.1.
func checkAccept(h *head, accept string) error {
	for name, want := range map[string]string{"connection": "upgrade", "upgrade": "websocket", "sec-websocket-accept": accept} {
		if v, _, err := h.get(name); err != nil || v != want {
			return fmt.Errorf("%s is %q, want %q (%v)", name, v, want, err)
		}
	}
	return nil
}

const (
	opClose = 0x88
	opPing  = 0x89
	opPong  = 0x8a
)

// appendSocketFrame appends a frame; a client's is masked.
func appendSocketFrame(dst []byte, b0 byte, payload []byte, masked bool, mask uint32) []byte {
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	dst = append(dst, b0)
	switch n := len(payload); {
	case n > 0xffff:
		dst = binary.BigEndian.AppendUint64(append(dst, bit|127), uint64(n))
	case n > 125:
		dst = binary.BigEndian.AppendUint16(append(dst, bit|126), uint16(n))
	default:
		dst = append(dst, bit|byte(n))
	}
	if !masked {
		return append(dst, payload...)
	}
	key := binary.LittleEndian.AppendUint32(nil, mask)
	dst = append(dst, key...)
	for i, c := range payload {
		dst = append(dst, c^key[i&3])
	}
	return dst
}

// appendMessages appends a body of n bytes as messages, with pings among them and
// a Close frame at the end. at lists the places between frames.
func appendMessages(dst []byte, rng *rand.Rand, q *Request, direction, n int) (_ []byte, at []int) {
	masked := direction == upward
	wrong := -1
	if q.Wrong == direction+1 {
		wrong = rng.IntN(n + 1)
	}
	inMessage := false
	for sent := 0; sent < n || inMessage; {
		at = append(at, len(dst))
		if wrong >= 0 && sent >= wrong {
			dst = appendSocketFrame(dst, 0x83, []byte("must not arrive"), masked, 7)
			wrong = -1
			continue
		}
		if rng.IntN(8) == 0 {
			dst = appendSocketFrame(dst, []byte{opPing, opPong}[rng.IntN(2)], fmt.Appendf(nil, "%s %d", ownPing, q.ID), masked, rng.Uint32())
			continue
		}
		b0 := byte(0x02)
		if inMessage {
			b0 = 0
		}
		piece := min(n-sent, size(rng, n))
		if inMessage = sent+piece < n && rng.IntN(3) == 0; !inMessage {
			b0 |= 0x80
		}
		dst = appendSocketFrame(dst, b0, appendBody(nil, q.ID, direction, sent, piece), masked, rng.Uint32())
		sent += piece
	}
	at = append(at, len(dst))
	return appendSocketFrame(dst, opClose, []byte{1000 >> 8, 1000 & 0xff}, masked, rng.Uint32()), at
}

// frames takes frames off what a peer reads.
type frames struct {
	buf    []byte
	closed bool
	// ended is set when the proxy has said that it ends the conversation.
	ended bool
}

// whole: the other side has said all it had to say, and that.
func (f *frames) whole() bool { return f.closed && !f.ended }

// feed takes what arrived and gives the payloads of messages in it to data, and
// those of pings to ping.
func (f *frames) feed(b []byte, masked bool, data func([]byte) error, ping func([]byte)) error {
	f.buf = append(f.buf, b...)
	for {
		b0, payload, n, err := parseSocketFrame(f.buf, masked)
		if n == 0 || err != nil {
			return err
		}
		f.buf = f.buf[n:]
		switch {
		case f.closed:
			return fmt.Errorf("frame %02x behind a close", b0)
		case b0 == opClose:
			f.closed = true
			code := binary.BigEndian.Uint16(payload)
			f.ended = code == 1001 || code == 1002
			if code != 1000 && !f.ended {
				return fmt.Errorf("close code %d", code)
			}
		case b0 == opPing:
			ping(payload)
		case b0 == opPong && !bytes.HasPrefix(payload, []byte(ownPing)):
			return fmt.Errorf("pong %x that answers the proxy", payload)
		case b0 == opPong:
		case b0&0x7f == 0x02 || b0&0x7f == 0x00:
			if err := data(payload); err != nil {
				return err
			}
		default:
			return fmt.Errorf("frame %02x", b0)
		}
	}
}

// parseSocketFrame reads the frame b begins with; n is 0 while it is not complete.
func parseSocketFrame(b []byte, masked bool) (b0 byte, payload []byte, n int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	if b[1]&0x80 != 0 != masked {
		return 0, nil, 0, fmt.Errorf("frame %02x with mask %v", b[0], !masked)
	}
	size, at := uint64(b[1]&0x7f), 2
	switch {
	case size == 126 && len(b) >= 4:
		size, at = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case size == 127 && len(b) >= 10:
		size, at = binary.BigEndian.Uint64(b[2:]), 10
	case size >= 126:
		return 0, nil, 0, nil
	}
	var mask []byte
	if masked {
		if len(b) < at+4 {
			return 0, nil, 0, nil
		}
		mask = b[at : at+4]
		at += 4
	}
	if uint64(len(b)-at) < size {
		return 0, nil, 0, nil
	}
	payload = bytes.Clone(b[at : at+int(size)])
	if masked {
		for i := range payload {
			payload[i] ^= mask[i&3]
		}
	}
	return b[0], payload, at + int(size), nil
}

// insert puts b into out at the first place that is still to come, out being
// what is left from byte wrote on; added is where, or -1.
func insert(out []byte, wrote int, places []int, b []byte) (_ []byte, added int) {
	for i, at := range places {
		if at < wrote {
			continue
		}
		for j := i; j < len(places); j++ {
			places[j] += len(b)
		}
		k := at - wrote
		return append(out[:k:k], append(bytes.Clone(b), out[k:]...)...), at
	}
	return out, -1
}

// socketData reads what comes through a WebSocket to the client.
func (c *client) socketData(b []byte) error {
	q := c.cur
	err := c.frames.feed(b, false, c.bodyData, func(payload []byte) {
		pong := appendSocketFrame(nil, opPong, payload, true, 99)
		var at int
		if c.out, at = insert(c.out, c.wrote, c.places, pong); at >= 0 {
			for i := range c.marks {
				if c.marks[i].at > at {
					c.marks[i].at += len(pong)
				}
			}
			c.writeSoon()
		}
	})
	if err != nil {
		return err
	}
	return c.r.closed(&c.frames, &q.ReplyEnded, c.got, q.Reply.Body)
}

// socketData reads what comes through a WebSocket to the origin.
func (o *origin) socketData(b []byte) error {
	q := o.q
	err := o.frames.feed(b, true, o.bodyData, func(payload []byte) {
		if o.encoded {
			o.out, _ = insert(o.out, o.wrote, o.places, appendSocketFrame(nil, opPong, payload, false, 0))
		}
	})
	if err != nil {
		return err
	}
	return o.r.closed(&o.frames, &q.ClientEnded, o.received, q.Body)
}

// closed looks at a Close frame, if there was one: it is the sender's own, behind
// all of want bytes, or the proxy's, and then everybody can see the cut.
func (r *Run) closed(f *frames, ended *bool, got, want int) error {
	if f.ended {
		if *ended = true; r.Traits.Calm {
			return fmt.Errorf("the proxy closes a WebSocket in a calm run")
		}
	}
	if f.whole() && got != want {
		return fmt.Errorf("closed with %d of %d bytes", got, want)
	}
	return nil
}
