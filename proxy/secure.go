package proxy

import (
	"unique"

	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proto/tls"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

// What TLS needs: of the configuration, and of a worker until a connection is a
// client, or an origin, like any other.

// tlsOf is what was agreed on with a client within TLS; nil: it is in
// clear, or gone.
func (hd *heads) tlsOf(c *client) *transport.Session {
	if hd.w.snap.Listeners[c.listener].Server == nil {
		return nil
	}
	return hd.l.Session(hd.w.legs.carrier(&c.leg))
}

// logTLS writes down what a client's connection is.
func logTLS(s *transport.Session, r *accesslog.Record) {
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

var (
	faultHandshake         = proto.Fault{Status: 400, Code: codeHandshake, Reason: "TLS handshake failed"}
	faultProxyHeader       = proto.Fault{Status: 400, Code: codeGreeting, Reason: "PROXY protocol header is missing or wrong"}
	faultStranger          = proto.Fault{Status: 403, Code: codeStranger, Reason: "connection is from nobody who may send a PROXY protocol header"}
	faultHandshakeTimeout  = proto.Fault{Status: 408, Code: codeHandshakeTimeout, Reason: "TLS handshake not finished in time"}
	faultMisdirected       = proto.Fault{Status: 421, Code: codeMisdirected, Reason: "request is for a host that its TLS connection is not for"}
	faultOriginCertificate = proto.Fault{Status: 502, Code: codeOriginCertificate, Reason: "origin's certificate is refused"}
	faultOriginHandshake   = proto.Fault{Status: 502, Code: codeOriginHandshake, Reason: "TLS handshake with the origin failed"}
	faultRecord            = proto.Fault{Status: 400, Code: codeRecord, Reason: "client broke the rules of TLS records"}
	faultRecordHeld        = proto.Fault{Status: 503, Code: codeHeld, Reason: "part of a TLS record is held, and others wait for memory"}
	faultOriginRecord      = proto.Fault{Status: 502, Code: codeOriginRecord, Reason: "origin broke the rules of TLS records"}
	faultNoH2              = proto.Fault{Status: 502, Code: codeOriginHandshake, Reason: "origin does not offer HTTP/2 (ALPN h2)"}
)
