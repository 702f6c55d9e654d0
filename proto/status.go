package proto

// phrases are the reason phrases of the statuses that have one (RFC 9110
// section 15, and the registry of status codes).
var phrases = [600]string{
	100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints",
	203: "Non-Authoritative Information", 205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
	300: "Multiple Choices", 305: "Use Proxy", 402: "Payment Required", 407: "Proxy Authentication Required",
	412: "Precondition Failed", 416: "Range Not Satisfiable", 423: "Locked", 424: "Failed Dependency",
	425: "Too Early", 428: "Precondition Required", 506: "Variant Also Negotiates", 507: "Insufficient Storage", 508: "Loop Detected", 511: "Network Authentication Required",
	200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
	301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict",
	410: "Gone", 411: "Length Required", 413: "Content Too Large", 414: "URI Too Long",
	415: "Unsupported Media Type", 417: "Expectation Failed", 418: "I'm a Teapot", 421: "Misdirected Request",
	422: "Unprocessable Content", 426: "Upgrade Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
	503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}

// ReasonPhrase is what HTTP/1 says beside a status, "" for one nobody knows.
func ReasonPhrase(status int) string {
	if status < 0 || status >= len(phrases) {
		return ""
	}
	return phrases[status]
}
