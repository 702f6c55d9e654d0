package server

import (
	"context"
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
	"zproxy/proxy/snapshot"
	"zproxy/server/acme"
	"zproxy/upstream/resolve"
	"zproxy/variables"
)

// Options are what the command line adds to a configuration.
type Options struct {
	Log     *slog.Logger // see NewLog
	Version string
	Builtin bool // the configuration is from no file that could be read again
	Watch   bool // reload it when the file has changed

	Inherited *Inheritance // nil: no process is to be taken over from
}

// Server is a running proxy.
type Server struct {
	opt       Options
	log       *slog.Logger
	serves    atomic.Pointer[serving]
	registry  *snapshot.Registry
	reloads   reloads
	changing  sync.Mutex // held by who changes what a reload changes: resolver, sockets, serves
	places    []place
	peers     []*proxy.Neighbour
	workers   []*workerThread
	admin     *admin.Server
	resolver  *resolve.Resolver
	checks    *checks
	discovery *discovery
	renewals  *renewals
	watcher   *watcher
	learner   *learner
	sockets   []loop.SocketFile
	domain    *domain // that it is in, and never leaves
	// listening are the descriptors of each listener, by its address, in the order of their group. They
	// are the loops'.
	listening map[string][]int
	upgrades  upgrades
	hand      hand
	tracing   sync.Mutex // held while a trace is taken
	notifier  notifier
	started   time.Time

	state   atomic.Int32 // of states
	running sync.WaitGroup
	failed  chan error
	over    chan struct{} // closed when loops take no mail any more

	stopping chan struct{} // closed by Stop
	stopOnce sync.Once
}

const (
	stateStarting int32 = iota
	stateReady
	stateLeaving // as ready, and says that it is not
	stateStandby // another process serves, see standBy
	stateDraining
)

// Start brings everything up. When it returns without error the listeners
// accept. On error everything opened has been closed again.
func Start(cfg *config.Config, opt Options) (*Server, error) {
	s := &Server{
		opt: opt, started: time.Now(),
		log:    opt.Log,
		failed: make(chan error, 1), over: make(chan struct{}), stopping: make(chan struct{}),
		listening: map[string][]int{},
	}
	s.upgrades.s, s.notifier = s, newNotifier()
	s.serves.Store(&serving{cfg: cfg})
	s.about("process").Info("starting", "version", opt.Version, "config", cfg.File, "pid", os.Getpid())
	s.forbidDumps(cfg)
	s.hand.inherit(s, cfg)
	s.changing.Lock() // the admin address is there before all is: who asks for a change waits
	err := s.start()
	s.changing.Unlock()
	if err != nil {
		s.stopHelpers()
		s.ended(proxy.CutOff{}, err)
		return nil, err
	}
	s.takenOver()
	s.notifier.serving(statusLine(s))
	return s, nil
}

func (s *Server) start() error {
	t, err := numa.Detect()
	if err != nil {
		return fmt.Errorf("reading the CPU topology: %w", err)
	}
	if s.places, err = places(s.cfg().Loops, t); err != nil {
		return fmt.Errorf("%s: %w", s.cfg().File, err)
	}
	n := len(s.places)
	// Each loop holds a thread for good; collector, admin and resolver need
	// some to run on beside them.
	runtime.GOMAXPROCS(n + max(2, n/8))
	first := &serving{cfg: s.cfg(), acme: openACME(s, s.cfg()), looks: s.opt.looksOf(s.cfg(), looks([]string{s.cfg().File}))}
	s.registry = snapshot.NewRegistry(n, nearest(s.places, t))
	s.learnFirst(first.cfg)
	s.discovery = newDiscovery(s)
	first.found = s.discovery.plan(first.cfg)
	if err = compileFirst(s, first); err != nil {
		return err
	}
	s.discovery.Use(first.found, first.snap.Upstreams())
	s.opt.Inherited.give(first.snap)
	fds, err := s.openListeners()
	if err != nil {
		return err
	}
	// Root may look at all directories that are to be left, the user perhaps not.
	if s.domain, err = confine(first.cfg, s.opt.Inherited, s.about("landlock")); err == nil {
		err = dropPrivileges(first.cfg)
	}
	if err != nil {
		closeAll(fds)
		return fmt.Errorf("%s: %w", first.cfg.File, err)
	}
	if first.access, err = s.openAccessLog(first.cfg); err != nil {
		closeAll(fds)
		return err
	}
	s.serves.Store(first)
	s.resolver = resolve.Start(s.snap().Resolved(), resolve.Config{Interval: s.cfg().DNS.Interval, Report: s.reportName})
	s.checks = newChecks(s)
	s.checks.serve(first)
	if err := s.startWorkers(fds); err != nil {
		closeAll(fds)
		return err
	}
	if s.admin, err = s.serveAdmin(first.cfg); err != nil {
		s.Drain()
		s.running.Wait()
		return err
	}
	s.watcher = s.watch()
	s.learner = s.learn()
	s.renewals = startRenewals(s.snap(), s.over)
	go s.discovery.run()
	with := *first
	if with.keeper = s.keep(first, nil); with.keeper != nil {
		s.serves.Store(&with)
		with.acme.Start(answerer{s}, s.renewed)
	}
	s.state.Store(stateReady)
	if s.opt.Watch {
		go new(fileWatch).run(s)
	}
	go s.lookAtFilters()
	// What parsing and starting left behind goes back to the kernel now.
	debug.FreeOSMemory()
	s.announce()
	return nil
}

func openACME(s *Server, c *config.Config) *acme.Manager {
	return acme.Open(acme.Config{Listeners: c.Listeners, Path: c.Path, Log: s.about("acme"), UserAgent: "zproxy/" + s.opt.Version})
}

