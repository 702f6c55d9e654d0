package transport

import (
	"crypto/ecdsa"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/internal/tlstest"
	"zproxy/loop"
	"zproxy/proxy/transport/credentials"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	c := a.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "the authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue makes a certificate from a template, whose times may be left out.
func (a *authority) issue(t *testing.T, from *x509.Certificate) stdtls.Certificate {
	t.Helper()
	cert, key := tlstest.Issue(t, from, a.cert, a.key)
	return stdtls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// A handshake that fails for the peer's certificate says which check did not pass.
func TestRefusedCertificates(t *testing.T) {
	us, others := newAuthority(t), newAuthority(t)
	good := us.issue(t, &x509.Certificate{DNSNames: []string{"b.example"}})
	past := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	future := time.Date(2120, 1, 2, 3, 4, 5, 0, time.UTC)
	var none authority
	for _, x := range []struct {
		cert stdtls.Certificate
		pins []string
		want string
	}{
		{good, nil, ""},
		{good, []string{"sha256//x", credentials.PinOf(good.Leaf)}, ""},
		{good, []string{credentials.PinOf(us.cert)}, ""},
		{good, []string{credentials.PinOf(others.cert)}, "certificate has none of the pinned keys, its own is " + credentials.PinOf(good.Leaf)},
		{us.issue(t, &x509.Certificate{DNSNames: []string{"a.example"}}), nil, "certificate is for a.example, not b.example"},
		{us.issue(t, &x509.Certificate{DNSNames: []string{"1.example", "2.example", "3.example", "4.example", "5.example", "6.example"}}), nil,
			"certificate is for 1.example, 2.example, 3.example, 4.example and 2 others, not b.example"},
		{us.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "b.example"}}), nil, "certificate is for no name at all, not b.example"},
		{us.issue(t, &x509.Certificate{DNSNames: []string{"b.example"}, NotBefore: past.Add(-time.Hour), NotAfter: past}), nil, "certificate has expired on 2020-01-02T03:04:05Z"},
		{us.issue(t, &x509.Certificate{DNSNames: []string{"b.example"}, NotBefore: future, NotAfter: future.Add(time.Hour)}), nil, "certificate is not valid before 2120-01-02T03:04:05Z"},
		{us.issue(t, &x509.Certificate{DNSNames: []string{"b.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}), nil, "certificate is not for servers (extended key usage)"},
		{others.issue(t, &x509.Certificate{DNSNames: []string{"b.example"}}), nil, "certificate is from an unknown authority: CN=the authority"},
		{none.issue(t, &x509.Certificate{DNSNames: []string{"b.example"}}), nil, "certificate is self-signed, and not among the trusted ones"},
	} {
		roots := x509.NewCertPool()
		roots.AddCert(us.cert)
		config := &stdtls.Config{RootCAs: roots, ServerName: "b.example"}
		if x.pins != nil {
			config.VerifyConnection = credentials.Pinned(x.pins)
		}
		backends(t, func(t *testing.T, io_ loop.IO) {
			addr := tlstest.Echo(t, &stdtls.Config{Certificates: []stdtls.Certificate{x.cert}})
			done := make(chan unix.Errno, 1)
			_, o, do := serve(t, io_, Config{}, func(o *owner, ev *loop.Event) {})
			do(func() {
				o.on = func(o *owner, ev *loop.Event) {
					if ev.Kind == loop.Connected {
						o.Close(ev.Conn)
						done <- 0
					}
				}
				o.refused = func(errno unix.Errno) { done <- errno }
				r, err := loop.NewRemote(addr, loop.SockOpts{})
				if err != nil {
					t.Error(err)
					return
				}
				o.SecureDial(o.Dial(r, 5), &Client{Config: config})
			})
			errno, why := <-done, ""
			do(func() {
				if len(o.failed) > 0 {
					why = o.failed[0]
				}
			})
			if why != x.want || (errno == unix.EKEYREJECTED) != (x.want != "") {
				t.Errorf("%q, %v; want %q", why, errno, x.want)
			}
		})
	}
}
