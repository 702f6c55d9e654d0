#!/usr/bin/env bash
# An io_uring link is not broken by a short receive, nor by one that finds the end of the stream; a read does break it.
#
# Seen with: Linux 6.18, by way of giouring v0.0.0-20230826085535.
# io_uring_enter(2) says of IOSQE_IO_LINK that a chain ends where a request has an error, that every unexpected result counts as
# one, and names the short read. On one and the same socket that holds for READ: 3 bytes where 100 were asked for cancel what is
# linked behind. RECV of 100 bytes is content with 3, and with 0 at the end of the stream, and the linked request runs. Only with
# MSG_WAITALL is RECV as strict as READ.
# Why a proxy cares: to link a send behind a receive looks like a way to forward without coming back to the program. The send goes out
# although the client has hung up, with whatever its buffer held before; and changing READ to RECV, which is otherwise the
# faster of two equals, changes it silently.
#
# Needs Go, and io_uring. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module link

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
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

const (
	opRead, opSend, opRecv = 22, 26, 27
	linked                 = 1 << 2 // IOSQE_IO_LINK
	cancelled              = -int32(syscall.ECANCELED)
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

var buffers [2][100]byte

// run submits a receive of 100 bytes with a send of 5 linked to it, and gives both results.
func run(ring *giouring.Ring, op uint8, flags uint32, fd int) (results [2]int32) {
	for i, entry := range []giouring.SubmissionQueueEntry{
		{OpCode: op, Flags: linked, OpcodeFlags: flags, Len: 100},
		{OpCode: opSend, Len: 5},
	} {
		entry.Fd, entry.UserData = int32(fd), uint64(i)
		entry.Addr = uint64(uintptr(unsafe.Pointer(&buffers[i][0])))
		*ring.GetSQE() = entry
	}
	_, err := ring.SubmitAndWait(2)
	check(err)
	for range results {
		c, err := ring.WaitCQE()
		check(err)
		results[c.UserData] = c.Res
		ring.CQESeen(c)
	}
	return results
}

func main() {
	runtime.LockOSThread()
	ring := giouring.NewRing()
	check(ring.QueueInit(8, 0))
	failed := false
	for _, row := range []struct {
		name     string
		op       uint8
		flags    uint32
		data     string
		expected [2]int32
	}{
		{"READ, 3 of 100 bytes", opRead, 0, "abc", [2]int32{3, cancelled}},
		{"READ, end of stream", opRead, 0, "", [2]int32{0, cancelled}},
		{"RECV, 3 of 100 bytes", opRecv, 0, "abc", [2]int32{3, 5}},
		{"RECV, end of stream", opRecv, 0, "", [2]int32{0, 5}},
		{"RECV with MSG_WAITALL, 3 of 100 bytes", opRecv, syscall.MSG_WAITALL, "abc", [2]int32{3, cancelled}},
	} {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		check(err)
		_, err = syscall.Write(pair[1], []byte(row.data))
		check(err)
		check(syscall.Shutdown(pair[1], syscall.SHUT_WR))
		results := run(ring, row.op, row.flags, pair[0])
		fmt.Printf("%s: result %d; the linked SEND: %d\n", row.name, results[0], results[1])
		failed = failed || results != row.expected
	}
	if failed {
		fmt.Println("expected the send to run behind RECV without MSG_WAITALL alone: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
GOFLAGS=-mod=mod go run -ldflags=-checklinkname=0 .
