package transport

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"strings"
	"time"
	"unique"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proto/tls"
	"zproxy/proxy/transport/credentials"
	"zproxy/proxy/transport/handshake"
)

// Protocol is what ALPN has chosen (RFC 7301).
type Protocol uint8

const (
	ProtocolNone Protocol = iota // the peer does not know ALPN
	ProtocolHTTP1
	ProtocolHTTP2
)

// Server is how connections of a listener are put into TLS. Config comes from
// handshake.ServerConfig.
type Server struct {
	Config    *stdtls.Config
	TimeoutNs int64 // for the whole handshake
}

// Client is how connections to an upstream are put into TLS.
type Client struct{ Config *stdtls.Config }

// Secure puts an accepted connection, from which nothing was received, into TLS.
// The owner hears of it again by Connected, or by Timer when the time is over: it
// calls Expire then, or sets another Deadline. False: too many handshakes are under
// way, and nothing has changed.
func (t *Transport) Secure(id loop.ConnID, s *Server) bool {
	if t.stats.UnderWay >= t.most {
		t.stats.Refused++
		return false
	}
	i, c := t.newConn(id)
	c.state = stateHello
	c.flags = flagServer | flagHeld
	t.hello[i] = s
	t.stats.UnderWay++
	t.Loop.Recv(id)
	c.lull = t.Loop.Now()
	t.Loop.Deadline(id, c.lull+s.TimeoutNs)
	return true
}

// SecureDial puts a connection that was just dialled into TLS once it stands: its
// Connected comes when the handshake is over.
func (t *Transport) SecureDial(id loop.ConnID, s *Client) {
	i, c := t.newConn(id)
	c.state = stateDialling
	t.jobs[i].config = s
}

// ALPN is the protocol that was agreed on.
func (t *Transport) ALPN(id loop.ConnID) Protocol {
	if i := t.entry(id); i != 0 {
		return t.conns.At(i).alpn
	}
	return ProtocolNone
}

// Session is what the handshake of a connection has come to. Of the connection to
// an origin it has no name, no terms and no client.
type Session struct {
	Name           string             // that the client has asked for, in lower case; "": none
	Terms          *credentials.Terms // nil: the handshake did not come to that
	Client         unique.Handle[credentials.Client]
	Version, Suite uint16 // as on the wire, 0: the handshake has failed
	Resumed        bool
}

// Session is that of id, whose Connected has been reported; nil: it is in clear. It
// is good until the connection's Closed, and not to be changed.
func (t *Transport) Session(id loop.ConnID) *Session {
	if i := t.entry(id); i != 0 {
		return &t.agreed[i]
	}
	return nil
}

// IsSecure says that id is within TLS.
func (t *Transport) IsSecure(id loop.ConnID) bool { return t.entry(id) != 0 }

// Partial is how many bytes have come of a record that is not whole, of which nothing
// was Received, and for how many ms next to none has. In clear there are none.
func (t *Transport) Partial(id loop.ConnID) (n int, idleMs uint32) {
	if i := t.entry(id); i != 0 {
		if c := t.conns.At(i); c.state == stateOpen && c.opened == 0 && !c.in.Empty() {
			return c.in.Bytes(), t.ms() - c.sinceMs
		}
	}
	return 0, 0
}

// Failure says why the handshake failed whose Connected event, with an Errno, is at
// hand; likewise for a RecvEnd with EPROTO.
func (t *Transport) Failure() string { return t.failure }

// helloBytes begins the handshake when a whole record has come: a goroutine for
// every connection that says nothing would be dear.
func (t *Transport) helloBytes(i uint32, c *conn) {
	var b [tls.HeaderLen]byte
	n := t.pool.CopyOut(&c.in, b[:])
	if n > 0 && tls.ContentType(b[0]) != tls.TypeHandshake {
		t.notTLS(i, c, b[:n])
		return
	}
	if n < len(b) || c.in.Bytes() < len(b)+min(int(b[3])<<8|int(b[4]), tls.MaxPlaintext) {
		return
	}
	j := t.start(t.hello[i].Config, true, c.id)
	t.hello[i] = nil
	t.jobs[i].Handshake = j
	c.state = stateHandshake
	for !c.in.Empty() {
		v := t.pool.Pop(&c.in)
		j.Feed(t.pool.Bytes(v))
		t.pool.Release(v)
	}
}

func (t *Transport) start(config *stdtls.Config, server bool, id loop.ConnID) handshake.Handshake {
	l := t.Loop
	return t.workers.Start(config, server, func() bool { return l.Post(loop.Mail{Kind: mailHandshake, A: uint64(id)}) })
}

// beginClient: the connection to an origin stands.
func (t *Transport) beginClient(i uint32, c *conn) {
	config := t.jobs[i].config
	t.jobs[i] = job{Handshake: t.start(config.Config, false, c.id)}
	c.state = stateHandshake
	c.flags |= flagHeld
	t.stats.UnderWay++
	t.Loop.Recv(c.id)
}

