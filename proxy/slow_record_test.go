package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/loop"
	"zproxy/proto/http2"
)

// The content of a TLS record comes when the record is whole. Who sends one over a slow
// line is judged by what of it has come.

// slowText wants an origin, settings of the upstream, and what comes behind.
const slowText = `
listeners: [{address: "127.0.0.1:8443", protocols: [http1, h2], tls: {certificates: [{cert: cert.pem, key: key.pem}]}}]
upstreams: {app: {endpoints: [{address: %q}], pool: {prewarm: 0, max_connections: %d}}}
routes: [{path: "/*", upstream: app, websocket: {ping_interval: 300ms}}]
%s`

// secureGet asks for what the certificate of tests is good for.
const secureGet = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

// slowly writes what is held back in pieces of n bytes, one every so often, and gives
// the longest time between two.
func (c *heldBack) slowly(n int, every time.Duration) (longest time.Duration) {
	for last := time.Now(); len(c.held) > 0; last = time.Now() {
		time.Sleep(every)
		k := min(n, len(c.held))
		if _, err := c.Conn.Write(c.held[:k]); err != nil {
			c.held = nil
			break
		}
		c.held = c.held[k:]
		longest = max(longest, time.Since(last))
	}
	return longest
}

// unhurried tries until nothing is wrong; pieces that came further apart than most
// prove nothing.
func unhurried(t *testing.T, most time.Duration, try func() (longest time.Duration, wrong string)) {
	t.Helper()
	for n := 1; ; n++ {
		longest, wrong := try()
		if wrong == "" {
			return
		}
		if longest <= most || n == 5 {
			t.Fatalf("%s (up to %v between two pieces)", wrong, longest)
		}
	}
}

// upload is a POST within TLS whose head has left, and whose content is held back.
type upload struct {
	*tls.Conn
	under *heldBack
	out   bytes.Buffer
	fr    *xnet.Framer // nil: HTTP/1
}

// newUpload announces length bytes of content, and holds n of them back in one record.
func newUpload(t *testing.T, addr, protocol string, length, n int) *upload {
	t.Helper()
	u := &upload{}
	u.Conn, u.under = secureClientOf(t, addr, protocol)
	if protocol == "h2" {
		u.fr = xnet.NewFramer(&u.out, u.Conn)
		u.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		u.out.WriteString(http2.Preface)
		u.fr.WriteSettings()
		u.post(1, "content-length "+strconv.Itoa(length))
	} else {
		fmt.Fprintf(&u.out, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n", length)
	}
	u.flush(t)
	u.under.hold = true
	if u.fr != nil {
		u.fr.WriteData(1, n == length, make([]byte, n))
	} else {
		u.out.Write(make([]byte, n))
	}
	u.flush(t)
	return u
}

func (u *upload) post(id uint32, fields ...string) {
	writeFields(u.fr, id, false, append([]string{":method POST", ":scheme https", ":authority 127.0.0.1", ":path /"}, fields...)...)
}

// flush makes one record of what there is.
func (u *upload) flush(t *testing.T) {
	t.Helper()
	if _, err := u.Write(u.out.Bytes()); err != nil {
		t.Error(err)
	}
	u.out.Reset()
}

// status is that of the answer, 0 without one.
func (u *upload) status() int {
	if u.fr == nil {
		return statusOf(u.Conn)
	}
	for {
		f, err := u.fr.ReadFrame()
		if err != nil {
			return 0
		}
		if h, ok := f.(*xnet.MetaHeadersFrame); ok && h.StreamID == 1 {
			n, _ := strconv.Atoi(h.PseudoValue("status"))
			return n
		}
	}
}

func statusOf(c net.Conn) int {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	return resp.StatusCode
}

// another asks beside others, and gives the status of its answer.
func (r *rig) another() chan int {
	r.t.Helper()
	c, _ := secureClient(r.t, r.addr)
	if _, err := io.WriteString(c, secureGet); err != nil {
		r.t.Fatal(err)
	}
	status := make(chan int, 1)
	go func() { status <- statusOf(c) }()
	return status
}

// scarceSecure is a listener within TLS before an origin with so many connections.
func scarceSecure(t *testing.T, backend loop.IO, conns int, more string) (r *rig, dialled func(n int32)) {
	t.Helper()
	origin, most := scarceOrigin(t, false, 0)
	r = start(t, backend, 1, fmt.Sprintf(slowText, origin, conns, more), nil)
	return r, func(n int32) {
		t.Helper()
		for end := time.Now().Add(patience); most.Load() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d connections to the origin, want %d", most.Load(), n)
			}
		}
	}
}

