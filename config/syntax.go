package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	wantListen     = `an address "ip:port", "[ip6]:port" or "unix:/path"`
	wantDial       = `an address "ip:port", "[ip6]:port", "name:port" or "unix:/path"`
	wantHost       = `a host such as api.example.com or "*.example.com"`
	wantPath       = `a path such as /users, /users/:id or /files/*rest`
	wantMethod     = "a method in capitals, e.g. GET"
	wantLocation   = "a URL https://host/path or a path /path"
	wantOwner      = "a name such as www-data, or a number in quotes"
	wantName       = "a name of letters, digits, _, - and ., at most 64 long"
	patternOwner   = `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`
	patternAddress = `^(unix:/.+|.+:[0-9]{1,5})$`
	// maxSocketPath is sizeof(sockaddr_un.sun_path) less the zero byte at the end.
	maxSocketPath = 107
)

// checkUnix checks the path of "unix:PATH".
func checkUnix(path, want string) (string, string) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return want, "the path of a socket begins with /: unix:/run/zproxy.sock"
	case len(path) > maxSocketPath:
		return want, "the path of a socket has at most " + strconv.Itoa(maxSocketPath) + " bytes"
	case strings.ContainsRune(path, 0) || strings.HasSuffix(path, "/"):
		return want, "the path of a socket names a file"
	}
	return "", ""
}

// splitPort splits "host:port", with the brackets of "[ip6]:port" removed.
func splitPort(text string) (host string, bracketed bool, hint string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if strings.Contains(text, "://") {
		return "", false, "without " + quote(text[:strings.Index(text, "://")+3]) + " and path", false
	}
	if i < 0 {
		if _, isPort := parseCount(text); isPort {
			return "", false, "write 127.0.0.1:" + text + " for this machine only, 0.0.0.0:" + text + " for all", false
		}
		return "", false, "the port is missing", false
	}
	host = text[:i]
	port, isNumber := parseCount(text[i+1:])
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host, bracketed = host[1:len(host)-1], true
	} else if strings.Contains(host, ":") || strings.HasPrefix(host, "[") {
		return "", false, `an IPv6 address needs brackets and a port: "[::1]:8080"`, false
	}
	if !isNumber || port < 1 || port > 65535 {
		return "", false, "a port is a number from 1 to 65535", false
	}
	return host, bracketed, "", true
}

// checkListen checks an address to listen on: names are not looked up, so nobody can be surprised by what they mean.
func checkListen(text string, _ int64) (want, hint string) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return checkUnix(path, wantListen)
	}
	host, bracketed, hint, ok := splitPort(text)
	if !ok {
		return wantListen, hint
	}
	port := text[strings.LastIndexByte(text, ':')+1:]
	if host == "localhost" && !bracketed {
		return "", ""
	}
	if host == "" || host == "*" {
		return wantListen, "all addresses are 0.0.0.0:" + port + ` (IPv4) or "[::]:` + port + `"`
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Is6() != bracketed || addr.Zone() != "" {
		return wantListen, "names are not looked up here: write the IP address"
	}
	return "", ""
}

// listenAddress is the form of an address that checkListen has passed in which localhost is a number.
func listenAddress(text string) string {
	if port, ok := strings.CutPrefix(text, "localhost:"); ok {
		return "127.0.0.1:" + port
	}
	return text
}

// checkDial checks an address to connect to.
func checkDial(text string, _ int64) (want, hint string) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return checkUnix(path, wantDial)
	}
	host, bracketed, hint, ok := splitPort(text)
	if !ok {
		return wantDial, hint
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is6() != bracketed || addr.Zone() != "" {
			return wantDial, ""
		}
		if addr.IsUnspecified() {
			return wantDial, "nothing answers there: 127.0.0.1 or [::1] is this machine"
		}
		return "", ""
	}
	if bracketed {
		return wantDial, "not an IPv6 address"
	}
	if reason := hostnameFault(host); reason != "" {
		return wantDial, reason
	}
	return "", ""
}

