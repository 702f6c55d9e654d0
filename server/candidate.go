package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"zproxy/admin"
	"zproxy/config"
	"zproxy/proxy"
	"zproxy/proxy/snapshot"
	"zproxy/upstream/resolve"
)

// candidate is what is to take the place of what is in force, with all that was opened for it.
type candidate struct {
	*serving
	s        *Server
	opened   map[int][]int // descriptors of listeners that are new, by place in the configuration and loop
	admin    *admin.Server // nil: there is none, or it stays
	settings []*proxy.Settings
	undo     []func()
}

// abandon takes back all that was done for it.
func (n *candidate) abandon() {
	for _, f := range slices.Backward(n.undo) {
		f()
	}
}

// prepare does all that can fail. After an error nothing has changed.
func prepare(s *Server, now *serving, cfg *config.Config) (*candidate, error) {
	n := &candidate{serving: &serving{cfg: cfg, access: now.access, acme: now.acme}, s: s, opened: map[int][]int{}}
	for _, step := range []func(now *serving) error{n.discover, n.compile, n.openListeners, n.giveFiles, n.serveAdmin, n.makeSettings} {
		if err := step(now); err != nil {
			n.abandon()
			return nil, err
		}
	}
	return n, nil
}

// discover finds endpoints for what is new.
func (n *candidate) discover(*serving) error {
	n.found = n.s.discovery.plan(n.cfg)
	n.undo = append(n.undo, n.found.Abandon)
	return nil
}

