#!/usr/bin/env bash
# On a unix socket SO_RCVLOWAT holds a blocking read back, but poll calls the socket readable from the first byte.
#
# Seen with: Linux 6.18.
# socket(7) says that poll, select and epoll have kept to SO_RCVLOWAT since Linux 2.6.28: a socket is readable only when as
# many bytes are there, so a read that follows does not block. That is so for TCP. A unix stream socket takes the option and
# reads back the value; poll reports it readable with 3 bytes of 100, and a blocking read that follows waits.
# Why a proxy cares: origins on the same machine are reached by unix sockets with the code made for TCP. A mark that is to save
# wake-ups saves none there, and where a blocking read stands behind the poll it stops the whole loop for one peer.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module mark

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

const mark = 100

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func readable(fd int) bool {
	p := struct {
		fd              int32
		events, revents int16
	}{int32(fd), 1, 0} // POLLIN
	if _, _, e := syscall.Syscall(syscall.SYS_POLL, uintptr(unsafe.Pointer(&p)), 1, 0); e != 0 {
		check(e)
	}
	return p.revents&1 != 0
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
	unix, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	check(err)
	failed := false
	for i, pair := range [][2]int{tcpPair(), unix} {
		check(syscall.SetsockoptInt(pair[0], syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, mark))
		kept, err := syscall.GetsockoptInt(pair[0], syscall.SOL_SOCKET, syscall.SO_RCVLOWAT)
		check(err)
		_, err = syscall.Write(pair[1], []byte("abc"))
		check(err)
		time.Sleep(50 * time.Millisecond)
		poll := readable(pair[0])
		read := make(chan int, 1)
		go func() {
			n, _ := syscall.Read(pair[0], make([]byte, 2*mark))
			read <- n
		}()
		waits, n := false, 0
		select {
		case n = <-read:
		case <-time.After(500 * time.Millisecond):
			waits = true
			_, err = syscall.Write(pair[1], make([]byte, mark))
			check(err)
			n = <-read
		}
		fmt.Printf("%s, mark %d, 3 bytes there: poll says readable %v; a blocking read waits %v, and gets %d in the end\n",
			[]string{"TCP", "unix"}[i], kept, poll, waits, n)
		failed = failed || kept != mark || poll != (i == 1) || !waits
	}
	if failed {
		fmt.Println("expected poll to differ and the reads to wait: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
go run .
