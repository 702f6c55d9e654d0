package http2

import (
	"bytes"
	"strings"
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

// Insertions are counted whatever the other fields are, and whoever wants them.
func TestInsertions(t *testing.T) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	enc.SetMaxDynamicTableSize(1000)
	for i := range 70 {
		enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
		enc.WriteField(hpack.HeaderField{Name: "cookie", Value: string(rune('a' + i))})
		enc.WriteField(hpack.HeaderField{Name: "secret" + string(rune('a'+i)), Value: strings.Repeat("a", 300), Sensitive: true})
	}
	for _, mode := range []sectionMode{sectionDiscard, sectionTrailers} {
		r := server(t, nil)
		if !r.s.decode(b.Bytes(), mode) || r.s.decoder.inserted != 70 {
			t.Errorf("mode %d: %d insertions, want 70", mode, r.s.decoder.inserted)
		}
		if !r.s.decode([]byte{0x82}, mode) || r.s.decoder.inserted != 0 {
			t.Errorf("mode %d: %d insertions by an index", mode, r.s.decoder.inserted)
		}
	}
}

// RFC 9113 section 4.3.1: a table that had to become smaller is said to be so by the
// first block behind the acknowledgement, or the connection ends.
func TestSmallerTableIsAcknowledged(t *testing.T) {
	const get, broken = "\x82\x87\x84\x01\x01a", "closed COMPRESSION_ERROR: field section cannot be decoded"
	for _, c := range []struct {
		name   string
		limit  uint32
		blocks []string
		want   string
	}{
		{"none is wanted, and there is none", 0, []string{"\x20" + get, get}, "head 3 GET https a / END"},
		{"none is wanted", 0, []string{get}, broken},
		{"smaller, and that", 100, []string{"\x3f\x45" + get, get}, "head 3 GET https a / END"},
		{"smaller, and smaller still", 100, []string{"\x20\x3f\x01" + get, get}, "head 3 GET https a / END"},
		{"smaller, but larger", 100, []string{"\x3f\x46" + get}, broken},
		{"smaller, but nothing said", 100, []string{get}, broken},
		{"larger, and nothing said", 1 << 16, []string{get, get}, "head 3 GET https a / END"},
	} {
		r := server(t, func(cfg *Config) { cfg.HeaderTable = c.limit })
		var last []string
		for i, block := range c.blocks {
			last, _ = r.feedBlock(uint32(2*i+1), true, block)
		}
		if len(last) != 1 || last[0] != c.want {
			t.Errorf("%s: %q, want %q", c.name, last, c.want)
		}
	}
	// Who has not heard of it yet need not say anything.
	r := newRig(t, Server, func(cfg *Config) { cfg.HeaderTable = 0 })
	r.in.WriteString(Preface)
	r.fr.WriteSettings()
	r.want("settings")
	if events, _ := r.feedBlock(1, true, get); len(events) != 1 || events[0] != "head 1 GET https a / END" {
		t.Errorf("before the acknowledgement: %q", events)
	}
}
