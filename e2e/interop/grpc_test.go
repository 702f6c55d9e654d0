package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	suite "google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"zproxy/internal/tlstest"
)

// A case of the suite ends its process when it fails, so each has one of its
// own: this binary, told by these what to run and where.
// Without an authority it speaks h2c.
const caseVariable, addrVariable, caVariable = "INTEROP_CASE", "INTEROP_ADDR", "INTEROP_CA"

// grpcCases are those of gRPC's interoperability tests that need neither an
// account somewhere nor a server that knows its number.
var grpcCases = map[string]func(ctx context.Context, cc *grpc.ClientConn, tc pb.TestServiceClient){
	"empty_unary": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoEmptyUnaryCall(ctx, tc)
	},
	"large_unary": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoLargeUnaryCall(ctx, tc)
	},
	"client_streaming": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoClientStreaming(ctx, tc)
	},
	"server_streaming": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoServerStreaming(ctx, tc)
	},
	"ping_pong":    func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) { suite.DoPingPong(ctx, tc) },
	"empty_stream": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) { suite.DoEmptyStream(ctx, tc) },
	"timeout_on_sleeping_server": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoTimeoutOnSleepingServer(ctx, tc)
	},
	"cancel_after_begin": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoCancelAfterBegin(ctx, tc)
	},
	"cancel_after_first_response": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoCancelAfterFirstResponse(ctx, tc)
	},
	"custom_metadata": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoCustomMetadata(ctx, tc)
	},
	"status_code_and_message": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoStatusCodeAndMessage(ctx, tc)
	},
	"special_status_message": func(ctx context.Context, _ *grpc.ClientConn, tc pb.TestServiceClient) {
		suite.DoSpecialStatusMessage(ctx, tc)
	},
	"unimplemented_method": func(ctx context.Context, cc *grpc.ClientConn, _ pb.TestServiceClient) {
		suite.DoUnimplementedMethod(ctx, cc)
	},
	"unimplemented_service": func(ctx context.Context, cc *grpc.ClientConn, _ pb.TestServiceClient) {
		suite.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(cc))
	},
}

// transport is TLS with those whom ca vouches for, or none.
func transport(ca string) (credentials.TransportCredentials, error) {
	if ca == "" {
		return insecure.NewCredentials(), nil
	}
	return credentials.NewClientTLSFromFile(ca, tlstest.Name)
}

// authority is the file for transport.
func authority(t *testing.T, wire string) string {
	t.Helper()
	if wire == "h2c" {
		return ""
	}
	ca, _ := keyFiles(t)
	return ca
}

func runGRPCCase() int {
	wire, err := transport(os.Getenv(caVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cc, err := grpc.NewClient(os.Getenv(addrVariable), grpc.WithTransportCredentials(wire))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	grpcCases[os.Getenv(caseVariable)](ctx, cc, pb.NewTestServiceClient(cc))
	return 0
}

// newGRPC is gRPC's test server.
func newGRPC(t *testing.T, wire string, options ...grpc.ServerOption) *grpc.Server {
	t.Helper()
	if secure(wire) {
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(new(pair(t)))))
	}
	s := grpc.NewServer(options...)
	pb.RegisterTestServiceServer(s, suite.NewTestServer())
	return s
}

// startGRPC runs it.
func startGRPC(t *testing.T, wire string, options ...grpc.ServerOption) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newGRPC(t, wire, options...)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func dialGRPC(t *testing.T, wire, addr string) pb.TestServiceClient {
	t.Helper()
	c, err := transport(authority(t, wire))
	if err != nil {
		t.Fatal(err)
	}
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return pb.NewTestServiceClient(cc)
}

