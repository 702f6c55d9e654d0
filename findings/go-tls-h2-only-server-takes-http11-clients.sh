#!/usr/bin/env bash
# A Go TLS server that only knows h2 completes the handshake with a client that only knows http/1.1, and agrees on nothing.
#
# Seen with: crypto/tls of Go 1.26.8.
# Config.NextProtos is documented so: where both sides support ALPN and have no protocol in common, the connection fails. RFC
# 7301 section 3.2 says the same (no_application_protocol). For the one pair of h2 on the server and http/1.1 on the client
# the server sends no protocol at all instead, as to a client without ALPN; every other pair without overlap fails.
# Why a proxy cares: a health check or a start-up test of an origin that is meant to notice "this origin has no HTTP/1.1" sees
# a good handshake, and the error comes later as an HTTP/2 preface where an answer was expected. A proxy that takes its own
# listener's handshakes from crypto/tls must itself look for an empty NegotiatedProtocol where h2 alone is offered.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module alpn

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

func main() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	from := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, from, from, key.Public(), key)
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	failed := false
	for _, row := range []struct {
		client, server []string
		ok             bool
		agreed         string
	}{
		{[]string{"http/1.1"}, []string{"h2", "http/1.1"}, true, "http/1.1"},
		{[]string{"http/1.1"}, []string{"h2"}, true, ""},
		{[]string{"http/1.1", "other"}, []string{"h2"}, true, ""},
		{[]string{"http/1.0"}, []string{"h2"}, false, ""},
		{[]string{"h2"}, []string{"http/1.1"}, false, ""},
		{[]string{"other"}, []string{"h2"}, false, ""},
	} {
		a, b := net.Pipe()
		server := tls.Server(a, &tls.Config{NextProtos: row.server, SessionTicketsDisabled: true,
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		go server.Handshake()
		client := tls.Client(b, &tls.Config{NextProtos: row.client, InsecureSkipVerify: true})
		err := client.Handshake()
		agreed := client.ConnectionState().NegotiatedProtocol
		fmt.Printf("client %q, server %q: agreed on %q, error %v\n", row.client, row.server, agreed, err)
		failed = failed || (err == nil) != row.ok || agreed != row.agreed
	}
	if failed {
		fmt.Println("expected success for http/1.1 with h2 and no other pair without overlap: the behaviour has changed")
		os.Exit(1)
	}
}
GO
go version
go run .
