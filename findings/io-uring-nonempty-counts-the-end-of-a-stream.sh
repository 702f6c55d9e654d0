#!/usr/bin/env bash
# io_uring says that a TCP socket still has data when all that is left is its end, and says so even with the end; a unix
# socket's end is never announced.
#
# Seen with: Linux 6.18, by way of giouring v0.0.0-20230826085535.
# io_uring_prep_recv(3) says of IORING_CQE_F_SOCK_NONEMPTY that, if set, the socket had more data to be read after the receive.
# On TCP it comes with the last bytes when a FIN stands behind them, and again with the result 0, behind which there is nothing.
# On a unix stream socket whose other end is closed it comes with neither.
# Why a proxy cares: the flag saves a receive that would find nothing. A loop that receives for as long as the flag is there does
# not come to an end on a TCP connection that has ended; and one that waits for more when it is absent learns of a hung-up
# peer at once on TCP, and one completion later on a unix socket.
#
# Needs Go, and io_uring. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module nonempty

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
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

const (
	opRecv   = 27
	nonEmpty = 1 << 2 // IORING_CQE_F_SOCK_NONEMPTY
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

var buffer [3]byte

func main() {
	runtime.LockOSThread()
	ring := giouring.NewRing()
	check(ring.QueueInit(8, 0))
	unix, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	check(err)
	failed := false
	for i, pair := range [][2]int{tcpPair(), unix} {
		name := []string{"TCP", "unix"}[i]
		receive := func(what string, expected int32, flag bool) {
			*ring.GetSQE() = giouring.SubmissionQueueEntry{OpCode: opRecv, Fd: int32(pair[0]),
				Addr: uint64(uintptr(unsafe.Pointer(&buffer[0]))), Len: uint32(len(buffer))}
			_, err := ring.SubmitAndWait(1)
			check(err)
			c, err := ring.WaitCQE()
			check(err)
			fmt.Printf("%s, %s: result %d, more is there: %v\n", name, what, c.Res, c.Flags&nonEmpty != 0)
			failed = failed || c.Res != expected || (c.Flags&nonEmpty != 0) != flag
			ring.CQESeen(c)
		}
		_, err := syscall.Write(pair[1], []byte("abcdef"))
		check(err)
		time.Sleep(50 * time.Millisecond)
		receive("3 of 6 bytes", 3, true)
		receive("the other 3", 3, false)
		_, err = syscall.Write(pair[1], []byte("abc"))
		check(err)
		check(syscall.Close(pair[1]))
		time.Sleep(50 * time.Millisecond)
		receive("3 of 3 bytes, the peer has closed", 3, i == 0)
		receive("the end", 0, i == 0)
	}
	if failed {
		fmt.Println("expected the end to count on TCP and not on unix: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
GOFLAGS=-mod=mod go run -ldflags=-checklinkname=0 .
