package journal

import (
	"net/netip"
	"unique"

	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proto/tls"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// Journal is that of one worker.
type Journal struct {
	m      *metrics.Loop
	log    *accesslog.Buffer // nil: nothing is logged
	note   []byte            // the newest, see Note
	record accesslog.Record  // of the line that is being made
}

// New is a journal that counts in m; log may be nil.
func New(m *metrics.Loop, log *accesslog.Buffer) Journal { return Journal{m: m, log: log} }

// Logs says that there is a log.
func (j *Journal) Logs() bool { return j.log != nil }

// Switch goes on with another log, or none.
func (j *Journal) Switch(log *accesslog.Buffer) {
	if log == j.log {
		return
	}
	if j.log != nil {
		j.log.Leave()
	}
	j.log = log
}

// Flush hands lines over when they are due, and says when the next ones are; 0: never.
func (j *Journal) Flush(now int64) int64 {
	if j.log == nil {
		return 0
	}
	j.log.Flush(now)
	return j.log.Deadline()
}

// Close hands over all lines, the last there are.
func (j *Journal) Close() {
	if j.log != nil {
		j.log.Close()
	}
}

// Exchange is what is counted and logged of one that has ended.
type Exchange struct {
	Plan    *snapshot.Snapshot // that it began with
	Route   int                // of Plan, below 0: none
	Cluster *snapshot.Cluster  // nil: none was asked
	// Upstream is the number of Cluster, Endpoint that of its endpoint; below 0: none.
	Upstream, Endpoint int

	Status            uint16
	BytesIn, BytesOut uint64
	TotalNs           int64
	ConnectNs         int64
	ResponseNs        int64
	Reused            bool
	Reason            string

	// Of a WebSocket: the code of the first Close frame, and who sent it.
	CloseCode uint16
	ClosedBy  string
}

// Count counts e. now is the current snapshot.
func (j *Journal) Count(e *Exchange, now *snapshot.Snapshot) {
	if class := e.Status / 100; class < 6 {
		j.m.ResponsesByClass[class]++
	} else {
		j.m.ResponsesByClass[0]++
	}
	j.m.Total.RecordValue(e.TotalNs)
	j.countSeries(e, now)
}

// Peer is the other end of a client's connection.
type Peer struct {
	Addr netip.AddrPort     // not valid for unix sockets
	TLS  *transport.Session // nil: in clear
}

// Line begins the line of e, nil: there is no log. It is lent until the next line; Add ends
// it.
func (j *Journal) Line(e *Exchange, wallMs int64, p Peer) *accesslog.Record {
	if j.log == nil {
		return nil
	}
	r := &j.record
	*r = accesslog.Record{
		WallMs: wallMs, Client: p.Addr,
		Status:  e.Status,
		BytesIn: e.BytesIn, BytesOut: e.BytesOut,
		DurationNs: e.TotalNs, ConnectNs: e.ConnectNs, ResponseNs: e.ResponseNs,
		Reused: e.Reused, Reason: e.Reason,
		CloseCode: e.CloseCode, ClosedBy: e.ClosedBy,
	}
	if e.Route >= 0 {
		r.Route = e.Plan.Routes[e.Route].Path
	}
	if e.Cluster != nil {
		r.Upstream = e.Cluster.Name
		if e.Endpoint >= 0 {
			r.Endpoint = e.Cluster.Shared.Endpoints()[e.Endpoint].Address
		}
	}
	setTLS(r, p.TLS)
	return r
}

// Add writes a line.
func (j *Journal) Add(r *accesslog.Record) { j.log.Add(r) }

// Refused logs bytes of a client that were no request, in HTTP/1 (major 1) or HTTP/2, with what of
// the head was readable; h is nil where nothing was read.
func (j *Journal) Refused(f *proto.Fault, major uint8, h *proto.Head, wallMs int64, p Peer) {
	if j.log == nil {
		return
	}
	j.record = accesslog.Record{WallMs: wallMs, Client: p.Addr, Status: f.Status, Reason: f.Reason, Major: major}
	if major == 1 {
		j.record.Minor = 1
	}
	setTLS(&j.record, p.TLS)
	if h != nil {
		j.record.Method, j.record.Target = h.Bytes(h.MethodName), h.Bytes(h.Target)
	}
	j.log.Add(&j.record)
}

// Connection logs the client of a connection on which nothing was asked, for what it ended.
func (j *Journal) Connection(reason string, wallMs int64, p Peer) {
	if j.log == nil {
		return
	}
	j.record = accesslog.Record{WallMs: wallMs, Client: p.Addr, Reason: reason}
	setTLS(&j.record, p.TLS)
	j.log.Add(&j.record)
}

// setTLS writes down what was agreed on within TLS.
func setTLS(r *accesslog.Record, s *transport.Session) {
	if s == nil {
		return
	}
	r.SNI, r.Resumed = s.Name, s.Resumed
	if s.Version != 0 {
		r.TLSVersion, r.TLSSuite = tls.VersionName(s.Version), tls.SuiteName(s.Suite)
	}
	if s.Client != (unique.Handle[credentials.Client]{}) {
		c := s.Client.Value()
		r.CertSubject, r.CertSerial, r.CertFingerprint = c.Subject, c.Serial, c.Fingerprint
	}
}
