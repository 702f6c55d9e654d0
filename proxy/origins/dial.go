package origins

import (
	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proxy/transport"
)

// Cause is why there is no connection.
type Cause uint8

const (
	NoSocket    Cause = iota // this machine has no descriptor, port or memory left for one
	NoMemory                 // nor any for what it begins with
	Unresolved               // the endpoint has no address
	NotTaken                 // it was refused, or its host cannot be reached
	TimedOut                 // it took too long
	AcceptQueue              // a unix socket says so where TCP would let the dial wait
	Handshake                // TLS: see Why
	Certificate              // likewise
	NoHTTP2                  // the endpoint did not agree to HTTP/2
	NoGreeting               // or did not answer in it
	NoConnect                // or takes no WebSocket by it
	NoStream                 // or no stream
)

// causeOf is why a dial ended with errno.
func (ls *Leases) causeOf(cl *cluster, errno unix.Errno) Cause {
	switch {
	case loop.IsLocalShortage(errno):
		ls.lack[loop.LackOf(errno)]++
		return NoSocket
	case errno == unix.EAGAIN:
		return AcceptQueue
	}
	switch errno {
	case unix.EPROTO:
		cl.why = ls.l.Failure()
		return Handshake
	case unix.EKEYREJECTED:
		cl.why = ls.l.Failure()
		return Certificate
	}
	return NotTaken
}

// Why is what the last TLS handshake with an endpoint of a cluster failed for that did.
func (ls *Leases) Why(cluster int) string { return ls.clusters[cluster].why }

// reportDial tells the pool that a dial failed, unless that says nothing of the endpoint;
// addr is 0 when the address is not known.
func (ls *Leases) reportDial(cl *cluster, endpoint int, addr uint32, c Cause) {
	switch {
	case c == NoSocket, c == NoHTTP2 && cl.Spare != 0: // it speaks, if not HTTP/2
		cl.pool.DialGivenUp(ls.l.Now(), endpoint)
	case c == AcceptQueue:
		cl.pool.DialLater(ls.l.Now(), endpoint)
	default:
		cl.pool.DialFailedAt(ls.l.Now(), endpoint, addr)
	}
}

// remoteSet is what the addresses of one endpoint were turned into, rebuilt when they
// change.
type remoteSet struct {
	generation uint32
	byKey      map[uint32]*loop.Remote
}

// remote picks the address to dial next at an endpoint and gives it as the loop takes it,
// with its key; nil when there is none.
func (ls *Leases) remote(cl *cluster, endpoint int) (*loop.Remote, uint32) {
	addrs, i := cl.pool.Address(ls.l.Now(), endpoint)
	if addrs == nil {
		return nil, 0
	}
	set := &cl.remotes[endpoint]
	if addrs.Generation != set.generation || set.byKey == nil {
		set.generation, set.byKey = addrs.Generation, map[uint32]*loop.Remote{}
	}
	key := addrs.Keys[i]
	r := set.byKey[key]
	if r == nil {
		var err error
		if r, err = loop.NewRemote(addrs.Addrs[i], cl.Socket); err != nil {
			return nil, 0
		}
		set.byKey[key] = r
	}
	return r, key
}

// connect dials an endpoint. 0: the loop has no room for one more connection.
func (ls *Leases) connect(cl *cluster, r *loop.Remote, endpoint int) loop.ConnID {
	conn := ls.l.Dial(r, 0)
	if c := cl.TLS[endpoint]; c != nil && conn != 0 {
		ls.l.SecureDial(conn, c)
	}
	return conn
}

// agreed says whether a connection to an endpoint is good for HTTP/2: within TLS that is
// agreed on (RFC 9113 3.2).
func (ls *Leases) agreed(cl *cluster, endpoint int, conn loop.ConnID) bool {
	return cl.TLS[endpoint] == nil || ls.l.ALPN(conn) == transport.ProtocolHTTP2
}
