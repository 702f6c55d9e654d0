package handshake

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
	"unique"

	"zproxy/proto/tls"
	"zproxy/proxy/transport/credentials"
)

// enough is how much may wait to be read: more than that is content behind the
// handshake, or a peer that sends faster than it is judged.
const enough = 64 << 10

// Result is what a handshake has come to.
type Result struct {
	Err     error // nil: Secrets holds
	Secrets tls.Secrets
	State   stdtls.ConnectionState
	Unread  []byte // what was fed behind the handshake's end
	Ticket  bool   // the first record from there on, if it has a session ticket, is for Ticket

	// Of servers.
	Name   string             // that the client has asked for, in lower case; "": none
	Terms  *credentials.Terms // nil: it did not come to that
	Client unique.Handle[credentials.Client]
}

// Waker is told that a Job has something to send, or is over. It is called from
// another goroutine and must not block; false: not now, it is tried again.
type Waker func() bool

// Handshake is one under way as its loop sees it: a Job, or what stands for one in a
// simulation. The loop calls Feed with what arrives, End when nothing more does, Take
// when it is woken, and Abort when its connection is gone. Where the result says so
// Ticket may be called behind it.
type Handshake interface {
	Feed(b []byte) (more bool)
	Take(dst []byte) (out []byte, r *Result, over bool)
	End()
	Abort()
	Ticket(rec []byte)
}

// Starter begins handshakes: Workers, or what stands for them in a simulation.
type Starter interface {
	Start(config *stdtls.Config, server bool, wake Waker) Handshake
}

// Job is a Handshake by crypto/tls on a coroutine. Feed, Take, End, Abort and Ticket
// are the loop's, from one goroutine; the rest is crypto/tls's.
type Job struct {
	workers *Workers
	config  *stdtls.Config
	server  bool
	wake    Waker

	mu     sync.Mutex
	in     []byte // arrived and unread
	out    []byte // written and not taken
	called bool   // wake was called since the last Take
	dead   bool   // nobody waits for the result any more
	ended  bool   // nothing more arrives
	full   bool   // Feed has asked for a pause
	hungry bool   // and is over it
	stage  stage
	seat   *seat // nil: not begun, or over
	result Result
	conn   *stdtls.Conn // where Result.Ticket says so
	ticket bool         // Ticket was called

	behind *Job // in a queue

	// Of the coroutine alone.
	left      int    // bytes of the record that is being read
	header    []byte // of it, as far as it was read
	tickets   int    // records of a session ticket of TLS 1.3 that were written
	read      []byte // the first helloBytes that were read
	wrote     []byte // and that were written
	secrets   keyLog
	resumable []byte // TLS 1.2: the master secret of the session that may be resumed
	name      string // see Result
	terms     *credentials.Terms
}

// stage is what a Job is at.
type stage uint8

const (
	stageWaits  stage = iota // for its peer
	stageQueued              // for a worker
	stageComputes
	stageOver
)

// ErrAborted is the result of a Job that was aborted.
var ErrAborted = errors.New("handshake aborted")

// ServerConfig makes of a store what Start takes for servers; it is shared by all
// their handshakes. Each has a clone of what its terms say, with a KeyLogWriter of
// its own, and sessions that go on under the same terms only. The ticket keys are
// those of the store: a clone has keys of its own and resumes nothing.
func ServerConfig(store *credentials.Store) *stdtls.Config {
	tickets := store.Tickets()
	return &stdtls.Config{
		GetEncryptedClientHelloKeys: func(*stdtls.ClientHelloInfo) ([]stdtls.EncryptedClientHelloKey, error) { return store.ECH(), nil },
		GetConfigForClient: func(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
			j := hello.Conn.(*Job)
			if own := store.Challenge(hello); own != nil {
				own.KeyLogWriter = &j.secrets
				return own, nil
			}
			j.terms, j.name = store.Choose(hello.ServerName)
			own := j.terms.Config.Clone()
			own.KeyLogWriter = &j.secrets
			own.WrapSession = func(cs stdtls.ConnectionState, s *stdtls.SessionState) ([]byte, error) {
				if cs.Version == tls.Version12 {
					addMaster(s, j.master())
				}
				j.terms.Bind(s, j.name)
				ticket, err := tickets.EncryptTicket(cs, s)
				if cs.Version == tls.Version13 {
					j.tickets += ticketRecords(len(ticket))
				}
				return ticket, err
			}
			own.UnwrapSession = func(ticket []byte, cs stdtls.ConnectionState) (*stdtls.SessionState, error) {
				s, err := tickets.DecryptTicket(ticket, cs)
				if s == nil || !j.terms.Binds(s, j.name) {
					return nil, err
				}
				j.resumable = masterOf(s)
				return s, nil
			}
			return own, nil
		},
	}
}

// Feed gives the Job what has arrived; b is copied. False: it has enough to read,
// and the loop is to hold back what comes next until it is woken.
func (j *Job) Feed(b []byte) bool {
	j.mu.Lock()
	j.in = append(j.in, b...)
	j.full = len(j.in) > enough
	full := j.full
	j.goOn()
	return !full
}

