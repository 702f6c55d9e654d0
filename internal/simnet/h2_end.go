package simnet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"golang.org/x/net/http2/hpack"

	"zproxy/loop/sim"
)

// socket is a peer's end of a connection: sim.Peer.
type socket interface {
	OnChange(func())
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	Waiting() int
	CloseWrite()
	Close()
	Reset()
}

// h2Listener is told what arrives.
type h2Listener interface {
	onHeaders(s *h2Stream, fields []hpack.HeaderField, end bool) error
	onData(s *h2Stream, b []byte) error
	// onEnd: the far end's direction has ended in order.
	onEnd(s *h2Stream) error
	onReset(s *h2Stream, code uint32) error
	onGoAway(last, code uint32) error
	// onClosed: nothing more comes.
	onClosed(err error)
	// sending is told how many bytes were ever written, and takes the
	// connection's fate in hand: false, and nothing more is written.
	sending(wrote int) bool
	// spent: a stream's body, and its end, have been handed over.
	spent(s *h2Stream)
}

// h2Stream is one stream, at one end.
type h2Stream struct {
	id       uint32
	q        *Request
	send     int64 // window
	receive  int64
	owed     int // bytes received and not given back
	got      int // body bytes
	length   int // content-length, -1: not said
	headed   bool
	gotEnd   bool
	sentEnd  bool
	reset    bool  // either way: nothing is sent any more
	farReset bool  // and nothing may come any more
	stalled  bool  // gives nothing back
	outgoing bool  // a body is being sent
	own      bool  // the answer is the proxy's own
	refused  bool  // the request is not processed
	faulty   bool  // the answer may go wrong as planned: the first attempt
	begun    bool  // the answer is on the agenda
	over     bool  // counted as such
	endedAt  int64 // when the answer was whole before the request; 0: it was not
	tunnel   bool  // a WebSocket, and the origin has agreed

	direction, at, n int // of the body being sent
	trailer          bool
	said             []byte // of a WebSocket, instead: what is still to be sent
	places           []int  // ... and where its frames begin; nil: it has not begun
	frames           frames // ... and what it has received
	handed           *bool  // ... and set when a Close frame was sent: nobody need wait for more
	stopAt           int    // byte of it at which the listener's stop is called; -1
	stop             func()
}

// h2End is one end of a connection: frames, windows and settings, and the pace
// at which bytes go and come.
type h2End struct {
	r      *Run
	p      socket
	to     h2Listener
	server bool
	slow   bool

	in, out       []byte
	padding       int // at the end of out
	wrote, read   int
	marks         []h2Mark
	writing       bool
	reading       bool
	done, deaf    bool
	prefaced      bool // the far end's preface is there
	settled       bool // and its SETTINGS
	streams       map[uint32]*h2Stream
	order         []*h2Stream // open ones, as they were opened
	highest       uint32
	send, receive int64 // windows of the connection
	owed          int
	first         int64 // receive window of a new stream, as the far end has acknowledged it
	later         []h2Change
	farWindow     int64 // what the far end's settings say
	farStreams    int64
	farConnect    bool
	connects      bool // it has said that it takes WebSockets
	most          int  // streams the far end may have open, as it has acknowledged
	dec           *hpack.Decoder
	enc           *hpack.Encoder
	encoded       bytes.Buffer
	block         []byte // of a field section under way
	blockOf       uint32
	blockEnds     bool
	credits       int // 0: at once; else as many bytes as are owed first
}

// h2Mark is what is done when wrote gets there.
type h2Mark struct {
	at int
	do func()
}

// h2Change is a SETTINGS frame that is not acknowledged.
type h2Change struct {
	window         int64
	table, streams int64 // -1: as before
}

func newH2End(r *Run, p socket, to h2Listener, server bool) *h2End {
	e := &h2End{r: r, p: p, to: to, server: server, streams: map[uint32]*h2Stream{}, prefaced: !server,
		send: h2FirstWindow, receive: h2FirstWindow, first: h2FirstWindow, farWindow: h2FirstWindow, farStreams: math.MaxInt32, most: math.MaxInt32}
	e.slow = chance(r.rng, r.Traits.Slow)
	e.connects = server && !chance(r.rng, r.Traits.NoConnect)
	e.dec = hpack.NewDecoder(4096, nil)
	e.enc = hpack.NewEncoder(&e.encoded)
	if !server {
		e.out = append(e.out, h2Preface...)
	}
	if r.rng.IntN(3) == 0 {
		e.credits = size(r.rng, 20_000)
	}
	p.OnChange(e.changed)
	e.settings(true)
	if r.rng.IntN(2) == 0 {
		e.update(nil, 1+r.rng.IntN(1<<20))
	}
	return e
}

