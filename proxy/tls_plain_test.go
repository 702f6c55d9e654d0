package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
	"zproxy/proto"
)

// A client that begins with a TLS handshake is told so in TLS, its connection
// ends, and it is counted under a name of its own. On a listener for HTTP/2 alone
// the proxy's SETTINGS have left before the client says anything.
func TestTLSOnPlainPort(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		for protocols, want := range map[string]string{
			"http1": "handshake failure", "http1, h2c": "handshake failure", "h2c": "does not look like a TLS handshake",
		} {
			r := start(t, io, 1, fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [%s]}]\nroutes: [{path: \"/*\", respond: {body: ok}}]\n", protocols), nil)
			for range 3 {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Fatal(err)
				}
				c.SetDeadline(time.Now().Add(5 * time.Second))
				err = tls.Client(c, &tls.Config{ServerName: "example.com"}).Handshake()
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", protocols, err, want)
				}
				if n, err := c.Read(make([]byte, 1<<10)); n > 0 && protocols != "h2c" || err != nil && strings.Contains(err.Error(), "timeout") {
					t.Errorf("%s: %d bytes, %v behind the alert; want the end", protocols, n, err)
				}
				c.Close()
			}
			m := &r.settled()[0].Metrics
			if n := m.RefusedByReason[proto.FaultTLS]; n != 3 {
				t.Errorf("%s: counted %d times as TLS, want 3", protocols, n)
			}
			if m.ResponsesOwn != 0 {
				t.Errorf("%s: %d answers of HTTP", protocols, m.ResponsesOwn)
			}
		}
	})
}
