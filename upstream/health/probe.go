package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"zproxy/config"
	"zproxy/proto/proxyproto"
)

// probe is how one address is checked. Every check is a connection of its own: a process
// that serves the connections it has and accepts none is found.
type probe struct {
	check    *config.HealthCheck
	network  string // "tcp" or "unix"
	address  string
	tls      *tls.Config // nil: in clear
	host     string
	protocol string // of the upstream
	body     *regexp.Regexp
	preface  []byte // what connections begin with, before TLS
}

// result is what a check has found.
type result struct {
	passed bool
	void   bool // it could not be made, for want of something on this machine: it counts for nothing
	words  string
	took   time.Duration
}

// errFound is what is wrong with a response, in words.
type errFound string

func (e errFound) Error() string { return string(e) }

const (
	userAgent = "zproxy-health-check"
	// maxBody is how much of a response's body is looked at.
	maxBody = 64 << 10
)

// stages of a check, for the words of one that takes too long.
const (
	stageConnect int32 = iota
	stageHandshake
	stageResponse
	stageBody
)

var stageNames = [...]string{"no connection", "no TLS handshake", "no response", "no whole response"}

// run makes one check. local says whether an error is for want of something here.
func (p *probe) run(ctx context.Context, local func(error) bool) result {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.check.Timeout)
	defer cancel()
	var stage atomic.Int32
	var words string
	var err error
	switch p.check.Type {
	case "tcp":
		words, err = p.connect(ctx, &stage)
	case "grpc":
		words, err = p.callGRPC(ctx, &stage)
	default:
		words, err = p.request(ctx, &stage)
	}
	r := result{passed: err == nil, words: words, took: time.Since(began)}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		r.words = fmt.Sprintf("%s within %v", stageNames[stage.Load()], p.check.Timeout)
	default:
		r.void = local(err)
		r.words = wordsOf(err, stage.Load())
	}
	return r
}

func wordsOf(err error, stage int32) string {
	var found errFound
	var errno syscall.Errno
	switch {
	case errors.As(err, &found):
		return string(found)
	case errors.As(err, &errno):
		return errno.Error()
	case stage == stageHandshake:
		return "TLS handshake failed: " + strings.TrimPrefix(err.Error(), "tls: ")
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed without a whole response"
	}
	return err.Error()
}

func (p *probe) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, p.network, p.address)
	if err != nil || len(p.preface) == 0 {
		return conn, err
	}
	if _, err := conn.Write(p.preface); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// prefaceOf is a header of the PROXY protocol that names nobody, where u has endpoints want one,
// and they are asked where their requests go.
func prefaceOf(u *config.Upstream) []byte {
	switch h := u.HealthCheck; {
	case h.Address != "" || h.Port != 0:
	case u.SendProxy == "v1":
		return proxyproto.AppendV1(nil, netip.AddrPort{}, netip.AddrPort{})
	case u.SendProxy == "v2":
		return proxyproto.AppendLocal(nil)
	}
	return nil
}

// connect makes a connection, and with TLS a handshake.
func (p *probe) connect(ctx context.Context, stage *atomic.Int32) (string, error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if p.tls == nil {
		return "connected", nil
	}
	stage.Store(stageHandshake)
	if err := tls.Client(conn, p.tls).HandshakeContext(ctx); err != nil {
		return "", err
	}
	return "TLS handshake done", nil
}

// transport is for one request.
func (p *probe) transport(protocol string) *http.Transport {
	t := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxBody,
		Protocols: new(http.Protocols),
	}
	if p.tls == nil {
		t.Protocols.SetHTTP1(protocol == "http1")
		t.Protocols.SetUnencryptedHTTP2(protocol != "http1")
		return t
	}
	t.TLSClientConfig = p.tls.Clone()
	t.TLSClientConfig.NextProtos = nil // which the transport makes of its protocols
	t.Protocols.SetHTTP1(protocol == "http1" || protocol == "auto")
	t.Protocols.SetHTTP2(protocol != "http1")
	return t
}

// exchange sends a request and gives the response; done is to be called behind its body.
func (p *probe) exchange(ctx context.Context, stage *atomic.Int32, r *http.Request, protocol string) (resp *http.Response, done func(), err error) {
	t := p.transport(protocol)
	r.Host, r.URL.Host = p.host, p.host
	r.URL.Scheme = "http"
	if p.tls != nil {
		r.URL.Scheme = "https"
	}
	r.Header.Set("User-Agent", userAgent)
	trace := &httptrace.ClientTrace{
		TLSHandshakeStart: func() { stage.Store(stageHandshake) },
		GotConn:           func(httptrace.GotConnInfo) { stage.Store(stageResponse) },
	}
	resp, err = t.RoundTrip(r.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		t.CloseIdleConnections()
		return nil, nil, err
	}
	stage.Store(stageBody)
	return resp, func() {
		resp.Body.Close()
		t.CloseIdleConnections()
	}, nil
}

// request is a check of type http.
func (p *probe) request(ctx context.Context, stage *atomic.Int32) (string, error) {
	r, err := http.NewRequest(p.check.Method, "http://unused"+p.check.Path, nil)
	if err != nil {
		return "", err
	}
	resp, done, err := p.exchange(ctx, stage, r, p.protocol)
	if err != nil {
		return "", err
	}
	defer done()
	status := fmt.Sprintf("status %d", resp.StatusCode)
	if !config.InRanges(p.check.Status, resp.StatusCode) {
		return "", errFound(status + ", expected " + strings.Join(p.check.Status, ", "))
	}
	if p.body == nil {
		return status, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return "", err
	}
	if !p.body.Match(body) {
		return "", errFound(status + ", but the body does not match " + p.check.Body)
	}
	return status + ", and the body matches", nil
}