// settings sends a SETTINGS frame: the first, or one that changes what was
// said.
func (e *h2End) settings(begin bool) {
	t := &e.r.Traits
	c := h2Change{window: e.promised(), table: -1, streams: -1}
	switch {
	case chance(e.r.rng, t.TinyWindows):
		// For a while: a body of many bytes takes as many turns.
		c.window = int64(e.r.rng.IntN(100))
		e.r.World.After(1+e.r.rng.Int64N(20e6), func() {
			if !e.done {
				e.change(h2Change{window: int64(1000 + e.r.rng.IntN(1<<16)), table: -1, streams: -1})
			}
		})
	case e.r.rng.IntN(2) == 0:
		c.window = int64(1000 + size(e.r.rng, 1<<18))
	}
	if chance(e.r.rng, t.Tables) {
		c.table = int64(size(e.r.rng, 8192))
	}
	if e.server && begin && e.r.rng.IntN(2) == 0 {
		c.streams = int64(1 + e.r.rng.IntN(40))
	}
	e.change(c)
	if chance(e.r.rng, t.Settings) {
		e.r.World.After(e.r.rng.Int64N(100e6), func() {
			if !e.done {
				e.frame(h2Ping, 0, 0, []byte("whatever"))
				e.settings(false)
			}
		})
	}
}

// change sends c, which holds when it is acknowledged.
func (e *h2End) change(c h2Change) {
	var b []byte
	set := func(id uint16, v int64) {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), uint32(v))
	}
	if c.window != e.promised() {
		set(h2SetWindow, c.window)
	}
	if c.table >= 0 {
		set(h2SetTable, c.table)
	}
	if c.streams >= 0 {
		set(h2SetStreams, c.streams)
	}
	if e.connects {
		set(h2SetConnect, 1)
	}
	if e.r.rng.IntN(5) == 0 {
		set(uint16(0xf00+e.r.rng.IntN(9)), 7) // nobody knows it
	}
	e.later = append(e.later, c)
	e.frame(h2Settings, 0, 0, b)
}

// promised is the window a new stream will have when all is acknowledged.
func (e *h2End) promised() int64 {
	if n := len(e.later); n > 0 {
		return e.later[n-1].window
	}
	return e.first
}

// acknowledged: the far end has taken the oldest change.
func (e *h2End) acknowledged() error {
	if len(e.later) == 0 {
		return fmt.Errorf("an acknowledgement of nothing")
	}
	c := e.later[0]
	e.later = e.later[1:]
	for _, s := range e.order {
		s.receive += c.window - e.first
		e.repay(s, 0) // there may be nothing left of the window for what would give it back
	}
	e.first = c.window
	if c.table >= 0 {
		e.dec.SetAllowedMaxDynamicTableSize(uint32(c.table))
	}
	if c.streams >= 0 {
		e.most = int(c.streams)
	}
	return nil
}

// ahead is how much larger a window the far end may already use.
func (e *h2End) ahead() (n int64) {
	for _, c := range e.later {
		n = max(n, c.window-e.first)
	}
	return n
}

func (e *h2End) trace(format string, args ...any) {
	if p, ok := e.p.(link); ok {
		e.r.trace(p, e.side()+" "+format, args...)
	}
}

// frame queues a frame.
func (e *h2End) frame(kind, flags byte, id uint32, payload []byte) {
	e.padding = 0
	e.trace("queues type %d, flags %#x, stream %d, %d bytes", kind, flags, id, len(payload))
	e.out = appendFrame(e.out, kind, flags, id, payload)
	e.writeSoon()
}

// number queues a frame whose payload is one number.
func (e *h2End) number(kind byte, id, v uint32) {
	e.frame(kind, 0, id, binary.BigEndian.AppendUint32(nil, v))
}

// update gives window back, or more of it; a nil stream is the connection.
func (e *h2End) update(s *h2Stream, n int) {
	id, window := uint32(0), &e.receive
	if s != nil {
		id, window = s.id, &s.receive
	}
	e.number(h2WindowUpdate, id, uint32(n))
	e.then(func() { *window += int64(n) })
}

