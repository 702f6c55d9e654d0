package proto

import "math/bits"

// Token is a known field name; 0 is any other name.
type Token uint8

// The tokens up to TokenTrailer decide about framing or the connection: codecs
// look at each of them while parsing. They stay below 16, so that a set of them
// fits a machine word.
const (
	TokenOther Token = iota
	TokenHost
	TokenConnection
	TokenContentLength
	TokenTransferEncoding
	TokenExpect
	TokenUpgrade
	TokenTE
	TokenKeepAlive
	TokenProxyConnection
	TokenTrailer

	TokenAccept
	TokenAcceptCharset
	TokenAcceptEncoding
	TokenAcceptLanguage
	TokenAcceptRanges
	TokenAccessControlAllowOrigin
	TokenAge
	TokenAllow
	TokenAltSvc
	TokenAuthorization
	TokenCDNLoop
	TokenCacheControl
	TokenContentDisposition
	TokenContentEncoding
	TokenContentLanguage
	TokenContentLocation
	TokenContentRange
	TokenContentSecurityPolicy
	TokenContentType
	TokenCookie
	TokenDate
	TokenDNT
	TokenETag
	TokenExpires
	TokenForwarded
	TokenFrom
	TokenHTTP2Settings
	TokenIfMatch
	TokenIfModifiedSince
	TokenIfNoneMatch
	TokenIfRange
	TokenIfUnmodifiedSince
	TokenLastModified
	TokenLink
	TokenLocation
	TokenMaxForwards
	TokenOrigin
	TokenPragma
	TokenPriority
	TokenProxyAuthenticate
	TokenProxyAuthorization
	TokenRange
	TokenReferer
	TokenRefresh
	TokenRetryAfter
	TokenSecChUa
	TokenSecChUaMobile
	TokenSecChUaPlatform
	TokenSecFetchDest
	TokenSecFetchMode
	TokenSecFetchSite
	TokenSecFetchUser
	TokenSecWebSocketAccept
	TokenSecWebSocketExtensions
	TokenSecWebSocketKey
	TokenSecWebSocketProtocol
	TokenSecWebSocketVersion
	TokenServer
	TokenSetCookie
	TokenStrictTransportSecurity
	TokenTraceparent
	TokenUpgradeInsecureRequests
	TokenUserAgent
	TokenVary
	TokenVia
	TokenWWWAuthenticate
	TokenXContentTypeOptions
	TokenXForwardedFor
	TokenXForwardedHost
	TokenXForwardedPort
	TokenXForwardedProto
	TokenXFrameOptions
	TokenXRealIP
	TokenXRequestID
	TokenXRequestedWith
	TokenCount int = iota
)

// names are the tokens' canonical spellings, for writing fields of our own.
var names = [TokenCount]string{
	TokenHost: "Host", TokenConnection: "Connection", TokenContentLength: "Content-Length",
	TokenTransferEncoding: "Transfer-Encoding", TokenExpect: "Expect", TokenUpgrade: "Upgrade", TokenTE: "TE",
	TokenKeepAlive: "Keep-Alive", TokenProxyConnection: "Proxy-Connection", TokenTrailer: "Trailer",
	TokenAccept: "Accept", TokenAcceptCharset: "Accept-Charset", TokenAcceptEncoding: "Accept-Encoding",
	TokenAcceptLanguage: "Accept-Language", TokenAcceptRanges: "Accept-Ranges",
	TokenAccessControlAllowOrigin: "Access-Control-Allow-Origin", TokenAge: "Age", TokenAllow: "Allow",
	TokenAltSvc: "Alt-Svc", TokenAuthorization: "Authorization", TokenCDNLoop: "CDN-Loop", TokenCacheControl: "Cache-Control",
	TokenContentDisposition: "Content-Disposition", TokenContentEncoding: "Content-Encoding",
	TokenContentLanguage: "Content-Language", TokenContentLocation: "Content-Location",
	TokenContentRange: "Content-Range", TokenContentSecurityPolicy: "Content-Security-Policy",
	TokenContentType: "Content-Type", TokenCookie: "Cookie", TokenDate: "Date", TokenDNT: "DNT", TokenETag: "ETag",
	TokenExpires: "Expires", TokenForwarded: "Forwarded", TokenFrom: "From", TokenHTTP2Settings: "HTTP2-Settings",
	TokenIfMatch: "If-Match", TokenIfModifiedSince: "If-Modified-Since", TokenIfNoneMatch: "If-None-Match",
	TokenIfRange: "If-Range", TokenIfUnmodifiedSince: "If-Unmodified-Since", TokenLastModified: "Last-Modified",
	TokenLink: "Link", TokenLocation: "Location", TokenMaxForwards: "Max-Forwards", TokenOrigin: "Origin",
	TokenPragma: "Pragma", TokenPriority: "Priority", TokenProxyAuthenticate: "Proxy-Authenticate",
	TokenProxyAuthorization: "Proxy-Authorization", TokenRange: "Range", TokenReferer: "Referer",
	TokenRefresh: "Refresh", TokenRetryAfter: "Retry-After", TokenSecChUa: "Sec-CH-UA",
	TokenSecChUaMobile: "Sec-CH-UA-Mobile", TokenSecChUaPlatform: "Sec-CH-UA-Platform",
	TokenSecFetchDest: "Sec-Fetch-Dest", TokenSecFetchMode: "Sec-Fetch-Mode", TokenSecFetchSite: "Sec-Fetch-Site",
	TokenSecFetchUser: "Sec-Fetch-User", TokenSecWebSocketAccept: "Sec-WebSocket-Accept",
	TokenSecWebSocketExtensions: "Sec-WebSocket-Extensions", TokenSecWebSocketKey: "Sec-WebSocket-Key",
	TokenSecWebSocketProtocol: "Sec-WebSocket-Protocol", TokenSecWebSocketVersion: "Sec-WebSocket-Version",
	TokenServer: "Server", TokenSetCookie: "Set-Cookie", TokenStrictTransportSecurity: "Strict-Transport-Security",
	TokenTraceparent: "Traceparent", TokenUpgradeInsecureRequests: "Upgrade-Insecure-Requests",
	TokenUserAgent: "User-Agent", TokenVary: "Vary", TokenVia: "Via", TokenWWWAuthenticate: "WWW-Authenticate",
	TokenXContentTypeOptions: "X-Content-Type-Options", TokenXForwardedFor: "X-Forwarded-For",
	TokenXForwardedHost: "X-Forwarded-Host", TokenXForwardedPort: "X-Forwarded-Port",
	TokenXForwardedProto: "X-Forwarded-Proto", TokenXFrameOptions: "X-Frame-Options", TokenXRealIP: "X-Real-IP",
	TokenXRequestID: "X-Request-ID", TokenXRequestedWith: "X-Requested-With",
}

