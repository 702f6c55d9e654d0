package http2

// Preface is what a client sends first (RFC 9113 section 3.4).
const (
	Preface    = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	PrefaceLen = len(Preface)
)

// FrameHeaderLen is the length of what AppendDataHeader appends.
const FrameHeaderLen = 9

// ErrCode is an error code of RST_STREAM and GOAWAY (RFC 9113 section 7).
type ErrCode uint32

const (
	ErrNo ErrCode = iota
	ErrProtocol
	ErrInternal
	ErrFlowControl
	ErrSettingsTimeout
	ErrStreamClosed
	ErrFrameSize
	ErrRefusedStream
	ErrCancel
	ErrCompression
	ErrConnect
	ErrEnhanceYourCalm
	ErrInadequateSecurity
	ErrHTTP11Required
)

var errNames = [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}

// String is the code's name in RFC 9113, "UNKNOWN" for one that is not there.
func (c ErrCode) String() string {
	if int64(c) < int64(len(errNames)) {
		return errNames[c]
	}
	return "UNKNOWN"
}

// Frame types (RFC 9113 section 6, RFC 9218 section 7.1).
const (
	frameData           = 0x0
	frameHeaders        = 0x1
	framePriority       = 0x2
	frameReset          = 0x3
	frameSettings       = 0x4
	framePush           = 0x5
	framePing           = 0x6
	frameGoAway         = 0x7
	frameWindow         = 0x8
	frameContinuation   = 0x9
	framePriorityUpdate = 0x10
)

const (
	bitAck        = 0x1 // SETTINGS, PING
	bitEndStream  = 0x1 // DATA, HEADERS
	bitEndHeaders = 0x4 // HEADERS, CONTINUATION
	bitPadded     = 0x8 // DATA, HEADERS
	bitPriority   = 0x20
)

const (
	minMaxFrame   = 16384 // every endpoint takes frames of this length; this one takes no longer ones
	maxMaxFrame   = 1<<24 - 1
	maxWindow     = 1<<31 - 1
	maxStreamID   = 1<<31 - 1
	defaultWindow = 65535
	defaultTable  = 4096
)

// frameHeader is what the 9 bytes in front of a frame say (RFC 9113 section 4.1).
type frameHeader struct {
	length, id uint32
	kind, bits uint8
}

func parseFrameHeader(b []byte) frameHeader {
	_ = b[8]
	return frameHeader{
		length: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]),
		kind:   b[3],
		bits:   b[4],
		id:     load32(b[5:]) & maxStreamID,
	}
}

func appendFrameHeader(dst []byte, length int, kind, bits uint8, id uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), kind, bits,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func load32(b []byte) uint32 {
	_ = b[3]
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func append32(dst []byte, v uint32) []byte {
	return append(dst, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}
