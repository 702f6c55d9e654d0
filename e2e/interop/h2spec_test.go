package interop

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	h2 "github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// startSite runs Go's server, HTTP/1.1, h2c or HTTP/2 within TLS, with one small page.
func startSite(t *testing.T, protocol string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetHTTP1(protocol == "http1")
	p.SetHTTP2(protocol == "h2")
	p.SetUnencryptedHTTP2(protocol == "h2c")
	s := &http.Server{Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "a page of some length\n")
	})}
	if secure(protocol) {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair(t)}}
		go s.ServeTLS(l, "", "")
	} else {
		go s.Serve(l)
	}
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// tally counts what became of the cases.
type tally struct{ passed, failed, skipped atomic.Int32 }

func (n *tally) cases(t *testing.T, c *config.Config, shared bool, groups ...*spec.TestGroup) {
	for _, g := range groups {
		for i, tc := range append(append([]*spec.TestCase{}, g.Tests...), g.StrictTests...) {
			t.Run(fmt.Sprintf("%s/%d %s", g.ID(), i+1, tc.Desc), func(t *testing.T) {
				t.Parallel()
				if shared && tc.Desc == "Sends invalid connection preface" {
					n.passed.Add(1)
					answeredInHTTP1(t, c.Addr())
					return
				}
				conn, err := spec.Dial(c)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				switch err := tc.Run(c, conn); err {
				case nil:
					n.passed.Add(1)
				case spec.ErrSkipped:
					n.skipped.Add(1)
					t.Log("h2spec skips it: what it needs, this server does not do")
				default:
					n.failed.Add(1)
					t.Errorf("%s\n%v", tc.Requirement, err)
				}
			})
		}
		n.cases(t, c, shared, g.Groups...)
	}
}

// answeredInHTTP1: on a shared port what is no preface is an invalid request
// of HTTP/1.1.
func answeredInHTTP1(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, "INVALID CONNECTION PREFACE\r\n\r\n")
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
		t.Errorf("answered with %q, %v", b, err)
	}
}

// h2spec, in its strict form, finds nothing.
func TestH2Spec(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		for _, listen := range []string{"h2c", "http1, h2c", "h2", "http1, h2"} {
			for _, protocol := range []string{"http1", "h2c", "h2"} {
				if protocol != "http1" && secure(listen) != secure(protocol) {
					continue
				}
				t.Run(listen+" to "+protocol, func(t *testing.T) {
					addr := startProxy(t, backend, listen, protocol, startSite(t, protocol))
					host, port, _ := net.SplitHostPort(addr)
					number, _ := strconv.Atoi(port)
					c := &config.Config{Host: host, Port: number, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000, Strict: true, TLS: secure(listen), Insecure: true}
					var n tally
					t.Run("cases", func(t *testing.T) { n.cases(t, c, listen == "http1, h2c", generic.Spec(), h2.Spec(), hpack.Spec()) })
					t.Logf("h2spec: %d passed, %d failed, %d skipped", n.passed.Load(), n.failed.Load(), n.skipped.Load())
					if total := n.passed.Load() + n.failed.Load() + n.skipped.Load(); total < 140 {
						t.Errorf("only %d cases", total)
					}
				})
			}
		}
	})
}
