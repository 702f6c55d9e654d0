package variables

import "strings"

// Field is a field of a line in the access log.
type Field uint8

// The fields, as docs/access-log.md has them.
const (
	LogTime Field = iota
	LogTimeCLF
	LogClient
	LogClientIP
	LogPeer
	LogRequest
	LogMethod
	LogTarget
	LogHost
	LogProtocol
	LogStatus
	LogBytesIn
	LogBytesOut
	LogDurationUs
	LogDurationS
	LogRoute
	LogUpstream
	LogEndpoint
	LogUpstreamHost
	LogUpstreamTarget
	LogReused
	LogConnectUs
	LogConnectS
	LogResponseUs
	LogResponseS
	LogReason
	LogCloseCode
	LogClosedBy
	LogReferer
	LogUserAgent
	LogRequestID
	LogUser
	LogCut
	LogTLSVersion
	LogTLSSuite
	LogTLSSNI
	LogTLSResumed
	LogCertSubject
	LogCertSerial
	LogCertFingerprint
	numFields
)

var fieldNames = [numFields]string{
	"time", "time_clf", "client", "client_ip", "peer", "request", "method", "target", "host", "protocol", "status",
	"bytes_in", "bytes_out", "duration_us", "duration_s", "route", "upstream", "endpoint", "upstream_host", "upstream_target",
	"reused", "connect_us", "connect_s", "response_us", "response_s", "reason", "close_code", "closed_by",
	"referer", "user_agent", "request_id", "user", "cut",
	"tls_version", "tls_suite", "tls_sni", "tls_resumed", "client_cert_subject", "client_cert_serial", "client_cert_fingerprint",
}

// FieldNames lists the names of all fields, in the order of their numbers.
func FieldNames() []string { return fieldNames[:] }

// LogPart is a piece of a line: literal, or a field.
type LogPart struct {
	Text   string // the literal, "" for a field
	Field  Field
	Quoted bool // the field stands between quotation marks
	Before byte // the first byte of the literal behind the field, 0: none
}

// MaxLogText is the longest text of a line, fields as they are written there.
const MaxLogText = 4096

// ParseLog compiles the text of a line. Each field is there once at the most, which
// bounds the length of a line.
func ParseLog(text string) ([]LogPart, *Error) {
	if len(text) > MaxLogText {
		return nil, &Error{0, "a longer text", "at most 4096 bytes"}
	}
	pieces, err := Split(text)
	if err != nil {
		return nil, err
	}
	var parts []LogPart
	var seen [numFields]bool
	quotes, fields := 0, 0
	for _, p := range pieces {
		if !p.Variable {
			if i := strings.IndexFunc(p.Text, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\ufffd' }); i >= 0 {
				return nil, &Error{p.Offset + i, "a control character", "one line of text"}
			}
			if n := len(parts); n > 0 {
				parts[n-1].Before = p.Text[0]
			}
			quotes += strings.Count(p.Text, `"`)
			parts = append(parts, LogPart{Text: p.Text})
			continue
		}
		f := Field(0)
		for f < numFields && fieldNames[f] != p.Text {
			f++
		}
		switch {
		case f == numFields:
			return nil, &Error{p.Offset, "{" + p.Text + "}", "one of {" + strings.Join(fieldNames[:], "}, {") + "}"}
		case seen[f]:
			return nil, &Error{p.Offset, "{" + p.Text + "} a second time", "each field once"}
		}
		seen[f] = true
		fields++
		parts = append(parts, LogPart{Field: f, Quoted: quotes%2 == 1})
	}
	if fields == 0 {
		return nil, &Error{0, `"` + text + `"`, "json, combined, or a text with fields in braces, such as {client}"}
	}
	return parts, nil
}
