package transport

import (
	stdtls "crypto/tls"
	"unique"

	"zproxy/loop"
	"zproxy/proxy/transport/credentials"
)

// Protocol is what ALPN has chosen (RFC 7301).
type Protocol uint8

const (
	ProtocolNone Protocol = iota // the peer does not know ALPN
	ProtocolHTTP1
	ProtocolHTTP2
	ProtocolChallenge // an authority has checked a name, and has nothing to say (RFC 8737 3)
)

// Server is how connections of a listener are put into TLS. Config comes from
// handshake.ServerConfig.
type Server struct {
	Config    *stdtls.Config
	TimeoutNs int64 // for the whole handshake
	Most      int   // handshakes under way, of all listeners of the loop, with which none is begun
}

// Client is how connections to an upstream are put into TLS.
type Client struct{ Config *stdtls.Config }

// Secure puts an accepted connection, from which nothing was received, into TLS.
// The owner hears of it again by Connected, or by Timer when the time is over: it
// calls Expire then, or sets another Deadline. False: too many handshakes are under
// way, and nothing has changed.
func (t *Transport) Secure(id loop.ConnID, s *Server) bool {
	if hs := &t.handshakes; hs.stats.UnderWay >= s.Most {
		hs.stats.Refused++
		return false
	}
	i, c := t.newConn(id)
	c.state = stateHello
	c.flags = flagServer | flagHeld
	t.handshakes.servers[i] = s
	t.handshakes.stats.UnderWay++
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
	t.handshakes.jobs[i].config = s
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
		return &t.handshakes.agreed[i]
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
