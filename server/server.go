package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/admin"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/numa"
	"zproxy/proxy"
	"zproxy/upstream/resolve"
	"zproxy/variables"
)

// Options are what the command line adds to a configuration.
type Options struct {
	Log     *slog.Logger // see NewLog
	Version string
}

// Server is a running proxy.
type Server struct {
	cfg      *config.Config
	opt      Options
	log      *slog.Logger
	snap     *proxy.Snapshot
	places   []place
	peers    []*proxy.Neighbour
	workers  []*workerThread
	access   *accesslog.Logger
	admin    *admin.Server
	resolver *resolve.Resolver
	watcher  *watcher
	keeper   *keeper
	sockets  []loop.SocketFile
	started  time.Time

	state   atomic.Int32 // of states
	running sync.WaitGroup
	failed  chan error
}

const (
	stateStarting int32 = iota
	stateReady
	stateDraining
)

// Start brings everything up. When it returns without error the listeners
// accept. On error everything opened has been closed again.
func Start(cfg *config.Config, opt Options) (*Server, error) {
	s := &Server{
		cfg: cfg, opt: opt, started: time.Now(),
		log:    opt.Log,
		failed: make(chan error, 1),
	}
	s.about("process").Info("starting", "version", opt.Version, "config", cfg.File, "pid", os.Getpid())
	s.forbidDumps()
	if err := s.start(); err != nil {
		s.stopHelpers()
		s.ended(proxy.CutOff{}, err)
		return nil, err
	}
	return s, nil
}

func (s *Server) start() error {
	t, err := numa.Detect()
	if err != nil {
		return fmt.Errorf("reading the CPU topology: %w", err)
	}
	if s.places, err = places(s.cfg.Loops, t); err != nil {
		return fmt.Errorf("%s: %w", s.cfg.File, err)
	}
	n := len(s.places)
	// Each loop holds a thread for good; collector, admin and resolver need
	// some to run on beside them.
	runtime.GOMAXPROCS(n + max(2, n/8))
	if s.snap, err = proxy.Compile(s.cfg, n, nearest(s.places, t)); err != nil {
		return err
	}
	fds, err := s.openListeners()
	if err != nil {
		return err
	}
	if err := s.openAccessLog(); err != nil {
		closeAll(fds)
		return err
	}
	s.resolver = resolve.Start(s.snap.Clusters(), resolve.Config{Interval: s.cfg.DNS.Interval, Report: s.reportName})
	if err := s.startWorkers(fds); err != nil {
		closeAll(fds)
		return err
	}
	if s.cfg.Admin.Address != "" {
		err := s.whenFree(s.cfg.Admin.Address, func() error {
			file, err := fileAccess(&s.cfg.Admin.File)
			if err == nil {
				s.admin, err = admin.Serve(s.cfg.Admin.Address, file, source{s}, s.about("admin"))
			}
			return err
		})
		if err != nil {
			s.Drain()
			s.running.Wait()
			return err
		}
	}
	s.watcher, s.keeper = s.watch(), s.keep()
	s.state.Store(stateReady)
	// What parsing and starting left behind goes back to the kernel now.
	debug.FreeOSMemory()
	s.announce()
	return nil
}

// openListeners opens every listener once per loop: fds[listener][loop].
func (s *Server) openListeners() (fds [][]int, err error) {
	cpus := make([]int, len(s.places))
	for i, p := range s.places {
		cpus[i] = p.cpu
	}
	for i := range s.cfg.Listeners {
		l := &s.cfg.Listeners[i]
		var set []int
		err := s.whenFree(l.Address, func() (err error) {
			o := proxy.SockOpts(&l.Socket)
			if o.File, err = fileAccess(&l.Socket.File); err == nil {
				set, err = loop.OpenListeners(l.Address, len(cpus), cpus, o)
			}
			return err
		})
		if err == nil {
			err = s.noteSocket(l.Address)
		}
		if err != nil {
			closeAll(fds)
			return nil, fmt.Errorf("%s:%d: listener %s: %w%s", s.cfg.File, l.Line, l.Address, err, listenHint(err))
		}
		fds = append(fds, set)
	}
	return fds, nil
}

func listenHint(err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return " (another process listens there: `ss -ltnp` names it)"
	case errors.Is(err, unix.EACCES):
		return " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return " (no interface of this machine has that address: `ip addr` lists them)"
	}
	return ""
}