// serveAdmin gives nil where no address is configured.
func (s *Server) serveAdmin(c *config.Config) (server *admin.Server, err error) {
	if c.Admin.Address == "" {
		return nil, nil
	}
	err = s.whenFree(c.Admin.Address, func() error {
		file, err := fileAccess(&c.Admin.File)
		if err == nil {
			server, err = s.answerAt(c.Admin.Address, file)
		}
		return err
	})
	return server, err
}

// openListeners opens every listener once per loop: fds[listener][loop].
func (s *Server) openListeners() (fds [][]int, err error) {
	for i := range s.cfg().Listeners {
		set, err := s.openListener(s.cfg(), &s.cfg().Listeners[i])
		if err != nil {
			closeAll(fds)
			return nil, err
		}
		fds = append(fds, set)
	}
	return fds, nil
}

// openListener opens one, at least once per loop: the loops take turns with what there is.
func (s *Server) openListener(c *config.Config, l *config.Listener) (fds []int, err error) {
	given := s.opt.Inherited.take(l.Address)
	err = s.whenFree(l.Address, func() (err error) {
		o := snapshot.SockOpts(&l.Socket)
		if o.File, err = fileAccess(&l.Socket.File); err == nil {
			if len(given) > 0 {
				fds, err = loop.AdoptListeners(l.Address, given, len(s.places), s.cpus(), o)
			} else {
				fds, err = loop.OpenListeners(l.Address, len(s.places), s.cpus(), o)
			}
		}
		return err
	})
	if err == nil {
		err = s.noteSocket(l.Address)
	}
	if err != nil {
		closeAll([][]int{fds})
		return nil, fmt.Errorf("%s:%d: listener %s: %w%s", c.File, l.Line, l.Address, err, listenHint(err))
	}
	s.listening[l.Address] = fds
	return fds, nil
}

// cpus are those of the loops.
func (s *Server) cpus() []int {
	cpus := make([]int, len(s.places))
	for i, p := range s.places {
		cpus[i] = p.cpu
	}
	return cpus
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

// openAccessLog gives nil where there is to be none.
func (s *Server) openAccessLog(c *config.Config) (*accesslog.Logger, error) {
	a := &c.AccessLog
	if a.Path == "" {
		return nil, nil
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
			return nil, wrong
		}
		o.Format, o.Layout = accesslog.Custom, layout
	}
	return accesslog.Open(o)
}

func closeAccessLog(s *Server, a *accesslog.Logger) {
	if err := a.Close(); err != nil {
		s.about("access_log").Warn(err.Error(), "lost_records", a.Stats().DroppedRecords)
	}
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
	for i := range s.cfg().Listeners {
		s.about("listener").Info("listening", "address", s.cfg().Listeners[i].Address)
	}
	if s.admin != nil {
		s.about("admin").Info("listening", "address", s.admin.Addr().String(), "pages", "/metrics /healthz /readyz /status")
	}
	for _, w := range s.cfg().Warnings {
		s.about("config").Warn(strings.TrimSpace(w.Error()))
	}
	s.about("process").Info("ready", "loops", len(s.places), "listeners", len(s.cfg().Listeners), "upstreams", len(s.cfg().Upstreams), "routes", len(s.cfg().Routes))
}

// Stop ends the process in order: it is no longer ready from now on, and drains when
// shutdown.delay is over. It returns at once; Wait returns when all has ended.
func (s *Server) Stop() {
	s.opt.Inherited.release()
	s.stopOnce.Do(func() { close(s.stopping) })
	if !s.state.CompareAndSwap(stateReady, stateLeaving) {
		return
	}
	delay := s.cfg().Shutdown.Delay
	s.notifier.stopping()
	if delay > 0 {
		s.about("process").Info("not ready any more, listeners close later", "delay", delay.String())
	}
	time.AfterFunc(delay, s.Drain)
}

// Drain makes every loop stop accepting and finish what is under way within
// the configured grace. It returns at once; Wait returns when all have ended.
func (s *Server) Drain() {
	if s.state.Swap(stateDraining) == stateDraining {
		return
	}
	serves := s.serves.Load()
	if serves.acme != nil {
		serves.acme.Stop()
	}
	if serves.access != nil {
		serves.access.EndBy(time.Now().Add(serves.cfg.Shutdown.Grace))
	}
	for _, p := range s.peers {
		for !proxy.AskDrain(p.Loop) {
			time.Sleep(time.Millisecond) // its mailbox is full for the moment
		}
	}
	go s.freeAdmin()
}

// freeAdmin closes the admin address, so that a process that comes after this one has it.
func (s *Server) freeAdmin() {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.admin == nil {
		return
	}
	within, cancel := context.WithTimeout(context.Background(), adminEnd)
	defer cancel()
	if err := s.admin.Shutdown(within); err != nil {
		s.about("admin").Warn("closing", "error", err.Error())
	}
}

// adminEnd is how long pages under way may take once the admin address has closed.
const adminEnd = 2 * time.Second

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
	close(s.over)
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
	a := s.access()
	if a == nil {
		return nil
	}
	return a.Reopen()
}

func (s *Server) stopHelpers() {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.watcher != nil {
		s.watcher.close()
	}
	if a := s.acme(); a != nil {
		a.Stop()
		a.Wait()
	}
	if s.learner != nil {
		s.learner.close()
	}
	if k := s.keeper(); k != nil {
		k.close()
	}
	if s.resolver != nil {
		s.resolver.Stop()
	}
	if s.checks != nil {
		s.checks.Stop()
	}
	if s.discovery != nil {
		s.discovery.Stop()
	}
	if s.admin != nil {
		s.admin.Close()
	}
	if a := s.access(); a != nil {
		closeAccessLog(s, a)
	}
	s.removeSockets()
}