// hostnameFault says what is wrong with a DNS name, or "". Underscores are not in RFC 952, but in many a private zone.
func hostnameFault(name string) string {
	if name == "" {
		return "the host is missing"
	}
	if len(name) > 253 {
		return "a host has at most 253 characters"
	}
	label := ""
	for label = range strings.SplitSeq(name, ".") {
		if label == "" {
			return "a part between two dots is empty"
		}
		if len(label) > 63 {
			return "a part between two dots has at most 63 characters"
		}
		for i := range len(label) {
			switch c := label[i]; {
			case c >= 0x80:
				return "a host is ASCII: write the xn-- form"
			case !isAlnum(c) && c != '-' && c != '_':
				return "a host has letters, digits, - and . only"
			}
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return "a part of a host neither begins nor ends with -"
		}
	}
	if label[0] >= '0' && label[0] <= '9' {
		// RFC 1123 section 2.1: a name whose last label is a number would look like an address.
		if _, err := strconv.ParseUint(label, 0, 64); err == nil {
			return "not an IP address"
		}
	}
	return ""
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// checkHost checks the host of a route.
func checkHost(text string, _ int64) (want, hint string) {
	if text == "*" || text == "" {
		return wantHost, "leave host out to match any"
	}
	if addr, bracketed := strings.CutPrefix(text, "["); bracketed {
		if addr, ok := strings.CutSuffix(addr, "]"); ok {
			if ip, err := netip.ParseAddr(addr); err == nil && ip.Is6() && ip.Zone() == "" {
				return "", ""
			}
		}
		return wantHost, "not an IPv6 address"
	}
	if strings.Contains(text, ":") {
		return wantHost, "without scheme and port: every port matches"
	}
	name, wildcard := strings.CutPrefix(text, "*.")
	if strings.Contains(name, "*") {
		return wantHost, `"*" stands only in front of the first dot`
	}
	if ip, err := netip.ParseAddr(name); err == nil && ip.Is4() && !wildcard {
		return "", ""
	}
	if strings.HasSuffix(name, ".") && len(name) > 1 {
		return wantHost, "without the dot at the end: it makes no difference"
	}
	if reason := hostnameFault(name); reason != "" {
		return wantHost, reason
	}
	return "", ""
}

// checkAuthority checks a Host field to send: a host with or without a port (RFC 9110 section 7.2).
func checkAuthority(text string, _ int64) (want, hint string) {
	const wants = "a host, with or without a port, e.g. app.internal"
	if strings.HasPrefix(text, "*") {
		return wants, ""
	}
	if colon := strings.LastIndexByte(text, ':'); colon > strings.LastIndexByte(text, ']') {
		if _, hint = checkDial(text, 0); hint != "" {
			return wants, hint
		}
		return "", ""
	}
	if want, hint = checkHost(text, 0); want != "" {
		if text == "" {
			hint = "leave it out to keep the client's"
		}
		return wants, hint
	}
	return "", ""
}

// checkPath checks the path of a route. The router decides what a path matches, and whether two of them conflict; this
// refuses what could match no request, or says something else than was meant.
func checkPath(text string, _ int64) (want, hint string) {
	if !strings.HasPrefix(text, "/") {
		return wantPath, "a path begins with /"
	}
	if len(text) > 4096 {
		return wantPath, "a path has at most 4096 bytes"
	}
	var names []string
	segments := strings.Split(text[1:], "/")
	if len(segments) > MaxSegments {
		return wantPath, "at most " + strconv.Itoa(MaxSegments) + " segments"
	}
	for i, segment := range segments {
		last := i == len(segments)-1
		switch {
		case strings.HasPrefix(segment, ":"), strings.HasPrefix(segment, "*"):
			name := segment[1:]
			if segment[0] == '*' && !last {
				return wantPath, `"*" takes all that remains, so it is the last segment`
			}
			if segment[0] == ':' || name != "" {
				if !isParamName(name) {
					return wantPath, `behind ":" or "*" stands a name of letters, digits, _ and -, up to the next /`
				}
				if slices.Contains(names, name) {
					return wantPath, "the name " + quote(name) + " is used twice"
				}
			}
			if names = append(names, name); len(names) > MaxParams {
				return wantPath, "at most " + strconv.Itoa(MaxParams) + " named segments"
			}
		default:
			if reason := segmentFault(segment); reason != "" {
				return wantPath, reason
			}
		}
	}
	return "", ""
}

func isParamName(s string) bool {
	for i := range len(s) {
		if letter := s[i] > '9' && isAlnum(s[i]) || s[i] == '_'; !letter && (i == 0 || !isAlnum(s[i]) && s[i] != '-') {
			return false
		}
	}
	return s != ""
}

// segmentFault says what is wrong with an exact segment, RFC 3986 section 3.3.
func segmentFault(segment string) string {
	dots := segment
	for i := 0; i < len(segment); i++ {
		switch c := segment[i]; {
		case c == '%':
			if i+2 >= len(segment) {
				return `"%" is followed by two digits 0-9, A-F`
			}
			v, err := strconv.ParseUint(segment[i+1:i+3], 16, 8)
			if err != nil || v == 0 {
				return `"%" is followed by two digits 0-9, A-F, not both 0`
			}
			if v == '.' {
				dots = strings.ReplaceAll(strings.ToLower(segment), "%2e", ".")
			}
			i += 2
		case c == '*':
			return `"*" stands only at the start of the last segment`
		case c == '?' || c == '#':
			return "the query is not part of the path"
		case c == '{' || c == '}':
			return "a named segment is written /:name"
		case c <= ' ' || c == 0x7f:
			return "a space is written %20"
		case strings.IndexByte("\"<>\\^`|", c) >= 0:
			return "the character " + quote(string(rune(c))) + " is written percent-encoded"
		}
	}
	if dots == "." || dots == ".." {
		return `segments "." and ".." are resolved before a route is looked up`
	}
	return ""
}

func checkMethod(text string, _ int64) (want, hint string) {
	if text == "CONNECT" {
		return wantMethod + ", not CONNECT", "this is not a forward proxy"
	}
	for i := range len(text) {
		if c := text[i]; !(c >= 'A' && c <= 'Z' || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '_')) {
			if upper := strings.ToUpper(text); upper != text {
				hint = "methods are case-sensitive: " + quote(upper)
			}
			return wantMethod, hint
		}
	}
	if text == "" || len(text) > 32 {
		return wantMethod, ""
	}
	return "", ""
}

