package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// Header is what one says.
type Header struct {
	Version uint8 // 1 or 2
	// Source is the client's address and Destination the one it has connected to. They are not
	// valid where the sender knows none, speaks for itself (LOCAL: a health check), or
	// where they are those of a unix socket: then the connection's own hold.
	Source, Destination netip.AddrPort
	Local               bool
	// What version 2 may say besides; lent, nil: it does not.
	ALPN, Authority, UniqueID []byte
	TLS                       bool // the client is connected within TLS
	Checked                   bool // there was a checksum, and it is right
}

// The errors of Parse.
var (
	ErrMissing   = errors.New("no PROXY protocol header")
	ErrMalformed = errors.New("PROXY protocol header is malformed")
	ErrChecksum  = errors.New("PROXY protocol header has a wrong checksum")
	ErrFamily    = errors.New("PROXY protocol header is for a transport other than TCP")
)

const (
	maxV1 = 107 // with CRLF
	lenV2 = 16  // before addresses
	// MaxBytes is the longest header.
	MaxBytes = lenV2 + 0xffff
)

var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// Parse reads the header that b begins with, and gives its length; 0 without an error: there
// is more to come. Whatever b is cut to, the outcome is the same once it is there.
func Parse(b []byte) (n int, h Header, err error) {
	switch {
	case len(b) == 0:
		return 0, h, nil
	case b[0] == signature[0]:
		return parseV2(b)
	case b[0] == 'P':
		return parseV1(b)
	}
	return 0, h, ErrMissing
}

// Bytes is how many bytes a header has at least that b begins with.
func Bytes(b []byte) int {
	if len(b) >= lenV2 && b[0] == signature[0] {
		return lenV2 + int(binary.BigEndian.Uint16(b[14:]))
	}
	return len(b) + 1
}

func parseV1(b []byte) (n int, h Header, err error) {
	const begin = "PROXY "
	if known := min(len(b), len(begin)); string(b[:known]) != begin[:known] {
		return 0, h, ErrMissing
	}
	end := bytes.IndexByte(b[:min(len(b), maxV1)], '\n')
	switch {
	case end < 0 && len(b) >= maxV1:
		return 0, h, ErrMalformed
	case end < 0:
		return 0, h, nil
	case end <= len(begin) || b[end-1] != '\r':
		return 0, h, ErrMalformed
	}
	h.Version = 1
	line := string(b[len(begin) : end-1])
	if line == "UNKNOWN" || len(line) > 8 && line[:8] == "UNKNOWN " {
		return end + 1, h, nil // what follows is to be ignored
	}
	var parts [5]string
	for i := range parts {
		at := bytes.IndexByte([]byte(line), ' ')
		if last := i == len(parts)-1; last != (at < 0) {
			return 0, h, ErrMalformed
		} else if last {
			parts[i] = line
			break
		}
		parts[i], line = line[:at], line[at+1:]
	}
	var ok [2]bool
	h.Source, ok[0] = endpoint(parts[0], parts[1], parts[3])
	h.Destination, ok[1] = endpoint(parts[0], parts[2], parts[4])
	if !ok[0] || !ok[1] {
		return 0, Header{}, ErrMalformed
	}
	return end + 1, h, nil
}

// endpoint reads an address of version 1: in the canonical form of its family, and a port
// without zeros in front.
func endpoint(family, address, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" || family != "TCP4" && family != "TCP6" || a.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' || len(port) > 5 {
			return netip.AddrPort{}, false
		}
		n = n*10 + int(port[i]-'0')
	}
	if port == "" || port[0] == '0' && len(port) > 1 || n > 0xffff {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
}

const (
	commandLocal = 0x20 // with the version
	commandProxy = 0x21

	familyNone = 0x00
	familyTCP4 = 0x11
	familyTCP6 = 0x21
	familyUnix = 0x31

	bytesTCP4 = 12
	bytesTCP6 = 36
	bytesUnix = 216
)

func parseV2(b []byte) (n int, h Header, err error) {
	if known := min(len(b), len(signature)); !bytes.Equal(b[:known], signature[:known]) {
		return 0, h, ErrMissing
	}
	if len(b) > len(signature) && b[12] != commandLocal && b[12] != commandProxy {
		return 0, h, ErrMalformed
	}
	if len(b) < lenV2 {
		return 0, h, nil
	}
	n = Bytes(b)
	if len(b) < n {
		return 0, h, nil
	}
	h.Version = 2
	if b[12] == commandLocal { // whatever the rest says
		h.Local = true
		return n, h, nil
	}
	rest, addresses := b[lenV2:n], 0
	switch b[13] {
	case familyNone:
	case familyTCP4:
		addresses = bytesTCP4
	case familyTCP6:
		addresses = bytesTCP6
	case familyUnix:
		addresses = bytesUnix
	default:
		return 0, Header{}, ErrFamily
	}
	if len(rest) < addresses {
		return 0, Header{}, ErrMalformed
	}
	if size := (addresses - 4) / 2; b[13] == familyTCP4 || b[13] == familyTCP6 {
		source, _ := netip.AddrFromSlice(rest[:size])
		destination, _ := netip.AddrFromSlice(rest[size : 2*size])
		h.Source = netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(rest[2*size:]))
		h.Destination = netip.AddrPortFrom(destination.Unmap(), binary.BigEndian.Uint16(rest[2*size+2:]))
	}
	if err := h.extensions(b[:n], lenV2+addresses); err != nil {
		return 0, Header{}, err
	}
	return n, h, nil
}

const (
	typeALPN      = 0x01
	typeAuthority = 0x02
	typeChecksum  = 0x03
	typeUniqueID  = 0x05
	typeSSL       = 0x20

	maxUniqueID = 128
	// The first byte of typeSSL.
	clientTLS         = 1
	clientCertificate = 2 // on this connection
	clientSession     = 4 // or on the one whose session it has resumed
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [4]byte
)

// extensions reads the TLVs of b, a whole header, from at on.
func (h *Header) extensions(b []byte, at int) error {
	for at < len(b) {
		if len(b)-at < 3 {
			return ErrMalformed
		}
		kind, size := b[at], int(binary.BigEndian.Uint16(b[at+1:]))
		at += 3
		if len(b)-at < size {
			return ErrMalformed
		}
		value := b[at : at+size : at+size]
		switch kind {
		case typeALPN:
			h.ALPN = value
		case typeAuthority:
			h.Authority = value
		case typeUniqueID:
			if size > maxUniqueID {
				return ErrMalformed
			}
			h.UniqueID = value
		case typeSSL:
			if size < 5 {
				return ErrMalformed
			}
			h.TLS = value[0]&clientTLS != 0
		case typeChecksum:
			if size != 4 || h.Checked {
				return ErrMalformed
			}
			if sum(b, at) != binary.BigEndian.Uint32(value) {
				return ErrChecksum
			}
			h.Checked = true
		}
		at += size
	}
	return nil
}

// sum is the checksum of a header whose own checksum, at that place, counts as zeros.
func sum(b []byte, at int) uint32 {
	c := crc32.Update(0, castagnoli, b[:at])
	c = crc32.Update(c, castagnoli, zeros[:])
	return crc32.Update(c, castagnoli, b[at+4:])
}
