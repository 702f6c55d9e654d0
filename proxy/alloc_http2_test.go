package proxy

import (
	"encoding/binary"
	"runtime"
	"testing"

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

const (
	getFields = "\x82\x86\x84\x01\x0bexample.com" // GET http / and :authority (RFC 7541 appendix A)
	okFields  = "\x88\x0f\x0d\x03128"             // 200, content-length
	body128   = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456\n"
)

// talker is the far end of one connection of a stepped worker, in HTTP/1 or in
// HTTP/2. It allocates nothing.
type talker struct {
	s     *stepped
	fd    int
	http2 bool
	out   []byte
	in    [16 << 10]byte
	id    uint32 // of the client's last stream
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
		p.out = appendFrame(p.out, headersFrame, endStreamFlag|endHeadersFlag, p.id, getFields)
	} else {
		p.out = append(p.out, getRequest...)
	}
	p.write()
}

func (p *talker) answer(id uint32) {
	if p.http2 {
		p.out = appendFrame(p.out, headersFrame, endHeadersFlag, id, okFields)
		p.out = appendFrame(p.out, dataFrame, endStreamFlag, id, body128)
	} else {
		p.out = append(p.out, okResponse...)
	}
	p.write()
}

// A request by HTTP/2, on either side or on both, allocates nothing once there
// was one like it.
func TestHTTP2RequestAllocatesNothing(t *testing.T) {
	const runs = 2000
	for _, c := range []struct {
		name           string
		client, origin bool
	}{{"client", true, false}, {"origin", false, true}, {"both", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			onBackends(t, func(t *testing.T, io loop.IO) {
				client, origin := &talker{http2: c.client}, &talker{http2: c.origin}
				first, protocols := []byte(getRequest), "[http1]"
				if c.client {
					protocols = "[h2c]"
					first = wideOpen([]byte(http2.Preface))
					client.id = 1
					first = appendFrame(first, headersFrame, endStreamFlag|endHeadersFlag, client.id, getFields)
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
				exchange := func() {
					origin.answer(origin.hear(headersFrame, 0))
					client.hear(dataFrame, endStreamFlag)
					client.ask()
				}
				for range 200 {
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
			})
		})
	}
}
