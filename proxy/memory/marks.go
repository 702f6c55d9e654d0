package memory

const (
	// A leg that has more than HighBytes waiting for its receiver stops reading its sender,
	// and goes on below LowBytes. Under memory pressure the marks shrink (see Marks).
	HighBytes = 512 << 10
	LowBytes  = 128 << 10
	// Pressures is how many steps of shortage there are.
	Pressures = 4
	// connectionShare is the part of the pool that responses for one connection may take
	// where memory is short: one of so many.
	connectionShare = 32
)

// Reserve is the part of a pool of maxBlocks that is not for data: its last blocks are for
// heads and responses. Bodies wait in the loop, and where heads have used up most of it,
// new requests are turned away.
func Reserve(maxBlocks int) int { return max(2, maxBlocks/8, min(16, maxBlocks/4)) }

// Credit is how many bytes peers of one role may be promised, for a pool of maxBlocks: half
// of what data may take. first is what one of them has to begin with.
func Credit(maxBlocks, blockBytes int) (all int64, first uint32) {
	all = int64(maxBlocks-Reserve(maxBlocks)) * int64(blockBytes) / 2
	return all, uint32(min(max(all/128, 16<<10), 1<<20))
}

// Marks say how much may wait for a receiver: the more of the pool is in use, the less, and
// where it is nearly used up, no leg takes more before all it has is gone.
type Marks struct {
	MaxBlocks int
	Pressure  int // 0 to Pressures-1
	High, Low int // bytes
}

// NewMarks are those of a pool of which nothing is in use.
func NewMarks(maxBlocks int) Marks {
	return Marks{MaxBlocks: maxBlocks, High: HighBytes, Low: LowBytes}
}

// Set sets them where so many blocks are in use. A step is left again when clearly less is in
// use than where it began.
func (m *Marks) Set(used int) {
	for m.Pressure < Pressures-1 && used*Pressures >= m.MaxBlocks*(m.Pressure+1) {
		m.Pressure++
	}
	for m.Pressure > 0 && used*Pressures < m.MaxBlocks*m.Pressure-m.MaxBlocks/4 {
		m.Pressure--
	}
	m.High, m.Low = 0, 0
	if !m.NearlyFull() {
		m.High, m.Low = HighBytes>>(2*m.Pressure), LowBytes>>(2*m.Pressure)
	}
}

// NearlyFull says that no leg takes more.
func (m *Marks) NearlyFull() bool { return m.Pressure == Pressures-1 }

// IsUnfair says that so many bytes of responses, which the peer of a connection does not
// take, are more than its part of the pool, while memory is short.
func (m *Marks) IsUnfair(unread, blockBytes int) bool {
	return m.Pressure >= 2 && unread > m.MaxBlocks*blockBytes/connectionShare
}
