package credentials

import (
	stdtls "crypto/tls"
	"strings"
)

// ChallengeProtocol is what an authority asks for by ALPN that only checks whether a name leads here (RFC 8737 3).
const ChallengeProtocol = "acme-tls/1"

// SetChallenges has handshakes that ask for ChallengeProtocol be answered with these certificates, by name in lower
// case; those that were there before are forgotten.
func (s *Store) SetChallenges(certs map[string]*stdtls.Certificate) {
	if len(certs) == 0 {
		s.challenges.Store(nil)
		return
	}
	s.challenges.Store(&certs)
}

// Challenge is how a handshake is made that only checks a name, nil if this is none. Without a certificate for
// the name it is a handshake like any other, which finds no protocol that both sides have, as RFC 8737 3 wants it.
func (s *Store) Challenge(hello *stdtls.ClientHelloInfo) *stdtls.Config {
	certs := s.challenges.Load()
	if certs == nil || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != ChallengeProtocol {
		return nil
	}
	cert := (*certs)[strings.ToLower(hello.ServerName)]
	if cert == nil {
		return nil
	}
	return &stdtls.Config{
		Certificates: []stdtls.Certificate{*cert}, NextProtos: []string{ChallengeProtocol},
		MinVersion: stdtls.VersionTLS12, SessionTicketsDisabled: true, // RFC 8737 4
	}
}
