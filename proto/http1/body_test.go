package http1

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"zproxy/proto"
)

// walk feeds in in pieces ending at cuts and tells the data and how it ended.
func walk(d *Body, in []byte, cuts func(i int) bool) string {
	var data []byte
	begin := 0
	for i := 1; i <= len(in)+1; i++ {
		if i <= len(in) && i < len(in) && !cuts(i) {
			continue
		}
		end := min(i, len(in))
		for {
			piece, skip, n, f := d.Next(in[begin:end])
			if f != nil {
				return fmt.Sprintf("%q fault %s", data, f.Code.Name())
			}
			if skip+n > end-begin || n > 0 && piece != PieceData || n == 0 && piece == PieceData {
				return fmt.Sprintf("piece %d, skip %d, n %d of %d", piece, skip, n, end-begin)
			}
			data = append(data, in[begin+skip:begin+skip+n]...)
			begin += skip + n
			if piece == PieceMore && begin != end {
				return fmt.Sprintf("more, but %d bytes left", end-begin)
			}
			if piece == PieceTrailers {
				return fmt.Sprintf("%q trailers %q", data, in[begin:])
			}
			if piece == PieceEnd {
				return fmt.Sprintf("%q end %q", data, in[begin:])
			}
			if piece == PieceMore {
				break
			}
		}
	}
	return fmt.Sprintf("%q more", data)
}

func chunkedInAnyPieces(t *testing.T, in string) string {
	t.Helper()
	one := func(cuts func(int) bool) string {
		var d Body
		d.Start(proto.BodyChunked, -1)
		return walk(&d, []byte(in), cuts)
	}
	want := one(atOnce)
	if got := one(everyByte); got != want {
		t.Errorf("%q in bytes: %s, at once: %s", in, got, want)
	}
	if got := one(everyThird); got != want {
		t.Errorf("%q in threes: %s, at once: %s", in, got, want)
	}
	return want
}

