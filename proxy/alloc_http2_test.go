package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto/http2"
)

// Frame types, flags and settings (RFC 9113 sections 6 and 6.5.2), written out so
// that the test has a second opinion.
const (
	dataFrame, headersFrame, settingsFrame, windowFrame = 0, 1, 4, 8
	endStreamFlag, ackFlag, endHeadersFlag              = 1, 1, 4
	initialWindow                                       = 4
	windowMax                                           = 1<<31 - 1
)

func appendFrame(dst []byte, kind, flags byte, id uint32, payload string) []byte {
	n := len(payload)
	dst = append(dst, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	dst = binary.BigEndian.AppendUint32(dst, id)
	return append(dst, payload...)
}

// wideOpen is what a peer says first that is never to be asked for more window.
func wideOpen(dst []byte) []byte {
	setting := binary.BigEndian.AppendUint32([]byte{0, initialWindow}, windowMax)
	dst = appendFrame(dst, settingsFrame, 0, 0, string(setting))
	return appendFrame(dst, windowFrame, 0, 0, string(binary.BigEndian.AppendUint32(nil, windowMax-65535)))
}

const body128 = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456\n"

// talker is the far end of one connection of a stepped worker, in HTTP/1 or in
// HTTP/2. It allocates nothing.
type talker struct {
	s     *stepped
	fd    int
	http2 bool
	out   []byte
	in    [16 << 10]byte
	id    uint32   // of the client's last stream
	said  int      // of says
	says  []string // what each of its messages has, in turn
}

// say is what the next message has.
func (p *talker) say() string {
	p.said++
	return p.says[(p.said-1)%len(p.says)]
}

// newness is how messages differ from those before them.
type newness struct {
	name      string
	count     int  // of different ones
	sensitive bool // they go into no table
}

var newnesses = []newness{{"the same", 1, true}, {"into no table", 4000, true}, {"into the table", 4000, false}}

// messages are requests, or responses, as a talker says them: each has a path, or
// fields, of its own.
func (n *newness) messages(http2, request bool) []string {
	var says []string
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := range n.count {
		fields := []string{":status", "200", "content-length", "128", "etag", fmt.Sprintf("%q", fmt.Sprint("tag ", i)), "x-trace", fmt.Sprintf("%032x", i)}
		if request {
			fields = []string{":method", "GET", ":scheme", "http", ":authority", "example.com", ":path", fmt.Sprint("/item/", i), "x-trace", fmt.Sprintf("%032x", i)}
		}
		if !http2 {
			line, rest := "HTTP/1.1 200 OK\r\n", fields[2:]
			if request {
				line, rest = fmt.Sprintf("GET %s HTTP/1.1\r\nHost: example.com\r\n", fields[7]), fields[8:]
			}
			for j := 0; j < len(rest); j += 2 {
				line += rest[j] + ": " + rest[j+1] + "\r\n"
			}
			says = append(says, line+"\r\n")
			continue
		}
		block.Reset()
		for j := 0; j < len(fields); j += 2 {
			enc.WriteField(hpack.HeaderField{Name: fields[j], Value: fields[j+1], Sensitive: n.sensitive})
		}
		says = append(says, block.String())
	}
	return says
}

func (p *talker) write() {
	if n, err := unix.Write(p.fd, p.out); n != len(p.out) {
		p.s.t.Fatalf("wrote %d of %d bytes: %v", n, len(p.out), err)
	}
	p.out = p.out[:0]
}

// hear reads until a frame of the kind has come, with all the flags, and gives
// its stream; in HTTP/1, until anything has come.
func (p *talker) hear(kind, flags byte) uint32 {
	for {
		n := p.s.read(p.fd, p.in[:])
		if !p.http2 {
			return 0
		}
		for b := p.in[:n]; len(b) >= http2.FrameHeaderLen; {
			size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
			if b[3] == kind && b[4]&flags == flags {
				return binary.BigEndian.Uint32(b[5:])
			}
			b = b[min(len(b), http2.FrameHeaderLen+size):] // every frame here comes in one piece
		}
	}
}

func (p *talker) ask() {
	if p.http2 {
		p.id += 2
		p.out = appendFrame(p.out, headersFrame, endStreamFlag|endHeadersFlag, p.id, p.say())
	} else {
		p.out = append(p.out, p.say()...)
	}
	p.write()
}

func (p *talker) answer(id uint32) {
	if p.http2 {
		p.out = appendFrame(p.out, headersFrame, endHeadersFlag, id, p.say())
		p.out = appendFrame(p.out, dataFrame, endStreamFlag, id, body128)
	} else {
		p.out = append(append(p.out, p.say()...), body128...)
	}
	p.write()
}

// A request by HTTP/2, on either side or on both, allocates nothing once there were
// some like it, whether it is the same again or has a path and fields of its own.
func TestHTTP2RequestAllocatesNothing(t *testing.T) {
	for _, c := range []struct {
		name           string
		client, origin bool
	}{{"client", true, false}, {"origin", false, true}, {"both", true, true}} {
		for i := range newnesses {
			n := &newnesses[i]
			t.Run(c.name+", "+n.name, func(t *testing.T) {
				onBackends(t, func(t *testing.T, io loop.IO) {
					client := &talker{http2: c.client, says: n.messages(c.client, true)}
					origin := &talker{http2: c.origin, says: n.messages(c.origin, false)}
					first, protocols := []byte(nil), "[http1]"
					if c.client {
						protocols = "[h2c]"
						client.id = 1
						first = wideOpen([]byte(http2.Preface))
						first = appendFrame(first, headersFrame, endStreamFlag|endHeadersFlag, client.id, client.say())
					} else {
						first = append(first, client.say()...)
					}
					extra := ""
					if c.origin {
						extra = "upstreams: {app: {protocol: h2c, endpoints: [{address: \"ORIGIN\"}], pool: {prewarm: 0}}}"
					}
					s := newSteppedBy(t, io, protocols, extra, nil, first)
					client.s, client.fd, origin.s, origin.fd = s, s.client, s, s.origin
					if c.origin {
						origin.out = appendFrame(wideOpen(origin.out), settingsFrame, ackFlag, 0, "")
						origin.write()
					}
					allocatesNothing(t, client, origin)
				})
			})
		}
	}
}

// allocatesNothing has client and origin go on talking.
func allocatesNothing(t *testing.T, client, origin *talker) {
	const runs = 2000
	exchange := func() {
		origin.answer(origin.hear(headersFrame, 0))
		client.hear(dataFrame, endStreamFlag)
		client.ask()
	}
	for range 500 { // the table is full then
		exchange()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		exchange()
	}
	runtime.ReadMemStats(&after)
	// Go's own threads allocate now and then.
	if n := after.Mallocs - before.Mallocs; n > runs/100 {
		t.Errorf("%d allocations in %d requests", n, runs)
	}
}