// then does something when all that is queued has been written.
func (e *h2End) then(do func()) { e.marks = append(e.marks, h2Mark{e.wrote + len(e.out), do}) }

// say sets flag when all that is queued has been written, but for padding.
func (e *h2End) say(flag *bool) {
	e.marks = append(e.marks, h2Mark{e.wrote + len(e.out) - e.padding, func() { *flag = true }})
}

// headers queues a field section, in one frame or more, with padding or not.
func (e *h2End) headers(s *h2Stream, end bool, fields ...string) {
	e.encoded.Reset()
	for i := 0; i < len(fields); i += 2 {
		e.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: e.r.rng.IntN(10) == 0})
	}
	block := bytes.Clone(e.encoded.Bytes())
	kind, flags := byte(h2Headers), byte(0)
	if end {
		flags, s.sentEnd = h2EndStream, true
	}
	for {
		n := min(len(block), h2FirstFrame)
		if e.r.rng.IntN(8) == 0 {
			n = min(n, 1+e.r.rng.IntN(100))
		}
		if n == len(block) {
			e.frame(kind, flags|h2EndHeaders, s.id, block)
			return
		}
		e.frame(kind, flags, s.id, block[:n])
		block, kind, flags = block[n:], h2Continuation, 0
	}
}

// body begins to send one; its end ends the stream.
func (e *h2End) body(s *h2Stream, direction, n int, trailer bool) {
	s.outgoing, s.direction, s.at, s.n, s.trailer = true, direction, 0, n, trailer
	e.writeSoon()
}

// resetStream sends RST_STREAM.
func (e *h2End) resetStream(s *h2Stream, code uint32) {
	if !s.reset {
		s.reset, s.outgoing = true, false
		e.number(h2RST, s.id, code)
		e.forget(s)
	}
}

func (e *h2End) goAway(last, code uint32) {
	e.frame(h2GoAway, 0, 0, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, last), code))
}

// open makes a stream known.
func (e *h2End) open(id uint32) *h2Stream {
	s := &h2Stream{id: id, send: e.farWindow, receive: e.first, length: -1, stopAt: -1}
	e.streams[id] = s
	e.order = append(e.order, s)
	e.highest = max(e.highest, id)
	return s
}

// forget drops a stream that is over from the open ones.
func (e *h2End) forget(s *h2Stream) {
	if !s.reset && !(s.gotEnd && s.sentEnd) {
		return
	}
	for i, o := range e.order {
		if o == s {
			e.order = append(e.order[:i], e.order[i+1:]...)
			return
		}
	}
}

func (e *h2End) changed() {
	e.readSoon()
	e.writeSoon()
}

func (e *h2End) writeSoon() {
	if !e.writing && !e.done {
		e.writing = true
		e.r.World.After(e.r.pace(e.slow), e.write)
	}
}

func (e *h2End) readSoon() {
	if !e.reading && !e.done && !e.deaf {
		e.reading = true
		e.r.World.After(e.r.pace(e.slow), e.readSome)
	}
}

// write sends a piece of what there is, cut anywhere.
func (e *h2End) write() {
	e.writing = false
	if e.done || !e.to.sending(e.wrote) {
		return
	}
	for len(e.out) < 4096 && e.pump() {
	}
	if len(e.out) == 0 {
		e.written()
		return
	}
	n, err := e.p.Write(e.out[:e.r.piece(len(e.out))])
	e.trace("writes %d of %d: %v", n, len(e.out), err)
	e.out = e.out[n:]
	e.wrote += n
	e.written()
	if err == nil {
		e.writeSoon()
	}
}

// written does what was to be done when so much has been written.
func (e *h2End) written() {
	for len(e.marks) > 0 && e.marks[0].at <= e.wrote {
		e.marks[0].do()
		e.marks = e.marks[1:]
	}
}

// pump queues a DATA frame of one of the streams that may send; false: none.
func (e *h2End) pump() bool {
	n := len(e.order)
	if n == 0 {
		return false
	}
	from := e.r.rng.IntN(n)
	for i := range n {
		s := e.order[(from+i)%n]
		if !s.outgoing || s.reset {
			continue
		}
		if s.stopAt >= 0 && s.at >= s.stopAt && s.stop != nil {
			stop := s.stop
			s.stop = nil
			stop()
			return true
		}
		room := min(e.send, s.send)
		if s.at < s.n && room <= 0 {
			continue
		}
		e.piece(s, int(min(room, h2FirstFrame)))
		return true
	}
	return false
}

