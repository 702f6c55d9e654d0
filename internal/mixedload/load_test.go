package mixedload

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"zproxy/internal/tlstest"
)

// until waits for a condition.
func until(t *testing.T, l *Load, what string, fine func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !fine(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, l)
		}
	}
}

// Where nothing changes nothing is counted but responses, of all kinds, and nobody asks twice.
func TestAllKindsAreAnswered(t *testing.T) {
	o := NewOrigin()
	defer o.Close()
	clear, err := o.Listen()
	if err != nil {
		t.Fatal(err)
	}
	secure := httpsOf(t, o)
	l := Start(Clients{Clear: clear, Prior: clear, Secure: secure, Each: 2, Pauses: []time.Duration{time.Millisecond}})
	for k := range kinds {
		until(t, l, k.String(), func() bool { return l.Of(k).Answered > 100 })
	}
	took := len(l.Took())
	l.Stop()
	if n := l.Total(); n.Failed+n.Early+n.Told > 0 || took == 0 || o.Repeated() > 0 {
		t.Errorf("%v; %d times, %d repeated", l, took, o.Repeated())
	}
	for range 2 {
		res, err := http.Post("http://"+clear+"/echo", "text/plain", strings.NewReader("again"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	if got := o.Repeated(); got != 1 {
		t.Errorf("%d requests are counted as repeated, want 1", got)
	}
}

// httpsOf gives o an address within TLS.
func httpsOf(t *testing.T, o *Origin) string {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: o.server.Handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{tlstest.Certificate(t, "ecdsa")}}}
	go s.ServeTLS(inner, "", "")
	t.Cleanup(func() { s.Close() })
	return inner.Addr().String()
}

// A proxy that ends connections is found out: told is who was told, and nobody else.
func TestEndsAreCounted(t *testing.T) {
	for _, c := range []struct {
		name     string
		response string // to the first request; to others there is none
		closes   bool   // at once behind it
		right    func(Counts) bool
	}{
		{"closed in a pause", "", true, func(n Counts) bool { return n.Early > 0 && n.Failed == 0 && n.Told == 0 }},
		{"told", "Connection: close\r\n", true, func(n Counts) bool { return n.Told > 0 && n.Early == 0 && n.Failed == 0 }},
		{"closed on a request", "", false, func(n Counts) bool { return n.Early > 0 && n.Failed > 0 && n.Told == 0 }},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					in := bufio.NewReader(conn)
					for n := 0; n < 2; n++ {
						q, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						body, _ := io.ReadAll(q.Body)
						if n > 0 {
							return
						}
						io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+c.response+"Transfer-Encoding: chunked\r\n\r\n"+chunk(body)+"0\r\n\r\n")
						if c.closes {
							return
						}
					}
				}()
			}
		}()
		pause := time.Millisecond
		if c.closes {
			pause = limit
		}
		l := Start(Clients{Clear: listener.Addr().String(), Kinds: []Kind{Kept}, Each: 1, Pauses: []time.Duration{pause}})
		until(t, l, c.name, func() bool { return c.right(l.Total()) })
		l.Stop()
		if !c.right(l.Total()) {
			t.Errorf("%s: %v", c.name, l)
		}
		listener.Close()
	}
}

func chunk(b []byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[len(b)>>4&15], digits[len(b)&15]}) + "\r\n" + string(b) + "\r\n"
}

// A connection of HTTP/2 ends behind GOAWAY, and those who come once come once.
func TestGoAwayIsTold(t *testing.T) {
	o := NewOrigin()
	addr, err := o.Listen()
	if err != nil {
		t.Fatal(err)
	}
	l := Start(Clients{Prior: addr, Kinds: []Kind{Streams, GRPC}, Each: 2, Pauses: []time.Duration{time.Millisecond}, Once: true})
	until(t, l, "answers", func() bool { return l.Of(Streams).Answered > 10 && l.Of(GRPC).Answered > 10 })
	if err := o.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	l.Wait()
	if n := l.Total(); n.Told != 4 || n.Early+n.Failed > 0 {
		t.Errorf("of 4 clients: %v", l)
	}
	l.Stop()
}