func TestChunked(t *testing.T) {
	for in, want := range map[string]string{
		"0\r\n\r\n":                                    `"" trailers "\r\n"`,
		"000\r\nX: y\r\n\r\n":                          `"" trailers "X: y\r\n\r\n"`,
		"5\r\nhello\r\n0\r\n\r\n":                      `"hello" trailers "\r\n"`,
		"5\r\nhello\r\n6\r\n world\r\n0\r\n":           `"hello world" trailers ""`,
		"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n":  `"01234567890123456789" trailers ""`,
		"0000000000000003\r\nabc\r\n0\r\n":             `"abc" trailers ""`,
		"2\r\n\r\n\r\n0\r\n":                           `"\r\n" trailers ""`,
		"3;a\r\nabc\r\n0;b=c\r\n":                      `"abc" trailers ""`,
		"3 ; a = b ;c=\"d;\\\"\\\\\xe9\r\"\r\nabc\r\n": `"" fault chunk_extension`,
		"3 ;\ta = b ;c=\"d;\\\"\\\\\xe9 =\";e\r\nabc":  `"abc" more`,
		"3;a=\"b\" ;c\r\nabc":                          `"abc" more`,
		"5\r\nhel":                                     `"hel" more`,
		"7fffffffffffffff\r\nx":                        `"x" more`,
		"":                                             `"" more`,
		"\r\n":                                         `"" fault chunk_size`,
		" 5\r\nhello":                                  `"" fault chunk_size`,
		"5 \r\nhello":                                  `"" fault chunk_extension`,
		"5x\r\nhello":                                  `"" fault chunk_size`,
		"x\r\n":                                        `"" fault chunk_size`,
		"-5\r\n":                                       `"" fault chunk_size`,
		"+5\r\n":                                       `"" fault chunk_size`,
		"0x5\r\nhello":                                 `"" fault chunk_size`,
		"5_0\r\n":                                      `"" fault chunk_size`,
		"5\nhello":                                     `"" fault chunk_line`,
		"5\rhello":                                     `"" fault chunk_line`,
		"5\r\r\nhello":                                 `"" fault chunk_line`,
		"5;a\nhello":                                   `"" fault chunk_line`,
		"5;a\rb\r\nhello":                              `"" fault chunk_line`,
		"5;\r\nhello":                                  `"" fault chunk_extension`,
		"5;a=\r\nhello":                                `"" fault chunk_extension`,
		"5;=b\r\nhello":                                `"" fault chunk_extension`,
		"5;a b\r\nhello":                               `"" fault chunk_extension`,
		"5;a=\"b\r\nhello":                             `"" fault chunk_extension`,
		"5;a=\"b\"c\r\nhello":                          `"" fault chunk_extension`,
		"5;a=\"\x00\"\r\nhello":                        `"" fault chunk_extension`,
		"5;a=\"\\\x7f\"\r\nhello":                      `"" fault chunk_extension`,
		"5;\x00\r\nhello":                              `"" fault chunk_extension`,
		"5;a \r\nhello":                                `"" fault chunk_extension`,
		"5\r\nhello\n0\r\n\r\n":                        `"hello" fault chunk_data_end`,
		"5\r\nhello\r0\r\n\r\n":                        `"hello" fault chunk_data_end`,
		"5\r\nhelloX\r\n0\r\n\r\n":                     `"hello" fault chunk_data_end`,
		"5\r\nhello\r\n\r\n":                           `"hello" fault chunk_size`,
		"8000000000000000\r\n":                         `"" fault chunk_size_overflow`,
		"ffffffffffffffff\r\n":                         `"" fault chunk_size_overflow`,
		"10000000000000005\r\nhello":                   `"" fault chunk_size_overflow`,
		"00000000000000005\r\nhello":                   `"" fault chunk_size_overflow`,
		"5;" + strings.Repeat("a", 1021) + "\r\nhello": `"" fault chunk_extension`,
		"5;" + strings.Repeat("a", 1000) + "\r\nhello": `"hello" more`,
	} {
		if got := chunkedInAnyPieces(t, in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// Many chunks with more framing than data are an attack; the smallest possible
// chunks without extensions are merely slow, and extensions on chunks of a
// useful size are paid for by their data.
func TestChunkOverheadIsBounded(t *testing.T) {
	var d Body
	feed := func(chunk string, times int) (sent int, f *proto.Fault) {
		d.Start(proto.BodyChunked, -1)
		for range times {
			for b := []byte(chunk); len(b) > 0; {
				_, skip, n, f := d.Next(b)
				if f != nil {
					return sent, f
				}
				b = b[skip+n:]
			}
			sent += len(chunk)
		}
		return sent, nil
	}
	if sent, f := feed("1;"+strings.Repeat("a", 500)+"\r\nx\r\n", 1000); f == nil || f.Code != proto.FaultChunkOverhead || sent > 20<<10 {
		t.Errorf("extension flood: fault %v after %d bytes", f, sent)
	}
	if _, f := feed("1\r\nx\r\n", 100000); f != nil {
		t.Errorf("small chunks: %v", f)
	}
	if _, f := feed("400;sig="+strings.Repeat("a", 100)+"\r\n"+strings.Repeat("x", 1024)+"\r\n", 1000); f != nil {
		t.Errorf("chunks with extensions: %v", f)
	}
}

func TestBodyKinds(t *testing.T) {
	if size := reflect.TypeOf(Body{}).Size(); size > 32 {
		t.Errorf("Body takes %d bytes", size)
	}
	for _, c := range []struct {
		kind   proto.BodyKind
		length int64
		in     string
		want   string
	}{
		{proto.BodyNone, -1, "next", `"" end "next"`},
		{proto.BodyLength, 0, "next", `"" end "next"`},
		{proto.BodyLength, 5, "hellonext", `"hello" end "next"`},
		{proto.BodyLength, 5, "hel", `"hel" more`},
		{proto.BodyUntilClose, -1, "anything", `"anything" more`},
	} {
		for _, cuts := range []func(int) bool{atOnce, everyByte} {
			var d Body
			d.Start(c.kind, c.length)
			if got := walk(&d, []byte(c.in), cuts); got != c.want {
				t.Errorf("%v %d %q: %s, want %s", c.kind, c.length, c.in, got, c.want)
			}
		}
	}
	var d Body
	if piece, _, _, f := d.Next([]byte("x")); piece != PieceEnd || f != nil || !d.Done() {
		t.Error("the zero Body has content")
	}
}

// What the end of the connection means at every point of every kind of body.
func TestEOF(t *testing.T) {
	for _, c := range []struct {
		kind     proto.BodyKind
		length   int64
		in       string
		complete bool
	}{
		{proto.BodyNone, -1, "", true},
		{proto.BodyLength, 5, "", false},
		{proto.BodyLength, 5, "hell", false},
		{proto.BodyLength, 5, "hello", true},
		{proto.BodyUntilClose, -1, "", true},
		{proto.BodyUntilClose, -1, "hell", true},
		{proto.BodyChunked, -1, "", false},
		{proto.BodyChunked, -1, "5\r\nhello\r\n", false},
		{proto.BodyChunked, -1, "5\r\nhello\r\n0\r\n", false}, // the trailer section is missing
		{proto.BodyChunked, -1, "bad", false},
	} {
		var d Body
		d.Start(c.kind, c.length)
		walk(&d, []byte(c.in), atOnce)
		if f := d.EOF(); (f == nil) != c.complete || d.Done() != c.complete {
			t.Errorf("%v %q: %v, done %v", c.kind, c.in, f, d.Done())
		}
		if _, _, _, f := d.Next([]byte("x")); (f == nil) != c.complete {
			t.Errorf("%v %q goes on after its end: %v", c.kind, c.in, f)
		}
	}
	var d Body
	d.Start(proto.BodyChunked, -1)
	walk(&d, []byte("1\r\nx\r\n0\r\n"), atOnce)
	if d.Done() || d.Remaining() != 0 {
		t.Error("done before the trailer section")
	}
	var h proto.Head
	for _, b := range []string{"a: b\r", "a: b\r\nc: d\r\n\r"} {
		if n, f := d.Trailers([]byte(b), &testLimits, &h); n != 0 || f != nil || d.Done() {
			t.Errorf("%q is the whole trailer section: %d, %v", b, n, f)
		}
	}
	if n, f := d.Trailers([]byte("a: b\r\nc: d\r\n\r\nGET"), &testLimits, &h); n != 14 || f != nil || len(h.Fields) != 2 {
		t.Errorf("trailer section of %d bytes, %d fields: %v", n, len(h.Fields), f)
	}
	if piece, _, _, _ := d.Next([]byte("GET")); !d.Done() || piece != PieceEnd || d.EOF() != nil {
		t.Error("not done behind the trailer section")
	}
	d.Start(proto.BodyLength, 10)
	d.Next([]byte("abc"))
	if d.Remaining() != 7 {
		t.Errorf("remaining %d, want 7", d.Remaining())
	}
}
