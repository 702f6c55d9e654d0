package loop

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

// ConnID names a connection: generation<<32 | slot. It is never 0, and a slot
// is below 1<<24. An ID of a connection that is gone stays recognisable.
type ConnID uint64

func makeID(slot, gen uint32) ConnID { return ConnID(gen)<<32 | ConnID(slot) }

func (id ConnID) slot() uint32 { return uint32(id) }
func (id ConnID) gen() uint32  { return uint32(id >> 32) }

// Kind says what an Event reports.
type Kind uint8

const (
	// Accepted: Conn came in on a listener; Owner is the listener's.
	Accepted Kind = iota + 1
	// Connected: Dial is over. With Errno != 0 it failed, and the caller
	// closes Conn.
	Connected
	// Received: N bytes in View, whose block the receiver now owns.
	Received
	// RecvEnd: nothing more will be received. Errno 0: end of file.
	RecvEnd
	// Sent: the kernel took N bytes. With Errno != 0 the sending side is
	// broken and N bytes of the queue were dropped.
	Sent
	// Closed: Conn is gone. FD is the descriptor after a successful Export and
	// -1 otherwise.
	Closed
	// Timer: Conn's deadline has passed.
	Timer
	// MailIn: another thread posted; Loop.Mail gives the mail.
	MailIn
	// Spliced: N bytes of Conn have gone from its socket towards another
	// connection.
	Spliced
)

var kindNames = [...]string{"none", "Accepted", "Connected", "Received", "RecvEnd", "Sent", "Closed", "Timer", "MailIn", "Spliced"}

// String is the kind's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Event is one thing that happened. It has no pointers.
type Event struct {
	Kind  Kind
	Errno unix.Errno
	Conn  ConnID
	Owner uint32   // Conn's owner at the time Next gave the event out
	N     uint32   // bytes; for MailIn private to the loop
	FD    int32    // Closed only; -1: none
	View  buf.View // Received only
}

// lost says that a connection which is given away without this event having
// been seen has lost something.
func (ev *Event) lost() bool {
	return ev.Kind == Received || ev.Kind == RecvEnd || ev.Kind == Spliced || ev.Errno != 0
}

// Mail is what one thread tells a loop. The meaning of the fields is between
// sender and receiver; FD is a descriptor whose ownership travels along when
// it is above 0 (a loop that is destroyed closes those it has not delivered), and
// Peer its remote address.
type Mail struct {
	Kind uint32
	From int32
	FD   int32
	A, B uint64
	Peer netip.AddrPort
	Ref  any
}

// IO chooses a backend.
type IO uint8

const (
	Auto     IO = iota // io_uring when the probe finds everything, else epoll
	Epoll              // epoll(7), edge-triggered
	Uring              // io_uring(7)
	hostedIO           // see NewOn; not selectable in Config
	numIO
)

var ioNames = [...]string{"auto", "epoll", "uring", "hosted"}

// String is the backend's name as the configuration spells it.
func (io IO) String() string {
	if int(io) < len(ioNames) {
		return ioNames[io]
	}
	return "unknown"
}
