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

// Job is a Handshake by crypto/tls on a goroutine. Feed, Take, End, Abort and Ticket
// are the loop's, from one goroutine; the rest is crypto/tls's.
type Job struct {
	workers *Workers
	config  *stdtls.Config
	server  bool
	wake    Waker

	mu      sync.Mutex
	more    sync.Cond // of mu: in has grown, or dead
	in      []byte    // arrived and unread
	out     []byte    // written and not taken
	called  bool      // wake was called since the last Take
	dead    bool      // nobody waits for the result any more
	ended   bool      // nothing more arrives
	full    bool      // Feed has asked for a pause
	hungry  bool      // and is over it
	over    bool
	working bool // holds a place among the workers
	result  Result
	conn    *stdtls.Conn // where Result.Ticket says so
	ticket  bool         // Ticket was called

	// Of the goroutine alone.
	left      int    // bytes of the record that is being read
	header    []byte // of it, as far as it was read
	last      []byte // the record that was written last
	read      []byte // the first helloBytes that were read
	wrote     []byte // and that were written
	secrets   keyLog
	resumable []byte // TLS 1.2: the master secret of the session that may be resumed
	name      string // see Result
	terms     *credentials.Terms
}

// ErrAborted is the result of a Job that was aborted.
var ErrAborted = errors.New("handshake aborted")

// Workers are the places in which handshakes compute: no more at once than there
// are, so that loops keep their CPUs.
type Workers struct{ places chan struct{} }

// NewWorkers makes n places.
func NewWorkers(n int) *Workers { return &Workers{make(chan struct{}, max(1, n))} }

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
				return tickets.EncryptTicket(cs, s)
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

// Start begins a handshake as a server, with what ServerConfig gave, or as a
// client, with any configuration; config is shared by many.
func (s *Workers) Start(config *stdtls.Config, server bool, wake Waker) Handshake {
	j := &Job{workers: s, config: config, server: server, wake: wake}
	j.more.L = &j.mu
	go j.run()
	return j
}

// Feed gives the Job what has arrived; b is copied. False: it has enough to read,
// and the loop is to hold back what comes next until it is woken.
func (j *Job) Feed(b []byte) bool {
	j.mu.Lock()
	j.in = append(j.in, b...)
	j.full = len(j.in) > enough
	full := j.full
	j.mu.Unlock()
	j.more.Signal()
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
	if !j.over {
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
	j.mu.Unlock()
	j.more.Signal()
}

// Abort ends the Job: its connection is gone.
func (j *Job) Abort() {
	j.mu.Lock()
	j.dead = true
	j.mu.Unlock()
	j.more.Signal()
}

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
	j.work()
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
	j.over = true
	j.result = r
	j.mu.Unlock()
	j.rest()
	j.tell()
}

// work takes a place among the workers, rest gives it back.
func (j *Job) work() {
	if !j.working {
		j.workers.places <- struct{}{}
		j.working = true
	}
}

func (j *Job) rest() {
	if j.working {
		j.working = false
		<-j.workers.places
	}
}

// tell wakes the loop, once for all that it has not taken.
func (j *Job) tell() {
	j.mu.Lock()
	call := !j.called && !j.dead && (j.over || j.hungry || len(j.out) > 0)
	j.called = j.called || call
	j.mu.Unlock()
	for call && !j.wake() {
		time.Sleep(time.Millisecond) // its mailbox is full
		j.mu.Lock()
		call = !j.dead
		j.mu.Unlock()
	}
}

// Read gives crypto/tls no byte behind the record that it reads: what follows the
// last one of the handshake is not its any more.
func (j *Job) Read(b []byte) (int, error) {
	j.mu.Lock()
	if j.ticket && len(j.in) == 0 {
		j.mu.Unlock()
		return 0, errNothingFollows
	}
	if len(j.in) == 0 && !j.dead && !j.ended {
		j.full, j.hungry = false, j.full
		j.mu.Unlock()
		j.tell()
		j.rest()
		j.mu.Lock()
		for len(j.in) == 0 && !j.dead && !j.ended {
			j.more.Wait()
		}
		if !j.dead {
			j.mu.Unlock()
			j.work()
			j.mu.Lock()
		}
	}
	defer j.mu.Unlock()
	if j.dead {
		return 0, ErrAborted
	}
	if len(j.in) == 0 {
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

// Write keeps what is to be sent, and the last record of it.
func (j *Job) Write(b []byte) (int, error) {
	if len(j.wrote) < helloBytes {
		j.wrote = append(j.wrote, b[:min(len(b), helloBytes)]...)
	}
	for rec := b; len(rec) >= tls.HeaderLen; {
		n := min(tls.HeaderLen+int(rec[3])<<8+int(rec[4]), len(rec))
		j.last, rec = rec[:n:n], rec[n:]
	}
	j.last = append([]byte(nil), j.last...)
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
