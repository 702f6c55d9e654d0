package server

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/config"
	"zproxy/loop"
	"zproxy/proxy"
)

const (
	// reservedFDs are kept for listeners, logs, admin and the runtime.
	reservedFDs = 64
	// fewConns is a limit of connections of one loop that is hardly meant.
	fewConns = 1000
	// shortageQuiet is how long a shortage that goes on is not spoken of again.
	shortageQuiet = 30 * time.Second
)

// limits is what bounds the process, and what the configuration asks for.
type limits struct {
	OpenFiles     uint64 `json:"open_files"`           // the soft limit
	OpenFilesHard uint64 `json:"open_files_hard"`      // to which the Go runtime has raised it
	Reserved      int    `json:"reserved"`             // descriptors for listeners, pipes, logs and the like
	Pools         int    `json:"pools_at_most"`        // descriptors that connections to origins may take
	Connections   int    `json:"connections_per_loop"` // of clients; 0: no limit
	Loops         int    `json:"loops"`
}

// limits compares the limit on open files with what is configured. The Go
// runtime has raised the soft limit to the hard one before main: the hard one is
// the bound.
func (s *Server) limits() limits { return s.limitsOf(s.cfg()) }

func (s *Server) limitsOf(c *config.Config) limits {
	l := limits{Loops: len(s.places), Connections: c.Limits.Connections}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		l.OpenFiles, l.OpenFilesHard = files.Cur, files.Max
	}
	l.Reserved = reservedFDs + len(s.places)*(loop.PipeFDs+len(c.Listeners))
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		each := u.Pool.MaxConnections
		if u.Speaks() != "http1" {
			each = min(each, c.HTTP2.UpstreamConnections*len(s.places))
		}
		l.Pools += (len(u.Endpoints) + s.serves.Load().found.Found(u.Name)) * each
	}
	return l
}

// maxConns is how many accepted connections a loop may hold; more are refused.
// It is configured, or the loop's share of the limit on open files less what
// pipes and upstream connections may need, but at the most half of them.
func (l limits) maxConns() int {
	if l.Connections > 0 {
		return l.Connections
	}
	if l.OpenFiles == 0 || l.OpenFiles > 1<<24 {
		return 0
	}
	files := int(l.OpenFiles) - l.Reserved
	files -= min(l.Pools, files/2)
	return max(16, files/l.Loops)
}

// weigh says in the log what the limits are, and warns where they do not fit.
func (s *Server) weigh() {
	l, log := s.limits(), s.about("limits")
	conns := l.maxConns()
	log.Info("open files", "limit", l.OpenFiles, "hard_limit", l.OpenFilesHard, "pools_at_most", l.Pools,
		"reserved", l.Reserved, "connections_per_loop", conns, "loops", l.Loops)
	if l.OpenFiles == 0 || l.OpenFiles > 1<<24 {
		return
	}
	const raise = "raise the hard limit of open files, which is the bound (the soft one is raised to it at the start): LimitNOFILE= in the unit, ulimit -Hn in a shell"
	free := int(l.OpenFiles) - l.Reserved
	switch want := l.Connections*l.Loops + l.Pools; {
	case l.Connections > 0 && want > free:
		log.Warn(fmt.Sprintf("limits.connections does not fit: %d for each of %d loops, and pools of up to %d, are %d descriptors, and %d are to be had",
			l.Connections, l.Loops, l.Pools, want, max(free, 0)), "do", raise+", or lower limits.connections or pool.max_connections")
	case l.Connections == 0 && l.Pools > free/2:
		log.Warn(fmt.Sprintf("pools do not fit: they may take up to %d descriptors, and %d are to be had besides clients; each loop takes %d clients",
			l.Pools, max(free/2, 0), conns), "do", raise+", or lower pool.max_connections")
	case l.Connections == 0 && conns < fewConns:
		log.Warn(fmt.Sprintf("few clients: each loop takes %d connections", conns), "do", raise)
	}
}

// shortages tells the log what runs out: at once, then at a limited rate.
type shortages struct {
	s     *Server
	told  [shortageKinds]time.Time
	since [shortageKinds]uint64 // counted when it was spoken of last
}

const shortageKinds = 5

// remedies are what runs out and what to do about it, in the order of counts.
var remedies = [shortageKinds]struct{ what, do string }{
	{"file descriptors have run out", "raise the hard limit of open files (LimitNOFILE= in the unit, ulimit -Hn), or lower limits.connections and pool.max_connections"},
	{"local ports to an origin have run out", "widen net.ipv4.ip_local_port_range, set net.ipv4.tcp_tw_reuse to 1, keep more connections (pool.max_idle), or give the origin more addresses"},
	{"the kernel has no memory for sockets", "look at net.ipv4.tcp_mem and the memory limit of the service; zproxy tune shows both"},
	{"buffer memory is used up", "raise buffers.max_per_loop; requests that find none are answered 503"},
	{"clients beyond the limit of connections are reset", "raise limits.connections, or the hard limit of open files where it follows from that"},
}

func counts(r *proxy.Shortages) [shortageKinds]uint64 {
	return [shortageKinds]uint64{r.Files, r.Ports, r.Memory, r.Blocks, r.Connections}
}

func (h *shortages) look(now time.Time, reports []*proxy.Report) {
	var sum [shortageKinds]uint64
	for _, r := range reports {
		for kind, n := range counts(&r.Short) {
			sum[kind] += n
		}
	}
	for kind, n := range sum {
		if n == h.since[kind] || !h.told[kind].IsZero() && now.Sub(h.told[kind]) < shortageQuiet {
			continue
		}
		h.s.about("limits").Warn(remedies[kind].what, "times", n-h.since[kind], "times_since_start", n, "do", remedies[kind].do)
		h.told[kind], h.since[kind] = now, n
	}
}
