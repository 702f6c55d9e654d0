package rate

import "strconv"

// Fields are what a client is told of a limit, as draft-ietf-httpapi-ratelimit-headers has it.
type Fields struct {
	Policy []byte // value of RateLimit-Policy
	name   []byte // the limit's, as a string of structured fields (RFC 9651 3.3.3)
}

// NewFields is for the limit name, which has a quota of requests in so many
// seconds, or with 0 seconds of requests at a time.
func NewFields(name string, requests, seconds int64) Fields {
	f := Fields{name: appendString(nil, name)}
	f.Policy = strconv.AppendInt(append(append(f.Policy, f.name...), ";q="...), requests, 10)
	if seconds > 0 {
		f.Policy = strconv.AppendInt(append(f.Policy, ";w="...), seconds, 10)
	} else {
		f.Policy = append(f.Policy, `;qu="concurrent-requests"`...)
	}
	return f
}

// appendString quotes what is printable ASCII.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// Append adds the value of RateLimit: what is left, and when there is more.
func (f *Fields) Append(dst []byte, v Verdict) []byte {
	dst = strconv.AppendInt(append(append(dst, f.name...), ";r="...), v.Remaining, 10)
	if v.Next > 0 {
		dst = strconv.AppendInt(append(dst, ";t="...), Seconds(v.Next), 10)
	}
	return dst
}

// AppendRetryAfter adds the value of Retry-After for a request that v refuses: never earlier than t of RateLimit.
func AppendRetryAfter(dst []byte, v Verdict) []byte {
	return strconv.AppendInt(dst, max(1, Seconds(v.Next)), 10)
}
