package tls

// ContentType of a record.
type ContentType uint8

const (
	TypeChangeCipherSpec ContentType = 20
	TypeAlert            ContentType = 21
	TypeHandshake        ContentType = 22
	TypeApplicationData  ContentType = 23
)

// Alert is a description, as RFC 9846 6 numbers them.
type Alert uint8

const (
	AlertCloseNotify       Alert = 0
	AlertUnexpectedMessage Alert = 10
	AlertBadRecordMAC      Alert = 20
	AlertRecordOverflow    Alert = 22
	AlertIllegalParameter  Alert = 47
	AlertDecodeError       Alert = 50
	AlertProtocolVersion   Alert = 70
	AlertInternalError     Alert = 80
	AlertUserCanceled      Alert = 90
	AlertNoRenegotiation   Alert = 100
)

const (
	levelWarning = 1
	levelFatal   = 2
)

// Name is the alert's name in RFC 9846, for logs.
func (a Alert) Name() string {
	if int(a) < len(alertNames) && alertNames[a] != "" {
		return alertNames[a]
	}
	return "unknown"
}

var alertNames = [...]string{
	AlertCloseNotify: "close_notify", AlertUnexpectedMessage: "unexpected_message", AlertBadRecordMAC: "bad_record_mac",
	AlertRecordOverflow: "record_overflow", 40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate",
	44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown", AlertIllegalParameter: "illegal_parameter",
	48: "unknown_ca", 49: "access_denied", AlertDecodeError: "decode_error", 51: "decrypt_error",
	AlertProtocolVersion: "protocol_version", 71: "insufficient_security", AlertInternalError: "internal_error",
	86: "inappropriate_fallback", AlertUserCanceled: "user_canceled", AlertNoRenegotiation: "no_renegotiation",
	109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name", 113: "bad_certificate_status_response",
	115: "unknown_psk_identity", 116: "certificate_required", 120: "no_application_protocol", 121: "ech_required",
}
