package ws

// FaultCode numbers what can be wrong with a frame; counters are indexed by it.
type FaultCode uint8

// Faults of frames.
const (
	FaultReserved FaultCode = iota
	FaultOpcode
	FaultUnmasked
	FaultMasked
	FaultControlLength
	FaultControlFragment
	FaultLengthEncoding
	FaultLengthRange
	FaultContinuation
	FaultInterleaved
	FaultCloseLength
	FaultCloseCode
	FaultCloseReason
	FaultText
	FaultFrameSize
	FaultMessageSize
	FaultCount int = iota
)

// Close codes (RFC 6455 section 7.4.1).
const (
	CloseNormal        uint16 = 1000
	CloseGoingAway     uint16 = 1001
	CloseProtocolError uint16 = 1002
	CloseNoStatus      uint16 = 1005 // stands for a Close frame without a code
	CloseAbnormal      uint16 = 1006 // stands for an end without a Close frame
	CloseInvalidData   uint16 = 1007
	CloseTooBig        uint16 = 1009
)

// Fault is what is wrong with a frame: values are static. Close is the code
// that fails the connection, Reason a stable phrase for the log and the Close
// frame, Name the one for metrics.
type Fault struct {
	Name, Reason string
	Close        uint16
	Code         FaultCode
}

func (f *Fault) Error() string { return f.Reason }

// FaultOf gives the fault of a code.
func FaultOf(c FaultCode) *Fault { return &faults[c] }

var faults = [FaultCount]Fault{
	FaultReserved:        {"reserved_bit", "reserved bit set", CloseProtocolError, FaultReserved},
	FaultOpcode:          {"opcode", "reserved opcode", CloseProtocolError, FaultOpcode},
	FaultUnmasked:        {"unmasked", "frame of a client is not masked", CloseProtocolError, FaultUnmasked},
	FaultMasked:          {"masked", "frame of a server is masked", CloseProtocolError, FaultMasked},
	FaultControlLength:   {"control_length", "control frame longer than 125 bytes", CloseProtocolError, FaultControlLength},
	FaultControlFragment: {"control_fragment", "control frame in fragments", CloseProtocolError, FaultControlFragment},
	FaultLengthEncoding:  {"length_encoding", "payload length not in its shortest form", CloseProtocolError, FaultLengthEncoding},
	FaultLengthRange:     {"length_range", "payload length above 63 bits", CloseProtocolError, FaultLengthRange},
	FaultContinuation:    {"continuation", "continuation of no message", CloseProtocolError, FaultContinuation},
	FaultInterleaved:     {"interleaved", "new message before the end of another", CloseProtocolError, FaultInterleaved},
	FaultCloseLength:     {"close_length", "close frame with half a code", CloseProtocolError, FaultCloseLength},
	FaultCloseCode:       {"close_code", "close code that must not be sent", CloseProtocolError, FaultCloseCode},
	FaultCloseReason:     {"close_reason", "close reason is not UTF-8", CloseInvalidData, FaultCloseReason},
	FaultText:            {"text", "text is not UTF-8", CloseInvalidData, FaultText},
	FaultFrameSize:       {"frame_size", "frame too big", CloseTooBig, FaultFrameSize},
	FaultMessageSize:     {"message_size", "message too big", CloseTooBig, FaultMessageSize},
}

// sendable tells whether an endpoint may put the code in a Close frame (RFC
// 6455 sections 7.4.1 and 7.4.2, and the codes registered since).
func sendable(code uint16) bool {
	switch {
	case code < 1000 || code > 4999:
		return false
	case code >= 3000:
		return true
	case code == 1004, code == CloseNoStatus, code == CloseAbnormal:
		return false
	}
	return code <= 1014
}
