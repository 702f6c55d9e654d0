package http2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"zproxy/proto"
)

// twoDecoders gives blocks to this package's decoder and to that of x/net.
type twoDecoders struct {
	t      testing.TB
	own    *decoder
	x      *section
	theirs *hpack.Decoder
	want   []hpack.HeaderField
}

const (
	anyTable = 1 << 16 // the largest table
	wide     = 1 << 30
)

func newTwoDecoders(t testing.TB) *twoDecoders {
	p := &twoDecoders{t: t, own: &decoder{max: defaultTable}, x: &section{}}
	p.theirs = hpack.NewDecoder(defaultTable, func(f hpack.HeaderField) { p.want = append(p.want, f) })
	p.theirs.SetAllowedMaxDynamicTableSize(anyTable)
	return p
}

// anatomy is what a block is made of, found out without a table: how many fields go
// into it, and whether there is an update of its size behind a field, which x/net
// takes while there is nothing in the table.
type anatomy struct {
	inserted uint32
	late     bool
}

func dissect(b []byte) (a anatomy) {
	for len(b) > 0 {
		prefix, literals := 4, 1
		switch c := b[0]; {
		case c >= 0x80:
			prefix, literals = 7, 0
		case c >= 0x40:
			prefix = 6
			a.inserted++
		case c >= 0x20:
			prefix, literals = 5, 0
			a.late = true
		}
		index, rest, ok := integer(b, prefix)
		if !ok {
			return a
		}
		if b = rest; literals > 0 && index == 0 {
			literals = 2
		}
		for ; literals > 0; literals-- {
			size, rest, ok := integer(b, 7)
			if !ok || size > uint64(len(rest)) {
				return a
			}
			b = rest[size:]
		}
	}
	return a
}

// read gives a block to both, and says whether it was one. wants: fields are compared.
func (p *twoDecoders) read(b []byte, wants bool) bool {
	p.t.Helper()
	mode := sectionDiscard
	if wants {
		mode = sectionTrailers
	}
	p.x.begin(mode, &Config{HeadBytes: wide, Fields: wide})
	p.theirs.SetEmitEnabled(wants)
	for len(b) > 0 && b[0]&0xe0 == tableUpdate {
		size, rest, ok := integer(b, 5)
		if !ok || size > anyTable {
			return false
		}
		p.own.setMax(uint32(size))
		p.theirs.SetMaxDynamicTableSize(uint32(size))
		b = rest
	}
	p.want = p.want[:0]
	// A fault of a field ends what is wanted: what is compared is all before it.
	before := bytes.Clone(b)
	err := p.own.decode(b, p.x)
	if !bytes.Equal(b, before) {
		p.t.Fatal("the block was written to")
	}
	_, wrong := p.theirs.Write(b)
	if wrong == nil {
		wrong = p.theirs.Close()
	}
	a := dissect(b)
	if (err == nil) != (wrong == nil) && !a.late && p.x.fault == nil {
		p.t.Fatalf("block %x: %v, x/net: %v", b, err, wrong)
	}
	if err != nil || wrong != nil {
		return false
	}
	if p.own.inserted != a.inserted {
		p.t.Fatalf("block %x: %d insertions, want %d", b, p.own.inserted, a.inserted)
	}
	if wants {
		p.sameFields()
	}
	return true
}

func (p *twoDecoders) sameFields() {
	p.t.Helper()
	for i, f := range p.x.head.Fields {
		if i < len(p.want) && (f.Flags&proto.FlagNeverIndex != 0) != p.want[i].Sensitive {
			p.t.Fatalf("field %d: flags %d, want %v", i, f.Flags, p.want)
		}
		if got := string(p.x.bytes(f.Name)) + ": " + string(p.x.bytes(f.Value)); i >= len(p.want) || got != p.want[i].Name+": "+p.want[i].Value {
			p.t.Fatalf("field %d: got %q, want %v", i, got, p.want)
		}
	}
	if len(p.x.head.Fields) != len(p.want) && p.x.fault == nil {
		p.t.Fatalf("%d fields, want %d", len(p.x.head.Fields), len(p.want))
	}
}

// sameTables compares all that is in the tables, and how much memory that takes.
func (p *twoDecoders) sameTables() {
	p.t.Helper()
	p.theirs.SetEmitEnabled(true)
	for i := uint64(1); ; i++ {
		p.want = p.want[:0]
		_, err := p.theirs.Write(appendIndex(nil, indexed, 7, i))
		name, value, ok := p.own.at(&p.x.words, i)
		if ok != (err == nil) || ok && (string(name) != p.want[0].Name || string(value) != p.want[0].Value) {
			p.t.Fatalf("index %d: %q %q %v, x/net %v %v", i, name, value, ok, p.want, err)
		}
		if !ok {
			break
		}
	}
	size := uint32(0)
	for _, e := range p.own.entries[p.own.oldest:] {
		size += e.size()
	}
	if size != p.own.size || size > p.own.max {
		p.t.Fatalf("a size of %d, which is %d, in a table of %d", p.own.size, size, p.own.max)
	}
}

