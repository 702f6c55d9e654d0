package ws

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"unsafe"
)

// frame builds a frame bit by bit; every field can be wrong.
type frame struct {
	b0      byte
	payload string
	masked  bool
	length  int // 0: the shortest form, else 16 or 64 bits
	claim   uint64
}

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

func (f frame) bytes() []byte {
	n := uint64(len(f.payload))
	if f.claim > 0 {
		n = f.claim
	}
	bit := byte(0)
	if f.masked {
		bit = bitMask
	}
	b := []byte{f.b0}
	switch {
	case f.length == 64 || f.length == 0 && n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), n)
	case f.length == 16 || f.length == 0 && n > 125:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = append(b, bit|byte(n))
	}
	if !f.masked {
		return append(b, f.payload...)
	}
	b = append(b, testMask[:]...)
	for i := range len(f.payload) {
		b = append(b, f.payload[i]^testMask[i&3])
	}
	return b
}

// result is all that a scanner says of an input.
type result struct {
	frames []string
	fault  *Fault
}

func (r result) String() string {
	if r.fault == nil {
		return fmt.Sprint(r.frames)
	}
	return fmt.Sprintf("%v %s", r.frames, r.fault.Name)
}

// scan reads b in pieces that end where cut says; what is pending and inside is
// held against the frames that have ended.
func scan(t testing.TB, client bool, ext Extensions, lim Limits, b []byte, cut func(rest int) int) (r result) {
	var s Scanner
	s.Start(client, ext)
	ended, at := 0, 0 // bytes of whole frames, bytes read
	for at < len(b) {
		piece := b[at : at+cut(len(b)-at)]
		before := bytes.Clone(piece)
		for len(piece) > 0 {
			var f Frame
			n, done, fault := s.Next(piece, &lim, &f)
			if fault != nil {
				r.fault = fault
				return r
			}
			piece = piece[n:]
			at += n
			if !done {
				if len(piece) > 0 {
					t.Fatalf("%d bytes are not read though no frame has ended", len(piece))
				}
				break
			}
			ended = at
			r.frames = append(r.frames, fmt.Sprintf("%x:%d:%x:%d", f.Opcode, f.Size, f.First, f.Code))
		}
		if s.Closed() {
			return r
		}
		if p := s.Pending(); s.Inside() && p != 0 || !s.Inside() && p != at-ended {
			t.Fatalf("pending %d, inside %v with %d bytes behind the last frame", p, s.Inside(), at-ended)
		}
		if at-ended == len(before) && !bytes.Equal(before, b[at-len(before):at]) {
			t.Fatal("the input was changed")
		}
	}
	return r
}

func whole64(rest int) int { return rest }
func single1(int) int      { return 1 }

// checkScan wants the same from every split.
func checkScan(t *testing.T, client bool, ext Extensions, lim Limits, b []byte, want string) {
	t.Helper()
	for name, cut := range map[string]func(int) int{"whole": whole64, "byte by byte": single1,
		"sevens": func(rest int) int { return min(rest, 7) }} {
		if got := scan(t, client, ext, lim, b, cut).String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// The examples of RFC 6455 section 5.7, and of RFC 7692 section 7.2.3.
func TestExamples(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client bool
		ext    Extensions
		bytes  []byte
		want   string
	}{
		{"unmasked text", false, 0, []byte{0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}, "[1:5:0:0]"},
		{"masked text", true, 0, []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}, "[1:5:0:0]"},
		{"fragmented text", false, 0, []byte{0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f}, "[1:3:0:0 0:2:0:0]"},
		{"unmasked ping", false, 0, []byte{0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}, "[9:5:6f6c6c6548:0]"},
		{"masked pong", true, 0, []byte{0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}, "[a:5:6f6c6c6548:0]"},
		{"256 bytes", false, 0, append([]byte{0x82, 0x7e, 0x01, 0x00}, make([]byte, 256)...), "[2:256:0:0]"},
		{"64 KiB", false, 0, append([]byte{0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 65536)...), "[2:65536:0:0]"},
		{"compressed", false, Deflate, []byte{0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}, "[1:7:0:0]"},
		{"compressed, fragmented", false, Deflate, []byte{0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00}, "[1:3:0:0 0:4:0:0]"},
	} {
		t.Run(tc.name, func(t *testing.T) { checkScan(t, tc.client, tc.ext, Limits{}, tc.bytes, tc.want) })
	}
}

