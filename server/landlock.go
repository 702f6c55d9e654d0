package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"zproxy/config"
	"zproxy/upstream/discover/kubernetes"
)

// domain is what Landlock leaves a process of the file system: these directories, and all below
// them. Nothing widens it, and processes that this one starts are in it, too. nil: there is none.
type domain struct {
	Read  []string `json:"read"`
	Write []string `json:"write"`
}

const (
	readAccess    = ll.AccessFSReadFile | ll.AccessFSReadDir
	programAccess = readAccess | ll.AccessFSExecute
	writeAccess   = readAccess | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSMakeSock | ll.AccessFSRemoveFile | ll.AccessFSRemoveDir
)

// system is what a process reads beside what its configuration names: kernel, accounts, names of
// hosts, time zones, authorities. programs has what a program consists of that is linked with others.
var (
	system = []string{"/proc", "/sys", "/etc", "/run/systemd/resolve", "/run/resolvconf", "/usr/share/zoneinfo",
		"/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/var/lib/ca-certificates"}
	programs = []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64"}
)

// dirNeed is a directory that a configuration needs, and which key says so.
type dirNeed struct {
	at    config.Pos
	key   string
	dir   string
	write bool
}

// dirNeeds lists the directories of the files that c names.
func dirNeeds(c *config.Config) (all []dirNeed) {
	add := func(at config.Pos, key, dir string, write bool) {
		if dir, err := filepath.Abs(dir); err == nil {
			all = append(all, dirNeed{at, key, dir, write})
		}
	}
	file := func(at config.Pos, key, path string) {
		add(at, key, filepath.Dir(path), false)
		if real, err := filepath.EvalSymlinks(path); err == nil {
			add(at, key, filepath.Dir(real), false)
		}
	}
	socket := func(at config.Pos, key, address string) {
		if path, ok := strings.CutPrefix(address, "unix:"); ok && !strings.HasPrefix(path, "@") {
			add(at, key, filepath.Dir(path), true)
		}
	}
	if l := c.Landlock; l != nil {
		for i, dir := range l.Read {
			add(l.Pos, "landlock.read["+strconv.Itoa(i)+"]", c.Path(dir), false)
		}
		for i, dir := range l.Write {
			add(l.Pos, "landlock.write["+strconv.Itoa(i)+"]", c.Path(dir), true)
		}
	}
	if c.File != "" {
		file(config.Pos{Line: 1, Col: 1}, "the configuration file", c.File)
		if strings.HasPrefix(c.Admin.Address, "unix:") { // PUT /config writes it
			add(c.Admin.Pos, "admin.address", filepath.Dir(c.File), true)
		}
	}
	for status, page := range c.ErrorPages {
		file(page.Pos, "error_pages."+strconv.Itoa(status), c.Path(page.File))
	}
	for i := range c.Listeners {
		l, key := &c.Listeners[i], "listeners["+strconv.Itoa(i)+"]"
		socket(l.Pos, key+".address", l.Address)
		if l.TLS == nil {
			continue
		}
		for _, name := range l.TLS.Files() {
			file(l.Pos, key+".tls", c.Path(name))
		}
		if a := l.TLS.ACME; a != nil {
			add(a.Pos, key+".tls.acme.storage", c.Path(a.Storage), true)
			for _, name := range []string{a.CA, a.ExternalKey} {
				if name != "" {
					file(a.Pos, key+".tls.acme", c.Path(name))
				}
			}
		}
	}
	for i := range c.Upstreams {
		filesOfUpstream(c, &c.Upstreams[i], file)
	}
	filesOfFilters(c, file)
	socket(c.Admin.Pos, "admin.address", c.Admin.Address)
	adminFiles(c, file)
	if p := c.AccessLog.Path; p != "" && p != "-" && p != "stdout" {
		add(c.AccessLog.Pos, "access_log.path", filepath.Dir(p), true)
	}
	return all
}

func filesOfUpstream(c *config.Config, u *config.Upstream, file func(at config.Pos, key, path string)) {
	key := "upstreams." + u.Name
	if d := u.Discover; d != nil {
		names := d.Files()
		if d.Kubernetes != nil {
			names = append(names, kubernetes.Files(d.Kubernetes)...)
		}
		for _, name := range names {
			file(d.Pos, key+".discover."+d.Kind(), c.Path(name))
		}
	}
	if u.TLS != nil {
		for _, name := range u.TLS.Files() {
			file(u.Pos, key+".tls", c.Path(name))
		}
	}
	if u.Sticky != nil {
		file(u.Pos, key+".sticky.secret_file", c.Path(u.Sticky.SecretFile))
	}
}

