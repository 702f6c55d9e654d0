package http2

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// RFC 7541 section 4.2: a table that was made smaller and larger again between
// two blocks is said to have been both.
func TestTwoSizeUpdates(t *testing.T) {
	get := "\x82\x87\x84\x01\x01a"
	for _, c := range []struct{ name, block, want string }{
		{"to what is there, and larger", "\x3f\x45\x3f\xe1\x1f" + get + "\xbe", "head 3 GET https a / [in: the table] END"},
		{"to nothing, and larger", "\x20\x3f\xe1\x1f" + get, "head 3 GET https a / END"},
		{"smaller twice", "\x3f\x01\x20" + get, "head 3 GET https a / END"},
		{"larger than allowed", "\x20\x3f\xe2\x1f" + get, "closed COMPRESSION_ERROR: field section cannot be decoded"},
		{"one that does not end", "\x20\x3f\xff", "closed COMPRESSION_ERROR: field section cannot be decoded"},
		{"of more than any integer", "\x3f\xff\xff\xff\xff\xff\xff\x01" + get, "closed COMPRESSION_ERROR: field section cannot be decoded"},
		{"what the first one dropped", "\x20\x3f\xe1\x1f" + get + "\xbe", "closed COMPRESSION_ERROR: field section cannot be decoded"},
	} {
		r := server(t, nil)
		r.headers(1, true, append(getFields[:8:8], "in", "the table")...)
		r.feed()
		r.raw(len(c.block), frameHeaders, bitEndStream|bitEndHeaders, 3, c.block)
		if events := r.feed(); len(events) != 1 || events[0] != c.want {
			t.Errorf("%s: %q, want %q", c.name, events, c.want)
		}
	}
}

// Insertions are counted whatever the other fields are, and however a block is
// cut short.
func TestInsertions(t *testing.T) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	enc.SetMaxDynamicTableSize(1000)
	for i := range 70 {
		enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
		enc.WriteField(hpack.HeaderField{Name: "cookie", Value: string(rune('a' + i))})
		enc.WriteField(hpack.HeaderField{Name: "secret" + string(rune('a'+i)), Value: string(make([]byte, 300)), Sensitive: true})
	}
	block := b.Bytes()
	if n := tableEffects(block).inserted; n != 70 {
		t.Errorf("%d insertions, want 70", n)
	}
	last := uint32(0)
	for cut := range block {
		n := tableEffects(block[:cut]).inserted
		if n < last || n > 70 {
			t.Fatalf("%d insertions in %d bytes, %d in fewer", n, cut, last)
		}
		last = n
	}
}
