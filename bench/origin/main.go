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
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "`address` to listen on: host:port or unix:/path")
	size := flag.Int("size", 128, "`bytes` of body that an ordinary path answers with")
	flag.Parse()
	if flag.NArg() > 0 || *size < 0 || *size > maxSize {
		fmt.Fprintf(os.Stderr, "origin: want -listen ADDR and -size from 0 to %d, nothing else\n", maxSize)
		os.Exit(2)
	}
	if err := run(*listen, *size); err != nil {
		fmt.Fprintln(os.Stderr, "origin:", err)
		os.Exit(1)
	}
}

func run(address string, size int) error {
	// One poller for each processor that may run at once: they read, goroutines answer.
	if err := netpoll.Configure(netpoll.Config{PollerNum: runtime.GOMAXPROCS(0)}); err != nil {
		return err
	}
	ln, err := open(address)
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
func open(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return net.Listen("tcp", address)
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