// Take appends to dst what is to be sent. With over true the handshake has ended
// and r says how; what was taken goes out in either case, it may be an alert.
func (j *Job) Take(dst []byte) (out []byte, r *Result, over bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.called, j.hungry = false, false
	dst = append(dst, j.out...)
	j.out = j.out[:0]
	if j.stage != stageOver {
		return dst, nil, false
	}
	j.result.Unread, j.in = j.in, nil
	return dst, &j.result, true
}

// End says that nothing more arrives. A Job that waits for more fails with
// io.ErrUnexpectedEOF.
func (j *Job) End() {
	j.mu.Lock()
	j.ended = true
	j.goOn()
}

// Abort ends the Job: its connection is gone.
func (j *Job) Abort() {
	j.mu.Lock()
	j.dead = true
	j.goOn()
}

// goOn gives mu back, and has the Job go on if it has waited.
func (j *Job) goOn() {
	queue, begun := j.stage == stageWaits, j.seat != nil
	if queue {
		j.stage = stageQueued
	}
	j.mu.Unlock()
	if queue {
		j.workers.push(j, begun)
	}
}

// begin gives the seat to go on in, and the Job one if it has none; nil: there is nothing to do.
func (j *Job) begin() *seat {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.stage == stageOver:
		return nil
	case j.seat == nil && j.dead:
		j.stage = stageOver
		return nil
	case j.seat == nil:
		j.seat = j.workers.sit(j)
	}
	j.stage = stageComputes
	return j.seat
}

// pause is what becomes of a Job that does not compute any more.
func (j *Job) pause() stage {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.stage == stageOver:
		j.seat = nil
	case j.starves():
		j.stage = stageWaits
	}
	return j.stage
}

// starves: there is nothing to read, and there may be.
func (j *Job) starves() bool { return len(j.in) == 0 && !j.dead && !j.ended && !j.ticket }

func (j *Job) run() {
	var c *stdtls.Conn
	if j.server {
		c = stdtls.Server(j, j.config)
	} else {
		config := j.config.Clone()
		config.KeyLogWriter = &j.secrets
		if config.ClientSessionCache != nil {
			config.ClientSessionCache = sessions{config.ClientSessionCache, j}
		}
		c = stdtls.Client(j, config)
	}
	err := c.Handshake()
	r := Result{Name: j.name, Terms: j.terms}
	if r.Err = err; err == nil {
		r.State = c.ConnectionState()
		r.Secrets, r.Err = j.found(r.State)
		if r.Err == nil && j.keepsForTicket(r.State) {
			j.conn, r.Ticket = c, true
		}
	}
	if r.Err == nil && j.server {
		r.Client, r.Err = credentials.Identify(&r.State)
	}
	if err != nil && j.terms != nil && j.terms.Refused() != nil {
		r.Err = j.terms.Refused()
	}
	j.mu.Lock()
	j.stage = stageOver
	j.result = r
	j.mu.Unlock()
}

// tell wakes the loop, once for all that it has not taken. False: not now.
func (j *Job) tell() bool {
	j.mu.Lock()
	call := !j.called && !j.dead && (j.stage == stageOver || j.hungry || len(j.out) > 0)
	j.called = j.called || call
	j.mu.Unlock()
	if !call || j.wake() {
		return true
	}
	j.mu.Lock()
	j.called = false
	j.mu.Unlock()
	return false
}

// Read gives crypto/tls no byte behind the record that it reads: what follows the
// last one of the handshake is not its any more.
func (j *Job) Read(b []byte) (int, error) {
	j.mu.Lock()
	for j.starves() {
		if j.full {
			j.full, j.hungry = false, true
		}
		j.mu.Unlock()
		j.seat.yield(struct{}{})
		j.mu.Lock()
	}
	defer j.mu.Unlock()
	if j.dead {
		return 0, ErrAborted
	}
	if len(j.in) == 0 {
		if j.ticket {
			return 0, errNothingFollows
		}
		return 0, io.ErrUnexpectedEOF
	}
	want := j.left
	if want == 0 {
		want = tls.HeaderLen - len(j.header)
	}
	n := copy(b, j.in[:min(want, len(j.in))])
	if j.left > 0 {
		j.left -= n
	} else {
		j.header = append(j.header, b[:n]...)
		if len(j.header) == tls.HeaderLen {
			j.left = int(j.header[3])<<8 | int(j.header[4])
			j.header = j.header[:0]
		}
	}
	if len(j.read) < helloBytes {
		j.read = append(j.read, b[:n]...)
	}
	j.in = j.in[:copy(j.in, j.in[n:])]
	return n, nil
}

// Write keeps what is to be sent.
func (j *Job) Write(b []byte) (int, error) {
	if len(j.wrote) < helloBytes {
		j.wrote = append(j.wrote, b[:min(len(b), helloBytes)]...)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead {
		return 0, ErrAborted
	}
	j.out = append(j.out, b...)
	return len(b), nil
}

// Close and the rest of net.Conn: a Job has no socket, and the loop has the
// deadlines.
func (j *Job) Close() error                     { return nil }
func (j *Job) LocalAddr() net.Addr              { return noAddr{} }
func (j *Job) RemoteAddr() net.Addr             { return noAddr{} }
func (j *Job) SetDeadline(time.Time) error      { return nil }
func (j *Job) SetReadDeadline(time.Time) error  { return nil }
func (j *Job) SetWriteDeadline(time.Time) error { return nil }

type noAddr struct{}

func (noAddr) Network() string { return "none" }
func (noAddr) String() string  { return "none" }
