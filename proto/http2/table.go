package http2

// What a field block does to the table of the decoder, beside its fields.

// churnFree is how many fields a block may put into the table whatever becomes
// of those that are there: more than requests have that are new in each.
const churnFree = 64

// entryMin is the least that an entry takes (RFC 7541 section 4.1).
const entryMin = 32

// tableUpdates takes the size updates that a block begins with. There may be
// two, the smallest size there was and the final one (RFC 7541 section 4.2).
// rest is what follows; false is an error of the connection.
func (s *Session) tableUpdates(block []byte) (rest []byte, ok bool) {
	for len(block) > 0 && block[0]&0xe0 == tableUpdate {
		s.suspect(AbuseTable)
		size, rest, ok := integer(block, 5)
		if !ok || size > uint64(s.tableLimit()) {
			return block, false
		}
		s.decoder.setMax(uint32(size))
		s.inserted = 0
		block = rest
	}
	// A table that had to become smaller has to be said to be so, when the peer
	// knows that (RFC 9113 section 4.3.1).
	return block, s.decoder.max <= s.tableLimit()
}

// watchTable counts a block that has put more than churnFree fields into the table
// once such blocks have filled it: what it pushed out nobody has used.
func (s *Session) watchTable() {
	n := s.decoder.inserted
	if n <= churnFree {
		return
	}
	if s.inserted = min(s.inserted+n, maxMaxFrame); s.inserted*entryMin > s.decoder.max {
		s.suspect(AbuseChurn)
	}
}
