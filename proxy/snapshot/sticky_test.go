package snapshot

import (
	"testing"
	"time"

	"zproxy/config"
)

func TestCookieOfStickySessions(t *testing.T) {
	for _, c := range []struct {
		s           config.StickySession
		plain, with string // in clear, and within TLS
	}{
		{config.StickySession{Cookie: "zp", Path: "/", SameSite: "lax", Secure: "auto"}, "zp=T; Path=/; HttpOnly; SameSite=Lax", "zp=T; Path=/; HttpOnly; SameSite=Lax; Secure"},
		{config.StickySession{Cookie: "zp", Path: "/a", SameSite: "strict", Secure: "auto", MaxAge: 90 * time.Second}, "zp=T; Path=/a; HttpOnly; SameSite=Strict; Max-Age=90", "zp=T; Path=/a; HttpOnly; SameSite=Strict; Max-Age=90; Secure"},
		{config.StickySession{Cookie: "zp", Path: "/", SameSite: "none", Secure: "always"}, "zp=T; Path=/; HttpOnly; SameSite=None; Secure", "zp=T; Path=/; HttpOnly; SameSite=None; Secure"},
	} {
		s := compileSticky(&config.Upstream{Sticky: &c.s})
		if got := string(s.AppendCookie(nil, []byte("T"), false)); got != c.plain {
			t.Errorf("%q, want %q", got, c.plain)
		}
		if got := string(s.AppendCookie(nil, []byte("T"), true)); got != c.with {
			t.Errorf("within TLS %q, want %q", got, c.with)
		}
	}
	if compileSticky(&config.Upstream{}) != nil {
		t.Error("an upstream without sticky has it")
	}
}
