package hostile

// H2Request is a row of the table of requests that arrive by HTTP/2 and are to
// go on by HTTP/1.1, where a byte too many in a name or a value is a field or
// a request of its own (RFC 9113 section 10.3).
type H2Request struct {
	Name     string // theme/what is odd about it
	Section  string // of RFC 9113, or of the one named
	Fields   []Field
	Body     []string // one DATA frame each
	Pad      bool     // they are padded
	Trailers []Field
	Open     bool // nothing ends the stream: what ends it is the last Field section
	// Status 400 stands for malformed: a stream error PROTOCOL_ERROR, with or
	// without an answer 400 (RFC 9113 section 8.1.1). Of Message, HTTP/1.1's form.
	Want Outcome
}

// H2Block encodes fields without a table and without Huffman codes, so that
// every byte arrives as it is (RFC 7541 section 6.2.2).
func H2Block(fields []Field) []byte {
	var b []byte
	for _, f := range fields {
		b = append(b, 0)
		b = append(appendInteger(b, len(f.Name)), f.Name...)
		b = append(appendInteger(b, len(f.Value)), f.Value...)
	}
	return b
}

// appendInteger: RFC 7541 section 5.1, with a prefix of 7 bits.
func appendInteger(b []byte, n int) []byte {
	if n < 127 {
		return append(b, byte(n))
	}
	b = append(b, 127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// H2Requests is the whole table.
func H2Requests() []H2Request {
	var all []H2Request
	for _, theme := range [][]H2Request{
		h2Names(), h2Values(), h2Pseudo(), h2Targets(), h2Authorities(), h2ConnectionFields(), h2Lengths(), h2Bodies(), h2Trailers(), h2Sizes(),
	} {
		all = append(all, theme...)
	}
	return all
}

// h2Head are the pseudo-fields of a request with method and path, then extra
// names and values in turn.
func h2Head(method, path string, extra ...string) []Field {
	return h2Fields(append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", "h"}, extra...)...)
}

func h2Fields(pairs ...string) []Field {
	var fields []Field
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, Field{pairs[i], pairs[i+1]})
	}
	return fields
}

// h2Row is a request without content.
func h2Row(name, section string, fields []Field, want Outcome) H2Request {
	return H2Request{Name: name, Section: section, Fields: fields, Want: want}
}
