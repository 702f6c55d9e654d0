package proxyproto

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	other "github.com/pires/go-proxyproto"
)

// v2 is a header of version 2: what stands behind the signature, with its length between.
func v2(command, family byte, rest string) string {
	return string(signature) + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const tcp4 = "\x0a\x00\x00\x01\x0a\x00\x00\x02\x04\x00\x00\x50"

var headers = []struct {
	name, text string
	want       string
	err        error
}{
	// The examples of the specification's section 2.1.
	{"v4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "1 255.255.255.255:65535 255.255.255.255:65535", nil},
	{"v6", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"1 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", nil},
	{"unknown", "PROXY UNKNOWN\r\n", "1 invalid AddrPort invalid AddrPort", nil},
	{"the longest", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "1 invalid AddrPort invalid AddrPort", nil},
	{"first request", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n", "1 192.168.0.1:56324 192.168.0.11:443", nil},
	{"mapped", "PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", "1 1.2.3.4:1 [::1]:2", nil},

	{"too long", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", "", ErrMalformed},
	{"lower case", "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "", ErrMissing},
	{"none", "GET / HTTP/1.1\r\n\r\n", "", ErrMissing},
	{"other method", "PROPFIND / HTTP/1.1\r\n\r\n", "", ErrMissing},
	{"TLS", "\x16\x03\x01", "", ErrMissing},
	{"line feed alone", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "", ErrMalformed},
	{"two spaces", "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", "", ErrMalformed},
	{"space at the end", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", "", ErrMalformed},
	{"port 65536", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "", ErrMalformed},
	{"port 01", "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "", ErrMalformed},
	{"no port", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "", ErrMalformed},
	{"zero in front", "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", "", ErrMalformed},
	{"family", "PROXY TCP4 ::1 ::1 1 2\r\n", "", ErrMalformed},
	{"zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "", ErrMalformed},
	{"UDP", "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "", ErrMalformed},
	{"UNKNOWNS", "PROXY UNKNOWNS\r\n", "", ErrMalformed},

	{"v2", v2(0x21, 0x11, tcp4) + "GET", "2 10.0.0.1:1024 10.0.0.2:80", nil},
	{"v2 IPv6", v2(0x21, 0x21, strings.Repeat("\x20", 32)+"\x04\x00\x00\x50"), "2 [2020:2020:2020:2020:2020:2020:2020:2020]:1024 [2020:2020:2020:2020:2020:2020:2020:2020]:80", nil},
	{"v2 unix", v2(0x21, 0x31, strings.Repeat("\x00", 216)), "2 invalid AddrPort invalid AddrPort", nil},
	{"v2 unspecified", v2(0x21, 0, ""), "2 invalid AddrPort invalid AddrPort", nil},
	{"local", v2(0x20, 0, ""), "2 invalid AddrPort invalid AddrPort local", nil},
	{"local with anything", v2(0x20, 0xff, "whatever"), "2 invalid AddrPort invalid AddrPort local", nil},
	{"the longest v2", v2(0x21, 0x11, tcp4+"\x04\xff\xf0"+strings.Repeat("n", 0xfff0)), "2 10.0.0.1:1024 10.0.0.2:80", nil},
	{"TLVs", v2(0x21, 0x11, tcp4+"\x01\x00\x02h2\x02\x00\x03a.b\x05\x00\x01u\xe0\x00\x00\x20\x00\x05\x01\x00\x00\x00\x00"), "2 10.0.0.1:1024 10.0.0.2:80 h2 a.b u tls", nil},
	{"checksum", string(AppendV2(nil, addr("10.0.0.1:1"), addr("10.0.0.2:2"), &Facts{})), "2 10.0.0.1:1 10.0.0.2:2 checked", nil},

	{"version 3", v2(0x31, 0x11, tcp4), "", ErrMalformed},
	{"command", v2(0x22, 0x11, tcp4), "", ErrMalformed},
	{"datagrams", v2(0x21, 0x12, tcp4), "", ErrFamily},
	{"short addresses", v2(0x21, 0x11, tcp4[:11]), "", ErrMalformed},
	{"short TLV", v2(0x21, 0x11, tcp4+"\x04\x00"), "", ErrMalformed},
	{"TLV beyond the end", v2(0x21, 0x11, tcp4+"\x04\x00\x01"), "", ErrMalformed},
	{"long identifier", v2(0x21, 0x11, tcp4+"\x05\x00\x81"+strings.Repeat("u", 129)), "", ErrMalformed},
	{"short TLS", v2(0x21, 0x11, tcp4+"\x20\x00\x04\x01\x00\x00\x00"), "", ErrMalformed},
	{"wrong checksum", v2(0x21, 0x11, tcp4+"\x03\x00\x04\x01\x02\x03\x04"), "", ErrChecksum},
	{"short checksum", v2(0x21, 0x11, tcp4+"\x03\x00\x03\x01\x02\x03"), "", ErrMalformed},
}

func addr(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

func (h Header) text() string {
	text := fmt.Sprint(h.Version, " ", h.Source, " ", h.Destination)
	for _, b := range [][]byte{h.ALPN, h.Authority, h.UniqueID} {
		if b != nil {
			text += " " + string(b)
		}
	}
	for name, is := range map[string]bool{"tls": h.TLS, "checked": h.Checked, "local": h.Local} {
		if is {
			text += " " + name
		}
	}
	return text
}

// pieces gives what Parse says once it says something, of ever more of b.
func pieces(b []byte) (n int, h Header, err error) {
	for i := range len(b) + 1 {
		if n, h, err = Parse(b[:i:i]); n > 0 || err != nil {
			break
		}
	}
	return n, h, err
}

func TestParse(t *testing.T) {
	for _, c := range headers {
		n, h, err := Parse([]byte(c.text))
		if !errors.Is(err, c.err) || err == nil && h.text() != c.want || (err == nil) != (n > 0) {
			t.Errorf("%s: %d, %s, %v", c.name, n, h.text(), err)
		}
		if m, again, errAgain := pieces([]byte(c.text)); m != n || again.text() != h.text() || errAgain != err {
			t.Errorf("%s: in pieces %d, %s, %v", c.name, m, again.text(), errAgain)
		}
	}
}

// What is written is read as it was meant, here and by another reader.
func TestAppend(t *testing.T) {
	facts := &Facts{ALPN: "h2", Authority: "a.example", UniqueID: []byte("id"), TLS: &TLS{Version: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256", CommonName: "alice", Certificate: true}}
	for _, c := range []struct{ source, destination, want string }{
		{"1.2.3.4:5", "6.7.8.9:10", "1.2.3.4:5 6.7.8.9:10"},
		{"[2001:db8::1]:5", "[::1]:10", "[2001:db8::1]:5 [::1]:10"},
		{"1.2.3.4:5", "[::1]:10", "1.2.3.4:5 [::1]:10"},
		{"[fe80::1%eth0]:5", "[::1]:10", "[fe80::1]:5 [::1]:10"},
		{"", "6.7.8.9:10", "invalid AddrPort invalid AddrPort"},
	} {
		var source netip.AddrPort
		if c.source != "" {
			source = addr(c.source)
		}
		one, two := AppendV1([]byte("x"), source, addr(c.destination))[1:], AppendV2([]byte("x"), source, addr(c.destination), facts)[1:]
		if n, h, err := Parse(one); err != nil || n != len(one) || h.text() != "1 "+c.want {
			t.Errorf("%s, version 1: %q is %s, %v", c.want, one, h.text(), err)
		}
		if n, h, err := pieces(two); err != nil || n != len(two) || len(strings.Split(h.text(), " ")) < 8 ||
			h.text()[:len(c.want)+2] != "2 "+c.want || !h.Checked || !h.TLS || string(h.ALPN)+string(h.Authority)+string(h.UniqueID) != "h2a.exampleid" {
			t.Errorf("%s, version 2: %q is %s, %v", c.want, two, h.text(), err)
		}
		for _, b := range [][]byte{one, two} {
			h, err := other.Read(bufio.NewReader(bytes.NewReader(b)))
			if b[0] != 'P' && !source.IsValid() { // which it does not take
				continue
			}
			if err != nil {
				t.Errorf("%s: another reader says %v of %q", c.want, err, b)
			} else if got, ok := h.SourceAddr.(*net.TCPAddr); source.IsValid() && (!ok || got.AddrPort().Addr().Unmap() != source.Addr().WithZone("")) {
				t.Errorf("%s: another reader says %v of %q", c.want, h.SourceAddr, b)
			}
		}
	}
	if n, h, err := Parse(AppendLocal(nil)); n != lenV2 || !h.Local || err != nil {
		t.Errorf("local: %d, %v", n, err)
	}
	for i := range AppendV2(nil, addr("1.2.3.4:5"), addr("1.2.3.4:5"), facts) {
		b := AppendV2(nil, addr("1.2.3.4:5"), addr("1.2.3.4:5"), facts)
		b[i] ^= 4
		if n, h, err := Parse(b); err == nil && n == len(b) && h.Checked {
			t.Errorf("byte %d is changed, and nobody notices", i)
		}
	}
}

// However a header is cut, it is read alike; what both readers take has one meaning.
func FuzzParse(f *testing.F) {
	for _, c := range headers {
		if len(c.text) < 1000 {
			f.Add([]byte(c.text))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, h, err := Parse(b)
		if n < 0 || n > len(b) || n > MaxBytes || err != nil && n != 0 {
			t.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		if m, again, errAgain := pieces(b); m != n || again.text() != h.text() || errAgain != err {
			t.Fatalf("in pieces %d, %s, %v; whole %d, %s, %v", m, again.text(), errAgain, n, h.text(), err)
		}
		theirs, err := other.Read(bufio.NewReader(bytes.NewReader(b)))
		if n == 0 || err != nil || !h.Source.IsValid() {
			return
		}
		if got, ok := theirs.SourceAddr.(*net.TCPAddr); !ok || got.AddrPort().Addr().Unmap() != h.Source.Addr() || got.AddrPort().Port() != h.Source.Port() {
			t.Fatalf("%s here, %v there", h.text(), theirs.SourceAddr)
		}
	})
}
