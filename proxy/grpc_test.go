package proxy

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proxy/forward"
)

// call asks as a gRPC client does.
func (w *wire) call(path string, end bool, pairs ...string) *wireStream {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.open(w.opened + 1 + w.opened&1)
	s.headers(end, append([]string{":method", "POST", ":scheme", "http", ":path", path, ":authority", "h", "te", "trailers"}, pairs...)...)
	return s
}

const grpcContent = "application/grpc"

// What the proxy itself says to a gRPC client is a status of gRPC's in one head;
// to anybody else it is a page, and the log has the same of both.
func TestAnswersToGRPC(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		silent := startOrigin(t, func(_ int, c net.Conn) { io.Copy(io.Discard, c) })
		closing := startOrigin(t, func(int, net.Conn) {})
		busy := startOrigin(t, func(_ int, c net.Conn) { io.Copy(io.Discard, c) })
		path := t.TempDir() + "/log"
		log, err := accesslog.Open(accesslog.Options{Path: path, Loops: 1})
		if err != nil {
			t.Fatal(err)
		}
		r := start(t, io_, 1, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:8080", protocols: [h2c]}]
upstreams:
  silent: {endpoints: [{address: %q}], timeouts: {response: 100ms}, pool: {prewarm: 0}}
  closing: {endpoints: [{address: %q}], retries: 0, pool: {prewarm: 0}}
  busy: {endpoints: [{address: %q}], timeouts: {response: 20s}, pool: {prewarm: 0, max_connections: 1, queue_timeout: 100ms}}
  refused: {endpoints: [{address: "127.0.0.1:1"}], retries: 0, pool: {prewarm: 0}}
routes:
  - {path: "/silent", upstream: silent}
  - {path: "/closing", upstream: closing}
  - {path: "/busy", upstream: busy}
  - {path: "/refused", upstream: refused}
  - {path: "/get", methods: [GET], respond: {body: x}}
  - {path: "/down", respond: {status: 503, body: "come back"}}
  - {path: "/forbidden", respond: {status: 403}}
  - {path: "/slow", respond: {status: 429, body: x}}
  - {path: "/fine", respond: {body: fine}}
limits: {body_bytes: 10, request_body_timeout: 300ms, min_rate: 0}
`, silent, closing, busy), log)
		wire := dialWire(t, r.addr)
		wire.call("/busy", true, "content-type", grpcContent)
		time.Sleep(50 * time.Millisecond)
		for _, c := range []struct {
			path, status, grpc, message, length string
		}{
			{"/nowhere", "404", "12", "no route", ""},
			{"/%2e%2e/x", "400", "13", "path leaves the root or is malformed", ""},
			{"/get", "405", "12", "method not allowed by the route", ""},
			{"/silent", "504", "4", "origin did not respond in time", ""},
			{"/closing", "502", "14", "origin closed the connection before its response", ""},
			{"/refused", "502", "14", "connecting to the origin failed", ""},
			{"/busy", "503", "14", "no upstream connection came free in time", ""},
			{"/silent", "413", "8", "body too large", "11"},
			{"/down", "503", "14", "Service Unavailable", ""},
			{"/forbidden", "403", "7", "Forbidden", ""},
			{"/slow", "429", "8", "Too Many Requests", ""},
		} {
			for _, content := range []string{grpcContent, "Application/GRPC+proto", "application/grpc; charset=x", "application/grpc-web", "application/grpcx", "text/plain"} {
				s := wire.call(c.path, c.length == "", "content-type", content, "content-length", max(c.length, "0"))
				s.SetReadDeadline(time.Now().Add(patience))
				status := s.status(t)
				body, err := io.ReadAll(s)
				if err != nil {
					t.Errorf("%s of %s: %v", c.path, content, err)
				}
				got := strings.Join([]string{status, s.field("content-type"), s.field("grpc-status"), s.field("grpc-message"), s.field("content-length"), string(body)}, "|")
				want := strings.Join([]string{"200", grpcContent, c.grpc, c.message, "", ""}, "|")
				if !strings.HasPrefix(strings.ToLower(content), grpcContent) || strings.HasPrefix(content, "application/grpc-") || content == "application/grpcx" {
					if want = c.status; got[:3] == want && s.field("grpc-status") == "" && s.field("content-length") != "" {
						continue
					}
				}
				if got != want {
					t.Errorf("%s of %s: %s, want %s", c.path, content, got, want)
				}
			}
		}
		if s := wire.call("/fine", true, "content-type", grpcContent); s.status(t) != "200" || s.field("grpc-status") != "" {
			t.Errorf("what the configuration answers with is given as it is: %v", s.head)
		}
		wire.Conn.Close()
		r.settled()
		r.stop()
		log.Close()
		lines, _ := os.ReadFile(path)
		for _, line := range []string{`"status":404`, `"status":504`, `"status":413`, `"status":403`, `"reason":"origin did not respond in time"`} {
			if n := strings.Count(string(lines), line); n < 6 {
				t.Errorf("%s is in the log %d times", line, n)
			}
		}
	})
}

// Of faults with one HTTP status some say to gRPC clients that something is used up.
func TestGRPCStatusOfFaults(t *testing.T) {
	for f, want := range map[*proto.Fault]forward.GRPCStatus{&faultMemory: 8, &faultNoSocket: 8, &faultQueueFull: 14, &faultNoEndpoint: 14, &faultResponseTimeout: 4} {
		if got := grpcStatusOf(f); got != want {
			t.Errorf("%s: %d, want %d", f.Reason, got, want)
		}
	}
}

// What a stream is reset with reaches the other side where it means something
// there; it never makes of half an answer a whole one.
func TestCodesOfResets(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		opened := make(chan *wireStream, 1)
		origin := wireServer(t, func(s *wireStream) {
			if s.field(":path") == "/begun" {
				s.head1(false, ":status", "200", "content-type", grpcContent)
				io.WriteString(s, "part")
			}
			opened <- s
		})
		r := start(t, io_, 1, "listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c]}]\n"+
			"upstreams: {app: {protocol: h2c, retries: 0, endpoints: [{address: \""+origin+"\"}], pool: {prewarm: 0}}}\nroutes: [{path: \"/*\", upstream: app}]\n", nil)
		wire := dialWire(t, r.addr)
		for code := http2.ErrCodeNo; code <= http2.ErrCodeHTTP11Required; code++ {
			if code == http2.ErrCodeRefusedStream {
				continue
			}
			toClient, toOrigin := http2.ErrCodeInternal, http2.ErrCodeCancel
			switch code {
			case http2.ErrCodeCancel, http2.ErrCodeEnhanceYourCalm:
				toClient, toOrigin = code, code
			case http2.ErrCodeInternal:
				toOrigin = code
			}
			for _, path := range []string{"/begun", "/silent"} {
				s := wire.call(path, false, "content-type", grpcContent)
				(<-opened).resetWith(code)
				if got := s.resetCode(t); got != toClient {
					t.Errorf("%s: the origin resets with %v, its client is told %v, want %v", path, code, got, toClient)
				}
				s = wire.call(path, false, "content-type", grpcContent)
				far := <-opened
				s.resetWith(code)
				if got := far.resetCode(t); got != toOrigin {
					t.Errorf("%s: the client resets with %v, its origin is told %v, want %v", path, code, got, toOrigin)
				}
			}
			s := wire.call("/silent", false, "content-type", "text/plain")
			(<-opened).resetWith(code)
			if got := s.status(t); got != "502" {
				t.Errorf("the origin resets with %v, another client gets %s, want 502", code, got)
			}
			s.CloseWrite()
		}
		wire.Conn.Close()
		r.settled()
	})
}

func (s *wireStream) resetWith(code http2.ErrCode) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.fr.WriteRSTStream(s.id, code)
}

// resetCode waits for the far end to reset the stream.
func (s *wireStream) resetCode(t *testing.T) http2.ErrCode {
	t.Helper()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.deadline = time.Now().Add(patience)
	if err := s.wait(func() bool { return s.code != nil }); err != nil {
		t.Fatalf("no reset: %v, %v", err, s.head)
	}
	return *s.code
}