const wantProtocol = "one of http1, h2c, h2"

func checkProtocol(text string, _ int64) (want, hint string) {
	switch text {
	case "http1", "h2c", "h2":
		return "", ""
	case "https", "tls":
		return wantProtocol, "TLS is a section of its own: tls"
	case "h3":
		return wantProtocol, quote(text) + " is not available in this build yet"
	case "http", "http/1.1", "HTTP/1.1", "h1", "http11":
		return wantProtocol, "did you mean \"http1\"?"
	case "http2", "http/2", "HTTP/2", "grpc":
		return wantProtocol, "did you mean \"h2c\", or with tls \"h2\"?"
	}
	return wantProtocol, ""
}

const wantUpstreamProtocol = "one of http1, h2c, h2, auto"

func checkUpstreamProtocol(text string, _ int64) (want, hint string) {
	if text == "auto" {
		return "", ""
	}
	if want, hint = checkProtocol(text, 0); want != "" {
		want = wantUpstreamProtocol
	}
	return want, hint
}

// checkLocation checks a URI reference that is sent as it is (RFC 3986 section 2.2, RFC 9110 section 10.2.2).
func checkLocation(text string, _ int64) (want, hint string) {
	for i := range len(text) {
		switch c := text[i]; {
		case c <= ' ' || c >= 0x7f:
			return wantLocation, "spaces and letters outside ASCII are written percent-encoded, e.g. %20"
		case c == '$':
			return wantLocation, "variables are written in braces: {host}, {path}, {query}"
		case c == '{' || c == '}': // see verifyRedirect
		case strings.IndexByte("\"<>\\^`|", c) >= 0:
			return wantLocation, "the character " + quote(string(rune(c))) + " is written percent-encoded"
		}
	}
	if len(text) > 4096 {
		return wantLocation, "at most 4096 bytes"
	}
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "{path}") {
		return "", ""
	}
	if strings.HasPrefix(text, "{scheme}://") {
		text = "http" + strings.TrimPrefix(text, "{scheme}")
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || rest == "" || rest[0] == '/' || (scheme != "http" && scheme != "https") {
		return wantLocation, ""
	}
	return "", ""
}

