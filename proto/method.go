package proto

// Method is a request method; methods are case-sensitive (RFC 9110 section 9.1).
type Method uint8

const (
	MethodOther Method = iota // any other valid token; Head.MethodName has its name
	GET
	HEAD
	POST
	PUT
	DELETE
	CONNECT
	OPTIONS
	TRACE
	PATCH
	MethodCount int = iota
)

var methodNames = [MethodCount]string{"OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// String is the method's name, "OTHER" for MethodOther.
func (m Method) String() string {
	if int(m) < len(methodNames) {
		return methodNames[m]
	}
	return "INVALID"
}

// ParseMethod finds the method of exactly this name; it does not check that an
// unknown name is a token.
func ParseMethod(name []byte) Method {
	switch len(name) {
	case 3:
		if string(name) == "GET" {
			return GET
		}
		if string(name) == "PUT" {
			return PUT
		}
	case 4:
		if string(name) == "POST" {
			return POST
		}
		if string(name) == "HEAD" {
			return HEAD
		}
	case 5:
		if string(name) == "PATCH" {
			return PATCH
		}
		if string(name) == "TRACE" {
			return TRACE
		}
	case 6:
		if string(name) == "DELETE" {
			return DELETE
		}
	case 7:
		if string(name) == "OPTIONS" {
			return OPTIONS
		}
		if string(name) == "CONNECT" {
			return CONNECT
		}
	}
	return MethodOther
}

// Safe reports methods defined as read-only (RFC 9110 section 9.2.1).
func (m Method) Safe() bool {
	return m == GET || m == HEAD || m == OPTIONS || m == TRACE
}

// ExpectsContent reports methods that define a meaning for enclosed content: a
// request without any says so with a Content-Length of 0, because recipients
// exist that answer 411 otherwise (RFC 9110 section 8.6). name is the method's, for
// those without a number.
func (m Method) ExpectsContent(name []byte) bool {
	switch m {
	case POST, PUT, PATCH:
		return true
	case MethodOther: // RFC 10008
		return string(name) == "QUERY"
	}
	return false
}

// Idempotent reports methods that may be repeated (RFC 9110 section 9.2.2).
func (m Method) Idempotent() bool { return m.Safe() || m == PUT || m == DELETE }
