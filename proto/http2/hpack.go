package http2

import (
	"errors"

	"golang.org/x/net/http2/hpack"

	"zproxy/proto"
)

// decoder reads field blocks (RFC 7541). Fields that come new with each message are
// read without an allocation: what they are is lent, and what the table keeps of them
// is bytes in one piece of memory.
type decoder struct {
	text     []byte // of the entries, oldest first, behind text that is no more needed
	entries  []entry
	oldest   int    // entries before it are gone
	size     uint32 // as RFC 7541 section 4.1 counts
	max      uint32 // which the peer has chosen
	inserted uint32 // by the last block
}

// entry is a field in the table: where its text begins, and how long its parts are.
type entry struct{ off, name, value uint32 }

func (e entry) size() uint32 { return e.name + e.value + entryMin }

// words are the strings of the field that is being read, where they lie nowhere else.
type words struct{ name, value word }

// word takes a string that was Huffman coded.
type word []byte

func (w *word) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}

var errBlock = errors.New("http2: not a field block")

// setMax takes the size of the table that the peer has chosen (section 4.2).
func (d *decoder) setMax(n uint32) {
	d.max = n
	d.evict(0)
}

// evict makes room for an entry of n (section 4.3).
func (d *decoder) evict(n uint32) {
	for d.oldest < len(d.entries) && d.size+n > d.max {
		d.size -= d.entries[d.oldest].size()
		d.oldest++
	}
	if d.oldest == len(d.entries) {
		d.text, d.entries, d.oldest = d.text[:0], d.entries[:0], 0
	}
}

// insert puts a field into the table. One that is larger than the table empties it
// (section 4.4). Neither name nor value may be text of the table, which moves.
func (d *decoder) insert(name, value []byte) {
	d.inserted++
	n := len(name) + len(value) + entryMin
	if n > int(d.max) {
		d.evict(d.max)
		return
	}
	d.evict(uint32(n))
	// What is gone has at most as many entries as what is there, and half as much
	// text as there may be.
	if d.oldest > len(d.entries)/2 || d.oldest > 0 && d.entries[d.oldest].off > d.max/2 {
		d.compact()
	}
	off := uint32(len(d.text))
	d.text = append(append(d.text, name...), value...)
	d.entries = append(d.entries, entry{off, uint32(len(name)), uint32(len(value))})
	d.size += uint32(n)
}

// compact moves what there is to the beginning of its memory.
func (d *decoder) compact() {
	from := d.entries[d.oldest].off
	d.text = d.text[:copy(d.text, d.text[from:])]
	d.entries = d.entries[:copy(d.entries, d.entries[d.oldest:])]
	d.oldest = 0
	for i := range d.entries {
		d.entries[i].off -= from
	}
}

// known is the first index there is no field for (section 2.3.3).
func (d *decoder) known() uint64 { return uint64(len(staticTable) + len(d.entries) - d.oldest) }

// at lends the field of an index, one of the static table in w.
func (d *decoder) at(w *words, i uint64) (name, value []byte, ok bool) {
	if i == 0 || i >= d.known() {
		return nil, nil, false
	}
	if i < uint64(len(staticTable)) {
		f := &staticTable[i]
		w.name, w.value = append(w.name[:0], f.name...), append(w.value[:0], f.value...)
		return w.name, w.value, true
	}
	e := d.entries[len(d.entries)-1-(int(i)-len(staticTable))]
	b := d.text[e.off : e.off+e.name+e.value]
	return b[:e.name], b[e.name:], true
}

// decode reads a whole block behind the updates of the table's size that it may begin
// with. x is lent each field for as long as it wants any; the table follows all of
// them. With an error the connection is over, and the table no more what it was.
func (d *decoder) decode(b []byte, x *section) error {
	d.inserted = 0
	for len(b) > 0 {
		ok := false
		switch c := b[0]; {
		case c >= indexed && c < 0xff && !x.wants:
			n := d.skip(b)
			x.unwanted += n
			b, ok = b[n:], n > 0
		case c >= indexed:
			b, ok = d.indexed(b, x)
		case c >= insert:
			b, ok = d.literal(b, 6, x, true, 0)
		case c < neverIndex:
			b, ok = d.literal(b, 4, x, false, 0)
		case c < tableUpdate:
			b, ok = d.literal(b, 4, x, false, proto.FlagNeverIndex)
		}
		if !ok { // or an update of the size that is not at the beginning (section 4.2)
			return errBlock
		}
	}
	return nil
}

// skip is how many fields b begins with that are there and are a byte each.
func (d *decoder) skip(b []byte) (n int) {
	end := byte(min(indexed+d.known(), 0xff))
	for n < len(b) && b[n] > indexed && b[n] < end {
		n++
	}
	return n
}

// indexed reads a field of a table (section 6.1).
func (d *decoder) indexed(b []byte, x *section) (rest []byte, ok bool) {
	i, b, ok := integer(b, 7)
	if !ok {
		return b, false
	}
	if !x.wants {
		x.unwanted++
		return b, i > 0 && i < d.known()
	}
	name, value, ok := d.at(&x.words, i)
	if ok {
		x.field(name, value, 0)
	}
	return b, ok
}

// literal reads a field that is spelled out (section 6.2). kept: it goes into the table.
func (d *decoder) literal(b []byte, prefix int, x *section, kept bool, flags proto.FieldFlags) (rest []byte, ok bool) {
	w := &x.words
	i, b, ok := integer(b, prefix)
	if !ok {
		return b, false
	}
	wanted := kept || x.wants
	var name, value []byte
	if i > 0 {
		if name, _, ok = d.at(w, i); !ok {
			return b, false
		}
		if kept { // the entry may have to go
			w.name = append(w.name[:0], name...)
			name = w.name
		}
	} else if name, b, ok = readWord(b, &w.name, wanted); !ok {
		return b, false
	}
	if value, b, ok = readWord(b, &w.value, wanted); !ok {
		return b, false
	}
	if x.wants {
		x.field(name, value, flags)
	} else {
		x.unwanted++
	}
	if kept {
		d.insert(name, value)
	}
	return b, true
}

// integer reads an integer with a prefix of so many bits (section 5.1). One of more
// bytes than 63 bits have is none.
func integer(b []byte, prefix int) (v uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, b, false
	}
	most := uint64(1)<<prefix - 1
	if v = uint64(b[0]) & most; v < most {
		return v, b[1:], true
	}
	for n := 1; n < len(b) && n < 10; n++ {
		v += uint64(b[n]&0x7f) << (7 * (n - 1))
		if b[n] < 0x80 {
			return v, b[n+1:], true
		}
	}
	return 0, b, false
}

// readWord reads a string (section 5.2), into w where it is Huffman coded. It is
// decoded only where somebody wants it.
func readWord(b []byte, w *word, wanted bool) (s, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, b, false
	}
	coded := b[0]&0x80 != 0
	n, b, ok := integer(b, 7)
	if !ok || n > uint64(len(b)) {
		return nil, b, false
	}
	s, rest = b[:n], b[n:]
	if coded && wanted {
		*w = (*w)[:0]
		if _, err := hpack.HuffmanDecode(w, s); err != nil {
			return nil, rest, false
		}
		s = *w
	}
	return s, rest, true
}