func text(s string) frame { return frame{b0: 0x81, payload: s, masked: true} }

func closeFrame(code uint16, reason string) frame {
	return frame{b0: 0x88, payload: string(binary.BigEndian.AppendUint16(nil, code)) + reason, masked: true}
}

// Whatever is wrong has its name, however the bytes come.
func TestFaults(t *testing.T) {
	repeat := func(n int) string { return string(bytes.Repeat([]byte{'x'}, n)) }
	for _, tc := range []struct {
		name   string
		ext    Extensions
		lim    Limits
		frames []frame
		want   string
	}{
		{"rsv1", 0, Limits{}, []frame{text("a"), {b0: 0xc1, masked: true}}, "[1:1:0:0] reserved_bit"},
		{"rsv2 with deflate", Deflate, Limits{}, []frame{{b0: 0xa1, masked: true}}, "[] reserved_bit"},
		{"rsv1 on a continuation", Deflate, Limits{}, []frame{{b0: 0x41, masked: true}, {b0: 0xc0, masked: true}}, "[1:0:0:0] reserved_bit"},
		{"rsv1 on a ping", Deflate, Limits{}, []frame{{b0: 0xc9, masked: true}}, "[] reserved_bit"},
		{"rsv3 with an extension", Unknown, Limits{}, []frame{{b0: 0x91, masked: true}, {b0: 0x83, masked: true}}, "[1:0:0:0 3:0:0:0]"},
		{"opcode 3", 0, Limits{}, []frame{{b0: 0x83, masked: true}}, "[] opcode"},
		{"opcode 7", 0, Limits{}, []frame{{b0: 0x87, masked: true}}, "[] opcode"},
		{"opcode b", Unknown, Limits{}, []frame{{b0: 0x8b, masked: true}}, "[] opcode"},
		{"opcode f", 0, Limits{}, []frame{{b0: 0x8f, masked: true}}, "[] opcode"},
		{"unmasked", 0, Limits{}, []frame{{b0: 0x81, payload: "a"}}, "[] unmasked"},
		{"ping of 125", 0, Limits{}, []frame{{b0: 0x89, payload: repeat(125), masked: true}}, "[9:125:7878787878787878:0]"},
		{"ping of 126", 0, Limits{}, []frame{{b0: 0x89, payload: repeat(126), masked: true}}, "[] control_length"},
		{"ping in a long form", 0, Limits{}, []frame{{b0: 0x89, payload: "a", length: 16, masked: true}}, "[] control_length"},
		{"ping in fragments", 0, Limits{}, []frame{{b0: 0x09, masked: true}}, "[] control_fragment"},
		{"close in fragments", 0, Limits{}, []frame{{b0: 0x08, masked: true}}, "[] control_fragment"},
		{"125 in 16 bits", 0, Limits{}, []frame{{b0: 0x82, payload: repeat(125), length: 16, masked: true}}, "[] length_encoding"},
		{"126", 0, Limits{}, []frame{{b0: 0x82, payload: repeat(126), masked: true}}, "[2:126:0:0]"},
		{"65535", 0, Limits{}, []frame{{b0: 0x82, payload: repeat(65535), masked: true}}, "[2:65535:0:0]"},
		{"65535 in 64 bits", 0, Limits{}, []frame{{b0: 0x82, payload: repeat(65535), length: 64, masked: true}}, "[] length_encoding"},
		{"65536", 0, Limits{}, []frame{{b0: 0x82, payload: repeat(65536), masked: true}}, "[2:65536:0:0]"},
		{"64 bits", 0, Limits{}, []frame{{b0: 0x82, claim: 1 << 63, masked: true}}, "[] length_range"},
		{"63 bits", 0, Limits{}, []frame{{b0: 0x82, claim: 1<<63 - 1, masked: true}}, "[]"},
		{"message beyond 64 bits", 0, Limits{}, []frame{{b0: 0x02, claim: 1<<63 - 1, masked: true}}, "[]"},
		{"continuation of nothing", 0, Limits{}, []frame{{b0: 0x80, masked: true}}, "[] continuation"},
		{"continuation behind a message", 0, Limits{}, []frame{text("a"), {b0: 0x00, masked: true}}, "[1:1:0:0] continuation"},
		{"text within a message", 0, Limits{}, []frame{{b0: 0x01, masked: true}, text("a")}, "[1:0:0:0] interleaved"},
		{"ping within a message", 0, Limits{}, []frame{{b0: 0x01, payload: "ä"[:1], masked: true}, {b0: 0x89, payload: "\xff", masked: true}, {b0: 0x80, payload: "ä"[1:], masked: true}},
			"[1:1:0:0 9:1:ff:0 0:1:0:0]"},
		{"close without a code", 0, Limits{}, []frame{{b0: 0x88, masked: true}, text("late")}, "[8:0:0:1005]"},
		{"close with half a code", 0, Limits{}, []frame{{b0: 0x88, payload: "\x03", masked: true}}, "[] close_length"},
		{"close 1000", 0, Limits{}, []frame{closeFrame(1000, "bye ä")}, "[8:8:a4c320657962e803:1000]"},
		{"close 4999", 0, Limits{}, []frame{closeFrame(4999, "")}, "[8:2:8713:4999]"},
		{"close with a reason of Latin-1", 0, Limits{}, []frame{closeFrame(1000, "\xe4")}, "[] close_reason"},
		{"close with half a character", 0, Limits{}, []frame{closeFrame(1000, "ä"[:1])}, "[] close_reason"},
		{"close within a text", 0, Limits{}, []frame{{b0: 0x01, payload: "ä"[:1], masked: true}, closeFrame(1000, "a")}, "[1:1:0:0 8:3:61e803:1000]"},
		{"text", 0, Limits{}, []frame{text("κόσμε 𝄞 \u07ff\u0800\uffff\U0010ffff")}, "[1:28:0:0]"},
		{"text of Latin-1", 0, Limits{}, []frame{text("all is well until \xe4 comes")}, "[] text"},
		{"surrogate", 0, Limits{}, []frame{text("\xed\xa0\x80")}, "[] text"},
		{"overlong", 0, Limits{}, []frame{text("\xc0\xaf")}, "[] text"},
		{"overlong of three", 0, Limits{}, []frame{text("\xe0\x80\xaf")}, "[] text"},
		{"overlong of four", 0, Limits{}, []frame{text("\xf0\x80\x80\xaf")}, "[] text"},
		{"above U+10FFFF", 0, Limits{}, []frame{text("\xf4\x90\x80\x80")}, "[] text"},
		{"half a character at the end", 0, Limits{}, []frame{text("\xe2\x82")}, "[] text"},
		{"half a character at the end of fragments", 0, Limits{}, []frame{{b0: 0x01, payload: "\xe2", masked: true}, {b0: 0x80, payload: "\x82", masked: true}}, "[1:1:0:0] text"},
		{"a character over three frames", 0, Limits{}, []frame{{b0: 0x01, payload: "\xe2", masked: true}, {b0: 0x00, payload: "\x82", masked: true}, {b0: 0x80, payload: "\xac", masked: true}},
			"[1:1:0:0 0:1:0:0 0:1:0:0]"},
		{"bytes", 0, Limits{}, []frame{{b0: 0x82, payload: "\xff\xfe", masked: true}, {b0: 0x02, payload: "\xff", masked: true}, {b0: 0x80, payload: "\xff", masked: true}}, "[2:2:0:0 2:1:0:0 0:1:0:0]"},
		{"compressed text is not looked at", Deflate, Limits{}, []frame{{b0: 0x41, payload: "\xff", masked: true}, {b0: 0x80, payload: "\xff", masked: true}, text("\xff")}, "[1:1:0:0 0:1:0:0] text"},
		{"frame limit", 0, Limits{FrameBytes: 10}, []frame{text("0123456789"), text("0123456789a")}, "[1:10:0:0] frame_size"},
		{"message limit", 0, Limits{MessageBytes: 10}, []frame{text("0123456789"), {b0: 0x01, payload: "01234", masked: true}, {b0: 0x00, payload: "56789", masked: true}, {b0: 0x80, payload: "a", masked: true}},
			"[1:10:0:0 1:5:0:0 0:5:0:0] message_size"},
		{"limits are not for control frames", 0, Limits{FrameBytes: 1, MessageBytes: 1}, []frame{{b0: 0x89, payload: "pppp", masked: true}}, "[9:4:70707070:0]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b []byte
			for _, f := range tc.frames {
				b = append(b, f.bytes()...)
			}
			checkScan(t, true, tc.ext, tc.lim, b, tc.want)
		})
	}
	t.Run("masked by a server", func(t *testing.T) { checkScan(t, false, 0, Limits{}, text("a").bytes(), "[] masked") })
}

