package server

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"zproxy/config"
)

// Check looks at what a configuration means on this machine. The error, a
// *config.Errors, is what would keep it from starting; what is allowed, and
// foolish, is added to its warnings.
func Check(c *config.Config) error {
	k := &checker{cfg: c}
	k.folders()
	k.loops()
	k.secrets()
	k.hosts()
	k.authorities()
	k.privileges()
	k.discovery()
	k.landlock()
	if len(k.wrong) > 0 {
		return &k.wrong
	}
	return nil
}

type checker struct {
	cfg   *config.Config
	wrong config.Errors
	own   []netip.Addr // of this machine's interfaces, once they have been asked for
}

func (k *checker) warn(at config.Pos, key, value, want, hint string) {
	k.cfg.Warnings = append(k.cfg.Warnings, config.Error{File: k.cfg.File, Line: at.Line, Col: at.Col, Key: key, Value: value, Want: want, Hint: hint})
}

// folders looks for those of the files that are made at the start.
func (k *checker) folders() {
	if p := k.cfg.AccessLog.Path; p != "" && p != "-" && p != "stdout" {
		k.folder(k.cfg.AccessLog.Pos, "access_log.path", p, p)
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			k.fail(k.cfg.AccessLog.Pos, "access_log.path", p, "a file, and this is a folder", "name a file in it")
		}
	}
	for i := range k.cfg.Listeners {
		l := &k.cfg.Listeners[i]
		if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
			k.folder(l.Pos, "listeners["+strconv.Itoa(i)+"].address", l.Address, path)
			k.owner(l.Pos, "listeners["+strconv.Itoa(i)+"].socket", &l.Socket.File)
		}
	}
	if path, ok := strings.CutPrefix(k.cfg.Admin.Address, "unix:"); ok {
		k.folder(k.cfg.Admin.Pos, "admin.address", k.cfg.Admin.Address, path)
		k.owner(k.cfg.Admin.Pos, "admin", &k.cfg.Admin.File)
	}
}

// owner looks for the user and the group a socket file is to have.
func (k *checker) owner(at config.Pos, key string, f *config.SocketFile) {
	if _, err := fileAccess(&config.SocketFile{User: f.User}); err != nil {
		k.fail(at, key+".user", f.User, "a user of this machine", "getent passwd lists them")
	}
	if _, err := fileAccess(&config.SocketFile{Group: f.Group}); err != nil {
		k.fail(at, key+".group", f.Group, "a group of this machine", "getent group lists them")
	}
}

func (k *checker) folder(at config.Pos, key, value, path string) {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.fail(at, key, value, "a file in a folder that is there", "make the folder first, for the user zproxy runs as: mkdir -p "+dir)
	case err == nil && !info.IsDir():
		k.fail(at, key, value, "a file in a folder", dir+" is none")
	}
}

func (k *checker) fail(at config.Pos, key, value, want, hint string) {
	k.wrong = append(k.wrong, config.Error{File: k.cfg.File, Line: at.Line, Col: at.Col, Key: key, Value: strconv.Quote(value), Want: want, Hint: hint})
}

// listeners are the indexes of the listeners that take connections to address,
// which is an endpoint's.
func (k *checker) listeners(address string) (found []int) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		for i := range k.cfg.Listeners {
			if own, ok := strings.CutPrefix(k.cfg.Listeners[i].Address, "unix:"); ok && filepath.Clean(own) == filepath.Clean(path) {
				found = append(found, i)
			}
		}
		return found
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for i := range k.cfg.Listeners {
		l, err := netip.ParseAddrPort(k.cfg.Listeners[i].Address)
		if err != nil || strconv.Itoa(int(l.Port())) != port {
			continue
		}
		if addrs == nil { // only now, because a name is looked up
			addrs = addressesOf(host)
		}
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return k.reaches(a, l.Addr().Unmap()) }) {
			found = append(found, i)
		}
	}
	return found
}

// reaches tells whether a connection to a comes to a listener on l.
func (k *checker) reaches(a, l netip.Addr) bool {
	switch {
	case a == l:
		return true
	case !l.IsUnspecified() || l.Is4() && !a.Is4():
		return false
	case a.IsLoopback():
		return true
	}
	if k.own == nil {
		k.own = []netip.Addr{}
		addrs, _ := net.InterfaceAddrs()
		for _, addr := range addrs {
			if p, err := netip.ParsePrefix(addr.String()); err == nil {
				k.own = append(k.own, p.Addr().Unmap())
			}
		}
	}
	return slices.Contains(k.own, a)
}
