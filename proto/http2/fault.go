package http2

import "zproxy/proto"

// What can be wrong with a connection or a stream, for the log. The error code
// the peer gets is said where they are found.
var (
	faultPreface      = proto.Fault{Reason: "not the preface of http/2", Status: 400, Code: proto.FaultFrame}
	faultFirstFrame   = proto.Fault{Reason: "first frame is not settings", Status: 400, Code: proto.FaultFrame}
	faultFrameSize    = proto.Fault{Reason: "frame of a wrong size", Status: 400, Code: proto.FaultFrame}
	faultFrameStream  = proto.Fault{Reason: "frame for a stream where it must not be", Status: 400, Code: proto.FaultFrame}
	faultContinuation = proto.Fault{Reason: "field block interrupted, or continued where there is none", Status: 400, Code: proto.FaultFrame}
	faultPush         = proto.Fault{Reason: "push promise, which is disabled", Status: 400, Code: proto.FaultFrame}
	faultPadding      = proto.Fault{Reason: "padding longer than its frame", Status: 400, Code: proto.FaultFrame}
	faultSelf         = proto.Fault{Reason: "stream depends on itself", Status: 400, Code: proto.FaultFrame}
	faultIdle         = proto.Fault{Reason: "frame for a stream that was never opened", Status: 400, Code: proto.FaultFrame}
	faultStreamClosed = proto.Fault{Reason: "frame for a closed stream", Status: 400, Code: proto.FaultFrame}
	faultStreamID     = proto.Fault{Reason: "invalid stream identifier", Status: 400, Code: proto.FaultFrame}
	faultWindow       = proto.Fault{Reason: "more data than the window allows", Status: 400, Code: proto.FaultFrame}
	faultWindowZero   = proto.Fault{Reason: "window update by 0", Status: 400, Code: proto.FaultFrame}
	faultWindowMax    = proto.Fault{Reason: "window larger than 2^31-1", Status: 400, Code: proto.FaultFrame}
	faultSetting      = proto.Fault{Reason: "invalid setting", Status: 400, Code: proto.FaultFrame}
	faultNoHead       = proto.Fault{Reason: "data before the response head", Status: 502, Code: proto.FaultFrame}
	faultSecondHead   = proto.Fault{Reason: "second field section does not end the stream", Status: 400, Code: proto.FaultFrame}
	faultTunnel       = proto.Fault{Reason: "field section in a tunnel", Status: 400, Code: proto.FaultFrame}
	faultNoContent    = proto.Fault{Reason: "data in a message without content", Status: 400, Code: proto.FaultFrame}
	faultInterimEnd   = proto.Fault{Reason: "interim response ends the stream", Status: 502, Code: proto.FaultFrame}
	faultHostDiffers  = proto.Fault{Reason: "host differs from :authority", Status: 400, Code: proto.FaultHostInvalid}
	faultTE           = proto.Fault{Reason: "te is not trailers", Status: 400, Code: proto.FaultConnectionField}
	faultUpperCase    = proto.Fault{Reason: "upper-case field name", Status: 400, Code: proto.FaultFieldName}
)