// domainOf is the one that c asks for.
func domainOf(c *config.Config) *domain {
	d := new(domain)
	for _, n := range dirNeeds(c) {
		if real, err := filepath.EvalSymlinks(n.dir); err == nil {
			n.dir = real
		}
		if n.write {
			d.Write = append(d.Write, n.dir)
		} else {
			d.Read = append(d.Read, n.dir)
		}
	}
	d.Read = append(d.Read, filepath.Dir(program)) // which an upgrade starts
	if real, err := filepath.EvalSymlinks(program); err == nil {
		d.Read = append(d.Read, filepath.Dir(real))
	}
	for _, list := range []*[]string{&d.Read, &d.Write} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return d
}

// lacks says why the process cannot do with what c names, nil: it can.
func (d *domain) lacks(c *config.Config) error {
	if d == nil {
		return nil
	}
	var wrong config.Errors
	for _, n := range dirNeeds(c) {
		dir := n.dir
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		may, does := d.Write, "write in"
		if !n.write {
			may, does = slices.Concat(d.Read, d.Write, system, programs), "read"
		}
		if !slices.ContainsFunc(may, func(top string) bool { return within(dir, top) }) {
			wrong = append(wrong, config.Error{File: c.File, Line: n.at.Line, Col: n.at.Col, Key: n.key, Value: strconv.Quote(n.dir),
				Want: "a directory that this process may " + does + " since Landlock restricts it: " + strings.Join(may, ", "), Hint: "only a process that is started anew may more"})
		}
	}
	if wrong == nil {
		return nil
	}
	return &wrong
}

// within says that a path is top, or below it.
func within(path, top string) bool {
	return path == top || strings.HasPrefix(path, strings.TrimSuffix(top, "/")+"/")
}

// explain adds to what could not be read why that may be.
func (d *domain) explain(err error) error {
	var wrong *config.Errors
	if d == nil || !errors.As(err, &wrong) {
		return err
	}
	for i := range *wrong {
		if e := &(*wrong)[i]; strings.Contains(e.Value, "may not read") || strings.Contains(e.Value, "permission denied") {
			e.Hint = strings.TrimPrefix(e.Hint+"; Landlock leaves this process "+strings.Join(slices.Concat(d.Read, d.Write), ", "), "; ")
		}
	}
	return err
}

// confine restricts all threads of the process, and those to come, to what its configuration names.
// A process that another one has started is in the domain of that one, for good. log is where it says so.
func confine(c *config.Config, in *Inheritance, log *slog.Logger) (*domain, error) {
	if in != nil && in.Domain != nil {
		return in.Domain, in.Domain.lacks(c)
	}
	if c.Landlock == nil {
		return nil, nil
	}
	version, err := ll.LandlockGetABIVersion()
	if err != nil || version < 1 {
		log.Warn("the kernel has no Landlock, and nothing is restricted", "hint", noLandlock)
		return nil, nil // the check would have refused it
	}
	d := domainOf(c)
	err = landlock.V5.BestEffort().RestrictPaths(
		landlock.PathAccess(readAccess, system...).IgnoreIfMissing(),
		landlock.PathAccess(programAccess, programs...).IgnoreIfMissing(),
		landlock.PathAccess(programAccess, d.Read...),
		landlock.PathAccess(writeAccess, d.Write...),
		landlock.PathAccess(ll.AccessFSReadFile|ll.AccessFSWriteFile, "/dev/null").IgnoreIfMissing(),
	)
	if err != nil {
		return nil, fmt.Errorf("landlock: %w", err)
	}
	log.Info("files are restricted", "abi", version, "read", strings.Join(d.Read, " "), "write", strings.Join(d.Write, " "))
	if version < 3 {
		log.Warn("this kernel's Landlock lets files be truncated anywhere", "abi", version, "hint", "Linux 6.2 has version 3")
	}
	return d, nil
}

const noLandlock = "Linux 5.13 and newer have it, where landlock is among the kernel's security modules (lsm=)"

// landlock looks whether what Landlock is to leave is there.
func (k *checker) landlock() {
	l := k.cfg.Landlock
	if l == nil {
		return
	}
	if version, err := ll.LandlockGetABIVersion(); err != nil || version < 1 {
		if l.Without == "refuse" {
			k.fail(l.Pos, "landlock.without", l.Without, "a kernel with Landlock, or warn", noLandlock)
		} else {
			k.warn(l.Pos, "landlock.without", strconv.Quote(l.Without), "a kernel with Landlock", noLandlock)
		}
	}
	for _, n := range dirNeeds(k.cfg) {
		switch info, err := os.Stat(n.dir); {
		case errors.Is(err, fs.ErrNotExist):
			k.fail(n.at, n.key, n.dir, "a directory that is there", "Landlock goes by what is there at the start: mkdir -p "+n.dir)
		case err == nil && !info.IsDir():
			k.fail(n.at, n.key, n.dir, "a directory", "")
		}
	}
}