// piece queues the next DATA of s, up to room bytes, or its end.
func (e *h2End) piece(s *h2Stream, room int) {
	left := s.n - s.at
	if s.stopAt >= 0 && s.stop != nil {
		left = s.stopAt - s.at
	}
	n := min(left, max(0, room))
	if n > 1 && e.r.rng.IntN(3) == 0 {
		n = 1 + e.r.rng.IntN(n)
	}
	flags := byte(0)
	payload, padding := s.content(n), 0
	if pad := e.r.rng.IntN(200); e.r.rng.IntN(20) == 0 && n+1+pad <= room {
		flags |= h2Padded
		padding = pad
		payload = append(append([]byte{byte(pad)}, payload...), make([]byte, pad)...)
	}
	s.at += n
	last := s.at == s.n && (s.stop == nil || s.stopAt < 0)
	if last && !s.trailer && (n > 0 || e.r.rng.IntN(2) == 0 || s.n == 0) {
		flags |= h2EndStream
		s.sentEnd = true
	}
	s.send -= int64(len(payload))
	e.send -= int64(len(payload))
	if len(payload) > 0 || flags&h2EndStream != 0 {
		e.frame(h2Data, flags, s.id, payload)
		e.padding = padding
	}
	if s.at == s.n && s.handed != nil {
		e.say(s.handed)
	}
	if !last {
		return
	}
	s.outgoing = false
	switch {
	case s.sentEnd:
	case s.trailer:
		e.headers(s, true, "x-trailer", fmt.Sprint(s.q.ID))
	default:
		e.frame(h2Data, h2EndStream, s.id, nil)
		s.sentEnd = true
	}
	e.to.spent(s)
	e.forget(s)
}

// close ends the connection.
func (e *h2End) close(reset bool) {
	if e.done {
		return
	}
	e.done = true
	e.trace("closes, reset %v", reset)
	if reset {
		e.p.Reset()
	} else {
		e.p.Close()
	}
}

func (e *h2End) readSome() {
	e.reading = false
	if e.done || e.deaf {
		return
	}
	b := make([]byte, max(1, min(e.r.piece(64<<10), e.p.Waiting())))
	n, err := e.p.Read(b)
	switch {
	case err == sim.ErrWouldBlock:
		return
	case err != nil:
		e.to.onClosed(err)
		return
	}
	e.read += n
	e.in = append(e.in, b[:n]...)
	if err := e.take(); err != nil {
		e.r.fail("%s: %v", e.side(), err)
		e.to.onClosed(err)
		return
	}
	e.readSoon()
}

func (e *h2End) side() string {
	if e.server {
		return "h2 origin"
	}
	return "h2 client"
}

// unread says that the far end has not had the whole preface in time, or had no
// memory for it, and so takes this end for one that speaks HTTP/1; wait, that
// too little is there to tell.
func (e *h2End) unread() (yes, wait bool) {
	const version, status = "HTTP/1.1 ", 3
	if e.server || e.settled || e.r.Traits.Calm || !bytes.HasPrefix(e.in, []byte(version)) {
		return false, false
	}
	if len(e.in) < len(version)+status {
		return false, true
	}
	switch string(e.in[len(version) : len(version)+status]) {
	case "408", "503":
		return true, false
	}
	return false, false
}

// take works through the frames that are whole.
func (e *h2End) take() error {
	if !e.prefaced && len(e.in) >= len(h2Preface) {
		if string(e.in[:len(h2Preface)]) != h2Preface {
			return fmt.Errorf("the connection begins with %q", e.in[:len(h2Preface)])
		}
		e.in, e.prefaced = e.in[len(h2Preface):], true
	}
	if yes, wait := e.unread(); yes || wait {
		if yes {
			e.to.onClosed(io.EOF)
		}
		return nil
	}
	for e.prefaced && !e.done {
		f, n, err := cutFrame(e.in)
		if n == 0 || err != nil {
			return err
		}
		e.in = e.in[n:]
		e.trace("has type %d, flags %#x, stream %d, %d bytes", f.kind, f.flags, f.id, len(f.payload))
		if err := e.onFrame(&f); err != nil {
			return fmt.Errorf("frame of type %d, flags %#x, stream %d: %w", f.kind, f.flags, f.id, err)
		}
	}
	return nil
}
