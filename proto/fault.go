package proto

// FaultCode numbers what can be wrong with a message; counters are indexed by
// it (it stays below 64, where the codes of package proxy begin), so codes are
// only ever added at the end.
type FaultCode uint8

const (
	FaultNone FaultCode = iota
	FaultBadMethod
	FaultMethodTooLong
	FaultBadRequestLine
	FaultBadTarget
	FaultBadAuthority
	FaultUserinfo
	FaultBadScheme
	FaultBadVersion
	FaultVersionUnsupported
	FaultTargetTooLong
	FaultHeadTooLarge
	FaultTooManyFields
	FaultBareCR
	FaultBareLF
	FaultNotHTTP
	FaultBadStatus
	FaultBadReason
	FaultFieldName
	FaultFieldNoColon
	FaultFieldSpaceBeforeColon
	FaultFieldValue
	FaultObsFold
	FaultHostMissing
	FaultHostDuplicate
	FaultHostInvalid
	FaultLengthInvalid
	FaultLengthDuplicate
	FaultLengthAndCoding
	FaultCodingInOldVersion
	FaultCodingNotFinal
	FaultCodingInvalid
	FaultCodingUnknown
	FaultCodingForbidden
	FaultLengthForbidden
	FaultConnectionOptions
	FaultChunkSize
	FaultChunkSizeOverflow
	FaultChunkExtension
	FaultChunkLine
	FaultChunkDataEnd
	FaultChunkOverhead
	FaultBodyTruncated
	FaultBodyTooLarge
	FaultPseudoField
	FaultConnectionField
	FaultLengthDiffers
	FaultFrame
	FaultCompression
	FaultFlood
	FaultWebSocket
	FaultWebSocketVersion
	FaultTLS
	FaultCount int = iota
)

// TLSHandshake is the first byte of a connection that begins with TLS: the type
// of a record with a ClientHello (RFC 8446 5.1). No HTTP begins with it.
const TLSHandshake = 0x16

// Fault is what is wrong with a message: values are static, never made per
// message. Status answers a client; Reason is a stable phrase for the log.
type Fault struct {
	Reason string
	Status uint16
	Code   FaultCode
}

func (f *Fault) Error() string { return f.Reason }

// Name is the code's stable name for metrics, such as "host_missing".
func (c FaultCode) Name() string {
	if int(c) < FaultCount {
		return faultNames[c]
	}
	return "unknown"
}

// RequestFault is the fault of a request, with the status its sender is answered.
func RequestFault(c FaultCode) *Fault { return &requestFaults[c] }

// ResponseFault is the same fault found in a response: what the client gets is
// 502 whatever it was (RFC 9110 section 15.6.3).
func ResponseFault(c FaultCode) *Fault { return &responseFaults[c] }

// AsResponse is f as a fault of the origin's response; nil stays nil.
func (f *Fault) AsResponse() *Fault {
	if f == nil {
		return nil
	}
	return &responseFaults[f.Code]
}

var faultNames = [FaultCount]string{
	FaultNone:                  "none",
	FaultBadMethod:             "bad_method",
	FaultMethodTooLong:         "method_too_long",
	FaultBadRequestLine:        "bad_request_line",
	FaultBadTarget:             "bad_target",
	FaultBadAuthority:          "bad_authority",
	FaultUserinfo:              "userinfo",
	FaultBadScheme:             "bad_scheme",
	FaultBadVersion:            "bad_version",
	FaultVersionUnsupported:    "version_unsupported",
	FaultTargetTooLong:         "target_too_long",
	FaultHeadTooLarge:          "head_too_large",
	FaultTooManyFields:         "too_many_fields",
	FaultBareCR:                "bare_cr",
	FaultBareLF:                "bare_lf",
	FaultNotHTTP:               "not_http",
	FaultBadStatus:             "bad_status",
	FaultBadReason:             "bad_reason",
	FaultFieldName:             "field_name",
	FaultFieldNoColon:          "field_no_colon",
	FaultFieldSpaceBeforeColon: "field_space_before_colon",
	FaultFieldValue:            "field_value",
	FaultObsFold:               "obs_fold",
	FaultHostMissing:           "host_missing",
	FaultHostDuplicate:         "host_duplicate",
	FaultHostInvalid:           "host_invalid",
	FaultLengthInvalid:         "length_invalid",
	FaultLengthDuplicate:       "length_duplicate",
	FaultLengthAndCoding:       "length_and_coding",
	FaultCodingInOldVersion:    "coding_in_old_version",
	FaultCodingNotFinal:        "coding_not_final",
	FaultCodingInvalid:         "coding_invalid",
	FaultCodingUnknown:         "coding_unknown",
	FaultCodingForbidden:       "coding_forbidden",
	FaultLengthForbidden:       "length_forbidden",
	FaultConnectionOptions:     "connection_options",
	FaultChunkSize:             "chunk_size",
	FaultChunkSizeOverflow:     "chunk_size_overflow",
	FaultChunkExtension:        "chunk_extension",
	FaultChunkLine:             "chunk_line",
	FaultChunkDataEnd:          "chunk_data_end",
	FaultChunkOverhead:         "chunk_overhead",
	FaultBodyTruncated:         "body_truncated",
	FaultBodyTooLarge:          "body_too_large",
	FaultPseudoField:           "pseudo_field",
	FaultConnectionField:       "connection_field",
	FaultLengthDiffers:         "length_differs",
	FaultFrame:                 "frame",
	FaultCompression:           "compression",
	FaultFlood:                 "flood",
	FaultWebSocket:             "websocket_handshake",
	FaultWebSocketVersion:      "websocket_version",
	FaultTLS:                   "tls_on_plain_port",
}