func checkBody(text string, _ int64) (want, hint string) {
	if len(text) > MaxBodyBytes {
		return "at most " + Size(MaxBodyBytes).String(), "larger files are an origin's business"
	}
	return "", ""
}

// checkFieldValue checks a field value that is sent as it is (RFC 9110 section 5.5).
func checkFieldValue(text string, _ int64) (want, hint string) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f {
			return "a media type, e.g. text/html; charset=utf-8", "printable ASCII on one line"
		}
	}
	if kind, sub, ok := strings.Cut(text, "/"); !ok || kind == "" || sub == "" || strings.TrimSpace(text) != text || len(text) > 256 {
		return "a media type, e.g. text/html; charset=utf-8", ""
	}
	return "", ""
}

const wantFieldName = "a field name such as X-Real-IP, or the beginning of one and *, e.g. X-Envoy-*"

// checkFieldName checks a field name (RFC 9110 section 5.6.2), or the beginning of one.
func checkFieldName(text string, _ int64) (want, hint string) {
	name := strings.TrimSuffix(text, "*")
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && strings.IndexByte("!#$%&'+-.^_|~", c) < 0 {
			return wantFieldName, ""
		}
	}
	switch {
	case name == "":
		return wantFieldName, ""
	case len(text) > 64:
		return wantFieldName, "at most 64 bytes"
	}
	for _, needed := range []string{"Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "TE", "Trailer", "Expect"} {
		if strings.EqualFold(name, needed) || len(text) > len(name) && len(name) <= len(needed) && strings.EqualFold(name, needed[:len(name)]) {
			return wantFieldName, needed + " decides how a request is read, and is not dropped"
		}
	}
	return "", ""
}

func checkToken(text string, _ int64) (want, hint string) {
	if !isName(text) {
		return "a name of letters, digits, and -._, e.g. edge1", ""
	}
	return "", ""
}

// checkOwner checks how a user or group is named; whether there is one, this machine alone knows.
func checkOwner(text string, _ int64) (want, hint string) {
	if len(text) > 64 || text == "" || text[0] == '-' || text[0] == '.' {
		return wantOwner, ""
	}
	for i := range len(text) {
		if c := text[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			return wantOwner, ""
		}
	}
	return "", ""
}

func checkCongestion(text string, _ int64) (want, hint string) {
	// TCP_CA_NAME_MAX is 16 with the zero byte.
	if len(text) > 15 || !isName(text) || strings.ToLower(text) != text {
		return "the name of a congestion control, e.g. bbr or cubic", ""
	}
	return "", ""
}

func checkLogPath(text string, _ int64) (want, hint string) {
	if text == "" || strings.HasSuffix(text, "/") || strings.ContainsRune(text, 0) {
		return `a file name, or "-" for standard output`, ""
	}
	if text == "off" {
		return `a file name, or "-" for standard output`, "leave access_log out to turn it off"
	}
	return "", ""
}

// checkName checks the name of an upstream and returns what was expected, or "".
func checkName(name string) string {
	if !isName(name) {
		return wantName
	}
	return ""
}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
