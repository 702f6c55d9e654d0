#!/usr/bin/env bash
# A Go TLS 1.3 client offers one ticket to every connection that it opens before the next ticket has been read.
#
# Seen with: crypto/tls of Go 1.26.8.
# RFC 8446 appendix C.4: a client should not use a ticket for several connections, since whoever watches can tell that they
# belong together, and should keep several tickets for several connections. The cache is a client's whole stock, one session
# a name, and a session that was used stays in it until a connection has read a new one: that takes a Read by the
# application, as tickets follow the handshake. In TLS 1.2, where the reply to a resumption itself brings the new ticket, each is used once.
# Why a proxy cares: on a cold start it dials many connections to an origin at once, and all of them show the same identity; an
# origin that takes a ticket once only (as servers with replay protection for early data do) resumes one of them and makes
# full handshakes of the rest, just when they cost most.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module tickets

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
	offered := make(chan string, 16)
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		if len(ticket) > 0 {
			offered <- string(ticket)
		}
		return server.DecryptTicket(ticket, state)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		for {
			c, err := ln.Accept()
			check(err)
			go func() {
				s := tls.Server(c, server)
				s.Write([]byte("x"))
				io.Copy(io.Discard, s)
			}()
		}
	}()
	failed := false
	for version, expected := range map[uint16]int{tls.VersionTLS12: 5, tls.VersionTLS13: 1} {
		client := &tls.Config{InsecureSkipVerify: true, ServerName: "a", MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(64)}
		first, err := tls.Dial("tcp", ln.Addr().String(), client)
		check(err)
		_, err = io.ReadFull(first, make([]byte, 1)) // the tickets come before it
		check(err)
		distinct := map[string]bool{}
		for range 5 {
			c, err := tls.Dial("tcp", ln.Addr().String(), client)
			check(err)
			if !c.ConnectionState().DidResume {
				fmt.Println("not resumed")
				failed = true
				break
			}
			distinct[<-offered] = true
		}
		fmt.Printf("%s: 5 connections resumed with %d different tickets\n", tls.VersionName(version), len(distinct))
		failed = failed || len(distinct) != expected
	}
	if failed {
		fmt.Println("expected 5 tickets in TLS 1.2 and 1 in TLS 1.3: the behaviour has changed")
		os.Exit(1)
	}
}
GO
go version
go run .
