package simnet

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"

	"zproxy/loop/sim"
	"zproxy/proto/tls"
)

// secured is a peer's end of a connection within TLS. Content is put into records of
// any length, with padding, empty records and changes of keys among them; parts of
// records stay behind for a while. All that it has taken has room on the socket.
type secured struct {
	hands
	r      *Run
	p      plainLink
	wake   func()
	cut    int // bytes of the handshake that are said, the rest never is; -1: all
	said   int
	silent bool // its connection ends without close_notify

	rx, tx  recordKeys
	plain   []byte // opened
	open    bool
	ended   bool // close_notify has come
	shut    bool
	owes    bool // a change of keys
	changes int  // of keys, that the proxy may still be asked for
	later   bool // the rest of out is on the agenda
	broken  error
}

const (
	// controlRoom is what is kept free on the socket for records other than content.
	controlRoom = 200
	// sealedExtra is the most that a record is longer than its content and padding.
	sealedExtra = recordHeader + 8 + 16 + 1
)

// secure puts p into TLS, if that is what the run wants; protocols as in hands.
func (r *Run) secure(p plainLink, server bool, protocols ...string) link {
	if !(server && r.Traits.SecureOrigins || !server && r.Traits.SecureClients) {
		return p
	}
	s := &secured{r: r, p: p, cut: -1, changes: 20}
	s.rng, s.server, s.protocols = r.rng, server, protocols
	s.silent = chance(r.rng, r.Traits.Silent)
	s.begin()
	if chance(r.rng, r.Traits.Stall) {
		s.cut = size(r.rng, 200)
	}
	s.p.OnChange(s.changed)
	s.flush()
	r.Secured++
	return s
}

// link is a socket between addresses, as all of a world's are.
type link interface {
	socket
	Addr() netip.AddrPort
	FarAddr() netip.AddrPort
}

func (s *secured) Addr() netip.AddrPort    { return s.p.Addr() }
func (s *secured) FarAddr() netip.AddrPort { return s.p.FarAddr() }
func (s *secured) OnChange(wake func())    { s.wake = wake }

// Waiting is how much Read may give.
func (s *secured) Waiting() int {
	if len(s.plain) > 0 {
		return len(s.plain)
	}
	return len(s.in) + s.p.Waiting()
}

func (s *secured) changed() {
	if !s.open && s.broken == nil {
		s.shake()
	}
	s.flush()
	if s.wake != nil {
		s.wake()
	}
}

// shake goes on with the handshake.
func (s *secured) shake() {
	b := make([]byte, 1+s.rng.IntN(4096))
	for !s.over || s.cut >= 0 {
		n, err := s.p.Read(b)
		s.in = append(s.in, b[:n]...)
		s.advance()
		if err == sim.ErrWouldBlock {
			return
		}
		if err != nil {
			s.lost(err)
			return
		}
	}
	if s.err != nil {
		s.broken = s.err
		if s.r.Traits.Calm {
			s.r.fail("handshake: %v", s.err)
		}
		return
	}
	s.open = true
	client, server := keysOf(&s.secrets)
	if s.rx, s.tx = client, server; !s.server {
		s.rx, s.tx = server, client
	} else if s.secrets.ServerSent > 0 {
		s.tx.seq = s.secrets.ServerSent
	}
}

// lost: the connection has ended, and not as TLS has it end.
func (s *secured) lost(err error) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	s.broken = err
}

// flush hands over what there is of out.
func (s *secured) flush() {
	if s.open && s.owes && !s.shut && s.p.Room() > len(s.out)+controlRoom/2 {
		s.owes = false
		s.update(false)
	}
	if s.later {
		return
	}
	s.push(len(s.out))
}

// push hands over n bytes of out.
func (s *secured) push(n int) {
	if s.cut >= 0 {
		n = min(n, s.cut-s.said)
	}
	if n > 0 {
		n, _ = s.p.Write(s.out[:n])
		s.said += n
		s.out = s.out[n:]
	}
}

// update changes the key of what it sends, and may ask for a change of the other.
func (s *secured) update(asks bool) {
	b := []byte{messageKeyUpdate, 0, 0, 1, 0}
	if asks {
		b[4] = 1
	}
	s.out = s.tx.seal(s.out, recordHandshake, b, 0)
	s.tx.update()
}

