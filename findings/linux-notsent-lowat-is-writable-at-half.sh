#!/usr/bin/env bash
# With TCP_NOTSENT_LOWAT, poll calls a Linux socket writable only below half the limit, while send takes bytes up to all of it.
#
# Seen with: Linux 6.18.
# The kernel's Documentation/networking/ip-sysctl says of the limit that poll, select and epoll report POLLOUT while the
# unsent bytes are below it, and that sendmsg adds nothing beyond it: one limit for both. In fact there are two: between a half
# and the whole, poll says no and a send succeeds.
# Why a proxy cares: one that sets it to keep little in the kernel (so that urgent HTTP/2 frames need not wait behind data) and
# waits for POLLOUT works with half of what was set, and gets a full limit only by trying. One that polls before it
# writes and one that writes before it polls behave differently at the same setting. A limit of 1 means what it says.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module lowat

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

const (
	tcpNotsentLowat = 25
	siocOutqNsd     = 0x894b
	limit           = 64 << 10
	piece           = 1 << 10
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

// notSent is how many bytes of fd's queue were never sent.
func notSent(fd int) int {
	var n int32
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), siocOutqNsd, uintptr(unsafe.Pointer(&n))); e != 0 {
		check(e)
	}
	return int(n)
}

func writable(fd int) bool {
	p := struct {
		fd              int32
		events, revents int16
	}{int32(fd), 4, 0} // POLLOUT
	if _, _, e := syscall.Syscall(syscall.SYS_POLL, uintptr(unsafe.Pointer(&p)), 1, 0); e != 0 {
		check(e)
	}
	return p.revents&4 != 0
}

func main() {
	ln, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.SetsockoptInt(ln, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)) // a small window: the rest stays unsent
	check(syscall.Bind(ln, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(ln, 1))
	address, err := syscall.Getsockname(ln)
	check(err)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.Connect(fd, address))
	check(syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, tcpNotsentLowat, limit))
	check(syscall.SetNonblock(fd, true))
	lastWritable, refused, between := 0, 0, 0
	for range 10000 {
		before, poll := notSent(fd), writable(fd)
		if poll {
			lastWritable = before
		}
		if _, err := syscall.Write(fd, make([]byte, piece)); err == syscall.EAGAIN {
			refused = before
			break
		} else {
			check(err)
		}
		if !poll {
			between++
		}
	}
	fmt.Printf("limit %d: poll says writable up to %d unsent bytes, send says EAGAIN at %d; %d sends succeeded where poll said no\n",
		limit, lastWritable, refused, between)
	if lastWritable >= limit/2 || lastWritable < limit/2-4*piece || refused < limit || between == 0 {
		fmt.Println("expected a half for poll and the whole for send: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
go run .
