// Package accesslog writes one line per request, as JSON or in the combined
// format, without ever making an event loop wait for a disk.
//
// Each loop formats into a Buffer of its own. Full or aged buffers go to one
// writer goroutine over a bounded queue, by a send that does not block, and come
// back empty. When the writer falls behind (slow disk, full disk, a stuck pipe)
// records are dropped and counted, never waited for. A Buffer belongs to its
// loop; a Logger may be used from anywhere.
package accesslog

import "net/netip"

// Record is what is known of one request when it ends. Byte slices are borrowed
// for the call of Add and may hold anything a peer sent. Fields are left out of
// a line when they are zero, unless docs/access-log.md says otherwise.
type Record struct {
	WallMs int64          // when the request ended, ms since 1970 UTC
	Client netip.AddrPort // who asks: the connection's other end, or whom a trusted one names, with port 0; invalid for unix sockets
	Peer   netip.AddrPort // the connection's other end where that is not Client; invalid for unix sockets
	Named  bool           // there is a Peer, who names Client

	Method, Target, Host []byte // as received; empty if the request was not readable
	Major, Minor         uint8  // of the version: 2 and 0, else HTTP/1.Minor
	Status               uint16 // as sent; 0 if the client went away before
	BytesIn, BytesOut    uint64 // body bytes received from and sent to the client

	DurationNs int64 // from the first byte of the request to the last of the response
	ConnectNs  int64 // to connect to the origin; 0 when a connection was reused
	ResponseNs int64 // from the request sent to the head of the origin's response

	Route    string // path pattern of the route
	Upstream string // name of the upstream, "" if none was asked
	Endpoint string // address that answered, or was asked last
	Reused   bool   // sent on a kept-alive connection
	Reason   string // why the proxy refused, or answered itself; "" otherwise

	CloseCode uint16 // WebSocket: of the first Close frame, 1006 when there was none
	ClosedBy  string // who sent it, or went away without

	Referer, UserAgent []byte
	RequestID          []byte
	User               []byte // whom a filter has found the client to be

	UpstreamHost, UpstreamTarget []byte // as sent on, where they differ from Host and Target

	// Of a client's connection within TLS; the certificate is one that was checked.
	TLSVersion, TLSSuite, SNI                string
	Resumed                                  bool // comes with TLSVersion
	CertSubject, CertSerial, CertFingerprint string

	Cut bool // one of the texts is not whole
}

// SetClient takes down who asks where Client is the peer until now.
func (r *Record) SetClient(addr netip.Addr) {
	if r.Client.Addr() != addr {
		r.Client, r.Peer, r.Named = netip.AddrPortFrom(addr, 0), r.Client, true
	}
}

// Format is how a line looks.
type Format uint8

// The formats of docs/access-log.md.
const (
	JSON Format = iota
	Combined
	Custom // as Options.Layout says
)

// How much of a field makes it into a line, in bytes as received. Longer ones
// are cut (and a JSON line says so), so that a line has a largest size and a
// buffer always room for one more.
const (
	maxTarget = 8192
	maxField  = 1024 // referer, user agent, subject of a certificate
	maxHost   = 256  // host, route, upstream, endpoint, reason, request id, user, SNI, serial number of a certificate
	maxMethod = 32

	// A byte becomes at most six ("\u0000"); names, numbers and punctuation of
	// a line with every field stay below 1.5 KiB.
	maxLine = 6*(2*maxTarget+3*maxField+10*maxHost+maxMethod) + 1536
)
