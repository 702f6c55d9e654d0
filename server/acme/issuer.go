package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"zproxy/config"
)

const (
	// attemptLimit is how long one attempt to get a certificate may take.
	attemptLimit = 15 * time.Minute
	requestLimit = time.Minute
	// maxAnswer bounds what is read of an authority's answer.
	maxAnswer    = 1 << 20
	maxRedirects = 5
	// ordersAtOnce is how many certificates are asked for at once.
	ordersAtOnce = 4
)

// issuer is an account with an authority.
type issuer struct {
	settings  *config.ACME        // of the account: directory, ca, email, external_account
	path      func(string) string // of files that the configuration names
	folder    folder
	userAgent string
	answers   *answers
	places    chan struct{} // a place for each order under way

	mu      sync.Mutex
	account *acme.Account // nil: not asked for yet
}

// visit is one attempt's connection to the authority.
type visit struct {
	*acmez.Client
	transport  *http.Transport
	retryAfter time.Duration // that it asks for, with an answer that refuses
}

// visit begins one that answers a kind of challenge.
func (i *issuer) visit(challenge string) (*visit, error) {
	v := &visit{transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: requestLimit, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}}
	if i.settings.CA != "" {
		file := i.path(i.settings.CA)
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s: no certificate in it", file)
		}
		v.transport.TLSClientConfig.RootCAs = pool
	}
	v.Client = &acmez.Client{
		Client: &acme.Client{
			Directory: i.settings.Directory, UserAgent: i.userAgent, PollInterval: time.Second,
			HTTPClient: &http.Client{Transport: v, Timeout: requestLimit, CheckRedirect: onlyHTTPS},
		},
		ChallengeSolvers: map[string]acmez.Solver{challenge: i.answers},
	}
	return v, nil
}

// onlyHTTPS: an authority is spoken to within TLS (RFC 8555 6.1), wherever it sends its clients.
func onlyHTTPS(r *http.Request, via []*http.Request) error {
	if r.URL.Scheme != "https" || len(via) > maxRedirects {
		return fmt.Errorf("the authority redirects to %s, without TLS or once too often", r.URL)
	}
	return nil
}

func (v *visit) end() { v.transport.CloseIdleConnections() }

// RoundTrip notes how long to stay away (RFC 8555 6.6), and bounds what is read.
func (v *visit) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := v.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable {
		v.retryAfter = max(v.retryAfter, retryAfter(res.Header.Get("Retry-After"), time.Now()))
	}
	res.Body = &bounded{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}

type bounded struct {
	io.Reader
	io.Closer
}

// retryAfter is the value of a Retry-After field: seconds, or a date (RFC 9110 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	if d, err := time.ParseDuration(text + "s"); err == nil {
		return max(d, 0)
	}
	if t, err := http.ParseTime(text); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// register gives the account, and makes it when there is none with its key.
func (i *issuer) register(ctx context.Context, v *visit) (acme.Account, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.account != nil {
		return *i.account, nil
	}
	key, err := i.accountKey()
	if err != nil {
		return acme.Account{}, err
	}
	var contact []string
	if i.settings.Email != "" {
		contact = []string{"mailto:" + i.settings.Email}
	}
	a, err := v.GetAccount(ctx, acme.Account{PrivateKey: key})
	switch {
	case err == nil && !slices.Equal(a.Contact, contact):
		a.Contact = contact
		a, err = i.update(ctx, v, a)
	case unknown(err):
		a = acme.Account{PrivateKey: key, Contact: contact, TermsOfServiceAgreed: i.settings.AcceptTerms}
		if err = i.bind(ctx, v, &a); err == nil {
			a, err = v.NewAccount(ctx, a)
		}
	}
	if err != nil {
		return a, err
	}
	i.account = &a
	return a, nil
}

// update tells the authority the address, which it may not care about.
func (i *issuer) update(ctx context.Context, v *visit, a acme.Account) (acme.Account, error) {
	updated, err := v.UpdateAccount(ctx, acme.Account{PrivateKey: a.PrivateKey, Location: a.Location, Contact: a.Contact})
	if err != nil {
		return a, err
	}
	if updated.Location == "" {
		updated.Location = a.Location
	}
	return updated, nil
}

// bind says which account outside of ACME this is (RFC 8555 7.3.4).
func (i *issuer) bind(ctx context.Context, v *visit, a *acme.Account) error {
	if i.settings.ExternalKey == "" {
		return nil
	}
	file := i.path(i.settings.ExternalKey)
	key, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// The library wants the alphabet of URLs without padding.
	text := strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(strings.TrimSpace(string(key)))
	if err := a.SetExternalAccountBinding(ctx, v.Client.Client, acme.EAB{KeyID: i.settings.ExternalKeyID, MACKey: text}); err != nil {
		return fmt.Errorf("external_account: %w", err)
	}
	return nil
}

