#!/usr/bin/env bash
# An io_uring receive ignores SO_RCVTIMEO, and SO_RCVLOWAT depends on whether bytes came before the receive or after it.
#
# Seen with: Linux 6.18, by way of giouring v0.0.0-20230826085535.
# socket(7) speaks of receive functions that block: after SO_RCVTIMEO they return with what there is or EAGAIN, and SO_RCVLOWAT is how
# many bytes there must be before any are handed over. On the same blocking socket recv(2) ends after its 100 ms; an
# IORING_OP_RECV is still waiting when the next bytes come a second later, with IOSQE_ASYNC as well. Of 3 bytes below a low-water mark
# of 100 a receive submitted after they came gets them at once, and one submitted before waits until there are 100.
# Why a proxy cares: a program moved from blocking calls to a ring loses its read time-outs without an error, and one that sets
# a low-water mark to be woken less often sees small pieces or sleeps on them, as it happens. Both options are really
# those of the call that blocks and of the poll; a receive on a ring tries, then polls.
#
# Needs Go, and io_uring. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module timeo

go 1.24

require github.com/pawelgaczynski/giouring v0.0.0-20230826085535-69588b89acb9
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

const (
	opRecv  = 27
	async   = 1 << 4 // IOSQE_ASYNC
	nothing = -1000
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

var (
	ring   = giouring.NewRing()
	buffer [200]byte
)

func submit(fd int, flags uint8) {
	*ring.GetSQE() = giouring.SubmissionQueueEntry{OpCode: opRecv, Flags: flags, Fd: int32(fd),
		Addr: uint64(uintptr(unsafe.Pointer(&buffer[0]))), Len: uint32(len(buffer))}
	_, err := ring.Submit()
	check(err)
}

// result is what the receive gives within a second.
func result() int32 {
	ts := syscall.NsecToTimespec(int64(time.Second))
	c, err := ring.WaitCQEs(1, &ts, nil)
	if err == syscall.ETIME {
		return nothing
	}
	check(err)
	res := c.Res
	ring.CQESeen(c)
	return res
}

// connected gives a client and the blocking socket that its bytes come to.
func connected() (net.Conn, int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	check(err)
	s, err := ln.Accept()
	check(err)
	f, err := s.(*net.TCPConn).File()
	check(err)
	fd, err := syscall.Dup(int(f.Fd()))
	check(err)
	check(syscall.SetNonblock(fd, false))
	return c, fd
}

func main() {
	runtime.LockOSThread()
	check(ring.QueueInit(8, 0))
	failed := false
	expect := func(what string, got, expected int32) {
		text := fmt.Sprint("result ", got)
		if got == nothing {
			text = "no result within a second"
		}
		fmt.Printf("%s: %s\n", what, text)
		failed = failed || got != expected
	}

	c, fd := connected()
	check(syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100000}))
	_, err := syscall.Read(fd, buffer[:])
	fmt.Printf("SO_RCVTIMEO 100 ms, read(2): %v\n", err)
	failed = failed || err != syscall.EAGAIN
	for _, flags := range []uint8{0, async} {
		submit(fd, flags)
		expect(fmt.Sprintf("SO_RCVTIMEO 100 ms, RECV with flags %#x", flags), result(), nothing)
		_, err = c.Write([]byte("abc"))
		check(err)
		expect("... after 3 bytes came", result(), 3)
	}

	c, fd = connected()
	check(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, 100))
	_, err = c.Write([]byte("abc"))
	check(err)
	_, _, err = syscall.Recvfrom(fd, buffer[:1], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	for err == syscall.EAGAIN {
		time.Sleep(time.Millisecond)
		_, _, err = syscall.Recvfrom(fd, buffer[:1], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	check(err)
	submit(fd, 0)
	expect("SO_RCVLOWAT 100, RECV after 3 bytes came", result(), 3)
	submit(fd, 0)
	_, err = c.Write([]byte("abc"))
	check(err)
	expect("SO_RCVLOWAT 100, RECV before 3 bytes came", result(), nothing)
	_, err = c.Write(make([]byte, 97))
	check(err)
	expect("... after 97 more", result(), 100)
	if failed {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
GOFLAGS=-mod=mod go run -ldflags=-checklinkname=0 .
