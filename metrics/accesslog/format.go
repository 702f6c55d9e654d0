package accesslog

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// text is what may end up between quotes.
type text interface{ ~string | ~[]byte }

// clock caches the written form of the second last asked for: formatting a date
// costs more than the rest of a short line.
type clock struct {
	second int64
	text   [32]byte
	n      int
}

// latestMs is the end of the year 9999, the last with a date of fixed width.
const latestMs = 253402300799999

// append writes the time in a layout of the time package, UTC. A time outside
// of the years the layouts are made for, from a clock set wrong, becomes 1970.
func (c *clock) append(dst []byte, wallMs int64, layout string) []byte {
	if wallMs < 0 || wallMs > latestMs {
		wallMs = 0
	}
	second := wallMs / 1000
	if c.n == 0 || second != c.second {
		c.second = second
		c.n = len(time.Unix(second, 0).UTC().AppendFormat(c.text[:0], layout))
	}
	return append(dst, c.text[:c.n]...)
}

// clocks are one for each layout: a line may have both.
type clocks struct{ json, clf clock }

const (
	jsonTime     = "2006-01-02T15:04:05"        // milliseconds and Z follow
	combinedTime = "02/Jan/2006:15:04:05 -0700" // as nginx and Apache httpd write it
)

// appendTime writes the time as RFC 3339 has it, with milliseconds.
func appendTime(dst []byte, c *clock, r *Record) []byte {
	dst = c.append(dst, r.WallMs, jsonTime)
	ms := max(r.WallMs, 0) % 1000
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// appendVersion writes the protocol version of a request.
func appendVersion(dst []byte, r *Record) []byte {
	if r.Major == 2 {
		return append(dst, "HTTP/2.0"...)
	}
	dst = append(dst, "HTTP/1."...)
	return append(dst, '0'+r.Minor%10)
}

// appendJSON writes r as one JSON object and a line feed.
func appendJSON(dst []byte, c *clock, r *Record) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendTime(dst, c, r)
	dst = append(dst, `","client":"`...)
	dst = appendPeer(dst, r.Client)
	if r.Named {
		dst = append(dst, `","peer":"`...)
		dst = appendPeer(dst, r.Peer)
	}
	dst = append(dst, `","method":"`...)
	dst = appendJSONText(dst, cut(r.Method, maxMethod))
	dst = append(dst, `","target":"`...)
	dst = appendJSONText(dst, cut(r.Target, maxTarget))
	dst = append(dst, `","host":"`...)
	dst = appendJSONText(dst, cut(r.Host, maxHost))
	dst = append(dst, `","protocol":"`...)
	dst = appendVersion(dst, r)
	dst = append(dst, `","status":`...)
	dst = strconv.AppendUint(dst, uint64(r.Status), 10)
	dst = append(dst, `,"bytes_in":`...)
	dst = strconv.AppendUint(dst, r.BytesIn, 10)
	dst = append(dst, `,"bytes_out":`...)
	dst = strconv.AppendUint(dst, r.BytesOut, 10)
	dst = append(dst, `,"duration_us":`...)
	dst = strconv.AppendInt(dst, r.DurationNs/1000, 10)
	dst = appendJSONString(dst, `,"route":"`, r.Route)
	dst = appendJSONUpstream(dst, r)
	dst = appendJSONString(dst, `,"reason":"`, r.Reason)
	if r.CloseCode > 0 {
		dst = append(dst, `,"close_code":`...)
		dst = strconv.AppendUint(dst, uint64(r.CloseCode), 10)
		dst = appendJSONString(dst, `,"closed_by":"`, r.ClosedBy)
	}
	dst = appendJSONBytes(dst, `,"referer":"`, r.Referer, maxField)
	dst = appendJSONBytes(dst, `,"user_agent":"`, r.UserAgent, maxField)
	dst = appendJSONBytes(dst, `,"request_id":"`, r.RequestID, maxHost)
	dst = appendJSONBytes(dst, `,"user":"`, r.User, maxHost)
	if r.TLSVersion != "" || r.SNI != "" {
		dst = appendJSONTLS(dst, r)
	}
	if r.isCut() {
		dst = append(dst, `,"cut":true`...)
	}
	return append(dst, "}\n"...)
}

func appendJSONTLS(dst []byte, r *Record) []byte {
	if r.TLSVersion != "" {
		dst = appendJSONString(dst, `,"tls_version":"`, r.TLSVersion)
		dst = appendJSONString(dst, `,"tls_suite":"`, r.TLSSuite)
		dst = append(dst, `,"tls_resumed":`...)
		dst = strconv.AppendBool(dst, r.Resumed)
	}
	dst = appendJSONString(dst, `,"tls_sni":"`, r.SNI)
	if r.CertFingerprint != "" {
		dst = append(dst, `,"client_cert_subject":"`...)
		dst = append(appendJSONText(dst, cut(r.CertSubject, maxField)), '"')
		dst = appendJSONString(dst, `,"client_cert_serial":"`, r.CertSerial)
		dst = appendJSONString(dst, `,"client_cert_fingerprint":"`, r.CertFingerprint)
	}
	return dst
}

