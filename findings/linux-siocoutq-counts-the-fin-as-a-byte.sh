#!/usr/bin/env bash
# SIOCOUTQ and SIOCOUTQNSD on a Linux TCP socket count the FIN: after shutdown there is one byte more than was written.
#
# Seen with: Linux 6.18.
# tcp(7) says that SIOCOUTQ returns the amount of unsent data in the send queue. It is what is not acknowledged, sent or not, as is
# widely known; less known is that shutdown(SHUT_WR) adds one, to both requests, until the FIN is sent or acknowledged. With
# everything acknowledged but the FIN the queue holds 1 and no data at all.
# Why a proxy cares: one that counts what a client took of an answer (what was written less what is queued) is one too low
# once it has said that the answer is over, for a client that has all of it; and "1 byte is left" is the one case in
# which nothing is left to be sent.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module queue

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

// queued is what SIOCOUTQ and SIOCOUTQNSD say.
func queued(fd int) (n [2]int32) {
	for i, request := range []uintptr{0x5411, 0x894b} {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&n[i]))); e != 0 {
			check(e)
		}
	}
	return n
}

func main() {
	ln, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.SetsockoptInt(ln, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)) // a window that is soon full
	check(syscall.Bind(ln, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(ln, 8))
	address, err := syscall.Getsockname(ln)
	check(err)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.Connect(fd, address))
	peer, _, err := syscall.Accept(ln)
	check(err)
	const written = 200 << 10
	n, err := syscall.Write(fd, make([]byte, written))
	check(err)
	// Until the peer's window is full what is queued goes down.
	before := queued(fd)
	for {
		time.Sleep(300 * time.Millisecond)
		now := queued(fd)
		if now == before {
			break
		}
		before = now
	}
	check(syscall.Shutdown(fd, syscall.SHUT_WR))
	after := queued(fd)
	fmt.Printf("written %d, the peer reads nothing: SIOCOUTQ %d, SIOCOUTQNSD %d; after shutdown %d and %d\n", n, before[0], before[1], after[0], after[1])
	read := 0
	for {
		k, err := syscall.Read(peer, make([]byte, 64<<10))
		check(err)
		if k == 0 {
			break
		}
		read += k
	}
	fmt.Printf("the peer has read %d\n", read)
	if n != written || read != written || before[1] == 0 || after != [2]int32{before[0] + 1, before[1] + 1} {
		fmt.Println("expected one more after shutdown: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
go run .
