//go:build giouring

package loop

import "golang.org/x/sys/unix"

// State of a listener, in listener.io.
const (
	urListening   uint32 = 1 << iota // a multishot accept is in the ring
	urListenEnds                     // its cancellation is, too
	urListenWant                     // acceptOn
	urListenClose                    // acceptStop
)

func (u *uring) acceptOn(ln *listener) {
	ln.io |= urListenWant
	if ln.io&urListening == 0 {
		u.listen(ln)
	}
}

func (u *uring) acceptOff(ln *listener) {
	ln.io &^= urListenWant
	u.unlisten(ln)
}

func (u *uring) acceptStop(ln *listener) {
	ln.io = ln.io&^urListenWant | urListenClose
	if ln.io&urListening == 0 {
		u.closeListener(ln)
		return
	}
	u.unlisten(ln)
}

func listenerData(ln *listener) userData { return packUserData(urAccept, uint32(ln.index), 0) }

func (u *uring) listen(ln *listener) {
	prepAccept(u.sqe(), ln.fd, listenerData(ln))
	u.inflight++
	ln.io = ln.io&^urListenEnds | urListening
}

func (u *uring) unlisten(ln *listener) {
	if ln.io&(urListening|urListenEnds) == urListening {
		prepCancel(u.sqe(), listenerData(ln))
		ln.io |= urListenEnds
	}
}

// acceptComplete is told of a connection, or of the end of the accept.
func (u *uring) acceptComplete(ln *listener, res int32, cflags uint32) {
	if res >= 0 {
		u.l.accepted(ln, res, kernelPeer(res))
	} else if errno := unix.Errno(-res); errno != unix.ECANCELED {
		u.l.acceptFailed(errno)
	}
	if cflags&cqeMore != 0 {
		return
	}
	ln.io &^= urListening | urListenEnds
	switch {
	case ln.io&urListenClose != 0:
		u.closeListener(ln)
	case ln.io&urListenWant != 0:
		u.listen(ln) // when the core wants a rest instead, it calls acceptOff
	}
}

func (u *uring) refuse(fd int32) { abortFD(fd) }

// closeListener ends ln. Connections that were complete before are accepted:
// closing the socket would reset them.
func (u *uring) closeListener(ln *listener) {
	for {
		fd, _, err := unix.Accept4(int(ln.fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			break
		}
		u.l.accepted(ln, int32(fd), kernelPeer(int32(fd)))
	}
	closeFD(ln.fd)
	u.l.acceptStopped(ln)
}
