package h2conn

// Cap is a bound of the indexes that sessions have: see At.
func (ss *Sessions) Cap() int { return len(ss.all) }

// Number is the identifier of a stream on its connection; 0: it is not open.
func (ts *Streams) Number(st *Stream) uint32 {
	if st.id == 0 {
		return 0
	}
	return ts.h2.open.At(st.id).ID
}
