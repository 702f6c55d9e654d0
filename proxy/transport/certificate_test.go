package transport

import (
	stdtls "crypto/tls"
	"testing"

	"zproxy/config"
	"zproxy/internal/tlstest"
	"zproxy/proxy/transport/credentials"
)

// store is what a listener with one certificate chooses from.
func store(t *testing.T, cert stdtls.Certificate) *credentials.Store {
	t.Helper()
	certPEM, keyPEM := tlstest.PEM(t, cert)
	set, err := credentials.Compile(&config.TLS{Certificates: []config.Certificate{{CertPEM: certPEM, KeyPEM: keyPEM}}}, &stdtls.Config{NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	return credentials.NewStore(set)
}
