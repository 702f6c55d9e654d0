package forward

import (
	"bytes"
	"testing"

	"zproxy/proto"
	"zproxy/proxy/snapshot"
)

// Every status that a fault may have says something to gRPC clients, and a
// message is one field's value whatever is in it.
func TestGRPCWords(t *testing.T) {
	for _, status := range snapshot.OwnStatuses {
		if got := GRPCStatusOf(uint16(status)); got == GRPCUnknown && status != 426 && status != 505 {
			t.Errorf("%d is unknown", status)
		}
	}
	if got := string(appendGRPCMessage(nil, "100 % später\r\n~ ")); got != "100 %25 sp%C3%A4ter%0D%0A~ " {
		t.Errorf("%q", got)
	}
	fields := NewFields()
	for status, want := range map[GRPCStatus]string{GRPCInternal: "13", GRPCPermissionDenied: "7"} {
		if b := fields.AppendGRPC(nil, status, "m", 0); !bytes.Contains(b, []byte("grpc-status")) || !bytes.Contains(b, []byte(want)) {
			t.Errorf("%d: %q", status, b)
		}
	}
}

// Who speaks gRPC, and whose origin may speak first.
func TestContentTypes(t *testing.T) {
	for _, c := range []struct {
		kind             string
		grpc, eitherSide bool
	}{
		{"application/grpc", true, true}, {"application/grpc+proto", true, true}, {"Application/GRPC;x=y", true, true},
		{"application/grpc-web", false, false}, {"application/grpc-web+proto", false, false}, {"application/grpcs", false, true},
		{"application/connect+json", false, true}, {"application/connect", false, false}, {"text/plain", false, false}, {"", false, false},
	} {
		h := parsed(t, "POST / HTTP/1.1", "Host: h", "Content-Type: "+c.kind)
		if eitherBegins(h) != c.eitherSide {
			t.Errorf("%q: either side begins: %v", c.kind, !c.eitherSide)
		}
		if AsksByGRPC(h) {
			t.Errorf("%q by HTTP/1 is gRPC", c.kind)
		}
		if h.H2 = true; AsksByGRPC(h) != c.grpc {
			t.Errorf("%q is gRPC: %v", c.kind, !c.grpc)
		}
		if h.Method = proto.GET; AsksByGRPC(h) {
			t.Errorf("GET of %q is gRPC", c.kind)
		}
	}
}