// String is the canonical spelling, "" for TokenOther.
func (t Token) String() string {
	if int(t) < len(names) {
		return names[t]
	}
	return ""
}

// tokenKey holds a name for comparison: its first and last eight bytes (which
// overlap when it is short; both are the whole name when it is shorter than
// eight), and bytes 8..15 and 16..23 of long names. A case mask has 0x20 where
// the name has a letter and nothing elsewhere, so that "|mask" folds case and
// can never turn a control character into '-'.
type tokenKey struct{ word, mask [4]uint64 }

// tokenSlot is a token and the length of its name.
type tokenSlot struct {
	token Token
	len   uint8
}

const (
	tokenNameMax  = 32
	tokenHashBits = 9
	tokenHashMul  = 0xdb7d257ba0440045 // found by trial: no two names share a slot (tested)
	foldAll       = 0x2020202020202020
)

var (
	tokenKeys  [TokenCount]tokenKey
	tokenIndex [1 << tokenHashBits]tokenSlot
)

func init() {
	for t := Token(1); int(t) < TokenCount; t++ {
		name := []byte(names[t])
		mask := make([]byte, len(name))
		for i, c := range name {
			if c|0x20 >= 'a' && c|0x20 <= 'z' {
				name[i], mask[i] = c|0x20, 0x20
			}
		}
		k := &tokenKeys[t]
		n := len(name)
		if n < 8 {
			k.word[0], k.mask[0] = shortWord(name), shortWord(mask)
			k.word[1], k.mask[1] = k.word[0], k.mask[0]
		} else {
			k.word[0], k.mask[0] = load64(name), load64(mask)
			k.word[1], k.mask[1] = load64(name[n-8:]), load64(mask[n-8:])
		}
		if n > 16 {
			k.word[2], k.mask[2] = load64(name[8:]), load64(mask[8:])
		}
		if n > 24 {
			k.word[3], k.mask[3] = load64(name[16:]), load64(mask[16:])
		}
		tokenIndex[tokenHash(k.word[0], k.word[1], n)] = tokenSlot{t, uint8(n)}
	}
}

// shortWord packs a name of 1 to 7 bytes, the first one lowest.
func shortWord[T text](name T) uint64 {
	n := len(name)
	if n >= 4 {
		return uint64(load32(name)) | uint64(load32(name[n-4:]))<<(uint(n-4)*8&63)
	}
	return uint64(name[0]) | uint64(name[n/2])<<(uint(n/2)*8&63) | uint64(name[n-1])<<(uint(n-1)*8&63)
}

func tokenHash(first, last uint64, n int) uint64 {
	x := (first | foldAll) ^ bits.RotateLeft64(last|foldAll, 23) ^ uint64(n)
	return (x * tokenHashMul) >> (64 - tokenHashBits)
}

// LookupToken finds the token of a field name, in any letter case. A name that
// has a token is made of valid field-name characters.
func LookupToken[T text](name T) Token { return lookupToken(name, ^uint64(0)) }

// LookupLower finds the token of a field name that is in lower case; any other
// spelling has none.
func LookupLower[T text](name T) Token { return lookupToken(name, 0) }

// lookupToken folds the letters that both fold and a token's mask have.
func lookupToken[T text](name T, fold uint64) Token {
	n := len(name)
	if n == 0 || n > tokenNameMax {
		return TokenOther
	}
	var first, last uint64
	if n >= 8 {
		first, last = load64(name), load64(name[n-8:])
	} else {
		first = shortWord(name)
		last = first
	}
	slot := tokenIndex[tokenHash(first, last, n)]
	if int(slot.len) != n {
		return TokenOther
	}
	k := &tokenKeys[slot.token]
	if first|k.mask[0]&fold != k.word[0] || last|k.mask[1]&fold != k.word[1] {
		return TokenOther
	}
	if n > 16 && load64(name[8:])|k.mask[2]&fold != k.word[2] {
		return TokenOther
	}
	if n > 24 && load64(name[16:])|k.mask[3]&fold != k.word[3] {
		return TokenOther
	}
	return slot.token
}

// text is bytes, or a string where one was given: what was just copied is slow to
// read in wider words than it was written in.
type text interface{ ~string | ~[]byte }

// load64 reads eight bytes, the first one lowest; the compiler makes one load of it.
func load64[T text](b T) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

func load32[T text](b T) uint32 {
	_ = b[3]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// SameName compares a field's name with one in lower case, of the same length: in any letter case, and with `_` for `-`,
// which those cannot tell apart that make variables of fields (RFC 3875, section 4.1.18).
func SameName[T string | []byte](name T, lower string) bool {
	for i := range len(name) {
		c := name[i]
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		} else if c == '_' {
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
