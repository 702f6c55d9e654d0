package tls

// Conn is the record layer of one connection after its handshake. It holds no
// pointers. Order of calls: Start; then Next for what arrives, and Output until
// it gives 0, then Seal, for what leaves.
type Conn struct {
	in, out Keys
	limit   uint64 // records under one key after which it is changed (RFC 9846 5.5)

	skip    uint32  // bytes of a handshake message that are still to come
	rest    uint16  // bytes of an opened handshake record that Next has yet to look at
	tail    uint16  // bytes behind them, until the next record
	head    [4]byte // of a handshake message, as far as it has come
	have    uint8
	useless uint8  // records in a row that brought no content
	changes uint16 // changes of keys that the peer may ask for before it sends more
	flags   uint16
	alert   Alert // with flagAlert
}

const (
	flagServer    = 1 << iota // this side is the server
	flagTicket                // skip counts bytes of a NewSessionTicket
	flagAlert                 // alert is to be sent
	flagKeyUpdate             // the peer has asked for a change of keys
	flagAsk                   // the peer is to be asked for one as well
	flagAsked                 // it was
	flagClosed                // nothing more is sent: close_notify or a fatal alert has left
	flagEnded                 // nothing more is read
)

const (
	// maxRecords is how many full records AES-GCM may protect under one key with
	// the margin that RFC 9846 5.5 wants: 2^24.5, rounded down.
	maxRecords = 1 << 24

	// maxUseless is how many records without content may follow each other.
	maxUseless = 16

	// A peer may change keys firstChanges times, and once more for every
	// recordsPerChange records with content: each change costs two derivations.
	firstChanges     = 32
	recordsPerChange = 64
)

// Types of handshake messages (RFC 9846 B.3) that may come later than the handshake.
const (
	messageHelloRequest     = 0 // TLS 1.2
	messageClientHello      = 1
	messageNewSessionTicket = 4
	messageKeyUpdate        = 24
)

// Secrets is what a handshake leaves behind. Client and Server name directions:
// who sends.
type Secrets struct {
	Version uint16
	Suite   uint16

	// TLS 1.3: application traffic secrets, and how many records have passed under
	// each (session tickets leave before the handshake's caller hears of its end).
	ClientTraffic, ServerTraffic []byte
	ClientSent, ServerSent       uint64

	// TLS 1.2.
	Master, ClientRandom, ServerRandom []byte
}

// Start begins with the secrets of a handshake that has ended. They are copied.
func (t *Conn) Start(server bool, s *Secrets) error {
	*t = Conn{limit: maxRecords, changes: firstChanges}
	var client, srv Keys
	var err error
	if s.Version == Version13 {
		if client, err = keys13(s.Suite, s.ClientTraffic); err == nil {
			srv, err = keys13(s.Suite, s.ServerTraffic)
		}
	} else {
		client, srv, err = keys12(s.Suite, s.Master, s.ClientRandom, s.ServerRandom)
	}
	if err != nil {
		return err
	}
	client.seq += s.ClientSent
	srv.seq += s.ServerSent
	if server {
		t.flags |= flagServer
		t.in, t.out = client, srv
	} else {
		t.in, t.out = srv, client
	}
	return nil
}

// UseIn makes c the key of what arrives, UseOut that of what leaves.
func (t *Conn) UseIn(c *Cipher)  { c.Use(&t.in) }
func (t *Conn) UseOut(c *Cipher) { c.Use(&t.out) }

// Version is that of the connection.
func (t *Conn) Version() uint16 { return t.in.of().version }

// Lead is how many bytes a record has in front of its content, Tail how many behind.
func (t *Conn) Lead() int { return t.out.lead() }
func (t *Conn) Tail() int { return t.out.tail() }

// EventKind says what Next has found.
type EventKind uint8

const (
	EventNone   EventKind = iota // more bytes are needed
	EventData                    // content, at Off in b, N bytes
	EventTicket                  // likewise a part of a NewSessionTicket message's body; End: its last
	EventClosed                  // close_notify: no more content comes
	EventFailed                  // the connection is over: Alert, Received or to be sent by Output
)

// Event is what Next has found.
type Event struct {
	Kind     EventKind
	End      bool
	Received bool // Alert came from the peer
	Alert    Alert
	Off, N   int
}

// RecordLen is the length of the record that b begins with, of which b may hold
// a part; 0: too little of it is there to tell. What can not be a record is as
// long as its header: Next says what is wrong with it.
func (t *Conn) RecordLen(b []byte) int {
	if len(b) < HeaderLen {
		return 0
	}
	if t.headerAlert(b) != 0 {
		return HeaderLen
	}
	return HeaderLen + int(b[3])<<8 + int(b[4])
}