var requestFaults = [FaultCount]Fault{
	FaultNone:                  {"no fault", 500, FaultNone},
	FaultBadMethod:             {"method is not a token", 400, FaultBadMethod},
	FaultMethodTooLong:         {"method too long", 501, FaultMethodTooLong},
	FaultBadRequestLine:        {"malformed request line", 400, FaultBadRequestLine},
	FaultBadTarget:             {"invalid request target", 400, FaultBadTarget},
	FaultBadAuthority:          {"invalid authority in request target", 400, FaultBadAuthority},
	FaultUserinfo:              {"userinfo in request target", 400, FaultUserinfo},
	FaultBadScheme:             {"scheme of request target is not http or https", 400, FaultBadScheme},
	FaultBadVersion:            {"malformed protocol version", 400, FaultBadVersion},
	FaultVersionUnsupported:    {"protocol version not supported", 505, FaultVersionUnsupported},
	FaultTargetTooLong:         {"request target too long", 414, FaultTargetTooLong},
	FaultHeadTooLarge:          {"head too large", 431, FaultHeadTooLarge},
	FaultTooManyFields:         {"too many fields", 431, FaultTooManyFields},
	FaultBareCR:                {"bare carriage return", 400, FaultBareCR},
	FaultBareLF:                {"bare line feed", 400, FaultBareLF},
	FaultNotHTTP:               {"not an http status line", 400, FaultNotHTTP},
	FaultBadStatus:             {"malformed status code", 400, FaultBadStatus},
	FaultBadReason:             {"invalid character in reason phrase", 400, FaultBadReason},
	FaultFieldName:             {"invalid field name", 400, FaultFieldName},
	FaultFieldNoColon:          {"field line without colon", 400, FaultFieldNoColon},
	FaultFieldSpaceBeforeColon: {"whitespace before colon", 400, FaultFieldSpaceBeforeColon},
	FaultFieldValue:            {"invalid character in field value", 400, FaultFieldValue},
	FaultObsFold:               {"folded field line", 400, FaultObsFold},
	FaultHostMissing:           {"host missing", 400, FaultHostMissing},
	FaultHostDuplicate:         {"more than one host field", 400, FaultHostDuplicate},
	FaultHostInvalid:           {"invalid host", 400, FaultHostInvalid},
	FaultLengthInvalid:         {"invalid content-length", 400, FaultLengthInvalid},
	FaultLengthDuplicate:       {"more than one content-length", 400, FaultLengthDuplicate},
	FaultLengthAndCoding:       {"content-length with transfer-encoding", 400, FaultLengthAndCoding},
	FaultCodingInOldVersion:    {"transfer-encoding in http/1.0", 400, FaultCodingInOldVersion},
	FaultCodingNotFinal:        {"transfer-encoding does not end in chunked", 400, FaultCodingNotFinal},
	FaultCodingInvalid:         {"invalid transfer-encoding", 400, FaultCodingInvalid},
	FaultCodingUnknown:         {"unknown transfer coding", 501, FaultCodingUnknown},
	FaultCodingForbidden:       {"transfer-encoding not allowed here", 400, FaultCodingForbidden},
	FaultLengthForbidden:       {"content-length not allowed here", 400, FaultLengthForbidden},
	FaultConnectionOptions:     {"too many connection options", 400, FaultConnectionOptions},
	FaultChunkSize:             {"invalid chunk size", 400, FaultChunkSize},
	FaultChunkSizeOverflow:     {"chunk size too large", 400, FaultChunkSizeOverflow},
	FaultChunkExtension:        {"invalid chunk extension", 400, FaultChunkExtension},
	FaultChunkLine:             {"chunk size line not ended by crlf", 400, FaultChunkLine},
	FaultChunkDataEnd:          {"chunk data not followed by crlf", 400, FaultChunkDataEnd},
	FaultChunkOverhead:         {"too much chunk framing for the data", 400, FaultChunkOverhead},
	FaultBodyTruncated:         {"body cut short", 400, FaultBodyTruncated},
	FaultBodyTooLarge:          {"body too large", 413, FaultBodyTooLarge},
	FaultPseudoField:           {"pseudo-field unknown, repeated, missing or misplaced", 400, FaultPseudoField},
	FaultConnectionField:       {"field of an http/1 connection", 400, FaultConnectionField},
	FaultLengthDiffers:         {"content differs from content-length", 400, FaultLengthDiffers},
	FaultFrame:                 {"frame not allowed here", 400, FaultFrame},
	FaultCompression:           {"field section cannot be decoded", 400, FaultCompression},
	FaultFlood:                 {"too many frames that only cost", 400, FaultFlood},
	FaultWebSocket:             {"invalid websocket handshake", 400, FaultWebSocket},
	FaultWebSocketVersion:      {"websocket version is not 13", 426, FaultWebSocketVersion},
	FaultTLS:                   {"TLS on a plain HTTP listener", 400, FaultTLS},
}

var responseFaults = func() (t [FaultCount]Fault) {
	t = requestFaults
	for i := range t {
		t[i].Status = 502
	}
	return t
}()
