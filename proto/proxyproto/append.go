package proxyproto

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Facts are what a header of version 2 says besides the addresses. "" is left out.
type Facts struct {
	ALPN, Authority string
	UniqueID        []byte // of the connection, of which only the first 128 bytes are told
	TLS             *TLS   // nil: the client is not within TLS
}

// TLS is what is known of a client's.
type TLS struct {
	Version, Cipher, CommonName string // CommonName: of the certificate
	Certificate                 bool   // the client has shown one, which has been verified
	Resumed                     bool   // in the session that its connection has resumed
}

// same brings two addresses into one family; false: one is not known.
func same(source, destination *netip.AddrPort) bool {
	if !source.IsValid() || !destination.IsValid() {
		return false
	}
	a, b := source.Addr().Unmap().WithZone(""), destination.Addr().Unmap().WithZone("")
	if a.Is4() != b.Is4() {
		a, b = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16())
	}
	*source, *destination = netip.AddrPortFrom(a, source.Port()), netip.AddrPortFrom(b, destination.Port())
	return true
}

// AppendV1 appends a header of version 1, which says UNKNOWN where an address is not valid.
func AppendV1(dst []byte, source, destination netip.AddrPort) []byte {
	if !same(&source, &destination) {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	family := "PROXY TCP6 "
	if source.Addr().Is4() {
		family = "PROXY TCP4 "
	}
	dst = append(source.Addr().AppendTo(append(dst, family...)), ' ')
	dst = append(destination.Addr().AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(source.Port()), 10), ' ')
	return append(strconv.AppendUint(dst, uint64(destination.Port()), 10), "\r\n"...)
}

// AppendLocal appends a header of version 2 of a connection that is the sender's own.
func AppendLocal(dst []byte) []byte {
	return append(append(dst, signature...), commandLocal, familyNone, 0, 0)
}

// AppendV2 appends a header of version 2 with a checksum.
func AppendV2(dst []byte, source, destination netip.AddrPort, f *Facts) []byte {
	begin := len(dst)
	dst = append(append(dst, signature...), commandProxy, familyNone, 0, 0)
	if same(&source, &destination) {
		if source.Addr().Is4() {
			dst[begin+13] = familyTCP4
			a, b := source.Addr().As4(), destination.Addr().As4()
			dst = append(append(dst, a[:]...), b[:]...)
		} else {
			dst[begin+13] = familyTCP6
			a, b := source.Addr().As16(), destination.Addr().As16()
			dst = append(append(dst, a[:]...), b[:]...)
		}
		dst = binary.BigEndian.AppendUint16(dst, source.Port())
		dst = binary.BigEndian.AppendUint16(dst, destination.Port())
	}
	dst = appendText(dst, typeALPN, f.ALPN)
	dst = appendText(dst, typeAuthority, f.Authority)
	dst = appendText(dst, typeUniqueID, f.UniqueID[:min(len(f.UniqueID), maxUniqueID)])
	if f.TLS != nil {
		dst = appendTLS(dst, f.TLS)
	}
	dst = append(dst, typeChecksum, 0, 4, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(dst[begin+14:], uint16(len(dst)-begin-lenV2))
	at := len(dst) - 4
	binary.BigEndian.PutUint32(dst[at:], sum(dst[begin:], at-begin))
	return dst
}

// appendText leaves out what no header has room for.
func appendText[T string | []byte](dst []byte, kind byte, text T) []byte {
	if len(text) == 0 || len(text) > 4096 {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(append(dst, kind), uint16(len(text)))
	return append(dst, text...)
}

// The types within typeSSL.
const (
	typeSSLVersion = 0x21
	typeSSLName    = 0x22
	typeSSLCipher  = 0x23
)

func appendTLS(dst []byte, t *TLS) []byte {
	begin := len(dst)
	client, verify := byte(clientTLS), byte(1) // of verify 0 alone is good
	if t.Certificate {
		if client, verify = client|clientSession, 0; !t.Resumed {
			client |= clientCertificate
		}
	}
	dst = append(dst, typeSSL, 0, 0, client, 0, 0, 0, verify)
	dst = appendText(dst, typeSSLVersion, t.Version)
	dst = appendText(dst, typeSSLCipher, t.Cipher)
	dst = appendText(dst, typeSSLName, t.CommonName)
	binary.BigEndian.PutUint16(dst[begin+1:], uint16(len(dst)-begin-3))
	return dst
}
