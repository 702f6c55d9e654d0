#!/usr/bin/env bash
# A multishot accept on io_uring keeps the RLIMIT_NOFILE that was in force when it was armed; raising the limit does not reach it.
#
# Seen with: Linux 6.18, by way of giouring v0.0.0-20230826085535.
# getrlimit(2) has RLIMIT_NOFILE as a limit of the process on the descriptors that it opens, and io_uring_prep_multishot_accept(3)
# ends a multishot when a connection can not be accepted. An accept armed under a limit of 64 gives EMFILE at the 64th descriptor
# after the limit was raised to 1024, while accept(2) at the same moment, and the same request armed anew, go on.
# Why a proxy cares: prlimit(1) on a running server is how an operator helps one that is out of descriptors. On epoll that works
# at once. On a ring it works only for listeners that happened to be armed again.
#
# Needs Go, and io_uring. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module limit

go 1.24

require github.com/pawelgaczynski/giouring v0.0.0-20230826085535-69588b89acb9
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/pawelgaczynski/giouring"
)

const (
	opAccept  = 13
	multishot = 1 << 0 // IORING_ACCEPT_MULTISHOT
	more      = 1 << 1 // IORING_CQE_F_MORE
	before    = 64
	after     = 1024
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func limit(n uint64) {
	var l syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l))
	l.Cur = n
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l))
}

func main() {
	runtime.LockOSThread()
	ln, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.Bind(ln, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(ln, 100))
	address, err := syscall.Getsockname(ln)
	check(err)
	ring := giouring.NewRing()
	check(ring.QueueInit(8, 0))
	connect := func() {
		c, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		check(err)
		check(syscall.Connect(c, address))
	}
	arm := func() {
		*ring.GetSQE() = giouring.SubmissionQueueEntry{OpCode: opAccept, Fd: int32(ln), IoPrio: multishot}
		_, err := ring.Submit()
		check(err)
	}
	accepted := func() (res int32, flags uint32) {
		c, err := ring.WaitCQE()
		check(err)
		res, flags = c.Res, c.Flags
		ring.CQESeen(c)
		return res, flags
	}
	limit(before)
	arm()
	limit(after)
	highest := int32(0)
	for {
		connect()
		res, flags := accepted()
		if res < 0 {
			fmt.Printf("armed with %d, the limit is %d now: after descriptor %d %v, ended: %v\n", before, after, highest, syscall.Errno(-res), flags&more == 0)
			if res != -int32(syscall.EMFILE) || highest >= before {
				fmt.Println("expected EMFILE at the old limit: the behaviour has changed")
				os.Exit(1)
			}
			break
		}
		if highest = res; highest > 2*before {
			fmt.Printf("accepted descriptor %d: the behaviour has changed\n", highest)
			os.Exit(1)
		}
	}
	connect()
	fd, _, err := syscall.Accept(ln)
	check(err)
	fmt.Printf("accept(2): descriptor %d\n", fd)
	connect()
	arm()
	res, _ := accepted()
	fmt.Printf("armed anew: descriptor %d\n", res)
	if fd < before || res < before {
		fmt.Println("expected descriptors above the old limit: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
GOFLAGS=-mod=mod go run -ldflags=-checklinkname=0 .