// served says that the upload and another request are answered, or what came instead, and
// the longest time that it kept the proxy waiting for.
func (u *upload) served(longest time.Duration, other <-chan int) (time.Duration, string) {
	if got, beside := u.status(), <-other; got != 200 || beside != 200 {
		return longest, fmt.Sprintf("it is answered %d, another %d", got, beside)
	}
	return 0, ""
}

// A client keeps a connection that others wait for while its content comes, however long
// a record of it takes.
func TestSlowRecordDoesNotStall(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			besides(t, func(t *testing.T, backend loop.IO) {
				unhurried(t, 150*time.Millisecond, func() (time.Duration, string) {
					r, dialled := scarceSecure(t, backend, 1, "")
					u := newUpload(t, r.addr, protocol, 16000, 16000)
					dialled(1)
					other := r.another()
					longest := u.under.slowly(1600, 80*time.Millisecond)
					return u.served(longest, other)
				})
			})
		})
	}
}

// One that does not go on behind a record loses the connection.
func TestStallBehindARecord(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		r, dialled := scarceSecure(t, backend, 1, "")
		u := newUpload(t, r.addr, "http/1.1", 32000, 16000)
		dialled(1)
		other := r.another()
		u.under.slowly(4000, 50*time.Millisecond)
		if got, beside := u.status(), <-other; got != 408 || beside != 200 {
			t.Errorf("it is answered %d, another %d", got, beside)
		}
	})
}

// One whose records are crumbs that come in two parts does so, too: that such a record is
// whole is no movement.
func TestStallByCrumbs(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		r, dialled := scarceSecure(t, backend, 1, "")
		u := newUpload(t, r.addr, "http/1.1", 32000, 20)
		dialled(1)
		other := r.another()
		for n := 0; ; n++ {
			last := len(u.under.held) - 1
			u.under.Conn.Write(u.under.held[:last])
			time.Sleep(300 * time.Millisecond)
			u.under.Conn.Write(u.under.held[last:])
			time.Sleep(150 * time.Millisecond)
			u.under.held = nil
			select {
			case got := <-other:
				if got != 200 {
					t.Errorf("another is answered %d behind %d crumbs", got, n)
				}
				return
			default:
				u.out.Write(make([]byte, 20))
				u.flush(t)
			}
		}
	})
}

// twoStreams is an upload beside which its connection has another, on stream 3.
func twoStreams(t *testing.T, addr string) *upload {
	t.Helper()
	u := newUpload(t, addr, "h2", 10, 1)
	u.post(3)
	u.fr.WriteData(3, false, []byte("x"))
	u.flush(t)
	u.under.slowly(1<<20, 0)
	return u
}

// A stream keeps the connection while its client sends what others have to say before.
func TestStreamHasItsTurn(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		unhurried(t, 150*time.Millisecond, func() (time.Duration, string) {
			r, dialled := scarceSecure(t, backend, 2, "")
			u := twoStreams(t, r.addr)
			dialled(2)
			other := r.another()
			for range 10 {
				u.fr.WriteData(3, false, make([]byte, 500))
				u.flush(t)
			}
			longest := u.under.slowly(500+9+22, 80*time.Millisecond)
			u.fr.WriteData(1, true, make([]byte, 9))
			u.flush(t)
			u.under.slowly(1<<20, 0)
			return u.served(longest, other)
		})
	})
}

// A stream of which nothing comes loses the connection although its neighbour's records
// go on coming in parts.
func TestStallBesideSlowRecords(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		r, dialled := scarceSecure(t, backend, 2, "")
		u := twoStreams(t, r.addr)
		dialled(2)
		other, over, ended := r.another(), make(chan bool), make(chan bool)
		go func() {
			defer close(ended)
			for {
				select {
				case <-over:
					return
				default:
				}
				u.fr.WriteData(3, false, make([]byte, 500))
				u.flush(t)
				u.under.slowly(125, 50*time.Millisecond)
			}
		}()
		if got := <-other; got != 200 {
			t.Errorf("another is answered %d", got)
		}
		close(over)
		<-ended
		if got := u.status(); got != 408 {
			t.Errorf("it is answered %d", got)
		}
	})
}

