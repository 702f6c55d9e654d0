package proxy

import (
	"zproxy/metrics"
	"zproxy/proto"
	"zproxy/proto/http2"
)

// Codes of what this package refuses or gives up, behind those of proto, and of
// what an HTTP/2 peer has overdone, by http2.Abuse.
const (
	codeAbuse   proto.FaultCode = 128
	codeConnect proto.FaultCode = 80 + iota
	codeHeadTimeout
	codeBodyTimeout
	codeNoRoute
	codeMethod
	codeConnectFailed
	codeConnectTimeout
	codeOriginClosed
	codeResponseTimeout
	codeQueueTimeout
	codeUnavailable
	codeUnresolved
	codeInterimFlood
	codeMemory
	codeHTTP2
	codeNoSocket
	codeSockets
	codeHalfClosed
	codeLoop
	codeHops
	codeStreamIdle
	codeStreamDuration
	codeHeld
	codeHandshake
	codeHandshakeTimeout
	codeGreeting
	codeStranger
	codeOriginHandshake
	codeStalled
	codeAcceptQueue
	codeMisdirected
	codeGoAway
	codeRecord
	codeOriginRecord
	codeOriginCertificate
	codeMaxRequests
	codeRemoved
	codeShed
	codeByHand
	codeFilter
	codeFilterTimeout

	// Each code has a counter, and no two kinds share one: a constant below zero
	// is an error of the compiler.
	_ = uint(int(codeConnect) - proto.FaultCount)
	_ = uint(codeAbuse - codeFilterTimeout - 1)
	_ = uint(metrics.ReasonCount - int(codeAbuse) - http2.AbuseCount)
)

// statusClientGone is logged for a client that left before its answer, as
// nginx does; it is never sent.
const statusClientGone = 499

// Code names for metrics, by code.
var faultNames = map[proto.FaultCode]string{
	codeConnect:         "connect_method",
	codeHeadTimeout:     "head_timeout",
	codeBodyTimeout:     "body_timeout",
	codeNoRoute:         "no_route",
	codeMethod:          "method_not_allowed",
	codeConnectFailed:   "upstream_connect_failed",
	codeConnectTimeout:  "upstream_connect_timeout",
	codeOriginClosed:    "upstream_closed",
	codeResponseTimeout: "upstream_response_timeout",
	codeQueueTimeout:    "upstream_queue_timeout",
	codeUnavailable:     "upstream_unavailable",
	codeUnresolved:      "upstream_unresolved",
	codeInterimFlood:    "interim_flood",
	codeMemory:          "out_of_memory",
	codeHTTP2:           "http2",
	codeNoSocket:        "out_of_sockets",
	codeSockets:         "too_many_websockets",
	codeHalfClosed:      "half_closed_timeout",
	codeLoop:            "loop",
	codeHops:            "too_many_hops",
	codeStreamIdle:      "stream_idle",
	codeStreamDuration:  "stream_duration",
	codeHeld:            "memory_held",

	codeHandshake:        "tls_handshake",
	codeHandshakeTimeout: "tls_handshake_timeout",
	codeGreeting:         "proxy_protocol",
	codeStranger:         "proxy_protocol_stranger",
	codeOriginHandshake:  "upstream_tls_handshake",
	codeMisdirected:      "misdirected",
	codeStalled:          "stalled",
	codeAcceptQueue:      "upstream_accept_queue",
	codeGoAway:           "upstream_goaway",
	codeRecord:           "tls_record",
	codeOriginRecord:     "upstream_tls_record",

	codeOriginCertificate: "upstream_certificate",
	codeMaxRequests:       "upstream_max_requests",
	codeRemoved:           "removed",
	codeShed:              "upstream_shed",
	codeByHand:            "ended_by_hand",
	codeFilter:            "filter",
	codeFilterTimeout:     "filter_timeout",
}

// FaultNames lists the names of all codes a worker counts, by code.
func FaultNames() []string {
	names := make([]string, int(codeAbuse)+http2.AbuseCount)
	for c := range names {
		switch {
		case c < proto.FaultCount:
			names[c] = proto.FaultCode(c).Name()
		case c > int(codeAbuse):
			names[c] = "http2_" + http2.Abuse(c-int(codeAbuse)).Name()
		default:
			names[c] = faultNames[proto.FaultCode(c)]
		}
	}
	return names
}

