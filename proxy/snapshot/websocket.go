package snapshot

import (
	"sync/atomic"

	"zproxy/config"
	"zproxy/proto/ws"
)

// WebSocket are the settings of a route.
type WebSocket struct {
	Frames bool
	Limits ws.Limits
	IdleNs int64 // 0: the upstream's
	PingNs int64
	Most   int64
	Open   atomic.Int64 // over all loops, counted when there is a most
}

func compileWebSocket(c *config.WebSocket) *WebSocket {
	return &WebSocket{
		Frames: c.Mode == "frames",
		Limits: ws.Limits{FrameBytes: uint64(c.MaxFrame), MessageBytes: uint64(c.MaxMessage)},
		IdleNs: int64(c.IdleTimeout), PingNs: int64(c.PingInterval), Most: int64(c.MaxConnections),
	}
}

// plainWebSocket are the rules of routes that have none of their own.
var plainWebSocket = compileWebSocket(&config.WebSocket{Mode: "frames"})
