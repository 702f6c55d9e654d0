#!/usr/bin/env bash
# lxzan/gws answers a WebSocket client with client_max_window_bits that it did not offer, so coder/websocket can not connect.
#
# Seen with: github.com/lxzan/gws v1.8.9 as the server, github.com/coder/websocket v1.8.15 as the client, both with compression and
# context takeover.
# RFC 7692 section 7.1.2.2: a server may put client_max_window_bits into its answer only if the client's offer had it; section
# 7.1.2.1: an offered server_max_window_bits comes back with that value or a smaller one. gws puts both into every answer,
# with its own 12 bits: to an offer without parameters, and to one of server_max_window_bits=9. coder/websocket offers plain
# permessage-deflate, and takes the answer for what it is, invalid; the dial fails rather than go on uncompressed.
# Why a proxy cares: both ends negotiate through it, the status is 101, and the connection ends at once. Each works with most
# others (browsers do offer client_max_window_bits), so it is the proxy between them that gets the blame.
#
# Needs Go. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module bits

go 1.24

require (
	github.com/coder/websocket v1.8.15
	github.com/lxzan/gws v1.8.9
)
MOD
cat >main.go <<'GO'
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/coder/websocket"
	"github.com/lxzan/gws"
)

func main() {
	upgrader := gws.NewUpgrader(&gws.BuiltinEventHandler{}, &gws.ServerOption{PermessageDeflate: gws.PermessageDeflate{
		Enabled: true, ServerContextTakeover: true, ClientContextTakeover: true}})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil {
			go c.ReadLoop()
		}
	}))
	failed := false
	for _, offer := range []string{"permessage-deflate", "permessage-deflate; server_max_window_bits=9"} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Extensions: %s\r\n\r\n", offer)
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		answer := r.Header.Get("Sec-WebSocket-Extensions")
		fmt.Printf("offered %q: %d, %q\n", offer, r.StatusCode, answer)
		failed = failed || r.StatusCode != 101 || !strings.Contains(answer, "client_max_window_bits=12") ||
			!strings.Contains(answer, "server_max_window_bits=12")
		c.Close()
	}
	for _, row := range []struct {
		name string
		mode websocket.CompressionMode
		ok   bool
	}{{"off", websocket.CompressionDisabled, true}, {"with context takeover", websocket.CompressionContextTakeover, false}} {
		_, _, err := websocket.Dial(context.Background(), s.URL, &websocket.DialOptions{CompressionMode: row.mode})
		fmt.Printf("coder/websocket, compression %s: error %v\n", row.name, err)
		failed = failed || (err == nil) != row.ok
	}
	if failed {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go version
GOFLAGS=-mod=mod go run .