// appendIndex appends an integer with a prefix of so many bits.
func appendIndex(b []byte, kind byte, prefix int, v uint64) []byte {
	most := uint64(1)<<prefix - 1
	if v < most {
		return append(b, kind|byte(v))
	}
	b = append(b, kind|byte(most))
	for v -= most; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// Fields of all sizes fill tables that become smaller and larger: both decoders agree,
// and the memory stays within what the table may take.
func TestDecodersAgree(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		p := newTwoDecoders(t)
		var out bytes.Buffer
		enc := hpack.NewEncoder(&out)
		enc.SetMaxDynamicTableSizeLimit(anyTable)
		most := defaultTable
		for range 60 {
			out.Reset()
			if rng.IntN(10) == 0 {
				size := rng.IntN(9000)
				enc.SetMaxDynamicTableSize(uint32(size))
				most = max(most, size)
			}
			for range rng.IntN(12) {
				f := hpack.HeaderField{Name: fmt.Sprintf("n%d", rng.IntN(20)), Value: strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(1<<rng.IntN(14))), Sensitive: rng.IntN(5) == 0}
				if rng.IntN(4) == 0 {
					f.Name = staticTable[15+rng.IntN(42)].name
				}
				enc.WriteField(f)
			}
			if !p.read(out.Bytes(), rng.IntN(4) > 0) {
				t.Fatalf("seed %d: a block was refused", seed)
			}
			p.sameTables()
			if d := p.own; len(d.text) > most*3/2 || len(d.entries) > most/entryMin*2+1 {
				t.Fatalf("%d bytes of text and %d entries in a table that had at most %d", len(d.text), len(d.entries), most)
			}
		}
	}
}

// writeBlock makes a block of what a program says: indexes, literals of all kinds
// with names by index or spelled out, Huffman coded or not, updates of the table's
// size, and now and then a byte that is anything.
func writeBlock(program []byte) (block []byte) {
	next := func() byte {
		if len(program) == 0 {
			return 0
		}
		c := program[0]
		program = program[1:]
		return c
	}
	text := func(huffman bool) {
		n, c := int(next()), 'a'+next()%26
		if n > 250 {
			n *= 20
		}
		s := strings.Repeat(string(rune(c)), n)
		if huffman {
			block = appendIndex(block, 0x80, 7, hpack.HuffmanEncodeLength(s))
			block = hpack.AppendHuffmanString(block, s)
			return
		}
		block = append(appendIndex(block, 0, 7, uint64(n)), s...)
	}
	for len(program) > 0 {
		op := next()
		index := uint64(next())
		if index > 200 {
			index *= index
		}
		switch op % 8 {
		case 0, 1, 2:
			block = appendIndex(block, indexed, 7, index)
		case 3, 4, 5, 6:
			kind, prefix := byte(insert), 6
			if op%8 == 5 {
				kind, prefix = literal, 4
			} else if op%8 == 6 {
				kind, prefix = neverIndex, 4
			}
			if op&8 != 0 {
				index = 0
			}
			block = appendIndex(block, kind, prefix, index)
			if index == 0 {
				text(op&16 != 0)
			}
			text(op&32 != 0)
		case 7:
			if op&0xf8 != 0xf8 {
				block = appendIndex(block, tableUpdate, 5, index)
			} else {
				block = append(block, byte(index))
			}
		}
	}
	return block
}

// FuzzDecoders: whatever is taken x/net takes too, whatever is not it does not, and
// both have the same table then.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte{0x40, 1, 'a', 1, 'b', 0xbe, 0x7e, 1, 'c'}, []byte{0x3f, 0xe1, 0x1f, 0x44, 0x82, 0x60, 0xff}, false)
	f.Add([]byte{0x20, 0x40, 1, 'a', 1, 'b'}, []byte{0x82, 0x0f, 0x2b, 0}, false)
	f.Add([]byte{0x82, 0x20}, []byte{0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, false)
	f.Add([]byte{7, 100, 3 | 8 | 16 | 32, 0, 20, 3, 40, 5, 0, 62}, []byte{4, 62, 255, 9, 3, 33, 10, 1, 0, 63}, true)
	f.Fuzz(func(t *testing.T, a, b []byte, program bool) {
		if program {
			a, b = writeBlock(a), writeBlock(b)
		}
		p := newTwoDecoders(t)
		for i, block := range [][]byte{a, b, a, b, b} {
			if !p.read(block, i%3 != 0) {
				return
			}
			p.sameTables()
		}
	})
}

