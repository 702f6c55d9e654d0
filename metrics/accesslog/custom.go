package accesslog

import (
	"strconv"

	"zproxy/variables"
)

// appendCustom writes r as the parts of a layout say, and a line feed. What
// is unknown is "-". Bytes of peers are escaped as in the combined format; where a
// field stands outside of quotation marks, so are a space and the byte that ends
// it, and no value looks like two columns.
func appendCustom(dst []byte, c *clocks, parts []variables.LogPart, r *Record) []byte {
	for i := range parts {
		p := &parts[i]
		if p.Text != "" {
			dst = append(dst, p.Text...)
			continue
		}
		before := len(dst)
		dst = appendField(dst, c, p, r)
		if len(dst) == before {
			dst = append(dst, '-')
		}
	}
	return append(dst, '\n')
}

// appendField writes a field, or nothing where there is nothing to say.
func appendField(dst []byte, c *clocks, p *variables.LogPart, r *Record) []byte {
	switch p.Field {
	case variables.LogTime:
		return appendTime(dst, &c.json, r)
	case variables.LogTimeCLF:
		return c.clf.append(dst, r.WallMs, combinedTime)
	case variables.LogClient:
		return appendPeer(dst, r.Client)
	case variables.LogClientIP:
		return appendAddr(dst, r.Client)
	case variables.LogPeer:
		if r.Named {
			dst = appendPeer(dst, r.Peer)
		}
		return dst
	case variables.LogRequest:
		if len(r.Method) == 0 {
			return dst
		}
		dst = append(appendColumn(dst, p, r.Method, maxMethod), ' ')
		dst = append(appendColumn(dst, p, r.Target, maxTarget), ' ')
		return appendVersion(dst, r)
	case variables.LogProtocol:
		return appendVersion(dst, r)
	case variables.LogReused:
		if r.Upstream != "" {
			dst = strconv.AppendBool(dst, r.Reused)
		}
		return dst
	case variables.LogTLSResumed:
		if r.TLSVersion != "" {
			dst = strconv.AppendBool(dst, r.Resumed)
		}
		return dst
	case variables.LogCut:
		return strconv.AppendBool(dst, r.isCut())
	}
	return appendTextField(appendNumber(dst, p.Field, r), p, r)
}

// appendNumber writes a field that is a number.
func appendNumber(dst []byte, f variables.Field, r *Record) []byte {
	switch f {
	case variables.LogStatus:
		return append(dst, byte('0'+r.Status/100%10), byte('0'+r.Status/10%10), byte('0'+r.Status%10))
	case variables.LogBytesIn:
		return strconv.AppendUint(dst, r.BytesIn, 10)
	case variables.LogBytesOut:
		return strconv.AppendUint(dst, r.BytesOut, 10)
	case variables.LogDurationUs:
		return strconv.AppendInt(dst, r.DurationNs/1000, 10)
	case variables.LogDurationS:
		return appendSeconds(dst, r.DurationNs)
	case variables.LogConnectUs:
		return appendPositive(dst, r.ConnectNs/1000)
	case variables.LogConnectS:
		return appendKnownSeconds(dst, r.ConnectNs)
	case variables.LogResponseUs:
		return appendPositive(dst, r.ResponseNs/1000)
	case variables.LogResponseS:
		return appendKnownSeconds(dst, r.ResponseNs)
	case variables.LogCloseCode:
		return appendPositive(dst, int64(r.CloseCode))
	}
	return dst
}

// appendTextField writes a field that is a text.
func appendTextField(dst []byte, p *variables.LogPart, r *Record) []byte {
	switch p.Field {
	case variables.LogMethod:
		return appendColumn(dst, p, r.Method, maxMethod)
	case variables.LogTarget:
		return appendColumn(dst, p, r.Target, maxTarget)
	case variables.LogHost:
		return appendColumn(dst, p, r.Host, maxHost)
	case variables.LogRoute:
		return appendColumn(dst, p, r.Route, maxHost)
	case variables.LogUpstream:
		return appendColumn(dst, p, r.Upstream, maxHost)
	case variables.LogEndpoint:
		return appendColumn(dst, p, r.Endpoint, maxHost)
	case variables.LogUpstreamHost:
		return appendColumn(dst, p, r.UpstreamHost, maxHost)
	case variables.LogUpstreamTarget:
		return appendColumn(dst, p, r.UpstreamTarget, maxTarget)
	case variables.LogReason:
		return appendColumn(dst, p, r.Reason, maxHost)
	case variables.LogClosedBy:
		return appendColumn(dst, p, r.ClosedBy, maxHost)
	case variables.LogReferer:
		return appendColumn(dst, p, r.Referer, maxField)
	case variables.LogUserAgent:
		return appendColumn(dst, p, r.UserAgent, maxField)
	case variables.LogRequestID:
		return appendColumn(dst, p, r.RequestID, maxHost)
	case variables.LogUser:
		return appendColumn(dst, p, r.User, maxHost)
	}
	return appendTLSField(dst, p, r)
}

func appendTLSField(dst []byte, p *variables.LogPart, r *Record) []byte {
	switch p.Field {
	case variables.LogTLSVersion:
		return appendColumn(dst, p, r.TLSVersion, maxHost)
	case variables.LogTLSSuite:
		return appendColumn(dst, p, r.TLSSuite, maxHost)
	case variables.LogTLSSNI:
		return appendColumn(dst, p, r.SNI, maxHost)
	case variables.LogCertSubject:
		return appendColumn(dst, p, r.CertSubject, maxField)
	case variables.LogCertSerial:
		return appendColumn(dst, p, r.CertSerial, maxHost)
	case variables.LogCertFingerprint:
		return appendColumn(dst, p, r.CertFingerprint, maxHost)
	}
	return dst
}

// appendColumn writes what a peer has sent.
func appendColumn[T text](dst []byte, p *variables.LogPart, s T, limit int) []byte {
	s = cut(s, limit)
	if p.Quoted {
		return appendCombinedText(dst, s)
	}
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plain[c] && c != ' ' && c != p.Before {
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, '\\', 'x', upperHex[c>>4], upperHex[c&15])
		start = i + 1
	}
	return append(dst, s[start:]...)
}

func appendPositive(dst []byte, n int64) []byte {
	if n > 0 {
		dst = strconv.AppendInt(dst, n, 10)
	}
	return dst
}

func appendKnownSeconds(dst []byte, ns int64) []byte {
	if ns > 0 {
		dst = appendSeconds(dst, ns)
	}
	return dst
}

// appendSeconds writes seconds with milliseconds.
func appendSeconds(dst []byte, ns int64) []byte {
	ms := max(ns, 0) / 1e6
	dst = strconv.AppendInt(dst, ms/1000, 10)
	return append(dst, '.', byte('0'+ms/100%10), byte('0'+ms/10%10), byte('0'+ms%10))
}
