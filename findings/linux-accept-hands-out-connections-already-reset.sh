#!/usr/bin/env bash
# accept(2) on Linux never fails for a TCP connection that was reset in the queue: it hands out the dead socket, without a peer.
#
# Seen with: Linux 6.18.
# The man page has a section of its own for it: errors that are already pending on the new socket are returned by accept, which
# is to be retried. For a reset it is otherwise: accept succeeds and even fills in the address of the peer; getpeername says
# ENOTCONN from the start; and the error that was pending is told once, by SO_ERROR or by the first read, after which the
# connection looks like one that ended in an orderly way.
# Why a proxy cares: the address that accept gives is the only one that can be had, so a server that asks for it later
# (a multishot accept on io_uring gives none) has clients of no address, which must not be taken for local ones; and
# what SO_ERROR is read for, in a check of sockets' health for instance, is gone for the read that was to count the reset.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module accepted

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func main() {
	ln, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.Bind(ln, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(ln, 8))
	address, err := syscall.Getsockname(ln)
	check(err)
	failed := false
	for _, ask := range []bool{true, false} {
		c, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		check(err)
		check(syscall.Connect(c, address))
		check(syscall.SetsockoptLinger(c, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}))
		check(syscall.Close(c)) // a reset
		time.Sleep(100 * time.Millisecond)
		fd, peer, err := syscall.Accept(ln)
		if err != nil {
			fmt.Println("accept:", err, "- the behaviour has changed")
			os.Exit(1)
		}
		_, noPeer := syscall.Getpeername(fd)
		pending := 0
		if ask {
			pending, err = syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
			check(err)
		}
		var reads [2]error
		for i := range reads {
			_, reads[i] = syscall.Read(fd, make([]byte, 1))
		}
		in, ok := peer.(*syscall.SockaddrInet4)
		ok = ok && in.Port != 0
		fmt.Printf("accept: no error, with an address: %v; getpeername: %v; SO_ERROR, asked %v: %v; reads: %v, then %v\n",
			ok, noPeer, ask, syscall.Errno(pending), reads[0], reads[1])
		failed = failed || !ok || noPeer != syscall.ENOTCONN || ask != (syscall.Errno(pending) == syscall.ECONNRESET) ||
			ask != (reads[0] == nil) || reads[1] != nil
	}
	if failed {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
go run .