// A session that begins anew after one that had broken off begins with an empty table.
func TestDecoderOfTheConnectionBefore(t *testing.T) {
	r := server(t, nil)
	r.headers(1, true, append(getFields[:8:8], "x", "old")...)
	r.feed()
	if events, _ := r.feedBlock(3, true, "\x40\x01y\x01z\xff"); len(events) != 1 || !strings.HasPrefix(events[0], "closed COMPRESSION_ERROR") {
		t.Fatalf("%q", events)
	}
	r.s.Release()
	r.out, r.end = nil, ""
	r.begin(Server)
	r.in.WriteString(Preface)
	r.fr.WriteSettings()
	r.feed()
	if events, _ := r.feedBlock(1, true, "\x82\x87\x84\x01\x01a\xbe"); len(events) != 1 || !strings.HasPrefix(events[0], "closed COMPRESSION_ERROR") {
		t.Errorf("an entry of the connection before: %q", events)
	}
}

// RFC 7541 sections 2.3.3, 4.2, 4.4, 5.1 and 5.2, one by one.
func TestFieldBlocks(t *testing.T) {
	const start = "\x82\x87\x84\x01\x01a" // GET https a /
	for _, c := range []struct{ name, block, want string }{
		{"index 0", "\x80", ""},
		{"the last of the static table", "\xbd", "[www-authenticate: ]"},
		{"the first behind it", "\xbe", ""},
		{"one that was put there", "\x40\x01x\x01y\xbe", "[x: y] [x: y]"},
		{"one behind that", "\x40\x01x\x01y\xbf", ""},
		{"a name by index, for the table", "\x40\x01x\x01y\x7e\x01z\xbe", "[x: y] [x: z] [x: z]"},
		{"a name by index, for no table", "\x40\x01x\x01y\x0f\x2f\x01z\xbe", "[x: y] [x: z] [x: y]"},
		{"a name that is not there", "\x7e\x01z", ""},
		{"never to be indexed", "\x10\x01x\x01y", "[x: y]"},
		{"an update behind a field", "\x3f\xe1\x1f", ""},
		{"an integer of too many bytes", "\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", ""},
		{"an integer that is too large", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ""},
		{"an index of 64 bits", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", ""},
		{"an integer that does not end", "\xff\x80", ""},
		{"a string of 64 bits", "\x00\x01x\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x7f", ""},
		{"a string that does not end", "\x00\x01x\x02y", ""},
		{"no value", "\x00\x01x", ""},
		{"no name", "\x00", ""},
		{"Huffman", "\x00\x01x\x81\x1f", "[x: a]"},
		{"Huffman padded by 0", "\x00\x01x\x81\x18", ""},
		{"Huffman padded by 8 bits", "\x00\x01x\x82\x1f\xff", ""},
		{"Huffman of EOS", "\x00\x01x\x84\xff\xff\xff\xff", ""},
		{"Huffman that does not end", "\x00\x01x\x81\xff", ""},
		{"Huffman of nothing", "\x00\x01x\x80", "[x: ]"},
		{"more than the table has", "\x40\x01x\x01y\x40\x01z\x7f\xe1\x1f" + strings.Repeat("v", 4192) + "\xbe", ""},
	} {
		r := server(t, func(cfg *Config) { cfg.HeadBytes = 16 << 10 })
		want := "closed COMPRESSION_ERROR: field section cannot be decoded"
		if c.want != "" {
			want = "head 1 GET https a / " + c.want + " END"
		}
		if events, _ := r.feedBlock(1, true, start+c.block); len(events) != 1 || events[0] != want {
			t.Errorf("%s: %q, want %q", c.name, events, want)
		}
	}
}

// Requests whose paths and values are new each time, as literals and into the table.
func TestNewFieldsAllocateNothing(t *testing.T) {
	for _, indexing := range []bool{false, true} {
		var out bytes.Buffer
		enc := hpack.NewEncoder(&out)
		var blocks [][]byte
		for i := range 4000 {
			out.Reset()
			for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"},
				{Name: ":path", Value: fmt.Sprintf("/item/%d", i), Sensitive: !indexing}, {Name: "x-new", Value: fmt.Sprintf("value %d", i), Sensitive: !indexing}} {
				enc.WriteField(f)
			}
			blocks = append(blocks, bytes.Clone(out.Bytes()))
		}
		r := server(t, nil)
		i := 0
		next := func() {
			if !r.s.decode(blocks[i], sectionRequest) || r.s.scratch.section.endRequest(r.s.cfg, true) != nil {
				t.Fatal("refused")
			}
			i++
		}
		for i < 1000 {
			next()
		}
		if n := testing.AllocsPerRun(2900, next); n != 0 {
			t.Errorf("indexing %v: %v allocations", indexing, n)
		}
	}
}