func appendJSONUpstream(dst []byte, r *Record) []byte {
	if r.Upstream == "" {
		return dst
	}
	dst = appendJSONString(dst, `,"upstream":"`, r.Upstream)
	dst = appendJSONString(dst, `,"endpoint":"`, r.Endpoint)
	dst = appendJSONBytes(dst, `,"upstream_host":"`, r.UpstreamHost, maxHost)
	dst = appendJSONBytes(dst, `,"upstream_target":"`, r.UpstreamTarget, maxTarget)
	dst = append(dst, `,"reused":`...)
	dst = strconv.AppendBool(dst, r.Reused)
	if r.ConnectNs > 0 {
		dst = append(dst, `,"connect_us":`...)
		dst = strconv.AppendInt(dst, r.ConnectNs/1000, 10)
	}
	if r.ResponseNs > 0 {
		dst = append(dst, `,"response_us":`...)
		dst = strconv.AppendInt(dst, r.ResponseNs/1000, 10)
	}
	return dst
}

// appendPeer writes an address, with its port unless nobody knows that.
func appendPeer(dst []byte, peer netip.AddrPort) []byte {
	switch {
	case !peer.IsValid():
		return append(dst, "unix:"...)
	case peer.Port() == 0:
		return peer.Addr().AppendTo(dst)
	}
	return peer.AppendTo(dst)
}

func appendJSONBytes(dst []byte, name string, value []byte, limit int) []byte {
	if len(value) == 0 {
		return dst
	}
	dst = append(dst, name...)
	return append(appendJSONText(dst, cut(value, limit)), '"')
}

func appendJSONString(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, name...)
	return append(appendJSONText(dst, cut(value, maxHost)), '"')
}

// appendCombined writes r in the combined format of Apache httpd and nginx:
// client - user [time] "request" status bytes "referer" "user agent".
func appendCombined(dst []byte, c *clock, r *Record) []byte {
	dst = appendAddr(dst, r.Client)
	dst = append(dst, " - "...)
	dst = appendUser(dst, r.User)
	dst = append(dst, " ["...)
	dst = c.append(dst, r.WallMs, combinedTime)
	dst = append(dst, `] "`...)
	if len(r.Method) == 0 {
		dst = append(dst, '-')
	} else {
		dst = appendCombinedText(dst, cut(r.Method, maxMethod))
		dst = append(dst, ' ')
		dst = appendCombinedText(dst, cut(r.Target, maxTarget))
		dst = append(dst, ' ')
		dst = appendVersion(dst, r)
	}
	dst = append(dst, `" `...)
	dst = append(dst, byte('0'+r.Status/100%10), byte('0'+r.Status/10%10), byte('0'+r.Status%10), ' ')
	dst = strconv.AppendUint(dst, r.BytesOut, 10)
	dst = append(dst, ` "`...)
	dst = appendOrDash(dst, r.Referer)
	dst = append(dst, `" "`...)
	dst = appendOrDash(dst, r.UserAgent)
	return append(dst, "\"\n"...)
}

// appendUser writes a column without quotation marks: readers of the format split lines at spaces.
func appendUser(dst, user []byte) []byte {
	if len(user) == 0 {
		return append(dst, '-')
	}
	for _, c := range cut(user, maxHost) {
		if plain[c] && c != ' ' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '\\', 'x', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

func appendOrDash(dst, value []byte) []byte {
	if len(value) == 0 {
		return append(dst, '-')
	}
	return appendCombinedText(dst, cut(value, maxField))
}

// appendAddr writes the address without the port, which is what readers of the
// combined format expect in the first column.
func appendAddr(dst []byte, client netip.AddrPort) []byte {
	if !client.IsValid() {
		return append(dst, "unix:"...)
	}
	return client.Addr().Unmap().AppendTo(dst)
}

func cut[T text](s T, limit int) T { return s[:min(len(s), limit)] }

func (r *Record) isCut() bool {
	return r.Cut || len(r.Target) > maxTarget || len(r.Method) > maxMethod || len(r.Host) > maxHost ||
		len(r.Referer) > maxField || len(r.UserAgent) > maxField || len(r.Route) > maxHost ||
		len(r.UpstreamHost) > maxHost || len(r.UpstreamTarget) > maxTarget || len(r.RequestID) > maxHost || len(r.User) > maxHost || len(r.Upstream) > maxHost || len(r.Endpoint) > maxHost || len(r.Reason) > maxHost ||
		len(r.SNI) > maxHost || len(r.CertSubject) > maxField || len(r.CertSerial) > maxHost
}

// plain marks the bytes that stand for themselves in a JSON string and in a
// quoted column of the combined format: printable ASCII but " and \.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

const (
	lowerHex = "0123456789abcdef"
	upperHex = "0123456789ABCDEF"
)

// appendJSONText writes s as the inside of a JSON string (RFC 8259 section 7).
// Control characters, those of Latin-1 (U+0080 to U+009F) and DEL included, are
// escaped, so that a log shown on a terminal cannot command it; bytes that are
// not UTF-8 become U+FFFD.
func appendJSONText[T text](dst []byte, s T) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
			i++
		default:
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(dst, `\ufffd`...)
			case r < 0xa0:
				dst = append(dst, '\\', 'u', '0', '0', lowerHex[r>>4], lowerHex[r&15])
			default:
				dst = append(dst, s[i:i+size]...)
			}
			i += size
		}
		start = i
	}
	return append(dst, s[start:]...)
}

// appendCombinedText escapes like nginx: what is not printable ASCII, the quote
// and the backslash become \xHH.
func appendCombinedText[T text](dst []byte, s T) []byte {
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plain[c] {
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, '\\', 'x', upperHex[c>>4], upperHex[c&15])
		start = i + 1
	}
	return append(dst, s[start:]...)
}
