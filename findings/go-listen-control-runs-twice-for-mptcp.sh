#!/usr/bin/env bash
# Since Go 1.24 an option set in ListenConfig.Control decides whether a listener is MPTCP: TCP_USER_TIMEOUT and others turn it off,
# without an error, and Control has run twice, for two sockets.
#
# Seen with: Go 1.26.8 on Linux 6.18.
# ListenConfig.Control is documented as being called after the connection is created and before it is bound, and listeners as using
# MPTCP where the system supports it. Where they do not, an error of Control is the error of Listen. With MPTCP the first socket is of
# IPPROTO_MPTCP, although the network is tcp4, and refuses TCP_USER_TIMEOUT, TCP_LINGER2, TCP_SAVE_SYN, SO_MAX_PACING_RATE and
# more, while TCP_KEEPIDLE is fine. The error that Control makes of it is dropped, and Control runs again for a socket of TCP.
# Why a proxy cares: one option more for clients' connections, and a server that was reached by several paths no longer is; nothing
# says so. A Control that ignores errors gets MPTCP without its limits. And one that counts, or keeps the descriptor (as
# graceful restarts and reuseport groups do), has one of a socket that was closed.
#
# Needs Go, and a kernel with MPTCP. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module multipath

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
)

const soProtocol, tcp, mptcp = 38, 6, 262

func main() {
	both, first := []int{mptcp, tcp}, []int{mptcp}
	failed := false
	for _, o := range []struct {
		name          string
		level, option int
		strict        bool // Control returns the option's error
		sockets       []int
	}{
		{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, 4, true, first},
		{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, 18, true, both},
		{"TCP_LINGER2", syscall.IPPROTO_TCP, 8, true, both},
		{"TCP_SAVE_SYN", syscall.IPPROTO_TCP, 27, true, both},
		{"SO_MAX_PACING_RATE", syscall.SOL_SOCKET, 47, true, both},
		{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, 18, false, first},
	} {
		var sockets []int
		var errs []error
		l := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			err := c.Control(func(fd uintptr) {
				protocol, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, soProtocol)
				if err != nil {
					fmt.Println(err)
					os.Exit(2)
				}
				sockets = append(sockets, protocol)
				errs = append(errs, syscall.SetsockoptInt(int(fd), o.level, o.option, 1))
			})
			if err != nil || !o.strict {
				return err
			}
			return errs[len(errs)-1]
		}}
		ln, err := l.Listen(context.Background(), "tcp4", "127.0.0.1:0")
		fmt.Printf("%s, its errors returned %v: sockets of protocol %v, errors %v; Listen: error %v\n", o.name, o.strict, sockets, errs, err)
		failed = failed || err != nil || !slices.Equal(sockets, o.sockets) || errs[0] == nil != (o.option == 4)
		if err == nil {
			ln.Close()
		}
	}
	if failed {
		fmt.Println("expected MPTCP (262), then TCP (6) where Control returned an error: the behaviour has changed")
		os.Exit(1)
	}
}
GO
uname -sr
go version
if [[ ! -e /proc/sys/net/mptcp/enabled || $(</proc/sys/net/mptcp/enabled) != 1 ]]; then
	echo "needs a kernel with MPTCP (CONFIG_MPTCP, sysctl net.mptcp.enabled=1)"
	exit 2
fi
go run .
