package server

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/admin"
	"zproxy/loop"
	"zproxy/proxy"
)

var errDied = errors.New("the new process has died")

// standbyStep is how often it is looked at whether all is finished.
const standbyStep = 20 * time.Millisecond

// standBy finishes what is under way while the new process serves. Should that die meanwhile,
// this one serves again: until it ends itself it has all that it listened on, so nobody who
// connects is refused or reset.
func (u *upgrades) standBy(next *successor) {
	s := u.s
	says := make(chan message)
	go func() {
		defer close(says)
		for {
			var m message
			if next.decoder.Decode(&m) != nil {
				return
			}
			select {
			case says <- m:
			case <-s.over:
				return
			}
		}
	}()
	tick := time.NewTicker(standbyStep)
	defer tick.Stop()
	for {
		select {
		case m, alive := <-says:
			switch {
			case !alive && u.resume(next):
				return
			case !alive || m.Release:
				s.about("upgrade").Info("the new process needs nobody to stand by any more")
				u.endStandby(next)
				return
			}
		case <-s.stopping:
			u.endStandby(next)
			return
		case <-s.over: // a loop has failed
			u.endStandby(next)
			return
		case <-tick.C:
			if u.hasDrained() && u.pagesSent() && next.lives() {
				u.endStandby(next)
				return
			}
		}
	}
}

func (u *upgrades) hasDrained() bool {
	s := u.s
	for _, p := range s.peers {
		if !p.HasDrained() {
			return false
		}
	}
	return true
}

func (u *upgrades) pagesSent() bool {
	select {
	case <-u.pages:
		return true
	default:
		return false
	}
}

// lives says that the new process has not closed its end, without waiting.
func (n *successor) lives() bool {
	alive := false
	raw, err := n.conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		var one [1]byte
		got, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		alive = got > 0 || err == unix.EAGAIN
	})
	return alive
}

// endStandby gives up what this process listened on, and ends it when it has finished.
func (u *upgrades) endStandby(next *successor) {
	s := u.s
	s.changing.Lock()
	next.backup.close()
	s.changing.Unlock()
	s.Drain()
	next.conn.Close()
}

// resume serves again; false: the process ends.
func (u *upgrades) resume(next *successor) bool {
	s := u.s
	s.changing.Lock()
	defer s.changing.Unlock()
	if !s.state.CompareAndSwap(stateStandby, stateReady) {
		return false
	}
	next.conn.Close()
	<-next.ended
	b := next.backup
	s.about("upgrade").Error("the new process has died, this one serves again", "new_pid", next.process.Pid, "ended", next.how.String())
	u.fail(errDied)
	s.notifier.serving(statusLine(s))
	u.steerAgain(b)
	s.post(func(loop int) bool { return proxy.AskResume(s.peers[loop].Loop) })
	for i, l := range b.listeners {
		s.listening[l.Address] = b.fds[i]
		number := s.snap().Listener(i)
		for j, fd := range b.fds[i] {
			s.post1(j%len(s.peers), func(loop int) bool { return proxy.AskListen(s.peers[loop].Loop, fd, number) })
		}
	}
	s.sockets = b.files
	if b.admin >= 0 {
		u.readmitAdmin(b.admin)
	}
	go u.acceptAgain()
	if s.keeper() != nil {
		s.acme().Wait()
		s.acme().Start(answerer{s}, s.renewed)
	}
	return true
}

// steerAgain has the kernel choose among the loops of this process.
func (u *upgrades) steerAgain(b *backup) {
	s := u.s
	for i := range b.fds {
		if len(b.fds[i]) == 0 {
			continue
		}
		if err := loop.SteerAgain(b.fds[i], len(s.places), s.cpus()); err != nil {
			s.about("listener").Warn("new connections are not steered to loops", "address", b.listeners[i].Address, "error", err.Error())
		}
	}
}

// releaseAdmin stops answering at the admin address, where another process answers by now.
func (u *upgrades) releaseAdmin() {
	s := u.s
	a := s.admin
	s.admin, u.pages = nil, make(chan struct{})
	if a == nil {
		close(u.pages)
		return
	}
	go func() {
		defer close(u.pages)
		within, cancel := context.WithTimeout(context.Background(), adminEnd)
		defer cancel()
		_ = a.Release(within) // who has asked for a page and does not take it is cut off
	}()
}

// readmitAdmin answers at the admin address again; fd is its listening socket.
func (u *upgrades) readmitAdmin(fd int) {
	s := u.s
	f := os.NewFile(uintptr(fd), "admin")
	defer f.Close()
	l, err := net.FileListener(f)
	if err == nil {
		s.admin, err = admin.ServeOn(l, s.cfg().Admin.Address, source{s}, s.about("admin"))
	}
	if err != nil {
		s.about("admin").Error("there are no pages any more", "error", err.Error())
	}
}

// The kernel takes down the rings of a process that was killed in the background; until then it may
// wake them for connections that nobody else hears of.
const (
	acceptAgainStep = 100 * time.Millisecond
	acceptAgainTime = 10 * time.Second
)

// acceptAgain has loops look for such connections, after the end of another process.
func (u *upgrades) acceptAgain() {
	tick := time.NewTicker(acceptAgainStep)
	defer tick.Stop()
	for until := time.Now().Add(acceptAgainTime); time.Now().Before(until); {
		select {
		case <-tick.C:
			u.s.post(func(loop int) bool { return proxy.AskAccept(u.s.peers[loop].Loop) })
		case <-u.s.over:
			return
		}
	}
}
