package snapshot

import (
	"zproxy/config"
	"zproxy/proto/ws"
	"zproxy/proxy/tunnel"
)

func compileWebSocket(c *config.WebSocket) *tunnel.Rules {
	return &tunnel.Rules{
		Frames: c.Mode == "frames",
		Limits: ws.Limits{FrameBytes: uint64(c.MaxFrame), MessageBytes: uint64(c.MaxMessage)},
		IdleNs: int64(c.IdleTimeout), PingNs: int64(c.PingInterval), Most: int64(c.MaxConnections),
	}
}

// plainWebSocket are the rules of routes that have none of their own.
var plainWebSocket = compileWebSocket(&config.WebSocket{Mode: "frames"})