// Write seals what there is room for.
func (s *secured) Write(b []byte) (int, error) {
	switch {
	case s.broken != nil || s.shut || s.p.Gone():
		return 0, unix.EPIPE
	case !s.open || s.cut >= 0:
		return 0, sim.ErrWouldBlock
	}
	if s.flush(); len(s.out) == 0 { // or the rest of a record is on the agenda
		s.extra()
	}
	room := s.p.Room() - len(s.out) - controlRoom - sealedExtra
	if room <= 0 || s.later {
		if _, err := s.p.Write(nil); err != nil {
			return 0, err
		}
		return 0, sim.ErrWouldBlock
	}
	n := min(len(b), room, mostContent)
	if s.rng.IntN(4) == 0 {
		n = min(n, 1+s.rng.IntN(20))
	}
	padding := 0
	if s.tx.secret != nil && s.rng.IntN(10) == 0 {
		padding = s.rng.IntN(min(room-n, mostContent-n, 300) + 1)
	}
	s.out = s.tx.seal(s.out, recordData, b[:n], padding)
	if s.rng.IntN(8) == 0 {
		s.push(s.rng.IntN(len(s.out)))
		s.later = true
		s.r.World.After(s.r.pace(true), func() {
			s.later = false
			if !s.p.Gone() {
				s.changed()
			}
		})
		return n, nil
	}
	s.push(len(s.out))
	return n, nil
}

// extra says something that is no content.
func (s *secured) extra() {
	if s.p.Room() < 3*controlRoom {
		return
	}
	switch s.rng.IntN(40) {
	case 0:
		s.out = s.tx.seal(s.out, recordData, nil, 0)
	case 1:
		if s.tx.secret != nil && s.changes > 0 {
			s.changes--
			s.r.KeyUpdates++
			s.update(s.rng.IntN(2) == 0 && !s.r.Traits.Calm) // an answer that nobody reads makes a close a reset
		}
	case 2:
		if s.tx.secret != nil && s.server {
			s.out = s.tx.seal(s.out, recordHandshake, ticket(s.rng), 0)
		}
	}
}

// Read gives content. io.EOF is what TLS has for an end; a connection that just
// ends is io.ErrUnexpectedEOF.
func (s *secured) Read(b []byte) (int, error) {
	for {
		switch {
		case len(s.plain) > 0:
			n := copy(b, s.plain)
			s.plain = s.plain[n:]
			return n, nil
		case s.ended:
			return 0, io.EOF
		case s.broken != nil:
			return 0, s.broken
		case !s.open:
			if s.p.Gone() {
				return 0, io.ErrClosedPipe
			}
			return 0, sim.ErrWouldBlock
		}
		if n := recordLen(s.in); n > 0 && len(s.in) >= n {
			s.record(s.in[:n])
			s.in = s.in[n:]
			continue
		}
		more := make([]byte, max(1, min(s.p.Waiting(), s.r.piece(64<<10))))
		n, err := s.p.Read(more)
		s.in = append(s.in, more[:n]...)
		switch {
		case err == sim.ErrWouldBlock || err == io.ErrClosedPipe:
			return 0, err
		case err != nil:
			s.lost(err)
		}
	}
}

// record acts on a record.
func (s *secured) record(rec []byte) {
	typ, content, err := s.rx.open(rec)
	switch {
	case err != nil:
		s.bad("%v: type %d, %d bytes", err, rec[0], len(rec))
	case typ == recordData:
		s.plain = append(s.plain, content...)
	case typ == recordAlert && len(content) == 2 && content[1] == byte(tls.AlertCloseNotify):
		s.ended = true
	case typ == recordAlert && len(content) == 2 && content[1] == byte(tls.AlertInternalError) && !s.r.Traits.Calm:
		s.broken = errHeld
	case typ == recordHandshake && len(content) == 5 && content[0] == messageKeyUpdate && s.rx.secret != nil:
		s.rx.update()
		if content[4] == 1 {
			s.owes = true
			s.flush()
		}
	case typ == recordHandshake && !s.server && content[0] == messageTicket && s.rx.secret != nil:
	default:
		s.bad("record of type %d: %x", typ, content[:min(len(content), 20)])
	}
}

// errHeld: the proxy had no memory for the rest of a record.
var errHeld = errors.New("TLS alert internal_error")

func (s *secured) bad(format string, args ...any) {
	s.broken = fmt.Errorf(format, args...)
	s.r.fail("TLS of %v: %v", s.Addr(), s.broken)
}

// finish says what is still to be said, and that nothing follows.
func (s *secured) finish() {
	if s.shut || s.broken != nil || !s.open {
		return
	}
	s.shut, s.later = true, false
	if !s.silent && s.cut < 0 {
		s.out = s.tx.seal(s.out, recordAlert, []byte{1, byte(tls.AlertCloseNotify)}, 0)
	}
	s.push(len(s.out))
}

func (s *secured) CloseWrite() {
	s.finish()
	s.p.CloseWrite()
}

func (s *secured) Close() {
	if s.p.Gone() {
		return
	}
	s.finish()
	for b := make([]byte, 4096); ; { // changes of keys, or a ticket, that need not be read
		if n, err := s.p.Read(b); n == 0 || err != nil {
			break
		}
	}
	s.p.Close()
}

func (s *secured) Reset() { s.p.Reset() }

// silent says that p's connection ends without saying so within TLS: that must
// not pass for the end of anything.
func silent(p socket) bool {
	s, ok := p.(*secured)
	return ok && s.silent
}

// scheme is that of what clients ask for.
func (r *Run) scheme() string {
	if r.Traits.SecureClients {
		return "https"
	}
	return "http"
}
