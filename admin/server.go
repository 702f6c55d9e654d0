// Package admin shows a running proxy to people and to monitoring: metrics,
// health, readiness, status and a page over a small HTTP server of its own, which also
// has an API to look into the proxy and to change it. It is off the data path, and
// knows the proxy through Source.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/metrics"
)

// Source is where the pages get their content from. Its methods are called
// from several goroutines and should not take longer than a second or two.
type Source interface {
	Snapshot() (metrics.Snapshot, error) // everything for /metrics; the caller may keep it
	Ready() (ready bool, reason string)  // reason: why not, e.g. "draining"
	Status() any                         // for encoding/json
	// Change serves by another configuration. The result, for encoding/json, says what has changed,
	// the error why nothing at all has. It may take minutes.
	Change(c Change) (result any, err error)
	// SetWeight gives an endpoint another weight; the error says why not.
	SetWeight(w Weight) error
	Control
}

// Limits of the server. They keep a careless or hostile client of the admin
// address from costing the proxy more than a corner of its memory.
const (
	maxConnections = 128
	maxConcurrent  = 4  // answers of /metrics and /status under way, and changes of the configuration
	maxWeighing    = 64 // changes of weights under way, most of which wait to be in force
	maxHeaderBytes = 8 << 10
	readTimeout    = 5 * time.Second
	writeTimeout   = 15 * time.Second
	idleTimeout    = 30 * time.Second
)

// Server is a running admin server.
type Server struct {
	src      Source
	listener net.Listener
	http     http.Server
	slots    chan struct{}
	changes  chan struct{} // slots of changes of the configuration, which take turns
	weighing chan struct{}
	served   chan struct{} // closed when Serve has returned
	file     *loop.SocketFile
	watchers watchers
	ending   chan struct{} // closed when no more is to be sent
	end      sync.Once
}

// Serve listens on addr, "host:port" or "unix:/path", whose file is for those in
// file, and answers in the background until Close or Shutdown. Trouble with clients
// goes to log. The error says what to do about it.
func Serve(addr string, file *loop.FileAccess, src Source, log *slog.Logger) (*Server, error) {
	listener, err := listen(addr, file)
	if err != nil {
		return nil, err
	}
	return ServeOn(listener, addr, src, log)
}

// ServeOn is Serve on a socket that listens on addr already.
func ServeOn(listener net.Listener, addr string, src Source, log *slog.Logger) (*Server, error) {
	s := &Server{
		src:      src,
		listener: listener,
		slots:    make(chan struct{}, maxConcurrent),
		changes:  make(chan struct{}, maxConcurrent),
		weighing: make(chan struct{}, maxWeighing),
		served:   make(chan struct{}),
		ending:   make(chan struct{}),
	}
	s.watchers.s = s
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		file, err := loop.SocketFileOf(path)
		if err != nil {
			listener.Close()
			return nil, fmt.Errorf("admin: %w", err)
		}
		s.file = &file
	}
	s.http = http.Server{
		Handler:           s.handler(),
		ReadTimeout:       readTimeout,
		ReadHeaderTimeout: readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         (&crowd{limit: maxConnections}).note,
		ConnContext:       peerOf,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(s.served)
		err := s.http.Serve(gated{listener, src})
		if !errors.Is(err, http.ErrServerClosed) {
			s.http.ErrorLog.Printf("stopped: %v", err)
		}
	}()
	return s, nil
}

// Addr is the address listened on, with the port the kernel chose for port 0.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Shutdown stops listening and waits for requests being answered, until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endStreams()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	<-s.served
	return errors.Join(err, s.removeFile())
}

// Release is Shutdown, and leaves the socket's file to another process that listens on the socket.
func (s *Server) Release(ctx context.Context) error {
	s.file = nil
	return s.Shutdown(ctx)
}

// Dup duplicates the descriptor that is listened on, for another process.
func (s *Server) Dup() (fd int, err error) {
	l, ok := s.listener.(syscall.Conn)
	if !ok {
		return -1, errors.New("no socket is listened on")
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	if e := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		err = e
	}
	return fd, err
}

// Leave stops listening at once, and lets requests under way have the time that a change may take:
// one of them may be what asked for it.
func (s *Server) Leave() {
	ctx, cancel := context.WithTimeout(context.Background(), changeLimit)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		s.http.ErrorLog.Printf("stopped: %v", err)
	}
}

// Close stops at once.
func (s *Server) Close() error {
	s.endStreams()
	err := s.http.Close()
	<-s.served
	return errors.Join(err, s.removeFile())
}

// endStreams ends what goes on as long as a client stays.
func (s *Server) endStreams() { s.end.Do(func() { close(s.ending) }) }

// removeFile removes the socket file, unless it is somebody else's by now.
func (s *Server) removeFile() error {
	if s.file == nil {
		return nil
	}
	return s.file.Remove()
}

func listen(addr string, file *loop.FileAccess) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix(path, file)
	}
	listener, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(addr)
		return nil, fmt.Errorf("admin: %s is taken by another process (ss -ltnp 'sport = :%s' shows which): stop it, or set admin.address to a free address: %w", addr, port, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("admin: %s is not an address of this machine (ip addr shows them): change admin.address", addr)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("admin: no permission to listen on %s: choose a port from 1024 on for admin.address, or give zproxy CAP_NET_BIND_SERVICE", addr)
	case err != nil:
		return nil, fmt.Errorf("admin: cannot listen on %s: %w; admin.address is host:port or unix:/path", addr, err)
	}
	return listener, nil
}

// listenUnix listens on a socket file, replacing one that a process left behind
// when it died. Anything else in that place is not touched.
func listenUnix(path string, file *loop.FileAccess) (net.Listener, error) {
	fds, err := loop.OpenListeners("unix:"+path, 1, nil, loop.SockOpts{File: file})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("admin: unix:%s is taken by another process (ss -lxp src %s shows which): stop it, or change admin.address: %w", path, path, syscall.EADDRINUSE)
	case err != nil:
		return nil, fmt.Errorf("admin: cannot %w; its directory must exist and be writable", err)
	}
	f := os.NewFile(uintptr(fds[0]), path)
	defer f.Close()
	listener, err := net.FileListener(f) // which does not remove the file
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return listener, nil
}