func closeAll(fds [][]int) {
	for _, set := range fds {
		for _, fd := range set {
			unix.Close(fd)
		}
	}
}

func (s *Server) openAccessLog() error {
	a := &s.cfg.AccessLog
	if a.Path == "" {
		return nil
	}
	o := accesslog.Options{
		Path: a.Path, BufferBytes: int(a.BufferBytes), Flush: a.Flush,
		Loops: len(s.places), Report: func(msg string) { s.about("access_log").Warn(msg) },
	}
	switch a.Format {
	case "json":
	case "combined":
		o.Format = accesslog.Combined
	default:
		layout, wrong := variables.ParseLog(a.Format)
		if wrong != nil { // which config has found
			return wrong
		}
		o.Format, o.Layout = accesslog.Custom, layout
	}
	var err error
	s.access, err = accesslog.Open(o)
	return err
}

func (s *Server) reportName(host string, addrs []netip.Addr, err error) {
	switch {
	case err != nil:
		s.about("dns").Warn("name does not resolve", "name", host, "error", err.Error())
	default:
		s.about("dns").Info("name resolves", "name", host, "addresses", fmt.Sprint(addrs))
	}
}

// announce says what was really got, loop by loop.
func (s *Server) announce() {
	for _, w := range s.workers {
		s.about("loop").Info("loop runs", w.description...)
	}
	s.weigh()
	for i := range s.cfg.Listeners {
		s.about("listener").Info("listening", "address", s.cfg.Listeners[i].Address)
	}
	if s.admin != nil {
		s.about("admin").Info("listening", "address", s.admin.Addr().String(), "pages", "/metrics /healthz /readyz /status")
	}
	for _, w := range s.cfg.Warnings {
		s.about("config").Warn(strings.TrimSpace(w.Error()))
	}
	s.about("process").Info("ready", "loops", len(s.places), "listeners", len(s.cfg.Listeners), "upstreams", len(s.cfg.Upstreams), "routes", len(s.cfg.Routes))
}

// Drain makes every loop stop accepting and finish what is under way within
// the configured grace. It returns at once; Wait returns when all have ended.
func (s *Server) Drain() {
	if s.state.Swap(stateDraining) == stateDraining {
		return
	}
	if s.access != nil {
		s.access.EndBy(time.Now().Add(s.cfg.Shutdown.Grace))
	}
	for _, p := range s.peers {
		for !proxy.AskDrain(p.Loop) {
			time.Sleep(time.Millisecond) // its mailbox is full for the moment
		}
	}
}

// Wait returns when all loops have ended: nil after Drain, otherwise the
// error of the first that could not go on.
func (s *Server) Wait() error {
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	var err error
	select {
	case err = <-s.failed:
	case <-done:
		select {
		case err = <-s.failed:
		default:
		}
	}
	s.stopHelpers()
	var cut proxy.CutOff
	for _, w := range s.workers {
		cut.Connections += w.cut.Connections
		cut.Streams += w.cut.Streams
		cut.Requests += w.cut.Requests
	}
	s.ended(cut, err)
	return err
}

// EndNow writes what an end of the process in this moment cuts off.
func (s *Server) EndNow() {
	var cut proxy.CutOff
	reports, err := s.reportsWithin(endTimeout)
	for _, r := range reports {
		cut.Connections += r.UnderWay.Connections
		cut.Streams += r.UnderWay.Streams
		cut.Requests += r.UnderWay.Requests
	}
	s.ended(cut, err)
}

// ReopenLog makes the access log go on in a new file of the same name.
func (s *Server) ReopenLog() error {
	if s.access == nil {
		return nil
	}
	return s.access.Reopen()
}

func (s *Server) stopHelpers() {
	if s.watcher != nil {
		s.watcher.close()
	}
	if s.keeper != nil {
		s.keeper.close()
	}
	if s.resolver != nil {
		s.resolver.Stop()
	}
	if s.admin != nil {
		s.admin.Close()
	}
	if s.access != nil {
		if err := s.access.Close(); err != nil {
			s.about("access_log").Warn(err.Error(), "lost_records", s.access.Stats().DroppedRecords)
		}
	}
	s.removeSockets()
}
