package snapshot

import (
	"strconv"
	"time"

	"zproxy/config"
	"zproxy/proto"
)

// Sticky is how an upstream's clients are told of the endpoint that served them, and say so (RFC 6265).
type Sticky struct {
	cookie        string
	before        []byte // the token in a Set-Cookie
	behind        []byte // likewise
	behindWithTLS []byte // likewise where the client is within TLS
}

func compileSticky(u *config.Upstream) *Sticky {
	s := u.Sticky
	if s == nil {
		return nil
	}
	attributes := "; Path=" + s.Path + "; HttpOnly; SameSite=" + map[string]string{"lax": "Lax", "strict": "Strict", "none": "None"}[s.SameSite]
	if s.MaxAge > 0 {
		attributes += "; Max-Age=" + strconv.Itoa(int(s.MaxAge/time.Second))
	}
	secured := attributes + "; Secure"
	if s.Secure == "always" {
		attributes = secured
	}
	return &Sticky{s.Cookie, []byte(s.Cookie + "="), []byte(attributes), []byte(secured)}
}

// Token is what the client of a request has been told; nil: nothing.
func (s *Sticky) Token(h *proto.Head) []byte {
	token, _ := fieldValue(h, "", s.cookie)
	return token
}

// AppendCookie appends the value of a Set-Cookie field with a token.
func (s *Sticky) AppendCookie(dst, token []byte, withTLS bool) []byte {
	dst = append(append(dst, s.before...), token...)
	if withTLS {
		return append(dst, s.behindWithTLS...)
	}
	return append(dst, s.behind...)
}
