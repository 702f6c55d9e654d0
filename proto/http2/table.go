package http2

// What a field block does to the table of the decoder, found out before the
// decoder reads it.

// churnFree is how many fields a block may put into the table whatever becomes
// of those that are there: more than requests have that are new in each.
const churnFree = 64

// entryMin is the least that an entry takes (RFC 7541 section 4.1).
const entryMin = 32

// tableUpdates takes the size updates that a block begins with. There may be
// two, the smallest size there was and the final one (RFC 7541 section 4.2);
// the decoder takes the second one of a block only while its table is empty.
// rest is what follows; false is an error of the connection.
func (s *Session) tableUpdates(block []byte) (rest []byte, ok bool) {
	for len(block) > 0 && block[0]&0xe0 == tableUpdate {
		s.suspect(AbuseTable)
		size, n := readInteger(block, 5)
		if n == 0 || size > s.tableLimit() {
			return block, false
		}
		s.decoder.SetMaxDynamicTableSize(size)
		s.table, s.inserted = size, 0
		block = block[n:]
	}
	return block, true
}

// watchTable counts a block that puts more than churnFree fields into the table
// once such blocks have filled it: what it pushes out nobody has used.
func (s *Session) watchTable(block []byte) {
	if len(block) <= 2*churnFree { // an insertion has at least two bytes
		return
	}
	n := tableEffects(block).inserted
	if n <= churnFree {
		return
	}
	if s.inserted = min(s.inserted+n, maxMaxFrame); s.inserted*entryMin > s.table {
		s.suspect(AbuseChurn)
	}
}

// effects is what a block does to the table, up to where it cannot be read.
type effects struct {
	inserted uint32 // literals with incremental indexing (RFC 7541 section 6.2.1)
	whole    bool   // all of it could be read
}

func tableEffects(b []byte) (e effects) {
	for len(b) > 0 {
		c, prefix, literals := b[0], 4, 1
		switch {
		case c >= indexed:
			prefix, literals = 7, 0
		case c >= insert:
			prefix = 6
			e.inserted++
		case c >= tableUpdate:
			prefix, literals = 5, 0
		}
		index, n := readInteger(b, prefix)
		if n == 0 {
			return e
		}
		b = b[n:]
		if literals > 0 && index == 0 {
			literals = 2 // the name, too
		}
		for ; literals > 0; literals-- {
			size, n := readInteger(b, 7)
			if n == 0 || int(size) > len(b)-n {
				return e
			}
			b = b[n+int(size):]
		}
	}
	e.whole = true
	return e
}

// readInteger reads an integer with a prefix of so many bits (RFC 7541 section
// 5.1), and says how many bytes it has: 0 when it does not end, or is larger
// than anything here.
func readInteger(b []byte, prefix int) (v uint32, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	most := uint32(1)<<prefix - 1
	if v = uint32(b[0]) & most; v < most {
		return v, 1
	}
	for n = 1; n < len(b) && n <= 4; n++ {
		c := b[n]
		v += uint32(c&0x7f) << (7 * (n - 1))
		if c < 0x80 {
			return v, n + 1
		}
	}
	return 0, 0
}
