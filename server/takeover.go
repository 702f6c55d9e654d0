package server

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
)

// A predecessor that was killed may hold its addresses a moment longer: the
// kernel gives back what an io_uring holds in the background.
const (
	inUseWait = 2 * time.Second
	inUseStep = 20 * time.Millisecond
)

// whenFree opens address, and tries again for a while when somebody has it.
func (s *Server) whenFree(address string, open func() error) error {
	deadline := time.Now().Add(inUseWait)
	for said := false; ; said = true {
		err := open()
		if !errors.Is(err, unix.EADDRINUSE) || time.Now().After(deadline) {
			return err
		}
		if !said {
			s.about("listener").Info("address is in use, trying again", "address", address, "for", inUseWait.String())
		}
		time.Sleep(inUseStep)
	}
}

// noteSocket remembers the file of a unix socket that was opened.
func (s *Server) noteSocket(address string) error {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok || path[0] == '@' {
		return nil
	}
	f, err := loop.SocketFileOf(path)
	if err == nil {
		s.sockets = append(s.sockets, f)
	}
	return err
}

// removeSockets removes the files of sockets that nobody listens on any more.
func (s *Server) removeSockets() {
	for _, f := range s.sockets {
		if err := f.Remove(); err != nil {
			s.about("listener").Warn("socket file is not removed", "error", err.Error())
		}
	}
	s.sockets = nil
}
