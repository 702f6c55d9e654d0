package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
	"unicode/utf8"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

// seeds are streams of frames, right and wrong.
func seeds() [][]byte {
	join := func(frames ...frame) (b []byte) {
		for _, f := range frames {
			b = append(b, f.bytes()...)
		}
		return b
	}
	return [][]byte{
		join(text("Hello"), frame{b0: 0x89, payload: "ping", masked: true}, closeFrame(1000, "bye")),
		join(frame{b0: 0x01, payload: "κόσ", masked: true}, frame{b0: 0x8a, masked: true}, frame{b0: 0x80, payload: "με", masked: true}),
		join(frame{b0: 0x82, payload: string(make([]byte, 300)), masked: true}, frame{b0: 0x82, masked: true}),
		join(frame{b0: 0xc1, payload: "\xf2\x48\xcd\xc9\xc9\x07\x00", masked: true}),
		join(text("\xf4\x90\x80\x80")), join(closeFrame(1005, "")), join(frame{b0: 0x82, claim: 1 << 40, masked: true}),
	}
}

// Any input split in any way gives the same frames and the same fault.
func FuzzSplit(f *testing.F) {
	for i, b := range seeds() {
		f.Add(b, uint64(i), true, uint8(i))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64, client bool, mode uint8) {
		ext := Extensions(mode & 3)
		lim := Limits{}
		if mode&4 != 0 {
			lim = Limits{FrameBytes: 200, MessageBytes: 500}
		}
		want := scan(t, client, ext, lim, b, whole64).String()
		rng := rand.New(rand.NewPCG(seed, 1))
		for _, cut := range []func(int) int{single1, func(rest int) int { return 1 + rng.IntN(min(rest, 20)) }} {
			if got := scan(t, client, ext, lim, b, cut).String(); got != want {
				t.Fatalf("split: %s, whole: %s", got, want)
			}
		}
	})
}

// The automaton agrees with the standard library on whole strings, masked and
// split anywhere.
func FuzzUTF8(f *testing.F) {
	for _, s := range []string{"plain text of more than eight bytes", "κόσμε", "\xed\xa0\x80", "\xf4\x8f\xbf\xbf", "\xc1\x80", "\xe0\x9f\xbf"} {
		f.Add([]byte(s), uint32(0x12345678), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, mask uint32, at uint8) {
		masked := bytes.Clone(b)
		for i := range masked {
			masked[i] ^= byte(mask >> (i & 3 * 8))
		}
		k := int(at) % (len(b) + 1)
		state := checkUTF8(whole, masked[:k], mask)
		r := uint(k&3) * 8
		state = checkUTF8(state, masked[k:], mask>>r|mask<<(32-r))
		if got, want := state == whole, utf8.Valid(b); got != want {
			t.Errorf("%q: valid %v, want %v", b, got, want)
		}
	})
}

// stream is a connection that is cut behind what Reader has: a plain end would
// pass for the end of a message.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
func (stream) Write(b []byte) (int, error)      { return len(b), nil }
func (stream) Close() error                     { return nil }
func (stream) SetDeadline(time.Time) error      { return nil }
func (stream) SetReadDeadline(time.Time) error  { return nil }
func (stream) SetWriteDeadline(time.Time) error { return nil }

// mutate makes a stream of frames, most of them right.
func mutate(rng *rand.Rand) (b []byte) {
	for range 1 + rng.IntN(6) {
		f := frame{b0: []byte{0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x80, 0x89, 0x8a, 0x88, 0xc1, 0x83, 0x09}[rng.IntN(13)], masked: rng.IntN(40) != 0}
		for range rng.IntN(1 << rng.IntN(9)) {
			f.payload += string(rune('a' + rng.IntN(26)))
		}
		switch {
		case f.b0 == 0x88 && rng.IntN(4) > 0:
			f = closeFrame([]uint16{1000, 1001, 1005, 3000, 5000, 999}[rng.IntN(6)], "reason")
		case rng.IntN(10) == 0:
			f.payload += "\xff"
		case rng.IntN(10) == 0:
			f.payload += "ä€"
		}
		if rng.IntN(30) == 0 {
			f.length = 64
		}
		b = append(b, f.bytes()...)
	}
	return b
}

// payloads are the messages of a stream that is in order, and the code of its
// Close frame, 0 when there is none.
func payloads(b []byte) (messages [][]byte, code uint16) {
	var message []byte
	for len(b) > 0 {
		op, fin, n := Opcode(b[0]&0x0f), b[0]&bitFin != 0, int(b[1]&lengthBits)
		at := 2
		switch n {
		case length16:
			n, at = int(binary.BigEndian.Uint16(b[2:])), 4
		case length64:
			n, at = int(binary.BigEndian.Uint64(b[2:])), 10
		}
		data := bytes.Clone(b[at+4 : at+4+n])
		for i := range data {
			data[i] ^= b[at+i&3]
		}
		b = b[at+4+n:]
		switch {
		case op == Close && n >= 2:
			return messages, binary.BigEndian.Uint16(data)
		case op == Close:
			return messages, CloseNoStatus
		case !op.Control():
			if message = append(message, data...); fin {
				messages = append(messages, message)
				message = nil
			}
		}
	}
	return messages, 0
}

// What passes here, two well-known libraries read as the same messages; what
// either finds to be a violation of the protocol does not pass here.
func TestAgainstLibraries(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	passed, refused := 0, 0
	for range 20_000 {
		b := mutate(rng)
		r := scan(t, true, 0, Limits{}, b, whole64)
		for name, read := range map[string]func([]byte) ([][]byte, error){"gorilla": readGorilla, "coder": readCoder} {
			messages, err := read(b)
			violation, code := violated(err)
			switch {
			case r.fault == nil && violation:
				t.Fatalf("%s finds %v in %x, which passes as %v", name, err, b, r)
			case r.fault == nil:
				want, wantCode := payloads(b)
				if wantCode != code || len(messages) != len(want) {
					t.Fatalf("%s reads %d messages and close code %d of %x, want %d and %d", name, len(messages), code, b, len(want), wantCode)
				}
				for i := range want {
					if !bytes.Equal(messages[i], want[i]) {
						t.Fatalf("%s reads message %q, want %q", name, messages[i], want[i])
					}
				}
			}
		}
		if r.fault == nil {
			passed++
		} else {
			refused++
		}
	}
	if passed < 2000 || refused < 2000 {
		t.Errorf("%d streams passed and %d did not: too few to say anything", passed, refused)
	}
}

// violated tells an error that says the peer broke the protocol from one that
// says the stream is at its end; code is that of a Close frame that was read.
func violated(err error) (violation bool, code uint16) {
	var g *gorilla.CloseError
	var c coder.CloseError
	switch {
	case errors.As(err, &g) && g.Code == gorilla.CloseAbnormalClosure:
		return false, 0
	case errors.As(err, &g):
		return false, uint16(g.Code)
	case errors.As(err, &c):
		return false, uint16(c.Code)
	}
	return !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF), 0
}
