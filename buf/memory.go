package buf

// Memory is where a pool's blocks live: one contiguous range of addresses that
// never moves, of which a growing part may be touched. *numa.Arena is one.
type Memory interface {
	Bytes() []byte  // the whole range; only [0:Committed()) may be touched
	Grow() bool     // commits one more step; false when there is none
	Shrink() bool   // gives the last step back; false when there is none
	Committed() int // bytes
}

// SliceMemory is Memory on the Go heap: for tests, and for anything that needs
// a pool without a NUMA node. Shrinking keeps the heap.
type SliceMemory struct {
	bytes     []byte
	step      int
	committed int
}

// NewSliceMemory makes a memory of maxBytes that is committed stepBytes at a
// time.
func NewSliceMemory(maxBytes, stepBytes int) *SliceMemory {
	return &SliceMemory{bytes: make([]byte, maxBytes), step: stepBytes}
}

// Bytes is the whole range.
func (m *SliceMemory) Bytes() []byte { return m.bytes }

// Committed is how much of the range may be touched, in bytes.
func (m *SliceMemory) Committed() int { return m.committed }

// Grow commits one more step; the last one may be shorter.
func (m *SliceMemory) Grow() bool {
	n := min(m.step, len(m.bytes)-m.committed)
	if n <= 0 {
		return false
	}
	m.committed += n
	return true
}

// Shrink takes the last step back.
func (m *SliceMemory) Shrink() bool {
	if m.committed == 0 {
		return false
	}
	n := m.committed % m.step
	if n == 0 {
		n = m.step
	}
	m.committed -= n
	return true
}
