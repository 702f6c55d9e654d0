package server

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"zproxy/config"
)

// identity is who the process is to be.
type identity struct {
	uid    int
	groups []int // the first is the main one
}

// identityOf looks up user and group of a configuration; nil: nobody is named.
func identityOf(c *config.Config) (*identity, error) {
	if c.User == "" {
		return nil, nil
	}
	u, err := user.Lookup(c.User)
	if err != nil {
		if u, err = user.LookupId(c.User); err != nil {
			return nil, fmt.Errorf("user: there is no %s: getent passwd lists those there are", c.User)
		}
	}
	who := new(identity)
	if who.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	main := u.Gid
	if c.Group != "" {
		g, err := user.LookupGroup(c.Group)
		if err != nil {
			if g, err = user.LookupGroupId(c.Group); err != nil {
				return nil, fmt.Errorf("group: there is no %s: getent group lists those there are", c.Group)
			}
		}
		main = g.Gid
	}
	all, _ := u.GroupIds() // of a user that is no member of any there may be none
	for _, id := range append([]string{main}, all...) {
		if gid, err := strconv.Atoi(id); err == nil && !slices.Contains(who.groups, gid) {
			who.groups = append(who.groups, gid)
		}
	}
	return who, nil
}

// dropPrivileges makes every thread of the process that of the configured user, for good: it may
// still listen on ports below 1024, which another configuration may ask for, and nothing else.
// The listeners are open by now. A process that is started anew by this one is that user already.
func dropPrivileges(c *config.Config) error {
	who, err := identityOf(c)
	if err != nil || who == nil {
		return err
	}
	if os.Getuid() == who.uid {
		return noNewPrivileges()
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("user: %s: this process is of user %d, and only root can become another one: leave user out, or start it as root", c.User, os.Getuid())
	}
	if err := cap.SetGroups(who.groups[0], who.groups...); err != nil {
		return fmt.Errorf("group: %w", err)
	}
	if err := cap.SetUID(who.uid); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	keeps := cap.NewSet()
	for _, of := range []cap.Flag{cap.Permitted, cap.Effective, cap.Inheritable} {
		if err := keeps.SetFlag(of, true, cap.NET_BIND_SERVICE); err != nil {
			return fmt.Errorf("capabilities: %w", err)
		}
	}
	if err := keeps.SetProc(); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	// What is ambient outlives the exec of an upgrade.
	if err := cap.SetAmbient(true, cap.NET_BIND_SERVICE); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	// A process that has become another user's may neither be dumped nor look at all of itself in
	// /proc. The latter is wanted, where the former is not forbidden.
	if !forbidsDumps(c) {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
		}
	}
	return noNewPrivileges()
}

// noNewPrivileges: no program that is started from here on gains any by its file.
func noNewPrivileges() error {
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	return nil
}

// privileges looks at what the configured user may not do that is needed later.
func (k *checker) privileges() {
	if k.cfg.User == "" {
		return
	}
	who, err := identityOf(k.cfg)
	if err != nil {
		k.fail(config.Pos{Line: 1, Col: 1}, "user", k.cfg.User, "a user and a group of this machine", err.Error())
		return
	}
	if uid := os.Getuid(); uid != 0 && uid != who.uid {
		k.fail(config.Pos{Line: 1, Col: 1}, "user", k.cfg.User, "root to start as, or that user", fmt.Sprintf("this process is of user %d, and only root can become another one", uid))
	}
	read := func(at config.Pos, key, path string) {
		if _, err := os.Stat(path); err == nil && !who.mayRead(path) {
			k.warn(at, key, strconv.Quote(path), "a file that user "+k.cfg.User+" may read", "the process starts, and cannot read it again when it has changed, or for a reload")
		}
	}
	for i := range k.cfg.Listeners {
		l := &k.cfg.Listeners[i]
		if l.TLS == nil {
			continue
		}
		for _, name := range l.TLS.Files() {
			read(l.Pos, "listeners["+strconv.Itoa(i)+"].tls", k.cfg.Path(name))
		}
	}
	for i := range k.cfg.Upstreams {
		filesOfUpstream(k.cfg, &k.cfg.Upstreams[i], read)
	}
	filesOfFilters(k.cfg, read)
	adminFiles(k.cfg, read)
	if path := k.cfg.AccessLog.Path; path != "" && path != "-" && path != "stdout" && !who.may(filepath.Dir(path), 3) {
		k.warn(k.cfg.AccessLog.Pos, "access_log.path", strconv.Quote(path), "a folder that user "+k.cfg.User+" may write in",
			"the log is opened by that user: chown "+k.cfg.User+" "+filepath.Dir(path))
	}
}

// mayRead says whether a file can be opened: by its mode, and by those of its folders.
func (who *identity) mayRead(path string) bool {
	path, err := filepath.Abs(path)
	if err != nil || !who.may(path, 4) {
		return false
	}
	for path != "/" {
		if path = filepath.Dir(path); !who.may(path, 1) {
			return false
		}
	}
	return true
}

// may says whether the mode of a file has the bits for who: 4 to read, 2 to write, 1 to execute or
// enter. What is not there is not forbidden.
func (who *identity) may(path string, bits uint32) bool {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return true
	}
	shift := 0
	switch {
	case int(st.Uid) == who.uid:
		shift = 6
	case slices.Contains(who.groups, int(st.Gid)):
		shift = 3
	}
	return st.Mode>>shift&bits == bits
}
