#!/usr/bin/env bash
# A Go TLS client that talks to two servers of one name in turn never resumes, however large its session cache is.
#
# Seen with: crypto/tls of Go 1.26.8, TLS 1.2 and 1.3.
# ClientSessionCache is documented as what a client resumes a session with a given server from, by a key that is not said, and
# NewLRUClientSessionCache takes a capacity. The key is ServerName alone, without the address or port that was dialled, and there
# is one session per key: two servers that share a name but no ticket keys take each other's place, whatever the capacity.
# Why a proxy cares: the endpoints of one upstream have one name and, unless somebody shares ticket keys among them, keys of
# their own. Balanced round robin over n of them, about one connection in n resumes, and with n = 2 none; a cache in front,
# or a configuration for each endpoint, is needed to make resumption work at all.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module sessions

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

// server writes one byte, behind its tickets, to each who connects.
func server(key *ecdsa.PrivateKey, der []byte) string {
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		for {
			c, err := ln.Accept()
			check(err)
			s := tls.Server(c, config)
			s.Write([]byte("x"))
			s.Close()
		}
	}()
	return ln.Addr().String()
}

func main() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	from := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, from, from, key.Public(), key)
	check(err)
	a, b := server(key, der), server(key, der)
	failed := false
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, row := range []struct {
			order   []string
			resumed int
		}{{[]string{a, a, a, a, a, a}, 5}, {[]string{a, b, a, b, a, b}, 0}, {[]string{a, a, a, b, b, b}, 4}} {
			config := &tls.Config{InsecureSkipVerify: true, ServerName: "origin.test", MaxVersion: version,
				ClientSessionCache: tls.NewLRUClientSessionCache(64)}
			resumed, order := 0, ""
			for _, address := range row.order {
				c, err := tls.Dial("tcp", address, config)
				check(err)
				_, err = io.ReadFull(c, make([]byte, 1))
				check(err)
				if c.ConnectionState().DidResume {
					resumed++
				}
				order += map[string]string{a: "a", b: "b"}[address]
				c.Close()
			}
			fmt.Printf("%s, servers %s: %d of 6 resumed\n", tls.VersionName(version), order, resumed)
			failed = failed || resumed != row.resumed
		}
	}
	if failed {
		fmt.Println("expected 5, 0 and 4: the behaviour has changed")
		os.Exit(1)
	}
}
GO
go version
go run .
