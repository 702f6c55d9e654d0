#!/usr/bin/env bash
# io_cancel(2) of a poll that is waiting fails with EINPROGRESS although it cancels, and its event comes through the ring.
#
# Seen with: Linux 6.18.
# The man page says that a successful io_cancel returns 0 and writes the event to its last argument, without it being
# queued, and knows EAGAIN, EFAULT, EINVAL and ENOSYS as errors. What happens to IOCB_CMD_POLL, the one command of the
# interface that can wait for long: -1 with EINPROGRESS, nothing written, and io_getevents delivers the event, with the result of
# a poll that saw nothing.
# Why a proxy cares: Linux AIO does for a readiness loop what io_uring is forbidden to do in many containers, one
# system call for many sockets. Who believes the page takes the cancellation for failed, or frees what belongs to a request
# when io_cancel returns and finds the event of it in the ring later.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module cancel

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// iocb and event are struct iocb and struct io_event of linux/aio_abi.h on little-endian machines.
type iocb struct {
	data          uint64
	key, rw       uint32
	op            uint16
	prio          int16
	fd            uint32
	events        uint64
	bytes         uint64
	offset        int64
	reserved      uint64
	flags, result uint32
}

type event struct {
	data, obj uint64
	res, res2 int64
}

func must(e syscall.Errno) {
	if e != 0 {
		fmt.Println(e)
		os.Exit(2)
	}
}

func main() {
	const commandPoll, pollIn, untouched = 5, 1, 0x5555
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	var ctx uint64
	_, _, e := syscall.Syscall(syscall.SYS_IO_SETUP, 8, uintptr(unsafe.Pointer(&ctx)), 0)
	must(e)
	request := &iocb{data: 7, op: commandPoll, fd: uint32(pair[0]), events: pollIn}
	list := []*iocb{request}
	_, _, e = syscall.Syscall(syscall.SYS_IO_SUBMIT, uintptr(ctx), 1, uintptr(unsafe.Pointer(&list[0])))
	must(e)
	result := event{data: untouched}
	_, _, cancelled := syscall.Syscall(syscall.SYS_IO_CANCEL, uintptr(ctx), uintptr(unsafe.Pointer(request)), uintptr(unsafe.Pointer(&result)))
	var queued [4]event
	second := syscall.Timespec{Sec: 1}
	n, _, e := syscall.Syscall6(syscall.SYS_IO_GETEVENTS, uintptr(ctx), 1, 4, uintptr(unsafe.Pointer(&queued[0])), uintptr(unsafe.Pointer(&second)), 0)
	must(e)
	fmt.Printf("io_cancel: %v, its event written: %v; then io_getevents: %d event, data %d, result %d\n",
		cancelled, result.data != untouched, n, queued[0].data, queued[0].res)
	if cancelled != syscall.EINPROGRESS || result.data != untouched || n != 1 || queued[0].data != 7 || queued[0].res != 0 {
		fmt.Println("expected EINPROGRESS and the event in the ring: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
go run .
