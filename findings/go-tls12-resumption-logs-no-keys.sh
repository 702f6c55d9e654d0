#!/usr/bin/env bash
# Go's crypto/tls logs no secret for a resumed session of TLS 1.2.
#
# Seen with: Go 1.26.8, on client and server alike.
# Config.KeyLogWriter is documented as the destination for "TLS master secrets" that lets "external programs" decrypt
# connections. A full handshake of TLS 1.2 writes its line (CLIENT_RANDOM), one of TLS 1.3 its four, resumed or not. A
# TLS 1.2 handshake that resumes a session writes nothing, although it has a client random of its own: neither does the
# first connection's line help, because it is found by the first client random.
# Why a proxy cares: captures of clients that resume can not be decrypted with the key log of the proxy, and a program that
# takes connections over by the key log (kTLS, or a record layer of its own) loses just those clients.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module keylog

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func main() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	from := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, from, from, key.Public(), key)
	check(err)
	expected := map[uint16][2]int{tls.VersionTLS12: {1, 0}, tls.VersionTLS13: {4, 4}}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var serverLog, clientLog bytes.Buffer
		server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MaxVersion: version, KeyLogWriter: &serverLog}
		client := &tls.Config{InsecureSkipVerify: true, ServerName: "a", MaxVersion: version, KeyLogWriter: &clientLog,
			ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		for round := range 2 {
			serverLog.Reset()
			clientLog.Reset()
			go func() {
				c, err := ln.Accept()
				check(err)
				s := tls.Server(c, server)
				_, err = s.Write([]byte("x"))
				check(err)
				s.Close()
			}()
			c, err := tls.Dial("tcp", ln.Addr().String(), client)
			check(err)
			_, err = io.ReadAll(c) // the ticket comes with it
			check(err)
			resumed := c.ConnectionState().DidResume
			c.Close()
			lines := func(b *bytes.Buffer) int { return bytes.Count(b.Bytes(), []byte("\n")) }
			fmt.Printf("%s resumed %v: %d lines of the server, %d of the client\n", tls.VersionName(version), resumed, lines(&serverLog), lines(&clientLog))
			if want := expected[version][round]; resumed != (round == 1) || lines(&serverLog) != want || lines(&clientLog) != want {
				fmt.Printf("expected %d: the behaviour has changed\n", want)
				os.Exit(1)
			}
		}
		ln.Close()
	}
}
GO
go version
go run .
