package simnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
)

// Headers of the PROXY protocol, as they are sent to the proxy and as they are expected of it
// (doc/proxy-protocol.txt of HAProxy).

const v2Signature = "\r\n\r\n\x00\r\nQUIT\n"

// proxyHeader is what one says.
type proxyHeader struct {
	version  int
	from, to netip.AddrPort // not valid: unknown
	tlvs     map[byte][]byte
}

// The types of TLVs.
const (
	tlvALPN      = 0x01
	tlvAuthority = 0x02
	tlvChecksum  = 0x03
	tlvNothing   = 0x04
	tlvUniqueID  = 0x05
	tlvSSL       = 0x20
)

func v1Header(from, to netip.AddrPort) []byte {
	family := "TCP6"
	if from.Addr().Is4() {
		family = "TCP4"
	}
	return fmt.Appendf(nil, "PROXY %s %v %v %d %d\r\n", family, from.Addr(), to.Addr(), from.Port(), to.Port())
}

// v2Header has any TLVs there may be, and a checksum if sum says so, among them.
func v2Header(rng *rand.Rand, from, to netip.AddrPort, sum bool) []byte {
	family, addresses := byte(0x21), append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	if from.Addr().Is4() {
		family = 0x11
	}
	b := append([]byte(v2Signature), 0x21, family, 0, 0)
	b = append(b, addresses...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	at, place := 0, rng.IntN(4)
	for i := range 4 {
		if i == place && sum {
			b = appendTLV(b, tlvChecksum, make([]byte, 4))
			at = len(b) - 4
		}
		switch rng.IntN(8) {
		case 0:
			b = appendTLV(b, tlvNothing, make([]byte, size(rng, 3000)))
		case 1:
			b = appendTLV(b, tlvAuthority, []byte("other.example"))
		case 2:
			b = appendTLV(b, tlvSSL, append([]byte{1, 0, 0, 0, 0}, appendTLV(nil, 0x21, []byte("TLSv1.3"))...))
		case 3:
			b = appendTLV(b, tlvUniqueID, make([]byte, rng.IntN(129)))
		case 4:
			b = appendTLV(b, 0xe0+byte(rng.IntN(16)), []byte("PROXY \r\n\r\n"))
		}
	}
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-16))
	if at > 0 {
		binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

// localHeader is that of a connection of the sender's own, with something behind that is not looked at.
func localHeader(rng *rand.Rand) []byte {
	b := append([]byte(v2Signature), 0x20, byte(rng.IntN(2))*0x11, 0, byte(rng.IntN(40)))
	return append(b, make([]byte, b[15])...)
}

func appendTLV(b []byte, kind byte, value []byte) []byte {
	return append(append(b, kind, byte(len(value)>>8), byte(len(value))), value...)
}

var errNoHeader = errors.New("the connection does not begin with a PROXY protocol header")

// parseProxyHeader takes the header off b; n is 0 while more of it is to come.
func parseProxyHeader(b []byte) (n int, h proxyHeader, err error) {
	begin, v1 := v2Signature, len(b) > 0 && b[0] == 'P'
	if v1 {
		begin = "PROXY "
	}
	switch known := min(len(b), len(begin)); {
	case string(b[:known]) != begin[:known]:
		return 0, h, fmt.Errorf("%w: %.40q", errNoHeader, b)
	case v1:
		return parseV1Header(b)
	case len(b) < 16:
		return 0, h, nil
	}
	n = 16 + int(binary.BigEndian.Uint16(b[14:]))
	if len(b) < n {
		return 0, h, nil
	}
	h.version, h.tlvs = 2, map[byte][]byte{}
	b = b[:n]
	rest, length := b[16:], 0
	switch {
	case b[12] != 0x21:
		return n, h, fmt.Errorf("PROXY header of version and command %#x", b[12])
	case b[13] == 0x11:
		length = 4
	case b[13] == 0x21:
		length = 16
	case b[13] != 0:
		return n, h, fmt.Errorf("PROXY header of family %#x", b[13])
	}
	if length > 0 {
		from, _ := netip.AddrFromSlice(rest[:length])
		to, _ := netip.AddrFromSlice(rest[length : 2*length])
		rest = rest[2*length:]
		h.from = netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(rest))
		h.to = netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(rest[2:]))
		rest = rest[4:]
	}
	for len(rest) > 0 {
		if len(rest) < 3 || len(rest) < 3+int(binary.BigEndian.Uint16(rest[1:])) {
			return n, h, fmt.Errorf("PROXY header ends within a TLV: %q", rest)
		}
		end := 3 + int(binary.BigEndian.Uint16(rest[1:]))
		if _, twice := h.tlvs[rest[0]]; twice {
			return n, h, fmt.Errorf("PROXY header with two TLVs of type %#x", rest[0])
		}
		h.tlvs[rest[0]] = append([]byte(nil), rest[3:end]...)
		if rest[0] == tlvChecksum {
			copy(rest[3:end], make([]byte, 4))
		}
		rest = rest[end:]
	}
	if sum := h.tlvs[tlvChecksum]; len(sum) != 4 || binary.BigEndian.Uint32(sum) != crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) {
		return n, h, fmt.Errorf("PROXY header with checksum %x", sum)
	}
	return n, h, nil
}

func parseV1Header(b []byte) (n int, h proxyHeader, err error) {
	line, _, whole := strings.Cut(string(b[:min(len(b), 107)]), "\r\n")
	if !whole {
		if len(b) >= 107 {
			err = fmt.Errorf("PROXY header without an end: %q", b[:107])
		}
		return 0, h, err
	}
	n, h.version = len(line)+2, 1
	parts := strings.Split(line, " ")
	if len(parts) == 2 && parts[1] == "UNKNOWN" {
		return n, h, nil
	}
	if len(parts) != 6 || parts[1] != "TCP4" && parts[1] != "TCP6" {
		return n, h, fmt.Errorf("PROXY header %q", line)
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		addr, err := netip.ParseAddr(parts[2+i])
		if err != nil || addr.Is4() != (parts[1] == "TCP4") {
			return n, h, fmt.Errorf("PROXY header %q: address %q", line, parts[2+i])
		}
		port, err := strconv.ParseUint(parts[4+i], 10, 16)
		if err != nil {
			return n, h, fmt.Errorf("PROXY header %q: %w", line, err)
		}
		ends[i] = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	h.from, h.to = ends[0], ends[1]
	return n, h, nil
}