var (
	faultConnect         = proto.Fault{Status: 501, Code: codeConnect, Reason: "CONNECT is not served here"}
	faultProtocol        = proto.Fault{Status: 501, Code: codeConnect, Reason: "CONNECT to another protocol than websocket is not served here"}
	faultBodyTooLarge    = *proto.RequestFault(proto.FaultBodyTooLarge)
	faultHeadTimeout     = proto.Fault{Status: 408, Code: codeHeadTimeout, Reason: "request head not received in time"}
	faultBodyTimeout     = proto.Fault{Status: 408, Code: codeBodyTimeout, Reason: "request body not received in time"}
	faultNoRoute         = proto.Fault{Status: 404, Code: codeNoRoute, Reason: "no route"}
	faultBadPath         = proto.Fault{Status: 400, Code: proto.FaultBadTarget, Reason: "path leaves the root or is malformed"}
	faultLoop            = proto.Fault{Status: 508, Code: codeLoop, Reason: "request has passed this proxy before"}
	faultHops            = proto.Fault{Status: 508, Code: codeHops, Reason: "request has passed too many proxies"}
	faultMaxForwards     = proto.Fault{Status: 400, Code: proto.FaultFieldValue, Reason: "malformed max-forwards"}
	faultMethod          = proto.Fault{Status: 405, Code: codeMethod, Reason: "method not allowed by the route"}
	faultConnectFailed   = proto.Fault{Status: 502, Code: codeConnectFailed, Reason: "connecting to the origin failed"}
	faultConnectTimeout  = proto.Fault{Status: 504, Code: codeConnectTimeout, Reason: "connecting to the origin took too long"}
	faultOriginClosed    = proto.Fault{Status: 502, Code: codeOriginClosed, Reason: "origin closed the connection before its response"}
	faultDown            = proto.Fault{Status: 502, Code: codeOriginClosed, Reason: "health checks have found the endpoint down"}
	faultOriginReset     = proto.Fault{Status: 502, Code: codeOriginClosed, Reason: "origin reset the connection in mid-response"}
	faultStreamReset     = proto.Fault{Status: 502, Code: codeOriginClosed, Reason: "origin reset the stream before its response"}
	faultResponseTimeout = proto.Fault{Status: 504, Code: codeResponseTimeout, Reason: "origin did not respond in time"}
	faultHalfClosed      = proto.Fault{Status: 504, Code: codeHalfClosed, Reason: "origin did not respond in time to a client that had closed its write side"}
	faultStreamIdle      = proto.Fault{Status: 504, Code: codeStreamIdle, Reason: "nothing passed in either direction of a stream in time"}
	faultStreamDuration  = proto.Fault{Status: 504, Code: codeStreamDuration, Reason: "request took longer than max_stream_duration"}
	faultRemoved         = proto.Fault{Status: 503, Code: codeRemoved, Reason: "route or endpoint was removed by a reload, and reload.grace is over"}
	faultByHand          = proto.Fault{Status: 503, Code: codeByHand, Reason: "ended by an administrator"}
	faultFilterTimeout   = proto.Fault{Status: 503, Code: codeFilterTimeout, Reason: "filter did not decide in time"}
	faultQueueTimeout    = proto.Fault{Status: 503, Code: codeQueueTimeout, Reason: "no upstream connection came free in time"}
	faultQueueFull       = proto.Fault{Status: 503, Code: codeUnavailable, Reason: "upstream queue full"}
	faultMaxRequests     = proto.Fault{Status: 503, Code: codeMaxRequests, Reason: "too many requests under way at the upstream"}
	faultShed            = proto.Fault{Status: 503, Code: codeShed, Reason: "upstream is at the limit of what it takes at a time"}
	faultNoEndpoint      = proto.Fault{Status: 503, Code: codeUnavailable, Reason: "no upstream endpoint available"}
	faultUnresolved      = proto.Fault{Status: 503, Code: codeUnresolved, Reason: "upstream name not resolved"}
	faultInterimFlood    = proto.Fault{Status: 502, Code: codeInterimFlood, Reason: "too many interim responses"}
	faultUpgrade         = proto.Fault{Status: 502, Code: proto.FaultBadStatus, Reason: "101 without a request to upgrade"}
	faultHTTP2           = proto.Fault{Status: 400, Code: codeHTTP2, Reason: "HTTP/2 protocol error"}
	faultGreeting        = proto.Fault{Status: 502, Code: codeConnectFailed, Reason: "origin does not answer in HTTP/2"}
	faultGoAway          = proto.Fault{Status: 502, Code: codeGoAway, Reason: "origin ended the HTTP/2 connection with an error (GOAWAY)"}
	faultHalfFrame       = proto.Fault{Status: 504, Code: codeResponseTimeout, Reason: "origin began a frame and did not end it in time"}
	faultSwitch          = proto.Fault{Status: 502, Code: proto.FaultBadStatus, Reason: "101 to another protocol than was asked for"}
	faultNoSwitch        = proto.Fault{Status: 502, Code: proto.FaultBadStatus, Reason: "origin answered an upgrade to websocket like any other request"}
	faultNoConnect       = proto.Fault{Status: 502, Code: proto.FaultBadStatus, Reason: "origin does not take websocket by HTTP/2 (SETTINGS_ENABLE_CONNECT_PROTOCOL)"}
	faultSockets         = proto.Fault{Status: 503, Code: codeSockets, Reason: "too many websockets on the route"}
	faultStalled         = proto.Fault{Status: 408, Code: codeStalled, Reason: "request came to a stop while others waited for its connection"}
	faultNotTaken        = proto.Fault{Status: 408, Code: codeStalled, Reason: "response was not taken while others waited for its connection"}
	faultAcceptQueue     = proto.Fault{Status: 503, Code: codeAcceptQueue, Reason: "origin's queue of new connections is full"}
	faultOriginTakesNot  = proto.Fault{Status: 504, Code: codeResponseTimeout, Reason: "origin did not take its frames in time"}
	faultMemory          = proto.Fault{Status: 503, Code: codeMemory, Reason: "buffer memory used up"}
	faultRequestHeld     = proto.Fault{Status: 503, Code: codeHeld, Reason: "origin does not take the request, and others wait for memory"}
	faultResponseHeld    = proto.Fault{Status: 503, Code: codeHeld, Reason: "client does not take the response, and others wait for memory"}
	faultSessionHeld     = proto.Fault{Status: 503, Code: codeHeld, Reason: "peer does not take its frames, and others wait for memory"}
	faultUnread          = proto.Fault{Status: 503, Code: codeHeld, Reason: "client leaves responses unread, and memory is short"}
	faultNoSocket        = proto.Fault{Status: 503, Code: codeNoSocket, Reason: "no descriptor, port or memory left to connect to the origin"}
)