// headerAlert judges a record by its header; 0: it may be right.
func (t *Conn) headerAlert(b []byte) Alert {
	typ, n := ContentType(b[0]), int(b[3])<<8|int(b[4])
	longest := maxCiphertext12
	if t.Version() == Version13 {
		// RFC 9846 5: what is not protected has no place behind the handshake.
		if typ != TypeApplicationData {
			return AlertUnexpectedMessage
		}
		longest = maxCiphertext13
	}
	switch {
	case typ < TypeChangeCipherSpec || typ > TypeApplicationData:
		return AlertUnexpectedMessage
	case b[1] != 3 || b[2] != 3:
		return AlertProtocolVersion
	case n > longest:
		return AlertRecordOverflow
	}
	return 0
}

// Next opens the first record of b in place and gives what the owner must know
// of it. used bytes are done with; the event's bytes lie among them. The rest of b
// is given again, with what follows it. A record that is not whole stays. c was
// made by UseIn. After EventFailed or EventClosed nothing more is read.
func (t *Conn) Next(c *Cipher, b []byte, ev *Event) (used int) {
	*ev = Event{}
	for ev.Kind == EventNone {
		if t.flags&flagEnded != 0 {
			return len(b)
		}
		if t.rest > 0 || t.tail > 0 {
			if len(b)-used < int(t.rest)+int(t.tail) {
				return used
			}
			used += t.messages(c, b[used:], used, ev)
			continue
		}
		n := t.RecordLen(b[used:])
		if n == 0 || len(b)-used < n {
			return used
		}
		rec := b[used : used+n]
		if a := t.headerAlert(rec); a != 0 {
			t.fail(a, ev)
			return used + n
		}
		typ, length, a := t.in.open(c, rec)
		if a != 0 {
			t.fail(a, ev)
			return used + n
		}
		off := used + t.in.lead()
		if typ == TypeHandshake && length > 0 {
			t.rest, t.tail = uint16(length), uint16(n-t.in.lead()-length)
			used = off
			continue
		}
		used += n
		t.record(typ, b[off:off+length], off, ev)
	}
	return used
}

// record looks at an opened record that is no handshake message.
func (t *Conn) record(typ ContentType, content []byte, off int, ev *Event) {
	switch typ {
	case TypeApplicationData:
		if t.skip > 0 || t.have > 0 { // RFC 9846 5.1: a message is not interleaved with others
			t.fail(AlertUnexpectedMessage, ev)
			return
		}
		if len(content) == 0 {
			t.nothingNew(ev)
			return
		}
		t.useless = 0
		if t.in.seq%recordsPerChange == 0 && t.changes < firstChanges {
			t.changes++
		}
		if t.in.seq >= t.limit && t.flags&flagAsked == 0 && t.Version() == Version13 {
			t.flags |= flagAsked | flagAsk | flagKeyUpdate // a change of our own asks for the peer's
		}
		*ev = Event{Kind: EventData, Off: off, N: len(content)}
	case TypeAlert:
		t.received(content, ev)
	default: // RFC 9846 5: change_cipher_spec too, after the handshake
		t.fail(AlertUnexpectedMessage, ev)
	}
}

// received looks at an alert (RFC 9846 6; RFC 5246 7.2).
func (t *Conn) received(content []byte, ev *Event) {
	if len(content) != 2 {
		t.fail(AlertDecodeError, ev)
		return
	}
	switch a := Alert(content[1]); {
	case a == AlertCloseNotify:
		t.flags |= flagEnded
		*ev = Event{Kind: EventClosed}
	case a == AlertUserCanceled, t.Version() == Version12 && content[0] == levelWarning:
		t.nothingNew(ev)
	default:
		t.flags |= flagEnded | flagClosed
		*ev = Event{Kind: EventFailed, Alert: a, Received: true}
	}
}

// nothingNew counts records that bring nothing: they cost as much as others.
func (t *Conn) nothingNew(ev *Event) {
	if t.useless++; t.useless > maxUseless {
		t.fail(AlertUnexpectedMessage, ev)
	}
}

// messages goes through the rest of an opened handshake record, b, which is at
// off for the owner. Messages may lie in several records (RFC 9846 5.1).
func (t *Conn) messages(c *Cipher, b []byte, off int, ev *Event) (used int) {
	for t.rest > 0 && ev.Kind == EventNone {
		switch {
		case t.skip > 0:
			n := min(int(t.skip), int(t.rest))
			t.skip -= uint32(n)
			t.rest -= uint16(n)
			if t.flags&flagTicket != 0 {
				*ev = Event{Kind: EventTicket, Off: off + used, N: n, End: t.skip == 0}
			}
			used += n
		case t.have < 4:
			t.head[t.have] = b[used]
			t.have++
			t.rest--
			used++
			if t.have == 4 {
				t.message(ev)
			}
		default: // the one byte of a KeyUpdate
			t.have = 0
			t.rest--
			t.keyUpdate(c, b[used], ev)
			used++
		}
	}
	if t.rest == 0 && ev.Kind != EventFailed {
		used += int(t.tail)
		t.tail = 0
	}
	return used
}

