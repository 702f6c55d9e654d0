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
