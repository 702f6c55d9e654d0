package interop

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"zproxy/internal/longtest"
)

// A real client and a real server of gRPC ping each other once in a round trip
// while data flows, to estimate the bandwidth: that is no flood, nor are calls
// that end by their deadlines.
func TestGRPCAtARate(t *testing.T) { atARate(t, 5*time.Second) }

func TestLengthyGRPCAtARate(t *testing.T) {
	longtest.Need(t)
	atARate(t, time.Minute)
}

const (
	rateEvery  = 500 * time.Microsecond
	rateSize   = 4 << 10
	deadlines  = 5 * time.Millisecond // between calls that end by their deadlines
	callsTime  = 20 * time.Millisecond
	leastShare = 10 // of the messages that are due, on a machine that is busy: one in so many
)

func atARate(t *testing.T, length time.Duration) {
	eachBackend(t, func(t *testing.T, backend string) {
		t.Run("messages both ways", func(t *testing.T) {
			tc := dialGRPC(t, "h2c", startProxy(t, backend, "h2c", "h2c", startGRPC(t, "h2c")))
			sent, got, err := messages(t.Context(), tc, length)
			t.Logf("%d messages sent, %d received", sent, got)
			if err != nil || got != sent || sent < int(length/rateEvery)/leastShare {
				t.Errorf("%d messages sent, %d received: %v", sent, got, err)
			}
		})
		t.Run("calls that end by their deadlines", func(t *testing.T) {
			addr := startProxy(t, backend, "h2c", "h2c", startGRPC(t, "h2c"))
			ended, err := cancelled(t.Context(), dialGRPC(t, "h2c", addr), length)
			t.Logf("%d calls ended by their deadlines", ended)
			if err != nil || ended < int64(length/deadlines)/leastShare {
				t.Errorf("%d calls ended by their deadlines: %v", ended, err)
			}
		})
	})
}

// messages sends one at each interval, for so long, and receives as many of the
// same size.
func messages(ctx context.Context, tc pb.TestServiceClient, length time.Duration) (sent, got int, err error) {
	s, err := tc.FullDuplexCall(ctx)
	if err != nil {
		return 0, 0, err
	}
	over := make(chan error, 1)
	go func() {
		tick := time.NewTicker(rateEvery)
		defer tick.Stop()
		m := &pb.StreamingOutputCallRequest{
			ResponseParameters: []*pb.ResponseParameters{{Size: rateSize}},
			Payload:            &pb.Payload{Body: make([]byte, rateSize)},
		}
		for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
			if err := s.Send(m); err != nil {
				over <- fmt.Errorf("sending: %w", err)
				return
			}
			sent++
		}
		over <- s.CloseSend()
	}()
	for {
		m, err := s.Recv()
		if err != nil {
			sending := <-over
			if err.Error() == "EOF" {
				err = nil
			}
			if sending != nil {
				err = fmt.Errorf("%w, %w", sending, status.Error(status.Code(err), fmt.Sprint(err)))
			}
			return sent, got, err
		}
		if n := len(m.GetPayload().GetBody()); n != rateSize {
			return sent, got, fmt.Errorf("a message of %d bytes", n)
		}
		got++
	}
}

// cancelled begins a call that nobody answers at each interval, with a call
// beside them on the same connection that must not be hurt.
func cancelled(ctx context.Context, tc pb.TestServiceClient, length time.Duration) (ended int64, err error) {
	bystander, err := tc.FullDuplexCall(ctx)
	if err != nil {
		return 0, err
	}
	// It says something now and then: a stream on which nobody does ends by timeouts.idle.
	beside := func() error {
		if err := bystander.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 1}}}); err != nil {
			return fmt.Errorf("the call beside them: %w", err)
		}
		if _, err := bystander.Recv(); err != nil {
			return fmt.Errorf("the call beside them: %w", err)
		}
		return nil
	}
	var calls sync.WaitGroup
	var count atomic.Int64
	var wrong atomic.Value
	tick := time.NewTicker(deadlines)
	defer tick.Stop()
	begun := 0
	for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
		if begun++; begun%1000 == 0 {
			if err := beside(); err != nil {
				return count.Load(), err
			}
		}
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, callsTime)
			defer cancel()
			s, err := tc.FullDuplexCall(ctx)
			if err == nil {
				_, err = s.Recv()
			}
			if status.Code(err) != codes.DeadlineExceeded {
				wrong.Store(fmt.Errorf("a call ends with %w", err))
			}
			count.Add(1)
		})
	}
	calls.Wait()
	if err := beside(); err != nil {
		return count.Load(), err
	}
	bystander.CloseSend()
	err, _ = wrong.Load().(error)
	return count.Load(), err
}
