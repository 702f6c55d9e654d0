package main

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/cloudwego/netpoll"
)

// What RFC 6455 wants of a handshake and of frames.
const (
	handshakeGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // section 1.3

	opcodeBits  = 0x0f
	opcodeClose = 0x8
	opcodePing  = 0x9
	opcodePong  = 0xa
	maskBit     = 0x80

	maxMessageFrame = 1 << 20
)

var errMessage = errors.New("bad WebSocket frame")

// echoMessages accepts the handshake and sends every frame back, unmasked, until the client closes.
func echoMessages(key string, in netpoll.Reader, out netpoll.Writer) error {
	sum := sha1.Sum([]byte(key + handshakeGUID))
	head := "HTTP/1.1 101 Switching Protocols\r\nServer: origin\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
	_, err := out.WriteString(head)
	for err == nil {
		if in.Len() == 0 { // answers to all that has come leave together
			if err := errors.Join(in.Release(), out.Flush()); err != nil {
				return err
			}
		}
		err = echoFrame(in, out)
	}
	return errors.Join(err, out.Flush())
}

// echoFrame waits for a frame. The error after a close frame is errLast.
func echoFrame(in netpoll.Reader, out netpoll.Writer) error {
	first, length, err := frameHead(in)
	if err != nil {
		return err
	}
	masked, err := in.Next(4 + length)
	if err != nil {
		return err
	}
	switch first & opcodeBits {
	case opcodePing:
		first = first&^opcodeBits | opcodePong
	case opcodePong:
		return nil
	}
	head := 2
	if length > 125 {
		head = 4
	}
	if length > 1<<16-1 {
		head = 10
	}
	p, err := out.Malloc(head + length)
	if err != nil {
		return err
	}
	p[0] = first
	switch head {
	case 2:
		p[1] = byte(length)
	case 4:
		p[1] = 126
		binary.BigEndian.PutUint16(p[2:], uint16(length))
	default:
		p[1] = 127
		binary.BigEndian.PutUint64(p[2:], uint64(length))
	}
	mask, payload := masked[:4], masked[4:]
	for i := range payload {
		p[head+i] = payload[i] ^ mask[i&3]
	}
	if first&opcodeBits == opcodeClose {
		return errLast
	}
	return nil
}

// frameHead reads a frame's head up to its mask: RFC 6455 section 5.2.
func frameHead(in netpoll.Reader) (first byte, length int, err error) {
	b, err := in.Next(2)
	if err != nil {
		return 0, 0, err
	}
	first, length = b[0], int(b[1]&^maskBit)
	if b[1]&maskBit == 0 {
		return 0, 0, errMessage
	}
	switch length {
	case 126:
		if b, err = in.Next(2); err != nil {
			return 0, 0, err
		}
		length = int(binary.BigEndian.Uint16(b))
	case 127:
		if b, err = in.Next(8); err != nil {
			return 0, 0, err
		}
		n := binary.BigEndian.Uint64(b)
		if n > maxMessageFrame {
			return 0, 0, errMessage
		}
		length = int(n)
	}
	return first, length, nil
}
