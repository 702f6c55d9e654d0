#!/usr/bin/env bash
# gorilla/websocket accepts a client's limit on the compression window, says nothing of it, and sends what does not fit into it.
#
# Seen with: github.com/gorilla/websocket v1.5.3, Upgrader with EnableCompression.
# RFC 7692 section 7.1.2.1: to accept an offer that has server_max_window_bits, a server must repeat it with that value or a
# smaller one, and must not use a larger window; else it declines the offer. The package documents that only modes without
# context takeover are supported, which says nothing of windows, and in fact no parameter of an offer is looked at. With
# server_max_window_bits=9 its messages refer back by up to 32 KiB: 64 times what was allowed.
# Why a proxy cares: it passes the offer and the answer on as they are, and to an embedded client with a window of 512 bytes the
# messages behind it are broken data. A proxy that takes part in the negotiation can not trust an answer without the
# parameter to mean that the server keeps to the limit, nor that a client has one.
#
# Needs Go. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module window

go 1.24

require github.com/gorilla/websocket v1.5.3
MOD
cat >main.go <<'GO'
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/gorilla/websocket"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

// compressed is how many bytes text takes in a message of the server after offer, and what the server answered.
func compressed(address, offer string) (n int, answer string) {
	c, err := net.Dial("tcp", address)
	check(err)
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Extensions: %s\r\n\r\n", offer)
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	check(err)
	for {
		var head [2]byte
		_, err := io.ReadFull(in, head[:])
		check(err)
		length := int(head[1])
		if length == 126 {
			var more [2]byte
			_, err = io.ReadFull(in, more[:])
			check(err)
			length = int(binary.BigEndian.Uint16(more[:]))
		} else if length == 127 {
			var more [8]byte
			_, err = io.ReadFull(in, more[:])
			check(err)
			length = int(binary.BigEndian.Uint64(more[:]))
		}
		_, err = in.Discard(length)
		check(err)
		if n += length; head[0]&0x80 != 0 {
			return n, r.Header.Get("Sec-WebSocket-Extensions")
		}
	}
}

func main() {
	// 20000 bytes that can not be compressed, twice: the second half takes next to nothing, but only if one may
	// refer back by 20000 bytes.
	half := make([]byte, 20000)
	rand.New(rand.NewSource(1)).Read(half)
	text := bytes.Repeat(half, 2)
	upgrader := websocket.Upgrader{EnableCompression: true}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		check(err)
		check(c.SetCompressionLevel(9))
		check(c.WriteMessage(websocket.BinaryMessage, text))
	}))
	const offer = "permessage-deflate; server_max_window_bits=9"
	n, answer := compressed(s.Listener.Addr().String(), offer)
	fmt.Printf("offered %q, answered %q\n", offer, answer)
	fmt.Printf("%d random bytes twice take %d\n", len(half), n)
	if answer != "permessage-deflate; server_no_context_takeover; client_no_context_takeover" || n > len(half)+1000 || n < len(half) {
		fmt.Println("expected an answer without the parameter and one half's size: the behaviour has changed")
		os.Exit(1)
	}
}
GO
go version
GOFLAGS=-mod=mod go run .
