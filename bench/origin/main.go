package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "`address` to listen on: host:port or unix:/path")
	size := flag.Int("size", 128, "`bytes` of body that an ordinary path answers with")
	cpu := flag.Int("cpu", -1, "share the address with others, and take the connections whose packets arrive on this `CPU`")
	flag.Parse()
	if flag.NArg() > 0 || *size < 0 || *size > maxSize {
		fmt.Fprintf(os.Stderr, "origin: want -listen ADDR and -size from 0 to %d, nothing else\n", maxSize)
		os.Exit(2)
	}
	if err := run(*listen, *size, *cpu); err != nil {
		fmt.Fprintln(os.Stderr, "origin:", err)
		os.Exit(1)
	}
}

func run(address string, size, cpu int) error {
	// One poller for each processor that may run at once: they read, goroutines answer.
	if err := netpoll.Configure(netpoll.Config{PollerNum: runtime.GOMAXPROCS(0)}); err != nil {
		return err
	}
	ln, err := open(address, cpu)
	if err != nil {
		return err
	}
	s, err := newServer(ln, size)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- s.serve() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		s.stop(time.Second)
		return nil
	}
}

// open listens on host:port or unix:/path. A socket file that nobody listens on any more is replaced.
// cpu is negative when the address is this process's alone.
func open(address string, cpu int) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		var lc net.ListenConfig
		if cpu >= 0 {
			lc.Control = func(_, _ string, c syscall.RawConn) (err error) {
				if failed := c.Control(func(fd uintptr) { err = share(int(fd), cpu) }); failed != nil {
					return failed
				}
				return err
			}
		}
		return lc.Listen(context.Background(), "tcp", address)
	}
	ln, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if info, statErr := os.Lstat(path); statErr != nil || info.Mode()&os.ModeSocket == 0 {
			return nil, err
		}
		if c, dialErr := net.Dial("unix", path); dialErr == nil {
			c.Close()
			return nil, err
		} else if !errors.Is(dialErr, syscall.ECONNREFUSED) {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		ln, err = net.Listen("unix", path)
	}
	return ln, err
}

// share lets others listen on the same address, each for the packets of one CPU
// (since Linux 6.2 the kernel looks for that one among the listeners).
func share(fd, cpu int) error {
	return errors.Join(
		os.NewSyscallError("SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)),
		os.NewSyscallError("SO_INCOMING_CPU", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_INCOMING_CPU, cpu)))
}
