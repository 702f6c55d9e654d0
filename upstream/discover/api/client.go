// Package api is the client of servers that know endpoints: it gets JSON of a bounded length by HTTP,
// follows no redirects, and uses no proxy.
package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"zproxy/config"
)

const (
	// connectTimeout is for a connection, and again for its TLS handshake.
	connectTimeout = 10 * time.Second
	idleTimeout    = 90 * time.Second
	userAgent      = "zproxy"
	// MaxBytes of a response's body that are read, if it is read as a whole.
	MaxBytes = 64 << 20
	// maxRefusal is how much is read of a response that refuses, and maxReason how much of that is told.
	maxRefusal, maxReason = 8 << 10, 200
	// maxToken is what a file with a token may have.
	maxToken = 64 << 10
)

// keepAlive finds within half a minute that a server has gone without a word.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Client asks one server. Several goroutines may.
type Client struct {
	base string
	web  *http.Client
}

// NewClient makes a client of the server at base, a URL without path. conf is for TLS.
func NewClient(base string, conf *tls.Config) *Client {
	return &Client{base: base, web: &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: connectTimeout, KeepAliveConfig: keepAlive}).DialContext,
			TLSClientConfig:     conf,
			TLSHandshakeTimeout: connectTimeout,
			MaxIdleConns:        2,
			IdleConnTimeout:     idleTimeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes connections that wait for another request.
func (c *Client) Close() { c.web.CloseIdleConnections() }

// StatusError is a response of another status than 200.
type StatusError struct {
	Code int
	Body []byte // as much of it as may be of use
}

func (e *StatusError) Error() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(e.Body)), "\n")
	if len(line) > maxReason {
		line = line[:maxReason] + "..."
	}
	return strings.TrimSuffix(fmt.Sprintf("status %d: %s", e.Code, strings.ToValidUTF8(line, "?")), ": ")
}

// Get asks for a path with its query, with the field of the token that is to be shown, unless it is "". Whoever gets
// a response closes its body. The error is a *StatusError, or one of making, or reading, it.
func (c *Client) Get(ctx context.Context, path string, query url.Values, field, token string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", userAgent)
	if token != "" {
		r.Header.Set(field, token)
	}
	res, err := c.web.Do(r)
	if err != nil {
		return nil, reason(err)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case res.StatusCode != http.StatusOK:
		refused := &StatusError{Code: res.StatusCode}
		refused.Body, _ = io.ReadAll(io.LimitReader(res.Body, maxRefusal))
		err = refused
	case kind != "application/json":
		err = fmt.Errorf("%s is answered with %q, expected application/json: is it the right server?", path, kind)
	default:
		res.Body = body{res.Body}
		return res, nil
	}
	res.Body.Close()
	return nil, err
}

// body gives the errors of one that is read in words.
type body struct{ io.ReadCloser }

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = reason(err)
	}
	return n, err
}

// ErrCut is what a connection that ends too early gives.
var ErrCut = errors.New("the connection ended within a response")

// IsCut says that err is of a connection that ended within a response.
func IsCut(err error) bool {
	return errors.Is(err, ErrCut) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// reason is err without what is another each time, such as the number of a port: the same trouble has the same words.
func reason(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return errors.New("no response in time")
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return ErrCut
	case errors.As(err, &op) && op.Op == "read":
		return fmt.Errorf("%w: %w", ErrCut, op.Err)
	case errors.As(err, &op) && op.Addr != nil:
		return fmt.Errorf("%s %s: %w", op.Op, op.Addr, op.Err)
	}
	return err
}

// TLS is what a server is spoken to with; t may be nil.
func TLS(t *config.DiscoverTLS) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return conf, nil
	}
	conf.ServerName = t.ServerName
	if t.CAPEM != nil {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(t.CAPEM) {
			return nil, fmt.Errorf("%s: no certificate in it", t.CA)
		}
	}
	if t.Client != nil {
		pair, err := t.Client.Pair()
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// Token reads the token in a file.
func Token(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("%s: expected one line with a token", path)
	}
	return token, nil
}
