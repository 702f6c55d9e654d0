package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// resettingOrigin resets each stream with the code that its field x-code names,
// once it has begun to answer if x-begun is there.
func resettingOrigin(t *testing.T) (addr string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go resetStreams(c)
		}
	}()
	return l.Addr().String()
}

func resetStreams(c net.Conn) {
	defer c.Close()
	io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.WriteSettings()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				fr.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			var code http2.ErrCode
			begun := false
			for _, field := range f.RegularFields() {
				switch field.Name {
				case "x-code":
					fmt.Sscan(field.Value, &code)
				case "x-begun":
					begun = true
				}
			}
			if begun {
				var block bytes.Buffer
				enc := hpack.NewEncoder(&block)
				enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200", Sensitive: true})
				enc.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/grpc", Sensitive: true})
				fr.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: block.Bytes(), EndHeaders: true})
			}
			fr.WriteRSTStream(f.StreamID, code)
		}
	}
}

// A real client of gRPC makes of the code of a reset what it would make of it
// without a proxy between.
func TestGRPCResets(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		origin := resettingOrigin(t)
		through, direct := dialGRPC(t, "h2c", startProxy(t, backend, "h2c", "h2c", origin)), dialGRPC(t, "h2c", origin)
		for _, code := range []http2.ErrCode{http2.ErrCodeCancel, http2.ErrCodeEnhanceYourCalm, http2.ErrCodeInternal, http2.ErrCodeProtocol, http2.ErrCodeNo, http2.ErrCodeRefusedStream} {
			for _, begun := range []bool{false, true} {
				if begun && code == http2.ErrCodeRefusedStream {
					continue // it would be a lie
				}
				md := metadata.Pairs("x-code", fmt.Sprint(uint32(code)))
				if begun {
					md.Set("x-begun", "1")
				}
				ask := func(tc pb.TestServiceClient) codes.Code {
					ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), md), 20*time.Second)
					defer cancel()
					_, err := tc.EmptyCall(ctx, new(pb.Empty))
					return status.Code(err)
				}
				if got, want := ask(through), ask(direct); got != want {
					t.Errorf("reset with %v, begun %v: %v, without a proxy %v", code, begun, got, want)
				}
			}
		}
	})
}

// What the proxy itself answers has a code and a message for a client of gRPC.
func TestGRPCErrorsOfTheProxy(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		silent := "127.0.0.1:0"
		l, err := net.Listen("tcp4", silent)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				go io.Copy(io.Discard, c)
			}
		}()
		const service = "/grpc.testing.TestService/"
		addr := startZproxy(t, backend, fmt.Sprintf(`
listeners: [{address: "ADDR", protocols: [h2c]}]
upstreams:
  gone: {protocol: h2c, endpoints: [{address: "127.0.0.1:1"}]}
  silent: {endpoints: [{address: %q}], timeouts: {response: 200ms}}
routes:
  - {path: "%sEmptyCall", upstream: gone}
  - {path: "%sUnaryCall", upstream: silent}
limits: {body_bytes: 1MiB}
`, l.Addr(), service, service))
		tc := dialGRPC(t, "h2c", addr)
		want := func(err error, code codes.Code, message string) {
			t.Helper()
			if s := status.Convert(err); s.Code() != code || !strings.Contains(s.Message(), message) {
				t.Errorf("%v, want %v with %q", err, code, message)
			}
		}
		_, err = tc.EmptyCall(t.Context(), new(pb.Empty))
		want(err, codes.Unavailable, "connecting to the origin failed")
		_, err = tc.UnaryCall(t.Context(), new(pb.SimpleRequest))
		want(err, codes.DeadlineExceeded, "origin did not respond in time")
		_, err = tc.UnaryCall(t.Context(), &pb.SimpleRequest{Payload: &pb.Payload{Body: make([]byte, 2<<20)}})
		want(err, codes.ResourceExhausted, "body too large")
		_, err = tc.CacheableUnaryCall(t.Context(), new(pb.SimpleRequest))
		want(err, codes.Unimplemented, "no route")
	})
}