func (n *candidate) compile(now *serving) (err error) {
	s := n.s
	// What the learner makes has the very same listeners.
	if &n.cfg.Listeners[0] != &now.cfg.Listeners[0] && !now.acme.Takes(n.cfg.Listeners) {
		n.acme = openACME(s, n.cfg)
	}
	if n.snap, err = s.registry.Compile(n.cfg); err != nil {
		return err
	}
	n.undo = append(n.undo, func() { s.registry.Abandon(n.snap) })
	n.found.Fill(n.snap.Upstreams())
	for _, c := range n.snap.Credentials() {
		for _, before := range now.snap.Credentials() {
			if before.Listener.Address == c.Listener.Address && before.Store != c.Store {
				if err := worse(before.Store.Set(), c.Store.Set(), time.Now()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (n *candidate) openListeners(now *serving) error {
	s := n.s
	for i := range n.cfg.Listeners {
		l := &n.cfg.Listeners[i]
		if listenerAt(now.cfg, l.Address) != nil {
			continue
		}
		fds, err := s.openListener(n.cfg, l)
		if err != nil {
			return err
		}
		n.opened[i] = fds
		n.undo = append(n.undo, func() {
			closeAll([][]int{fds})
			s.forgetSocket(l.Address)
		})
	}
	return nil
}

// giveFiles gives the files of unix sockets that stay to whom they are to belong.
func (n *candidate) giveFiles(now *serving) error {
	give := func(address string, was, is *config.SocketFile) error {
		path, ok := strings.CutPrefix(address, "unix:")
		if !ok || path[0] == '@' || config.Same(was, is) {
			return nil
		}
		for _, f := range []*config.SocketFile{was, is} {
			to, err := fileAccess(f)
			switch {
			case err != nil:
				return err
			case f == was:
				n.undo = append(n.undo, func() { _ = to.Give(path) })
			default:
				if err := to.Give(path); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for i := range n.cfg.Listeners {
		l := &n.cfg.Listeners[i]
		if old := listenerAt(now.cfg, l.Address); old != nil {
			if err := give(l.Address, &old.Socket.File, &l.Socket.File); err != nil {
				return fmt.Errorf("%s:%d: listener %s: %w", n.cfg.File, l.Line, l.Address, err)
			}
		}
	}
	if now.cfg.Admin.Address == n.cfg.Admin.Address {
		return give(n.cfg.Admin.Address, &now.cfg.Admin.File, &n.cfg.Admin.File)
	}
	return nil
}

func (n *candidate) serveAdmin(now *serving) (err error) {
	if n.gate, err = gateOf(n.cfg); err != nil {
		return err
	}
	if now.cfg.Admin.Address == n.cfg.Admin.Address {
		return nil
	}
	if n.admin, err = n.s.serveAdmin(n.cfg); err == nil && n.admin != nil {
		n.undo = append(n.undo, func() { n.admin.Close() })
	}
	return err
}

// makeSettings opens the access log, and says what the loops are to be told.
func (n *candidate) makeSettings(now *serving) (err error) {
	s := n.s
	if !config.Same(now.cfg.AccessLog, n.cfg.AccessLog) {
		if n.access, err = s.openAccessLog(n.cfg); err != nil {
			return err
		}
		n.undo = append(n.undo, func() {
			if n.access != nil {
				closeAccessLog(s, n.access)
			}
		})
	}
	all := proxy.Settings{Conns: s.limitsOf(n.cfg).maxConns()}
	if !config.Same(now.cfg.BatchWait, n.cfg.BatchWait) {
		all.Batch = new(proxy.BatchWait)
		all.Batch.Most, all.Batch.Always = batchWait(n.cfg)
	}
	for i := range n.cfg.Listeners {
		l := &n.cfg.Listeners[i]
		if old := listenerAt(now.cfg, l.Address); old != nil && !config.Same(old.Socket, l.Socket) {
			o := snapshot.SockOpts(&l.Socket)
			if err := o.Try(l.Address); err != nil {
				return fmt.Errorf("%s:%d: listener %s: %w", n.cfg.File, l.Line, l.Address, err)
			}
			all.Sockets = append(all.Sockets, proxy.ListenerOptions{Listener: n.snap.Listener(i), Options: o})
		}
	}
	for _, w := range s.workers {
		own := all
		own.Log = w.log
		if n.access != now.access {
			own.Log = nil
			if n.access != nil {
				own.Log = n.access.NewBuffer(&w.metrics.AccessLogDropped)
			}
		}
		n.settings = append(n.settings, &own)
	}
	return nil
}

// enforce puts n in the place of what is in force. It fails only where the process ends.
func (n *candidate) enforce(now *serving) error {
	s := n.s
	s.forbidDumps(n.cfg)
	useLog(s, &now.cfg.Log, &n.cfg.Log)
	// Names are looked up before a request may ask for them.
	resolver := resolve.Start(n.snap.Resolved(), resolve.Config{Interval: n.cfg.DNS.Interval, Report: s.reportName})
	s.resolver.Stop()
	s.resolver = resolver
	if now.keeper != nil {
		now.keeper.close()
	}
	s.discovery.Use(n.found, n.snap.Upstreams())
	n.keeper = s.keep(n.serving, now.keeper)
	s.serves.Store(n.serving)
	s.checks.serve(n.serving)
	s.renewals.use(n.snap)
	s.renewed() // the old keeper may have been told of certificates that n.snap lacks
	ok := n.tellLoops(now)
	if n.acme != now.acme {
		now.acme.Stop()
		now.acme.Wait()
		if n.keeper != nil {
			n.acme.Start(answerer{s}, s.renewed)
		}
	}
	if n.access != now.access && now.access != nil {
		closeAccessLog(s, now.access)
	}
	if now.cfg.Admin.Address != n.cfg.Admin.Address {
		if s.admin != nil {
			go s.admin.Leave()
		}
		s.admin = n.admin
	}
	if !ok {
		return errEnding
	}
	_ = s.ReadCertificates() // what was kept of handshakes may be older than the files; the log says what is wrong
	return nil
}

// tellLoops has all loops serve by n, and returns when they do. All are told to adopt it
// before one of them accepts on what is new: who accepts may hand over to any other. False:
// the process ends.
func (n *candidate) tellLoops(now *serving) bool {
	s := n.s
	ok := s.post(func(loop int) bool { return proxy.AskAdopt(s.peers[loop].Loop, n.snap) })
	for loop, w := range s.workers {
		w.log = n.settings[loop].Log
	}
	ok = ok && s.post(func(loop int) bool { return proxy.AskSet(s.peers[loop].Loop, n.settings[loop]) })
	for i, fds := range n.opened {
		ok = ok && s.post(func(loop int) bool { return proxy.AskListen(s.peers[loop].Loop, fds[loop], n.snap.Listener(i)) })
	}
	for i := range now.cfg.Listeners {
		if l := &now.cfg.Listeners[i]; listenerAt(n.cfg, l.Address) == nil {
			ok = ok && s.post(func(loop int) bool { return proxy.AskUnlisten(s.peers[loop].Loop, now.snap.Listener(i)) })
			s.forgetSocket(l.Address)
			s.about("listener").Info("no longer listening", "address", l.Address)
		}
	}
	if ok = ok && s.caughtUp(); !ok {
		return false
	}
	for i := range n.opened {
		s.about("listener").Info("listening", "address", n.cfg.Listeners[i].Address)
	}
	for loop, settings := range n.settings {
		for _, err := range settings.Failed {
			s.about("listener").Warn("socket option is not set", "loop", loop, "error", err.Error())
		}
	}
	return true
}

// listenerAt is the listener with that address, nil: none.
func listenerAt(c *config.Config, address string) *config.Listener {
	for i := range c.Listeners {
		if c.Listeners[i].Address == address {
			return &c.Listeners[i]
		}
	}
	return nil
}
