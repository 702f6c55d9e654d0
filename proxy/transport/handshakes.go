package transport

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proto/tls"
	"zproxy/proxy/transport/credentials"
	"zproxy/proxy/transport/handshake"
)

// handshakes are those of a transport: who has to begin, who is under way, and what
// they have come to, by the connection's entry.
type handshakes struct {
	t       *Transport
	servers []*Server // until the handshake begins
	jobs    []job
	agreed  []Session // from the end of the handshake on

	workers handshake.Starter
	wire    []byte // what one has to send
	stats   Stats
	counts  *metrics.TLS
}

type job struct {
	handshake.Handshake
	config *Client // of a connection that is still being dialled
	why    string  // what became of it, for Failure
}

// grow makes room for entry i.
func (hs *handshakes) grow(i uint32) {
	if more := int(i) + 1 - len(hs.jobs); more > 0 {
		hs.jobs = append(hs.jobs, make([]job, more)...)
		hs.servers = append(hs.servers, make([]*Server, more)...)
		hs.agreed = append(hs.agreed, make([]Session, more)...)
	}
}

// drop ends the one of entry i, and forgets why it failed.
func (hs *handshakes) drop(i uint32, c *conn) {
	if hs.jobs[i].Handshake != nil {
		hs.jobs[i].Abort()
	}
	hs.jobs[i], hs.servers[i] = job{}, nil
	hs.letGo(c)
}

// letGo: a handshake is over, and does not count any more.
func (hs *handshakes) letGo(c *conn) {
	if c.has(flagHeld) {
		c.flags &^= flagHeld
		hs.stats.UnderWay--
	}
}

// hello begins the handshake when a whole record has come: a goroutine for
// every connection that says nothing would be dear.
func (hs *handshakes) hello(i uint32, c *conn) {
	var b [tls.HeaderLen]byte
	n := hs.t.pool.CopyOut(&c.in, b[:])
	if n > 0 && tls.ContentType(b[0]) != tls.TypeHandshake {
		hs.notTLS(i, c, b[:n])
		return
	}
	if n < len(b) || c.in.Bytes() < len(b)+min(int(b[3])<<8|int(b[4]), tls.MaxPlaintext) {
		return
	}
	j := hs.start(hs.servers[i].Config, true, c.id)
	hs.servers[i] = nil
	hs.jobs[i].Handshake = j
	c.state = stateHandshake
	for !c.in.Empty() {
		v := hs.t.pool.Pop(&c.in)
		j.Feed(hs.t.pool.Bytes(v))
		hs.t.pool.Release(v)
	}
}

func (hs *handshakes) start(config *stdtls.Config, server bool, id loop.ConnID) handshake.Handshake {
	l := hs.t.Loop
	return hs.workers.Start(config, server, func() bool { return l.Post(loop.Mail{Kind: mailHandshake, A: uint64(id)}) })
}

// beginClient: the connection to an origin stands.
func (hs *handshakes) beginClient(i uint32, c *conn) {
	config := hs.jobs[i].config
	hs.jobs[i] = job{Handshake: hs.start(config.Config, false, c.id)}
	c.state = stateHandshake
	c.flags |= flagHeld
	hs.stats.UnderWay++
	hs.t.Loop.Recv(c.id)
}

const whyNoBuffers = "no buffers for a TLS handshake"

// plainAnswer is for clients that speak HTTP where TLS is spoken.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 49\r\n\r\n" +
	"This port speaks HTTPS: use https:// in the URL.\n"

// notTLS: the first byte is not that of a handshake.
func (hs *handshakes) notTLS(i uint32, c *conn, b []byte) {
	why, reason := reasonNotTLS, reasonNotTLS
	if b[0] >= 'A' && b[0] <= 'Z' { // a method, or the preface of HTTP/2
		why, reason = "plain HTTP on a TLS listener", reasonPlainHTTP
		if v := hs.t.pool.Reserve(len(plainAnswer)); v != nil {
			copy(v, plainAnswer)
			hs.t.Loop.Send(c.id, hs.t.pool.Commit(len(plainAnswer)))
		}
	}
	hs.fail(i, c, why, reason, unix.EPROTO)
}

