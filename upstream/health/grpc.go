package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// The messages of grpc.health.v1 have one field each: HealthCheckRequest the name of a
// service (1, a string), HealthCheckResponse a status (1, a varint).

const grpcServing = 1

var grpcStatusNames = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// callGRPC is a check of type grpc.
func (p *probe) callGRPC(ctx context.Context, stage *atomic.Int32) (string, error) {
	r, err := http.NewRequest(http.MethodPost, "http://unused/grpc.health.v1.Health/Check", bytes.NewReader(grpcRequest(p.check.Service)))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	resp, done, err := p.exchange(ctx, stage, r, "h2")
	if err != nil {
		return "", err
	}
	defer done()
	if resp.StatusCode != http.StatusOK {
		return "", errFound(fmt.Sprintf("status %d, expected gRPC over 200", resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return "", err
	}
	code, message := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if code == "" { // trailers alone
		code, message = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	switch {
	case code == "":
		return "", errFound("no grpc-status in the response")
	case code != "0":
		if message != "" {
			message = ": " + message
		}
		return "", errFound("grpc-status " + code + message)
	}
	status, ok := grpcStatus(body)
	switch {
	case !ok:
		return "", errFound("malformed HealthCheckResponse")
	case status == grpcServing:
		return "SERVING", nil
	case status < uint64(len(grpcStatusNames)):
		return "", errFound(grpcStatusNames[status])
	}
	return "", errFound(fmt.Sprintf("serving status %d", status))
}

// grpcRequest is a message behind its prefix: not compressed, length.
func grpcRequest(service string) []byte {
	var m []byte
	if service != "" {
		m = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service))), service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
}

// grpcStatus is the status of a message behind its prefix, 0 where it says none.
func grpcStatus(b []byte) (status uint64, ok bool) {
	if len(b) < 5 || b[0] != 0 || int(binary.BigEndian.Uint32(b[1:])) != len(b)-5 {
		return 0, false
	}
	for b = b[5:]; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, false
		}
		b = b[n:]
		v, n := binary.Uvarint(b)
		skip := uint64(max(n, 0))
		switch tag & 7 {
		case 0:
			if tag>>3 == 1 {
				status = v
			}
		case 1:
			n, skip = 8, 8
		case 2:
			skip += min(v, uint64(len(b))+1)
		case 5:
			n, skip = 4, 4
		default:
			return 0, false
		}
		if n <= 0 || skip > uint64(len(b)) {
			return 0, false
		}
		b = b[skip:]
	}
	return status, true
}
