package jwt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// fetchTimeout is for all of a response.
const fetchTimeout = 5 * time.Second

// Fetcher makes what asks a URL for a key set. ca has authorities in PEM, nil: those of the system.
func Fetcher(address string, ca []byte) (func() ([]byte, error), error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != nil {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("ca: no certificate in it")
		}
	}
	web := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func() ([]byte, error) { return fetch(web, address) }, nil
}

func fetch(web *http.Client, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	r.Header.Set("User-Agent", "zproxy")
	res, err := web.Do(r)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d, expected 200", address, res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxKeySetBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", address, err)
	case len(data) > maxKeySetBytes:
		return nil, fmt.Errorf("%s: more than %d bytes", address, maxKeySetBytes)
	}
	return data, nil
}
