package snapshot

import (
	"zproxy/config"
	"zproxy/proto/http2"
)

// HTTP2 are the settings of HTTP/2 connections.
type HTTP2 struct {
	Server, Client   http2.Config
	IdleNs           int64
	UpstreamStreams  int // at once on one connection to an origin
	UpstreamSessions int // connections of a loop to an endpoint
}

func compileHTTP2(c *config.Config) HTTP2 {
	h := &c.HTTP2
	common := http2.DefaultConfig()
	common.StreamWindow, common.ConnWindow = uint32(h.StreamWindow), uint32(h.ConnectionWindow)
	common.HeaderTable = uint32(h.HeaderTable)
	common.HeadBytes, common.Fields = int(c.Limits.HeaderBytes), c.Limits.Headers
	common.LineBytes = min(int(c.Limits.HeaderBytes), MaxTargetBytes)
	common.ScoreLimit = uint32(h.AbuseScore)
	l := HTTP2{
		Server: common, Client: common, IdleNs: int64(h.IdleTimeout),
		UpstreamStreams: h.UpstreamStreams, UpstreamSessions: h.UpstreamConnections,
	}
	l.Server.MaxStreams = uint32(h.MaxStreams)
	l.Server.ConnectProtocol = true
	return l
}
