package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Target is an admin address, and how to be let in there.
type Target struct {
	Address string // host:port or unix:/path
	Token   string // "": none
	TLS     *tls.Config
}

// clientOf asks an admin address, and takes at most limit for all of an answer; 0: as long as it lasts.
func clientOf(to Target, limit time.Duration) *http.Client {
	network, address := "tcp", to.Address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	return &http.Client{Timeout: limit, Transport: bearer{to.Token, &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   to.TLS,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}}}
}

// bearer shows a token with each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// base is what URLs at the address begin with.
func (to Target) base() string {
	if to.TLS != nil {
		return "https://localhost"
	}
	return "http://localhost"
}

// refused is what a response with another status than 200 says.
func (to Target) refused(status int, text []byte) error {
	var a answerError
	if json.Unmarshal(text, &a) == nil && a.Error != "" {
		return errors.New(a.Error)
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return errors.New(strings.TrimSpace(string(text)))
	}
	return fmt.Errorf("%s is no admin address of a zproxy that takes this: it answers %d %s", to.Address, status, http.StatusText(status))
}

// Call does an operation of the API: path is behind /api/v1, in is sent as JSON, or as it is where it is bytes, and out,
// unless it is nil, gets what comes back.
func (to Target) Call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	switch in := in.(type) {
	case nil:
	case []byte:
		body = in
	default:
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	at := to.base() + apiPath + path
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := clientOf(to, changeLimit).Do(req)
	if err != nil {
		return fmt.Errorf("no zproxy answers at %s: %w", to.Address, errors.Unwrap(err))
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("the answer of %s breaks off: %w", to.Address, err)
	case res.StatusCode != http.StatusOK:
		return to.refused(res.StatusCode, text)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s answers what nobody can read: %w", to.Address, err)
	}
	return nil
}

// Watch gives see each Pulse until ctx ends, or the connection.
func (to Target) Watch(ctx context.Context, see func(*Pulse)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.base()+apiPath+"/events", nil)
	if err != nil {
		return err
	}
	res, err := clientOf(to, 0).Do(req)
	if err != nil {
		return fmt.Errorf("no zproxy answers at %s: %w", to.Address, errors.Unwrap(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, maxBody))
		return to.refused(res.StatusCode, text)
	}
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		p := new(Pulse)
		if err := json.Unmarshal(data, p); err != nil {
			return fmt.Errorf("%s sends what nobody can read: %w", to.Address, err)
		}
		see(p)
	}
}