const whyNoBuffers = "no buffers for a TLS handshake"

// plainAnswer is for clients that speak HTTP where TLS is spoken.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 49\r\n\r\n" +
	"This port speaks HTTPS: use https:// in the URL.\n"

// notTLS: the first byte is not that of a handshake.
func (t *Transport) notTLS(i uint32, c *conn, b []byte) {
	why, reason := reasonNotTLS, reasonNotTLS
	if b[0] >= 'A' && b[0] <= 'Z' { // a method, or the preface of HTTP/2
		why, reason = "plain HTTP on a TLS listener", reasonPlainHTTP
		if v := t.pool.Reserve(len(plainAnswer)); v != nil {
			copy(v, plainAnswer)
			t.Loop.Send(c.id, t.pool.Commit(len(plainAnswer)))
		}
	}
	t.fail(i, c, why, reason, unix.EPROTO)
}

// handshakeMail: a handshake has something to send, or is over.
func (t *Transport) handshakeMail(id loop.ConnID) {
	i := t.entry(id)
	if i == 0 || t.conns.At(i).state != stateHandshake {
		return
	}
	c := t.conns.At(i)
	out, r, over := t.jobs[i].Take(t.wire[:0])
	t.wire = out[:0]
	for len(out) > 0 {
		n := min(len(out), t.pool.BlockBytes())
		b := t.pool.Reserve(n)
		if b == nil {
			t.fail(i, c, whyNoBuffers, reasonNoBuffers, unix.ENOBUFS)
			return
		}
		copy(b, out[:n])
		t.Loop.Send(id, t.pool.Commit(n))
		out = out[n:]
	}
	if t.Loop.Recv(id); !over {
		return
	}
	err := r.Err
	if err == nil {
		err = c.tls.Start(c.has(flagServer), &r.Secrets)
	}
	t.agreed[i] = Session{Name: r.Name, Terms: r.Terms, Client: r.Client}
	if err != nil {
		if why, ok := refused(err, time.UnixMilli(t.Loop.WallMs())); ok && !c.has(flagServer) {
			t.fail(i, c, why, reasonOf(err), unix.EKEYREJECTED)
		} else {
			t.fail(i, c, describe(err), reasonOf(err), unix.EPROTO)
		}
		return
	}
	t.agreed[i].Version, t.agreed[i].Suite, t.agreed[i].Resumed = r.State.Version, r.State.CipherSuite, r.State.DidResume
	if r.Ticket {
		c.flags |= flagTicket
	} else {
		t.jobs[i] = job{}
	}
	t.letGo(c)
	t.counts.Count(metrics.Handshake{
		Side: c.side(), Version: tls.VersionName(r.State.Version), Suite: tls.SuiteName(r.State.CipherSuite),
		Group: groupName(r.State.CurveID), Resumed: r.State.DidResume,
	})
	if c.has(flagServer) {
		t.counts.Time.RecordValue(t.Loop.Now() - c.lull)
		c.lull = 0
	}
	switch r.State.NegotiatedProtocol {
	case "h2":
		c.alpn = ProtocolHTTP2
	case "http/1.1":
		c.alpn = ProtocolHTTP1
	}
	c.state = stateOpen
	c.flags |= flagConnected
	t.list(i, c)
	if c.has(flagFinish) || !c.out.Empty() {
		t.touch(i, c)
	}
	if c.has(flagServer) {
		t.Loop.Deadline(id, 0)
	}
	t.keep(i, c, r.Unread)
}

// keep takes over what came behind the handshake.
func (t *Transport) keep(i uint32, c *conn, b []byte) {
	for len(b) > 0 {
		n := min(len(b), t.pool.BlockBytes())
		room := t.pool.Reserve(n)
		if room == nil {
			t.broken(i, c, unix.ENOBUFS, whyNoBuffers)
			return
		}
		copy(room, b[:n])
		t.pool.Push(&c.in, t.pool.Commit(n))
		b = b[n:]
	}
}

// fail has Connected reported with errno; why is for the log, reason for metrics.
func (t *Transport) fail(i uint32, c *conn, why, reason string, errno unix.Errno) {
	t.drop(i, c)
	t.counts.CountFailure(metrics.HandshakeFailure{Side: c.side(), Reason: reason})
	t.jobs[i].why = why
	c.state = stateFailed
	c.errno = uint16(errno)
	c.flags = c.flags&^flagEOF | flagConnected
	t.list(i, c)
	if c.has(flagServer) {
		t.Loop.Deadline(c.id, 0)
	}
}

// describe is an error of crypto/tls in the words of a log line.
func describe(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return whyLeft
	}
	var record stdtls.RecordHeaderError
	if errors.As(err, &record) {
		return "TLS handshake: " + record.Msg
	}
	if alert, ok := strings.CutPrefix(err.Error(), "remote error: tls: "); ok {
		return "peer refused the TLS handshake: " + alert
	}
	return "TLS handshake: " + strings.TrimPrefix(err.Error(), "tls: ")
}
