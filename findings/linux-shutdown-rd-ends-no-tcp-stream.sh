#!/usr/bin/env bash
# After shutdown(SHUT_RD) a TCP socket on Linux reads an end, then data that came later, then an end again.
#
# Seen with: Linux 6.18.
# shutdown(2) says that with SHUT_RD further receptions are disallowed. The peer is told nothing and goes on sending, what it sends
# is acknowledged and queued, and is read as ever; read returns 0 only while the queue is empty. A unix stream socket keeps what
# the page says: the peer's next write fails with EPIPE.
# Why a proxy cares: to shut down reading looks like the cheap way to refuse the rest of an upload. It refuses nothing; and code that
# takes a result of 0 for the last event of a stream meets bytes behind it, in a state that it holds to be impossible.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module shutdown

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func tcpPair() [2]int {
	ln, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.Bind(ln, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(ln, 8))
	address, err := syscall.Getsockname(ln)
	check(err)
	c, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.Connect(c, address))
	s, _, err := syscall.Accept(ln)
	check(err)
	return [2]int{s, c}
}

func main() {
	signal.Ignore(syscall.SIGPIPE)
	unix, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	check(err)
	failed := false
	for i, pair := range [][2]int{tcpPair(), unix} {
		name := []string{"TCP", "unix"}[i]
		read := func() int {
			n, err := syscall.Read(pair[0], make([]byte, 10))
			check(err)
			return n
		}
		check(syscall.Shutdown(pair[0], syscall.SHUT_RD))
		results := [3]int{read()}
		_, written := syscall.Write(pair[1], []byte("abc"))
		time.Sleep(50 * time.Millisecond)
		results[1], results[2] = read(), read()
		fmt.Printf("%s: read %d; the peer writes 3 bytes: error %v; reads %d and %d\n", name, results[0], written, results[1], results[2])
		if i == 0 {
			failed = failed || written != nil || results != [3]int{0, 3, 0}
		} else {
			failed = failed || written != syscall.EPIPE || results != [3]int{}
		}
	}
	if failed {
		fmt.Println("expected data behind the end on TCP alone: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
go run .
