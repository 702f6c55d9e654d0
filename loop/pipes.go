package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	pipesMax     = 32       // of one loop
	pipeBytes    = 1 << 20  // what one should hold
	pipeBytesMin = 64 << 10 // and must: one that holds less is slower than blocks are
	pipesRestNs  = int64(1e9)
)

// PipeFDs is how many descriptors a loop may use for pipes.
const PipeFDs = 2 * pipesMax

// pipe is one of the kernel's, or what a World has instead.
type pipe struct{ r, w int32 }

// piping is what a backend needs for splices. None of it waits.
type piping interface {
	openPipe() (pipe, bool)
	closePipe(p pipe)
	// pull moves up to n bytes from c's socket into p, which is empty; 0 is the
	// end of what comes. push moves the n bytes that p has to c's socket.
	pull(c *conn, p pipe, n int) (int, unix.Errno)
	push(c *conn, p pipe, n int) (int, unix.Errno)
	// awaitRoom sets flagSendBusy, and when c's socket takes bytes again clears
	// it and calls l.drain.
	awaitRoom(id ConnID, c *conn)
}

// takePipe gives an empty pipe.
func (l *Loop) takePipe() (pipe, bool) {
	if !l.pipesLeft() {
		return pipe{}, false
	}
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p, true
	}
	p, ok := l.be.openPipe()
	if !ok {
		l.pipesRestUntil = l.nowNs + pipesRestNs
		return pipe{}, false
	}
	l.pipeCount++
	return p, true
}

// pipesLeft says that there are some, or may be more.
func (l *Loop) pipesLeft() bool {
	return l.nowNs >= l.pipesRestUntil && (len(l.pipes) > 0 || l.pipeCount < pipesMax)
}

// losePipe closes a pipe, whatever is in it.
func (l *Loop) losePipe(p pipe) {
	l.be.closePipe(p)
	l.pipeCount--
}

// trimPipes closes those that nobody uses.
func (l *Loop) trimPipes() {
	for _, p := range l.pipes {
		l.losePipe(p)
	}
	l.pipes = l.pipes[:0]
}

// kernelPipes is piping for backends that have a kernel, but for awaitRoom.
type kernelPipes struct{}

// openPipe makes a large pipe, or as large a one as there may be: an
// unprivileged user's pipes share a limit (/proc/sys/fs/pipe-user-pages-soft).
func (kernelPipes) openPipe() (pipe, bool) {
	var p pipe
	if _, _, e := unix.RawSyscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&p)), unix.O_NONBLOCK|unix.O_CLOEXEC, 0); e != 0 {
		return pipe{}, false
	}
	n, _, e := unix.RawSyscall(unix.SYS_FCNTL, uintptr(p.w), unix.F_SETPIPE_SZ, pipeBytes)
	if e != 0 {
		n, _, e = unix.RawSyscall(unix.SYS_FCNTL, uintptr(p.w), unix.F_GETPIPE_SZ, 0)
	}
	if e != 0 || n < pipeBytesMin {
		kernelPipes{}.closePipe(p)
		return pipe{}, false
	}
	return p, true
}

func (kernelPipes) closePipe(p pipe) {
	closeFD(p.r)
	closeFD(p.w)
}

func (kernelPipes) pull(c *conn, p pipe, n int) (int, unix.Errno) { return spliceFD(c.fd, p.w, n) }
func (kernelPipes) push(c *conn, p pipe, n int) (int, unix.Errno) { return spliceFD(p.r, c.fd, n) }

// spliceFD moves bytes between a socket and a pipe. The kernel raises SIGPIPE
// where sending would, whatever it is asked; Go's runtime ignores that.
func spliceFD(from, to int32, n int) (int, unix.Errno) {
	moved, _, e := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(moved), e
}
