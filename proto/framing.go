package proto

// ParseContentLength reads 1*DIGIT (RFC 9110 section 8.6) up to 1<<63-1.
func ParseContentLength(b []byte) (int64, FaultCode) {
	var n int64
	for i, c := range b {
		digit := int64(c - '0')
		if digit > 9 {
			if i > 0 && (c == ',' || c == ' ' || c == '\t') {
				return -1, FaultLengthDuplicate
			}
			return -1, FaultLengthInvalid
		}
		if n > (1<<63-1-digit)/10 {
			return -1, FaultLengthInvalid
		}
		n = n*10 + digit
	}
	if len(b) == 0 {
		return -1, FaultLengthInvalid
	}
	return n, FaultNone
}

// ForbiddenTrailer reports fields for framing, routing, request modification,
// authentication, response control and content format (RFC 9110 section 6.5.1).
func ForbiddenTrailer(t Token) bool {
	switch t {
	case TokenOther, TokenETag, TokenLink, TokenServer, TokenDate,
		TokenTraceparent, TokenXRequestID, TokenAcceptRanges:
		return false
	}
	return true
}