// How long a body may pause, and how slow it may be, is judged by what has come of its
// record as well.
func TestPaceOfSlowRecords(t *testing.T) {
	const limits = "limits: {request_body_timeout: 500ms, min_rate: %s}\n"
	for _, tc := range []struct {
		name, protocol, rate string
		piece                int // every 80 ms
		want                 int
	}{
		{"HTTP-1", "http/1.1", "1KiB", 1000, 200},
		{"HTTP-1 at any rate", "http/1.1", "0", 1000, 200},
		{"HTTP-2", "h2", "1KiB", 1000, 200},
		{"HTTP-1, too slow", "http/1.1", "1KiB", 20, 408},
		{"HTTP-2, too slow", "h2", "1KiB", 20, 408},
	} {
		t.Run(tc.name, func(t *testing.T) {
			besides(t, func(t *testing.T, backend loop.IO) {
				unhurried(t, 250*time.Millisecond, func() (time.Duration, string) {
					r, _ := scarceSecure(t, backend, 10, fmt.Sprintf(limits, tc.rate))
					u := newUpload(t, r.addr, tc.protocol, 16000, 16000)
					longest := make(chan time.Duration, 1)
					go func() { longest <- u.under.slowly(tc.piece, 80*time.Millisecond) }()
					got := u.status()
					u.under.Conn.Close()
					if took := <-longest; got != tc.want {
						return took, fmt.Sprintf("answered %d, want %d", got, tc.want)
					}
					return 0, ""
				})
			})
		})
	}
}

// A connection on which a request has begun to come is not idle.
func TestSlowRecordEndsIdleness(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		r := start(t, backend, 1, secureText+"limits: {keepalive_timeout: 1s, request_header_timeout: 10s}\n", nil)
		c, under := secureClient(t, r.addr)
		in := bufio.NewReader(c)
		for _, pause := range []time.Duration{0, 1500 * time.Millisecond} {
			under.hold, under.held = true, nil
			io.WriteString(c, secureGet)
			under.Conn.Write(under.held[:20])
			time.Sleep(pause)
			under.Conn.Write(under.held[20:])
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("after %v in a record: %v, %v", pause, resp, err)
			}
			io.Copy(io.Discard, resp.Body)
		}
	})
}

// A WebSocket client is not silent while a record of it comes.
func TestSlowRecordIsNoSilence(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		origin := socketEcho(t)
		unhurried(t, 150*time.Millisecond, func() (time.Duration, string) {
			r := start(t, backend, 1, fmt.Sprintf(slowText, origin, 10, ""), nil)
			c, under := secureClient(t, r.addr)
			io.WriteString(c, strings.Replace(wsRequest(), "Host: h", "Host: 127.0.0.1", 1))
			s := &socketConn{c, bufio.NewReader(c)}
			if resp, err := http.ReadResponse(s.in, nil); err != nil || resp.StatusCode != 101 {
				t.Fatalf("%v, %v", resp, err)
			}
			under.hold = true
			c.Write(wsFrame(0x82, strings.Repeat("x", 16000), true))
			longest := under.slowly(1000, 80*time.Millisecond)
			for {
				frame, err := s.next()
				switch {
				case err != nil:
					return longest, err.Error()
				case strings.HasPrefix(frame, "ping"):
				case strings.Contains(frame, "16000"):
					return 0, ""
				default:
					return longest, frame
				}
			}
		})
	})
}

// An origin that goes on answering is not idle.
func TestSlowRecordOfOrigin(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		pair, err := tls.X509KeyPair(simCertificate().CertPEM, simCertificate().KeyPEM)
		if err != nil {
			t.Fatal(err)
		}
		unhurried(t, 200*time.Millisecond, func() (time.Duration, string) {
			longest := make(chan time.Duration, 1)
			origin := startOrigin(t, func(_ int, raw net.Conn) {
				under := &heldBack{Conn: raw}
				c := tls.Server(under, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, DynamicRecordSizingDisabled: true})
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					longest <- 0
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 16001\r\n\r\nx")
				under.hold = true
				c.Write(make([]byte, 16000))
				longest <- under.slowly(1000, 80*time.Millisecond)
			})
			text := "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], tls: {verify: false}, timeouts: {idle: 400ms}, pool: {prewarm: 0}}}\n"
			r := start(t, backend, 1, yaml(origin, text), nil)
			c := r.dial()
			io.WriteString(c, simpleGet)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, resp.Body); n != 16001 {
				return <-longest, fmt.Sprintf("%d bytes, %v", n, err)
			}
			return 0, ""
		})
	})
}
