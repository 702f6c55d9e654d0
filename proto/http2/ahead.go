package http2

// Ahead tells which streams are reset by frames that have been received but not
// read yet. What a client takes back in the same breath it asks for it need not
// be asked of an origin: that costs a connection, which the client does not pay
// for (CVE-2023-44487).
type Ahead struct {
	first uint32 // the stream of bit 0; the next one of the client is bit 1
	any   bool
	set   [aheadMax / 64]uint64
}

// aheadMax is how many streams from the first on are kept apart: more do not
// begin in one block of 16 KiB that has their resets too.
const aheadMax = 1024

// Look reads the frames of b, which begins with one, for resets of the stream
// first and later ones.
func (a *Ahead) Look(b []byte, first uint32) {
	a.Forget()
	a.first = first
	for len(b) >= FrameHeaderLen {
		f := parseFrameHeader(b)
		if uint64(f.length)+FrameHeaderLen > uint64(len(b)) {
			return
		}
		b = b[FrameHeaderLen+f.length:]
		if n := (f.id - first) / 2; f.kind == frameReset && f.length == resetLen && f.id >= first && n < aheadMax {
			a.set[n/64] |= 1 << (n % 64)
			a.any = true
		}
	}
}

// Has says that a frame to come resets the stream.
func (a *Ahead) Has(id uint32) bool {
	n := (id - a.first) / 2
	return a.any && id >= a.first && n < aheadMax && a.set[n/64]&(1<<(n%64)) != 0
}

// Forget ends what Look has found.
func (a *Ahead) Forget() {
	if a.any {
		*a = Ahead{}
	}
}

const resetLen = 4
