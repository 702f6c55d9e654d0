package proto

import (
	"bytes"
	"strings"
	"testing"
)

func TestEveryTokenIsFoundInAnyCase(t *testing.T) {
	for tok := Token(1); int(tok) < TokenCount; tok++ {
		name := tok.String()
		if name == "" {
			t.Fatalf("token %d has no name", tok)
		}
		if len(name) > tokenNameMax {
			t.Errorf("%q is longer than tokenNameMax", name)
		}
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := LookupToken([]byte(spelling)); got != tok {
				t.Errorf("LookupToken(%q) = %d (%q), want %d: two names share a slot of tokenIndex", spelling, got, got.String(), tok)
			}
		}
	}
}

// A name that differs in a single byte is another name, above all when the
// byte is a control character that equals a hyphen or a letter after "|0x20".
func TestNoOtherNameIsTaken(t *testing.T) {
	for tok := Token(1); int(tok) < TokenCount; tok++ {
		name := []byte(tok.String())
		for i := range name {
			for c := 0; c < 256; c++ {
				other := bytes.Clone(name)
				other[i] = byte(c)
				got := LookupToken(other)
				want := TokenOther
				for k := Token(1); int(k) < TokenCount; k++ {
					if strings.EqualFold(string(other), k.String()) && !bytes.ContainsAny(other, "\u017f\u212a") {
						want = k
					}
				}
				if got != want {
					t.Fatalf("LookupToken(%q) = %q, want %q", other, got, want)
				}
			}
		}
	}
	if LookupToken("") != TokenOther || LookupToken(make([]byte, 100)) != TokenOther {
		t.Error("empty or overlong name has a token")
	}
}

func BenchmarkLookupToken(b *testing.B) {
	names := [][]byte{[]byte("Host"), []byte("User-Agent"), []byte("Accept-Encoding"), []byte("Upgrade-Insecure-Requests"), []byte("x-unknown")}
	for i := 0; i < b.N; i++ {
		LookupToken(names[i%len(names)])
	}
}

// In lower case a token has one spelling, as fields of HTTP/2 must have it.
func TestLowerCaseIsAskedFor(t *testing.T) {
	for tok := Token(1); int(tok) < TokenCount; tok++ {
		name := strings.ToLower(tok.String())
		if got := LookupLower(name); got != tok {
			t.Errorf("LookupLower(%q) = %q", name, got)
		}
		for i := range name {
			if c := name[i] &^ 0x20; c >= 'A' && c <= 'Z' {
				other := name[:i] + string(rune(c)) + name[i+1:]
				if got := LookupLower(other); got != TokenOther {
					t.Errorf("LookupLower(%q) = %q", other, got)
				}
			}
		}
	}
}

func TestPlainTextIsWhatHasNothingSpecial(t *testing.T) {
	for n := range 40 {
		b := bytes.Repeat([]byte("~ "), n)[:n]
		if !PlainText(b) || !PlainText(string(b)) {
			t.Errorf("%d plain bytes are not", n)
		}
		for i := range b {
			for c := 0; c < 256; c++ {
				was := b[i]
				b[i] = byte(c)
				if got, want := PlainText(b), c >= ' ' && c < 0x7f; got != want {
					t.Fatalf("PlainText(%q) = %v", b, got)
				}
				b[i] = was
			}
		}
	}
}