// mail: a handshake has something to send, or is over.
func (hs *handshakes) mail(id loop.ConnID) {
	i := hs.t.entry(id)
	if i == 0 || hs.t.conns.At(i).state != stateHandshake {
		return
	}
	c := hs.t.conns.At(i)
	out, r, over := hs.jobs[i].Take(hs.wire[:0])
	hs.wire = out[:0]
	for len(out) > 0 {
		n := min(len(out), hs.t.pool.BlockBytes())
		b := hs.t.pool.Reserve(n)
		if b == nil {
			hs.fail(i, c, whyNoBuffers, reasonNoBuffers, unix.ENOBUFS)
			return
		}
		copy(b, out[:n])
		hs.t.Loop.Send(id, hs.t.pool.Commit(n))
		out = out[n:]
	}
	if hs.t.Loop.Recv(id); !over {
		return
	}
	err := r.Err
	if err == nil {
		err = c.tls.Start(c.has(flagServer), &r.Secrets)
	}
	hs.agreed[i] = Session{Name: r.Name, Terms: r.Terms, Client: r.Client}
	if err != nil {
		if why, ok := refused(err, time.UnixMilli(hs.t.Loop.WallMs())); ok && !c.has(flagServer) {
			hs.fail(i, c, why, reasonOf(err), unix.EKEYREJECTED)
		} else {
			hs.fail(i, c, describe(err), reasonOf(err), unix.EPROTO)
		}
		return
	}
	hs.agreed[i].Version, hs.agreed[i].Suite, hs.agreed[i].Resumed = r.State.Version, r.State.CipherSuite, r.State.DidResume
	if r.Ticket {
		c.flags |= flagTicket
	} else {
		hs.jobs[i] = job{}
	}
	hs.letGo(c)
	hs.counts.Count(metrics.Handshake{
		Side: c.side(), Version: tls.VersionName(r.State.Version), Suite: tls.SuiteName(r.State.CipherSuite),
		Group: groupName(r.State.CurveID), Resumed: r.State.DidResume,
	})
	if c.has(flagServer) {
		hs.counts.Time.RecordValue(hs.t.Loop.Now() - c.lull)
		c.lull = 0
	}
	switch r.State.NegotiatedProtocol {
	case "h2":
		c.alpn = ProtocolHTTP2
	case "http/1.1":
		c.alpn = ProtocolHTTP1
	case credentials.ChallengeProtocol:
		c.alpn = ProtocolChallenge
	}
	c.state = stateOpen
	c.flags |= flagConnected
	hs.t.list(i, c)
	if c.has(flagFinish) || !c.out.Empty() {
		hs.t.touch(i, c)
	}
	if c.has(flagServer) {
		hs.t.Loop.Deadline(id, 0)
	}
	hs.keep(i, c, r.Unread)
}

// keep takes over what came behind the handshake.
func (hs *handshakes) keep(i uint32, c *conn, b []byte) {
	for len(b) > 0 {
		n := min(len(b), hs.t.pool.BlockBytes())
		room := hs.t.pool.Reserve(n)
		if room == nil {
			hs.t.broken(i, c, unix.ENOBUFS, whyNoBuffers)
			return
		}
		copy(room, b[:n])
		hs.t.pool.Push(&c.in, hs.t.pool.Commit(n))
		b = b[n:]
	}
}

// fail has Connected reported with errno; why is for the log, reason for metrics.
func (hs *handshakes) fail(i uint32, c *conn, why, reason string, errno unix.Errno) {
	hs.t.drop(i, c)
	hs.counts.CountFailure(metrics.HandshakeFailure{Side: c.side(), Reason: reason})
	hs.jobs[i].why = why
	c.state = stateFailed
	c.errno = uint16(errno)
	c.flags = c.flags&^flagEOF | flagConnected
	hs.t.list(i, c)
	if c.has(flagServer) {
		hs.t.Loop.Deadline(c.id, 0)
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
