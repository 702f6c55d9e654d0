package forwardauth

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"zproxy/proto"
	"zproxy/proto/http1"
)

const (
	maxIdle     = 64
	idleTimeout = 30 * time.Second
	// maxBody is how much of a response's body is read, and left, so that the connection can be used again.
	maxBody = 64 << 10
	maxHead = 32 << 10
)

var limits = http1.Limits{HeadBytes: maxHead, Fields: 100, LineBytes: maxHead}

var (
	errNobody = errors.New("no endpoint")
	errSwitch = errors.New("a response with status 101")
	errCut    = errors.New("the connection ended within a response")
)

// client keeps connections to the endpoints. Several goroutines use it.
type client struct {
	cfg  *Config
	mu   sync.Mutex
	idle []*conn // the last one was used last
	turn int
}

type conn struct {
	net.Conn
	address string
	since   time.Time
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// ask sends a request and reads its response. A connection that was kept, and ends without a byte, may have ended
// before: it is tried once more on a new one.
func (c *client) ask(request []byte) (*response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Timeout)
	defer cancel()
	endpoints := c.cfg.Endpoints()
	if kept := c.reuse(endpoints); kept != nil {
		r, silent, err := c.exchange(ctx, kept, request)
		if err == nil || !silent || isTimeout(err) {
			return r, err
		}
	}
	fresh, err := c.dial(ctx, endpoints)
	if err != nil {
		return nil, err
	}
	r, _, err := c.exchange(ctx, fresh, request)
	return r, err
}

// reuse takes a connection to an address that an endpoint still has.
func (c *client) reuse(endpoints []Endpoint) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := len(c.idle); n > 0; n = len(c.idle) {
		last := c.idle[n-1]
		c.idle = c.idle[:n-1]
		if time.Since(last.since) < idleTimeout && serves(endpoints, last.address) {
			return last
		}
		last.Close()
	}
	return nil
}

func serves(endpoints []Endpoint, address string) bool {
	for i := range endpoints {
		if endpoints[i].Usable && slices.Contains(endpoints[i].Addresses, address) {
			return true
		}
	}
	return false
}

func (c *client) keep(one *conn) {
	one.since = time.Now()
	c.mu.Lock()
	var old *conn
	if len(c.idle) == maxIdle {
		old = c.idle[0]
		c.idle = append(c.idle[:0], c.idle[1:]...)
	}
	c.idle = append(c.idle, one)
	c.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.idle {
		one.Close()
	}
	c.idle = nil
}

// dial connects to the next endpoint in turn that can be connected to, first to those that requests go to.
func (c *client) dial(ctx context.Context, endpoints []Endpoint) (*conn, error) {
	c.mu.Lock()
	c.turn++
	turn := c.turn
	c.mu.Unlock()
	err := errNobody
	for _, usable := range [...]bool{true, false} {
		for i := range endpoints {
			e := &endpoints[(turn+i)%len(endpoints)]
			if e.Usable != usable {
				continue
			}
			for _, address := range e.Addresses {
				var one *conn
				if one, err = connect(ctx, e, address); err == nil {
					return one, nil
				}
				if ctx.Err() != nil {
					return nil, context.DeadlineExceeded
				}
			}
		}
	}
	return nil, err
}

func connect(ctx context.Context, e *Endpoint, address string) (*conn, error) {
	network, where := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, where = "unix", path
	}
	raw, err := new(net.Dialer).DialContext(ctx, network, where)
	if err != nil {
		return nil, err
	}
	if e.TLS == nil {
		return &conn{Conn: raw, address: address}, nil
	}
	conf := e.TLS.Clone()
	conf.NextProtos = nil
	secured := tls.Client(raw, conf)
	if err := secured.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return &conn{Conn: secured, address: address}, nil
}

// exchange sends a request and reads its response. silent: not a byte of it has come.
func (c *client) exchange(ctx context.Context, one *conn, request []byte) (r *response, silent bool, err error) {
	deadline, _ := ctx.Deadline()
	one.SetDeadline(deadline)
	r, silent, err = c.converse(one, request)
	if err != nil || !r.kept {
		one.Close()
		return r, silent, err
	}
	c.keep(one)
	return r, false, nil
}

func (c *client) converse(one *conn, request []byte) (r *response, silent bool, err error) {
	if _, err := one.Write(request); err != nil {
		return nil, true, err
	}
	in := &reader{from: one}
	var h proto.Head
	for {
		n, fault := 0, (*proto.Fault)(nil)
		for {
			if len(in.have) > 0 {
				n, _, fault = http1.ParseResponse(in.have, http1.Cursor{}, proto.GET, &limits, &h)
			}
			if n > 0 {
				break
			}
			if fault != nil {
				return nil, false, fault
			}
			if err := in.more(); err != nil {
				return nil, len(in.have) == 0, err
			}
		}
		if h.Status >= 200 {
			r = new(response)
			r.take(&h, c.cfg)
			in.have = in.have[n:]
			break
		}
		if h.Status == 101 {
			return nil, false, errSwitch
		}
		in.have = in.have[n:]
	}
	r.pass(in, &h)
	if len(in.have) > 0 {
		r.kept = false // more than was asked for
	}
	return r, false, nil
}

// pass reads the content, which nobody wants. It may be longer than is worth it: then the connection ends.
func (r *response) pass(in *reader, h *proto.Head) {
	var body http1.Body
	body.Start(h.Body, h.Length)
	for passed := 0; !body.Done(); {
		piece, skip, n, fault := body.Next(in.have)
		passed += n
		in.have = in.have[skip+n:]
		more := piece == http1.PieceMore
		if fault == nil && piece == http1.PieceTrailers {
			var trailers proto.Head
			n, fault = body.Trailers(in.have, &limits, &trailers)
			in.have, more = in.have[n:], n == 0
		}
		if fault != nil || passed > maxBody || more && in.more() != nil {
			r.kept = false
			return
		}
	}
}

// reader has what came and was not looked at.
type reader struct {
	from io.Reader
	have []byte
}

func (in *reader) more() error {
	var block [4096]byte
	n, err := in.from.Read(block[:])
	in.have = append(in.have, block[:n]...)
	switch {
	case n > 0:
		return nil
	case errors.Is(err, io.EOF):
		return errCut
	}
	return err
}