// Exactly the codes that RFC 6455 section 7.4 and the registry allow.
func TestCloseCodes(t *testing.T) {
	allowed := func(c int) bool {
		return c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c <= 4999
	}
	for c := range 1 << 16 {
		want := "[] close_code"
		if allowed(c) {
			want = fmt.Sprintf("[8:2:%x:%d]", c>>8|c&0xff<<8, c)
		}
		if got := scan(t, true, 0, Limits{}, closeFrame(uint16(c), "").bytes(), whole64).String(); got != want {
			t.Fatalf("code %d: %s, want %s", c, got, want)
		}
	}
}

// A message that goes on for ever must not come round to a small one.
func TestMessageOverflow(t *testing.T) {
	s := Scanner{message: 1<<64 - 10, flags: flagClient | flagMessage}
	_, _, fault := s.Next(frame{b0: 0x00, payload: "0123456789", masked: true}.bytes(), &Limits{}, new(Frame))
	if fault == nil || fault.Code != FaultMessageSize {
		t.Errorf("fault %v, want %s", fault, faults[FaultMessageSize].Name)
	}
}

func TestFaultsHaveNames(t *testing.T) {
	var names []string
	for i := range FaultCount {
		f := FaultOf(FaultCode(i))
		if f.Code != FaultCode(i) || f.Name == "" || f.Error() == "" || !sendable(f.Close) || slices.Contains(names, f.Name) {
			t.Errorf("%d: %+v", i, *f)
		}
		names = append(names, f.Name)
	}
}

func TestScannerIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Scanner{}); n > 64 {
		t.Errorf("Scanner has %d bytes, want at most 64", n)
	}
}

// What is written is read back.
func TestAppendFrames(t *testing.T) {
	long := string(bytes.Repeat([]byte{'r'}, 200))
	for _, tc := range []struct {
		name   string
		client bool
		bytes  []byte
		want   string
	}{
		{"close", false, AppendClose(nil, 1001, "bye", 0), "[8:5:657962e903:1001]"},
		{"close of a client", true, AppendClose(nil, 1002, "no", 0xdeadbeef), "[8:4:6f6eea03:1002]"},
		{"close with too long a reason", false, AppendClose(nil, 1000, long, 0), "[8:125:727272727272e803:1000]"},
		{"ping", false, AppendControl(nil, Ping, []byte("12345678"), 0), "[9:8:3837363534333231:0]"},
		{"ping of a client", true, AppendControl(nil, Ping, []byte("12345678"), 7), "[9:8:3837363534333231:0]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checkScan(t, tc.client, 0, Limits{}, tc.bytes, tc.want)
			if len(tc.bytes) > ControlMax {
				t.Errorf("%d bytes, want at most %d", len(tc.bytes), ControlMax)
			}
		})
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	b := append(text("κόσμε").bytes(), closeFrame(1000, "bye").bytes()...)
	var s Scanner
	if n := testing.AllocsPerRun(100, func() {
		s.Start(true, 0)
		for rest := b; len(rest) > 0; {
			var f Frame
			n, _, fault := s.Next(rest, &Limits{}, &f)
			if fault != nil {
				t.Fatal(fault)
			}
			rest = rest[n:]
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkScan(b *testing.B) {
	for _, bc := range []struct {
		name    string
		b0      byte
		payload []byte
	}{
		{"text_16B", 0x81, bytes.Repeat([]byte("a"), 16)},
		{"binary_16B", 0x82, bytes.Repeat([]byte("a"), 16)},
		{"text_4KiB_ASCII", 0x81, bytes.Repeat([]byte("a"), 4096)},
		{"text_4KiB_Greek", 0x81, bytes.Repeat([]byte("κό"), 1024)},
		{"binary_4KiB", 0x82, bytes.Repeat([]byte("a"), 4096)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			one := frame{b0: bc.b0, payload: string(bc.payload), masked: true}.bytes()
			many := bytes.Repeat(one, max(1, 16384/len(one)))
			var s Scanner
			s.Start(true, 0)
			b.SetBytes(int64(len(many)))
			frames := 0
			for b.Loop() {
				for rest := many; len(rest) > 0; {
					var f Frame
					n, _, fault := s.Next(rest, &Limits{}, &f)
					if fault != nil {
						b.Fatal(fault)
					}
					rest = rest[n:]
					frames++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/frame")
		})
	}
}