// accountKey reads the account's key, or makes it: it is in the folder before the authority hears of it.
func (i *issuer) accountKey() (crypto.Signer, error) {
	data, err := i.folder.read(accountFile)
	if err != nil {
		return nil, err
	}
	if data != nil {
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, storageError{fmt.Errorf("%s: no key in PEM (with the file away there will be a new account)", i.folder.path(accountFile))}
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if signer, ok := key.(crypto.Signer); ok && err == nil {
			return signer, nil
		}
		return nil, storageError{fmt.Errorf("%s: not a private key in PKCS #8 (with the file away there will be a new account)", i.folder.path(accountFile))}
	}
	key, err := newKey("p256")
	if err != nil {
		return nil, err
	}
	if data, err = keyPEM(key); err != nil {
		return nil, err
	}
	return key, i.folder.write(accountFile, data)
}

func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// keyKind is how the configuration calls a public key.
func keyKind(key any) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return strings.ToLower(strings.ReplaceAll(k.Params().Name, "-", ""))
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa%d", k.N.BitLen())
	}
	return ""
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// enter takes a place among those that talk to the authority; leave gives it back.
func (i *issuer) enter(ctx context.Context) (attempt context.Context, leave func(), err error) {
	select {
	case i.places <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	attempt, cancel := context.WithTimeout(ctx, attemptLimit)
	return attempt, func() { cancel(); <-i.places }, nil
}

// wanted is a certificate as it is ordered.
type wanted struct {
	names []string
	*config.ACME
	replaces *x509.Certificate // whose place it takes, nil: none
}

// order gets a certificate: key and chain in PEM, and what the authority advises about it, if it does. wait is how
// long the authority wants to be left alone.
func (i *issuer) order(ctx context.Context, want wanted) (data []byte, a *advice, wait time.Duration, err error) {
	ctx, leave, err := i.enter(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	defer leave()
	v, err := i.visit(want.Challenge)
	if err != nil {
		return nil, nil, 0, err
	}
	defer v.end()
	key, err := newKey(want.KeyType)
	if err != nil {
		return nil, nil, 0, err
	}
	chain, err := i.exchange(ctx, v, key, want)
	if unknown(err) { // the account that was known before
		i.forget()
		chain, err = i.exchange(ctx, v, key, want)
	}
	if err != nil {
		return nil, nil, v.retryAfter, err
	}
	data, err = keyPEM(key)
	if err != nil {
		return nil, nil, 0, err
	}
	if info := chain.RenewalInfo; info != nil && info.HasWindow() {
		a = &advice{}
		a.take(info, time.Now())
	}
	return append(data, chain.ChainPEM...), a, 0, nil
}

// exchange makes the order, and proves the names.
func (i *issuer) exchange(ctx context.Context, v *visit, key crypto.Signer, want wanted) (chain acme.Certificate, err error) {
	account, err := i.register(ctx, v)
	if err != nil {
		return chain, fmt.Errorf("account: %w", err)
	}
	csr, err := acmez.NewCSR(key, want.names)
	if err != nil {
		return chain, err
	}
	params, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return chain, err
	}
	params.Profile = want.Profile
	if directory, err := v.GetDirectory(ctx); err != nil {
		return chain, err
	} else if directory.RenewalInfo != "" { // RFC 9773 5
		params.Replaces = want.replaces
	}
	chains, err := v.ObtainCertificate(ctx, params)
	if params.Replaces != nil && refusesReplacement(err) {
		params.Replaces = nil
		chains, err = v.ObtainCertificate(ctx, params)
	}
	if err != nil {
		return chain, err
	}
	if len(chains) == 0 {
		return chain, errors.New("the authority has sent no certificate")
	}
	return chains[0], nil
}

// refusesReplacement says that an order may have failed for the certificate it was to replace: one of another
// account's, or that the authority knows nothing of.
func refusesReplacement(err error) bool {
	var p acme.Problem
	if !errors.As(err, &p) || p.Resource != nil {
		return false
	}
	switch p.Type {
	case acme.ProblemTypeMalformed, acme.ProblemTypeUnauthorized, acme.ProblemTypeAlreadyReplaced, acme.ProblemTypeServerInternal:
		return true
	}
	return false
}

// unknown says that the authority does not know the account.
func unknown(err error) bool {
	var p acme.Problem
	return errors.As(err, &p) && p.Type == acme.ProblemTypeAccountDoesNotExist
}

// forget has the account be looked up, or made, anew.
func (i *issuer) forget() {
	i.mu.Lock()
	i.account = nil
	i.mu.Unlock()
}

// ask asks when a certificate should be renewed, and changes a accordingly.
func (i *issuer) ask(ctx context.Context, leaf *x509.Certificate, a *advice) error {
	ctx, leave, err := i.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	v, err := i.visit("")
	if err != nil {
		return err
	}
	defer v.end()
	info, err := v.GetRenewalInfo(ctx, leaf)
	if errors.Is(err, acme.ErrUnsupported) {
		*a = advice{Serial: a.Serial, Ask: time.Now().Add(maxAsk)}
		return nil
	}
	if err != nil {
		return err
	}
	a.take(&info, time.Now())
	return nil
}

// take notes what the authority says. The time is chosen anew only when the window is another one.
func (a *advice) take(info *acme.RenewalInfo, now time.Time) {
	var says time.Time
	if info.RetryAfter != nil {
		says = *info.RetryAfter
	}
	a.Ask = askAfter(now, says)
	if w := info.SuggestedWindow; !w.Start.Equal(a.Start) || !w.End.Equal(a.End) {
		a.Start, a.End = w.Start, w.End
		a.choose(mathrand.Float64())
	}
}