// gRPC's interoperability tests, through the proxy.
func TestGRPCInterop(t *testing.T) {
	eachWire(t, func(t *testing.T, backend, wire string) {
		addr, ca := startProxy(t, backend, wire, wire, startGRPC(t, wire)), authority(t, wire)
		for name := range grpcCases {
			t.Run(name, func(t *testing.T) {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), caseVariable+"="+name, addrVariable+"="+addr, caVariable+"="+ca, "GRPC_GO_LOG_SEVERITY_LEVEL=error")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	})
}

// Deadlines and cancellations reach the server: no handler is left running,
// and the connection of both sides goes on.
func TestGRPCGivenUp(t *testing.T) {
	eachWire(t, func(t *testing.T, backend, wire string) {
		var running atomic.Int64
		count := func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			running.Add(1)
			defer running.Add(-1)
			return h(srv, ss)
		}
		tc := dialGRPC(t, wire, startProxy(t, backend, wire, wire, startGRPC(t, wire, grpc.StreamInterceptor(count))))
		var calls sync.WaitGroup
		for i := range 200 {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+i)*time.Millisecond)
				defer cancel()
				s, err := tc.FullDuplexCall(ctx)
				if err == nil && i%2 == 0 {
					cancel()
				}
				for err == nil {
					_, err = s.Recv()
				}
				if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Canceled {
					t.Errorf("call %d ends with %v", i, err)
				}
			})
		}
		calls.Wait()
		for deadline := time.Now().Add(30 * time.Second); running.Load() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d handlers are still running", running.Load())
			}
		}
		if _, err := tc.EmptyCall(t.Context(), new(pb.Empty)); err != nil {
			t.Error(err)
		}
	})
}

// Messages go both ways at once, hundreds of streams on one connection, each
// in order and with none before its time.
func TestGRPCBothWays(t *testing.T) {
	eachWire(t, func(t *testing.T, backend, wire string) {
		tc := dialGRPC(t, wire, startProxy(t, backend, wire, wire, startGRPC(t, wire)))
		var calls sync.WaitGroup
		for range 300 {
			calls.Go(func() {
				if err := talk(t.Context(), tc); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
	})
}

// talk sends messages of several sizes and wants the answer to each before it
// sends the next.
func talk(ctx context.Context, tc pb.TestServiceClient) error {
	s, err := tc.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for _, n := range []int32{1, 0, 70_000, 13, 200_000, 1} {
		err := s.Send(&pb.StreamingOutputCallRequest{
			ResponseParameters: []*pb.ResponseParameters{{Size: n}},
			Payload:            &pb.Payload{Body: []byte(strings.Repeat("x", int(n)))},
		})
		if err != nil {
			return err
		}
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if got := len(m.GetPayload().GetBody()); got != int(n) {
			return fmt.Errorf("%d bytes, want %d", got, n)
		}
	}
	s.CloseSend()
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("behind the last message: %w", err)
	}
	return nil
}

// A call that fails at once is answered by one HEADERS frame, whose fields are
// the trailers: code, message and metadata arrive.
func TestGRPCTrailersOnly(t *testing.T) {
	eachWire(t, func(t *testing.T, backend, wire string) {
		refuse := func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			grpc.SetTrailer(ctx, metadata.Pairs("x-why", "no", "x-why-bin", "\x00\x01\xff"))
			return nil, status.Error(codes.FailedPrecondition, "nicht jetzt, später\n")
		}
		tc := dialGRPC(t, wire, startProxy(t, backend, wire, wire, startGRPC(t, wire, grpc.UnaryInterceptor(refuse))))
		for range 50 {
			var trailer metadata.MD
			_, err := tc.EmptyCall(t.Context(), new(pb.Empty), grpc.Trailer(&trailer))
			if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "nicht jetzt, später\n" {
				t.Fatalf("got %v", err)
			}
			if fmt.Sprint(trailer["x-why"], trailer["x-why-bin"]) != fmt.Sprint([]string{"no"}, []string{"\x00\x01\xff"}) {
				t.Fatalf("trailers %v", trailer)
			}
		}
	})
}

// A server that stops tells its streams so; the calls under way finish, and
// the next ones go to the server that has taken its place.
func TestGRPCServerStops(t *testing.T) {
	eachWire(t, func(t *testing.T, backend, wire string) {
		addr := freeAddr(t)
		serve := func() *grpc.Server {
			l, err := net.Listen("tcp4", addr)
			if err != nil {
				t.Fatal(err)
			}
			s := newGRPC(t, wire)
			go s.Serve(l)
			return s
		}
		old := serve()
		tc := dialGRPC(t, wire, startProxy(t, backend, wire, wire, addr))
		s, err := tc.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		turn := func() {
			t.Helper()
			if err := s.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 5}}}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		turn()
		stopped := make(chan struct{})
		go func() { old.GracefulStop(); close(stopped) }()
		time.Sleep(100 * time.Millisecond)
		next := serve()
		defer next.Stop()
		if _, err := tc.EmptyCall(t.Context(), new(pb.Empty), grpc.WaitForReady(true)); err != nil {
			t.Error(err)
		}
		turn()
		s.CloseSend()
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the call under way ends with %v", err)
		}
		<-stopped
	})
}
