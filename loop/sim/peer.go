package sim

import (
	"errors"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Peer is the scripted end of a connection in a World. Nothing blocks.
type Peer struct{ v *socket }

// ErrWouldBlock says that nothing was read or written now; the peer is woken
// when that changes.
var ErrWouldBlock = errors.New("would block")

// Connect opens a connection from a client at from to a listener at to. It is
// established at once, accepted later; nil when nobody listens.
func (w *World) Connect(from, to netip.AddrPort) *Peer {
	var open []*listener
	for _, ln := range w.listeners {
		if !ln.closed && ln.addr == to {
			open = append(open, ln)
		}
	}
	if len(open) == 0 {
		return nil
	}
	ln := open[w.rng.IntN(len(open))]
	near, far := w.pair(to, from)
	ln.backlog = append(ln.backlog, near)
	return &Peer{far}
}

// OnChange sets what is called, at some time soon, after bytes, room for them
// or the end have come.
func (p *Peer) OnChange(wake func()) { p.v.wake = wake }

// Read reads what is there. io.EOF is the orderly end, ECONNRESET a reset.
func (p *Peer) Read(b []byte) (int, error) {
	v := p.v
	switch {
	case v.gone:
		return 0, io.ErrClosedPipe
	case len(v.in) > 0:
		return v.pull(b), nil
	case v.rst:
		return 0, unix.ECONNRESET
	case v.fin:
		return 0, io.EOF
	}
	return 0, ErrWouldBlock
}

// Waiting is the number of bytes that Read would give.
func (p *Peer) Waiting() int { return len(p.v.in) }

// Write writes what there is room for.
func (p *Peer) Write(b []byte) (int, error) {
	v := p.v
	switch {
	case v.gone:
		return 0, io.ErrClosedPipe
	case v.shut || v.rst:
		return 0, unix.EPIPE
	}
	n := min(len(b), v.space())
	if n == 0 && len(b) > 0 {
		return 0, ErrWouldBlock
	}
	v.push(b[:n])
	return n, nil
}

// Room is the number of bytes that Write would take.
func (p *Peer) Room() int {
	if p.v.gone || p.v.shut || p.v.rst {
		return 0
	}
	return p.v.space()
}

// Unread is the number of bytes written that the other end has not read.
func (p *Peer) Unread() int { return len(p.v.far.in) }

// CloseWrite ends the sending direction.
func (p *Peer) CloseWrite() {
	p.v.w.Tally.HalfEnds++
	p.v.finish()
}

// Close closes both; what was not read makes it a reset.
func (p *Peer) Close() { p.v.end(false) }

// Reset closes with a reset.
func (p *Peer) Reset() { p.v.end(true) }

// Gone says that this end was closed.
func (p *Peer) Gone() bool { return p.v.gone }

// Addr is the address of this end, FarAddr of the loop's.
func (p *Peer) Addr() netip.AddrPort    { return p.v.addr }
func (p *Peer) FarAddr() netip.AddrPort { return p.v.far.addr }
