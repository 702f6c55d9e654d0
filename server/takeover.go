package server

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/config"
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

// fileAccess looks up who may open the file of a unix socket.
func fileAccess(f *config.SocketFile) (*loop.FileAccess, error) {
	a := &loop.FileAccess{Mode: f.Mode, UID: -1, GID: -1}
	var err error
	if f.User != "" {
		if a.UID, err = strconv.Atoi(f.User); err != nil {
			u, err := user.Lookup(f.User)
			if err != nil {
				return nil, fmt.Errorf("user of the socket file: %w", err)
			}
			a.UID, _ = strconv.Atoi(u.Uid)
		}
	}
	if f.Group != "" {
		if a.GID, err = strconv.Atoi(f.Group); err != nil {
			g, err := user.LookupGroup(f.Group)
			if err != nil {
				return nil, fmt.Errorf("group of the socket file: %w", err)
			}
			a.GID, _ = strconv.Atoi(g.Gid)
		}
	}
	return a, nil
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

// forgetSocket forgets an address that is listened on no more, and removes the file of its unix
// socket.
func (s *Server) forgetSocket(address string) {
	delete(s.listening, address)
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok || path[0] == '@' {
		return
	}
	s.sockets = slices.DeleteFunc(s.sockets, func(f loop.SocketFile) bool {
		if f.Path() != path {
			return false
		}
		if err := f.Remove(); err != nil {
			s.about("listener").Warn("socket file is not removed", "error", err.Error())
		}
		return true
	})
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