// Of connections within TLS, and of what is before them.
var (
	faultHandshake         = proto.Fault{Status: 400, Code: codeHandshake, Reason: "TLS handshake failed"}
	faultProxyHeader       = proto.Fault{Status: 400, Code: codeGreeting, Reason: "PROXY protocol header is missing or wrong"}
	faultStranger          = proto.Fault{Status: 403, Code: codeStranger, Reason: "connection is from nobody who may send a PROXY protocol header"}
	faultHandshakeTimeout  = proto.Fault{Status: 408, Code: codeHandshakeTimeout, Reason: "TLS handshake not finished in time"}
	faultMisdirected       = proto.Fault{Status: 421, Code: codeMisdirected, Reason: "request is for a host that its TLS connection is not for"}
	faultOriginCertificate = proto.Fault{Status: 502, Code: codeOriginCertificate, Reason: "origin's certificate is refused"}
	faultOriginHandshake   = proto.Fault{Status: 502, Code: codeOriginHandshake, Reason: "TLS handshake with the origin failed"}
	faultRecord            = proto.Fault{Status: 400, Code: codeRecord, Reason: "client broke the rules of TLS records"}
	faultRecordHeld        = proto.Fault{Status: 503, Code: codeHeld, Reason: "part of a TLS record is held, and others wait for memory"}
	faultOriginRecord      = proto.Fault{Status: 502, Code: codeOriginRecord, Reason: "origin broke the rules of TLS records"}
	faultNoH2              = proto.Fault{Status: 502, Code: codeOriginHandshake, Reason: "origin does not offer HTTP/2 (ALPN h2)"}
)
