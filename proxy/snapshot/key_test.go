package snapshot

import (
	"testing"

	"zproxy/config"
	"zproxy/upstream"
)

func TestQueryValue(t *testing.T) {
	for _, tt := range []struct {
		query, want string
		ok          bool
	}{
		{"user=7", "7", true}, {"a=1&user=7&user=8", "7", true}, {"user=", "", true},
		{"", "", false}, {"user", "", false}, {"xuser=7", "", false}, {"User=7", "", false}, {"a=user=7", "", false},
	} {
		v, ok := queryValue([]byte(tt.query), "user")
		if string(v) != tt.want || ok != tt.ok {
			t.Errorf("%q: %q, %v", tt.query, v, ok)
		}
	}
}

func TestCompileKey(t *testing.T) {
	for on, want := range map[string]Key{
		"header X-User": {Header: "X-User"}, "cookie s": {Cookie: "s"}, "query q": {Query: "q"}, "path": {}, "source": {Source: true},
	} {
		if k := compileKey(&config.Upstream{HashOn: on}); k == nil || *k != want {
			t.Errorf("%s: %+v", on, k)
		}
	}
	if k := compileKey(&config.Upstream{}); k != nil {
		t.Errorf("%+v of none", k)
	}
}

// Sticky splits draw as they did before keys had hashes of 64 bits: FNV-1a of "a" and its finisher.
func TestDrawIsTheUpperHalfOfAHash(t *testing.T) {
	if drawOf([]byte("a")) != uint32(upstream.HashKey([]byte("a"))>>32) || drawOf([]byte("a")) == drawOf([]byte("b")) {
		t.Error("draws differ from hashes, or not from each other")
	}
}