// message begins a handshake message with its head.
func (t *Conn) message(ev *Event) {
	n := uint32(t.head[1])<<16 | uint32(t.head[2])<<8 | uint32(t.head[3])
	server, v13 := t.flags&flagServer != 0, t.Version() == Version13
	if t.useless++; t.useless > maxUseless {
		t.fail(AlertUnexpectedMessage, ev)
		return
	}
	switch typ := t.head[0]; {
	case typ == messageKeyUpdate && v13:
		if n != 1 {
			t.fail(AlertDecodeError, ev)
		}
		return // have stays 4 until the byte has come
	case typ == messageNewSessionTicket && v13 && !server && n > 0:
		t.flags |= flagTicket
	case typ == messageHelloRequest && !v13 && !server && n == 0,
		typ == messageClientHello && !v13 && server:
		// RFC 5246 7.4.1.1: renegotiation is refused, which is no error.
		t.flags &^= flagTicket
		if t.flags&flagAlert == 0 {
			t.flags |= flagAlert
			t.alert = AlertNoRenegotiation
		}
	default:
		t.fail(AlertUnexpectedMessage, ev)
		return
	}
	t.have, t.skip = 0, n
}

// keyUpdate is RFC 9846 4.7.3. The next record is under the new key, so the
// message is the last of its record (5.1).
func (t *Conn) keyUpdate(c *Cipher, request byte, ev *Event) {
	switch {
	case request > 1:
		t.fail(AlertIllegalParameter, ev)
		return
	case t.rest > 0, t.changes == 0:
		t.fail(AlertUnexpectedMessage, ev)
		return
	}
	t.changes--
	t.in.update()
	t.UseIn(c)
	t.flags &^= flagAsked
	if request == 1 {
		t.flags |= flagKeyUpdate
	}
}

// fail ends the connection with an alert that is to be sent.
func (t *Conn) fail(a Alert, ev *Event) {
	t.flags |= flagEnded
	t.sendAlert(a)
	*ev = Event{Kind: EventFailed, Alert: a}
}

// sendAlert: what is said of a fault is not taken back for an end.
func (t *Conn) sendAlert(a Alert) {
	if t.flags&flagClosed == 0 && (t.flags&flagAlert == 0 || t.alert == AlertNoRenegotiation) {
		t.flags |= flagAlert
		t.alert = a
	}
}

// Close has close_notify sent: the last record of this direction. Without it
// the peer must take what it got for cut short (RFC 9846 6.1).
func (t *Conn) Close() { t.sendAlert(AlertCloseNotify) }

// Fail has a fatal alert sent, of the owner's own choice.
func (t *Conn) Fail(a Alert) {
	t.flags |= flagEnded
	t.sendAlert(a)
}

// Pending says that Output has something to send.
func (t *Conn) Pending() bool {
	return t.flags&(flagAlert|flagKeyUpdate) != 0 || t.out.seq >= t.limit && t.Version() == Version13 && t.flags&flagClosed == 0
}

// Closed says that nothing more may be sealed: the last record has left, or the
// peer has ended the connection.
func (t *Conn) Closed() bool { return t.flags&flagClosed != 0 }

// Expired says that the key of a TLS 1.2 connection, which can not be changed,
// has protected as much as it may: the connection is to be closed.
func (t *Conn) Expired() bool { return t.Version() == Version12 && t.out.seq >= t.limit }

// MaxOutput is the longest record that Output makes.
const MaxOutput = MaxLead + 5 + MaxTail

// Output makes the next control record in dst, which has room for MaxOutput. 0:
// there is none. c was made by UseOut.
func (t *Conn) Output(c *Cipher, dst []byte) int {
	lead := t.out.lead()
	switch {
	case !t.Pending():
		return 0
	case t.flags&flagKeyUpdate != 0 || t.flags&flagAlert == 0:
		asks := byte(0)
		if t.flags&flagAsk != 0 {
			asks = 1
		}
		t.flags &^= flagKeyUpdate | flagAsk
		n := copy(dst[lead:], []byte{messageKeyUpdate, 0, 0, 1, asks})
		n = t.out.seal(c, dst, TypeHandshake, n)
		t.out.update()
		t.UseOut(c)
		return n
	}
	level := byte(levelFatal)
	if t.alert == AlertCloseNotify || t.alert == AlertNoRenegotiation {
		level = levelWarning
	}
	if t.alert != AlertNoRenegotiation {
		t.flags |= flagClosed
	}
	t.flags &^= flagAlert
	n := copy(dst[lead:], []byte{level, byte(t.alert)})
	return t.out.seal(c, dst, TypeAlert, n)
}

// Seal makes a record of the n bytes of content, 1 to MaxPlaintext, that stand in
// rec behind Lead, and gives its length, Lead+n+Tail. c was made by UseOut. Not
// while something is Pending, nor after Close or Fail.
func (t *Conn) Seal(c *Cipher, rec []byte, n int) int {
	if t.Pending() || t.flags&flagClosed != 0 || n <= 0 || n > MaxPlaintext {
		panic("tls: a record out of turn, or of no possible length")
	}
	return t.out.seal(c, rec, TypeApplicationData, n)
}
