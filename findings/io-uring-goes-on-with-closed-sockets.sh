#!/usr/bin/env bash
# close(2) does not stop what io_uring does with a socket: a closed listener goes on accepting, a closed connection sends no FIN.
#
# Seen with: Linux 6.18, by way of giouring v0.0.0-20230826085535.
# close(2) says that with the last descriptor the resources of the open file are freed, and epoll(7) that a closed file leaves
# every epoll set. A request in flight on a ring holds the file itself: with a multishot accept armed, clients still connect to
# the closed listener and the program gets their descriptors, while nobody else can bind the port; with a receive
# waiting, the peer of the closed connection sees nothing, and what it sends is received. To cancel by descriptor is too late
# then: EBADF, or the requests of whoever has the number next. Only user_data still names the request.
# Why a proxy cares: in the order of an epoll loop (close, forget) a drained server goes on serving, and clients wait for an end
# that does not come. On a ring the order is cancel or shutdown first, then wait for the completion, then close.
#
# Needs Go, and io_uring. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module closed

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
	opAccept, opCancel, opRecv = 13, 14, 27
	multishot                  = 1 << 0 // IORING_ACCEPT_MULTISHOT
	byDescriptor               = 1 << 1 // IORING_ASYNC_CANCEL_FD
	theAccept, theReceive      = 1, 2
	aCancel                    = 3
)

var (
	ring   = giouring.NewRing()
	buffer [100]byte
	failed bool
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func expect(what string, got, expected any) {
	fmt.Printf("%s: %v\n", what, got)
	failed = failed || got != expected
}

func submit(e giouring.SubmissionQueueEntry) {
	*ring.GetSQE() = e
	_, err := ring.Submit()
	check(err)
}

// next is the next completion of the request named userData, within 5 seconds.
func next(userData uint64) int32 {
	for {
		ts := syscall.Timespec{Sec: 5}
		c, err := ring.WaitCQEs(1, &ts, nil)
		check(err)
		of, res := c.UserData, c.Res
		ring.CQESeen(c)
		if of == userData {
			return res
		}
	}
}

// cancel gives what a cancellation says.
func cancel(e giouring.SubmissionQueueEntry) error {
	e.OpCode, e.UserData = opCancel, aCancel
	submit(e)
	if res := next(aCancel); res < 0 {
		return syscall.Errno(-res)
	}
	return nil
}

func socket() int {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	return fd
}

func main() {
	runtime.LockOSThread()
	check(ring.QueueInit(8, 0))
	ln := socket()
	check(syscall.Bind(ln, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(ln, 8))
	address, err := syscall.Getsockname(ln)
	check(err)
	submit(giouring.SubmissionQueueEntry{OpCode: opAccept, Fd: int32(ln), IoPrio: multishot, UserData: theAccept})
	check(syscall.Close(ln))
	client := socket()
	expect("connect to a closed listener", syscall.Connect(client, address), nil)
	accepted := next(theAccept)
	expect("the accept gives a descriptor", accepted > 0, true)
	other := socket()
	expect("bind to its port", syscall.Bind(other, address), syscall.EADDRINUSE)
	check(syscall.Close(other))
	check(syscall.Dup3(0, 200, 0)) // a number that stays unused once it is closed
	check(syscall.Close(200))
	expect("cancel by a descriptor that is closed", cancel(giouring.SubmissionQueueEntry{Fd: 200, OpcodeFlags: byDescriptor}), syscall.EBADF)
	expect("cancel by user_data", cancel(giouring.SubmissionQueueEntry{Addr: theAccept}), nil)
	other = socket()
	expect("connect to it", syscall.Connect(other, address), syscall.ECONNREFUSED)

	limit := syscall.Timeval{Usec: 500000}
	check(syscall.SetsockoptTimeval(client, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit))
	submit(giouring.SubmissionQueueEntry{OpCode: opRecv, Fd: accepted, UserData: theReceive,
		Addr: uint64(uintptr(unsafe.Pointer(&buffer[0]))), Len: uint32(len(buffer))})
	check(syscall.Close(int(accepted)))
	_, err = syscall.Read(client, make([]byte, 1))
	expect("0.5 s after its connection was closed the peer reads", err, syscall.EAGAIN)
	_, err = syscall.Write(client, []byte("abc"))
	check(err)
	expect("bytes received of the 3 that it sends", next(theReceive), int32(3))
	time.Sleep(50 * time.Millisecond)
	n, err := syscall.Read(client, make([]byte, 1))
	expect("now it reads", fmt.Sprint(n, " ", err), "0 <nil>")
	if failed {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
GOFLAGS=-mod=mod go run -ldflags=-checklinkname=0 .
