package server

import (
	"golang.org/x/sys/unix"

	"zproxy/config"
)

// forbidDumps has the kernel write no dump of the process, which holds private
// keys and those of connections, and let no other process of its user read its
// memory.
func (s *Server) forbidDumps(c *config.Config) {
	if !forbidsDumps(c) {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		s.about("process").Warn("core dumps cannot be turned off", "error", err.Error())
	}
	// Where the kernel pipes dumps to a program the limit does not hold.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		s.about("process").Warn("core dumps cannot be turned off", "error", err.Error())
	}
}

func forbidsDumps(c *config.Config) bool {
	return c.CoreDumps == "never" || c.CoreDumps == "auto" && holdsKeys(c)
}

// holdsKeys says that TLS is spoken with anybody.
func holdsKeys(c *config.Config) bool {
	if c.Admin.TLS != nil {
		return true
	}
	for i := range c.Listeners {
		if c.Listeners[i].TLS != nil {
			return true
		}
	}
	for i := range c.Upstreams {
		if c.Upstreams[i].TLS != nil {
			return true
		}
	}
	return false
}
