#!/usr/bin/env bash
# A Linux listener that is paused with shutdown and resumed with listen comes back on another port if it was bound to port 0.
#
# Seen with: Linux 6.18.
# shutdown(SHUT_RD) is the one way to stop a TCP listener without closing it; HAProxy pauses so, and listen(2) on the same socket goes
# on. Neither shutdown(2) nor listen(2) speaks of the address, and getsockname gives the same one for as long as the pause lasts.
# Bound to an explicit port the listener comes back there. Bound to port 0, so that the kernel chose, it comes back somewhere
# else, without an error: the choice is forgotten at the shutdown and made anew.
# Why a proxy cares: listeners on port 0 are those of its tests, and of origins that register the port they got. A pause that was only
# tested there looks as if it did not work, and one that is only used there sends clients away for good.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module again

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"syscall"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func port(fd int) int {
	a, err := syscall.Getsockname(fd)
	check(err)
	return a.(*syscall.SockaddrInet4).Port
}

// again is the port of a listener that was bound to p: at first, while it is paused, and afterwards.
func again(p int) (ports [3]int) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	defer syscall.Close(fd)
	check(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: p}))
	check(syscall.Listen(fd, 8))
	ports[0] = port(fd)
	check(syscall.Shutdown(fd, syscall.SHUT_RD))
	ports[1] = port(fd)
	check(syscall.Listen(fd, 8))
	ports[2] = port(fd)
	return ports
}

func main() {
	// The same port by chance is possible, five times in a row is not.
	changed, chosen := 0, 0
	for range 5 {
		p := again(0)
		fmt.Printf("bound to 0: port %d, paused %d, listening again %d\n", p[0], p[1], p[2])
		if chosen = p[0]; p[0] != p[2] {
			changed++
		}
		if p[0] != p[1] {
			fmt.Println("expected the old port during the pause: the behaviour has changed")
			os.Exit(1)
		}
	}
	p := again(chosen)
	fmt.Printf("bound to %d: port %d, paused %d, listening again %d\n", chosen, p[0], p[1], p[2])
	if changed == 0 || p != [3]int{chosen, chosen, chosen} {
		fmt.Println("expected another port where the kernel had chosen it, and only there: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
go run .
