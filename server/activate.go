package server

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"zproxy/config"
	"zproxy/loop"
)

// adminSocket is the name of a passed socket that is for the admin address, whatever that is.
const adminSocket = "admin"

// Activate takes the sockets that a service manager has opened (sd_listen_fds(3)): each goes to
// the listener whose socket.name it has, else to the one whose address it is bound to. nil: there
// are none. An error names one that belongs to no listener.
func Activate(c *config.Config) (*Inheritance, error) {
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	mine := os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	if n <= 0 || !mine {
		return nil, nil
	}
	in := &Inheritance{sockets: map[string][]int{}}
	for i := range n {
		fd, name := inheritedFD+i, ""
		unix.CloseOnExec(fd)
		if i < len(names) {
			name = names[i]
		}
		bound := boundTo(fd)
		if err := in.assign(c, fd, name, bound); err != nil {
			return nil, fmt.Errorf("%s: socket %d that was passed (name %q, bound to %s) %w", c.File, i, name, bound, err)
		}
	}
	return in, nil
}

func (in *Inheritance) assign(c *config.Config, fd int, name, bound string) error {
	if c.Admin.Address != "" && in.admin == nil && (name == adminSocket || sameAddress(c.Admin.Address, bound)) {
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
		in.bequest.Admin, in.admin = c.Admin.Address, os.NewFile(uintptr(fd), "admin")
		return nil
	}
	for _, byName := range []bool{true, false} {
		for i := range c.Listeners {
			l := &c.Listeners[i]
			if byName && l.Socket.Name != "" && l.Socket.Name == name || !byName && l.Socket.Name == "" && sameAddress(l.Address, bound) {
				in.sockets[l.Address] = append(in.sockets[l.Address], fd)
				return nil
			}
		}
	}
	return fmt.Errorf("is no listener's: give one that address, or that socket.name")
}

// boundTo is the address of a socket as a listener has it.
func boundTo(fd int) string {
	if ap, err := loop.LocalAddr(fd); err == nil {
		return ap.String()
	}
	if sa, err := unix.Getsockname(fd); err == nil {
		if u, ok := sa.(*unix.SockaddrUnix); ok {
			return "unix:" + u.Name
		}
	}
	return "nothing"
}

// sameAddress compares one of the configuration with one that a socket is bound to.
func sameAddress(address, bound string) bool {
	if address == bound || strings.HasPrefix(address, "unix:") || strings.HasPrefix(bound, "unix:") {
		return address == bound
	}
	a, err := net.ResolveTCPAddr("tcp", address)
	b, err2 := net.ResolveTCPAddr("tcp", bound)
	if err != nil || err2 != nil || a.Port != b.Port {
		return false
	}
	return a.IP.Equal(b.IP) || (a.IP == nil || a.IP.IsUnspecified()) && b.IP.Equal(net.IPv6unspecified)
}
