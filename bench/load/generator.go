package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// plan is what to send.
type plan struct {
	addr        netip.AddrPort
	path        string
	rate        float64 // 0: the next request as soon as there is an answer
	origin      netip.AddrPort
	size        int // of the origin's answers
	connections int
	closing     bool      // a new connection for each request
	pipeline    int       // requests in one write; 0: one
	upload      int       // bytes of a request's body; 0: it has none
	loops       int       // of a zproxy on the loopback interface; 0: no matter which
	steered     int       // the one of them that is to have the connections
	hold        io.Reader // connect only when this has ended; nil: at once
	duration    time.Duration
	warmUp      time.Duration
	patience    time.Duration
}

// conn is one connection; it has the requests of one write at a time.
type conn struct {
	fd      int           // -1: none yet, which is for the next request to change
	due     time.Duration // when its request was, from the start
	freed   time.Duration // when it was idle again
	unsent  []byte        // of what it sends
	pending int           // answers that have not come
	ending  bool          // the answer is there, and the server is to close
	watched bool          // for room to send, too
	answer  answer
}

type generator struct {
	*plan
	request  []byte
	epoll    int
	timer    int
	start    time.Time
	conns    map[int]*conn
	idle     queue   // first in, first out, so that all are used
	own      *origin // nil: somebody else's
	waiting  int     // connections that are still to be made
	sent     int64
	total    int64 // to send; only with a rate
	answered int64
	errors   int64
	times    *hdrhistogram.Histogram // ns
	late     *hdrhistogram.Histogram // ns from when a request could have been sent until it was
	buffer   [64 << 10]byte
}

// queue is a ring of connections.
type queue struct {
	ring        []*conn
	first, size int
}

func (q *queue) push(c *conn) {
	q.ring[(q.first+q.size)%len(q.ring)] = c
	q.size++
}

func (q *queue) pop() *conn {
	c := q.ring[q.first]
	q.first = (q.first + 1) % len(q.ring)
	q.size--
	return c
}

// remove takes c out, wherever it is.
func (q *queue) remove(c *conn) {
	for range q.size {
		if other := q.pop(); other != c {
			q.push(other)
		}
	}
}

// longest is the longest time that is told apart from longer ones.
const longest = 5 * time.Minute

func (p *plan) run() (*Result, error) {
	g := &generator{plan: p, conns: map[int]*conn{}, times: hdrhistogram.New(100, int64(longest), 3), late: hdrhistogram.New(100, int64(longest), 3),
		idle: queue{ring: make([]*conn, p.connections)}, request: p.message()}
	defer g.close()
	if p.hold != nil {
		io.Copy(io.Discard, p.hold)
	}
	if err := g.open(); err != nil {
		return nil, err
	}
	g.total = int64(p.rate * p.duration.Seconds())
	g.start = time.Now()
	if err := g.loop(); err != nil {
		return nil, err
	}
	all := g.total
	if p.rate == 0 {
		all = g.sent
	}
	r := &Result{Rate: p.rate, Requests: g.answered, Errors: g.errors, Unanswered: all - g.answered - g.errors, Seconds: time.Since(g.start).Seconds()}
	r.quantiles(g.times)
	r.LateP99Micros, r.LateMaxMicros = float64(g.late.ValueAtQuantile(99))/1e3, float64(g.late.Max())/1e3
	return r, nil
}

// message is what is sent at a time.
func (p *plan) message() []byte {
	method, more := "GET", ""
	if p.upload > 0 {
		method, more = "POST", fmt.Sprintf("Content-Length: %d\r\n", p.upload)
	}
	if p.closing {
		more += "Connection: close\r\n"
	}
	one := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, p.path, p.addr, more)
	one = append(one, bytes.Repeat([]byte("x"), p.upload)...)
	return bytes.Repeat(one, p.batch())
}

// batch is how many requests are sent at a time.
func (p *plan) batch() int { return max(1, p.pipeline) }

func (g *generator) open() (err error) {
	if g.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if g.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	if err := g.watch(g.timer); err != nil {
		return err
	}
	if g.origin.IsValid() {
		if g.own, err = listenAt(g.origin, g.size, g.watch); err != nil {
			return err
		}
	}
	began := time.Now()
	for i := range g.connections {
		if g.closing {
			g.idle.push(&conn{fd: -1})
			g.waiting++
			continue
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		c := &conn{fd: fd}
		g.conns[fd] = c
		if g.loops > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i) * connectEvery)))
			if err := bindFor(fd, g.steered, g.loops); err != nil {
				return fmt.Errorf("choosing a port: %w", err)
			}
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(g.addr.Port()), Addr: g.addr.Addr().As4()}); err != nil {
			return fmt.Errorf("connecting to %s: %w", g.addr, err)
		}
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if err := errors.Join(unix.SetNonblock(fd, true), g.watch(fd)); err != nil {
			return err
		}
		g.idle.push(c)
	}
	return nil
}

// connectEvery is the time between two connections to one of several loops: so
// slow that generators which begin together stay in step, and no loop ever has
// so many more clients than another that it would pass some on.
const connectEvery = time.Millisecond

// bindFor binds fd to a free port that zproxy's steering (loop/steering.go)
// gives to a loop, of so many, where connections come over the loopback
// interface. A socket's port cannot be changed any more, so the kernel is asked
// for one with another socket.
func bindFor(fd, loop, loops int) error {
	const tries = 1000 // one in loops fits
	for range tries * loops {
		port, err := freePort()
		if err != nil {
			return err
		}
		if port/2%loops != loop {
			continue
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != unix.EADDRINUSE {
			return err
		}
	}
	return unix.EADDRINUSE
}

// freePort is a port that nobody has at this moment.
func freePort() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		return 0, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return name.(*unix.SockaddrInet4).Port, nil
}

func (g *generator) watch(fd int) error {
	return unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (g *generator) close() {
	for fd := range g.conns {
		unix.Close(fd)
	}
	if g.own != nil {
		g.own.close()
	}
	unix.Close(g.timer)
	unix.Close(g.epoll)
}

// due is when request n is.
func (g *generator) due(n int64) time.Duration {
	return time.Duration(float64(n) / g.rate * 1e9)
}

// more says whether there are requests still to be sent.
func (g *generator) more(now time.Duration) bool {
	if g.rate == 0 {
		return now < g.duration
	}
	return g.sent < g.total
}

func (g *generator) loop() error {
	var events [256]unix.EpollEvent
	for len(g.conns)+g.waiting > 0 {
		now := time.Since(g.start)
		if !g.more(now) && g.answered+g.errors == g.sent || now > g.duration+g.patience {
			return nil
		}
		g.sendDue(now)
		// The CPU is ours when the origin is: then sleeping would save nothing, and waking up takes long.
		wait := 0
		if g.own == nil {
			wait = -1
			if err := g.setTimer(); err != nil {
				return err
			}
		}
		n, err := unix.EpollWait(g.epoll, events[:], wait)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for i := range max(n, 0) {
			g.ready(int(events[i].Fd), events[i].Events)
			g.sendDue(time.Since(g.start))
		}
	}
	return nil
}

// ready acts on a descriptor that can be read, or written to again.
func (g *generator) ready(fd int, events uint32) {
	if fd == g.timer {
		unix.Read(fd, g.buffer[:8])
	} else if c := g.conns[fd]; c != nil {
		if events&unix.EPOLLOUT != 0 && len(c.unsent) > 0 {
			if !g.flush(c) {
				return
			}
			if c.pending == 0 && len(c.unsent) == 0 { // the answer was quicker
				g.done(c)
			}
		}
		if events&^unix.EPOLLOUT != 0 {
			g.receive(c)
		}
	} else if g.own != nil {
		g.own.ready(fd)
	}
}

// sendDue sends all that is due, as far as there are connections; the rest
// waits, and its time runs.
func (g *generator) sendDue(now time.Duration) {
	for g.idle.size > 0 && g.more(now) {
		due := now
		if g.rate > 0 {
			due = g.due(g.sent)
		}
		if due > now {
			return
		}
		c := g.idle.pop()
		c.due, c.pending, c.unsent = due, g.batch(), g.request
		g.sent += int64(c.pending)
		now = time.Since(g.start)
		if due >= g.warmUp {
			// Until there was a connection, it was the server who was late.
			g.late.RecordValue(int64(min(now-max(due, c.freed), longest)))
		}
		if c.fd >= 0 || g.connect(c) {
			g.flush(c)
		}
	}
}

// connect makes a connection for a request that has to have its own.
func (g *generator) connect(c *conn) bool {
	g.waiting--
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		g.errors += int64(c.pending)
		return false
	}
	c.fd, c.watched = fd, false
	g.conns[fd] = c
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(g.addr.Port()), Addr: g.addr.Addr().As4()})
	if err != nil && err != unix.EINPROGRESS || g.watch(fd) != nil {
		g.drop(c)
		return false
	}
	return true
}

// flush sends what there is room for, and says whether the connection lives on.
func (g *generator) flush(c *conn) bool {
	for len(c.unsent) > 0 {
		n, err := unix.Write(c.fd, c.unsent)
		switch {
		case err == unix.EAGAIN:
			return g.wantRoom(c, true)
		case err == unix.EINTR:
		case err != nil:
			g.drop(c)
			return false
		default:
			c.unsent = c.unsent[n:]
		}
	}
	return g.wantRoom(c, false)
}

// wantRoom has epoll tell, or no longer tell, when there is room to send.
func (g *generator) wantRoom(c *conn, on bool) bool {
	if c.watched == on {
		return true
	}
	c.watched = on
	events := uint32(unix.EPOLLIN)
	if on {
		events |= unix.EPOLLOUT
	}
	if unix.EpollCtl(g.epoll, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.fd)}) != nil {
		g.drop(c)
		return false
	}
	return true
}

// setTimer lets epoll wake up when the next request is due, or patience is
// over. Without a free connection the wake-up is an answer.
func (g *generator) setTimer() error {
	at := g.duration + g.patience
	if g.rate > 0 && g.sent < g.total && g.idle.size > 0 {
		at = g.due(g.sent)
	}
	wait := max(at-time.Since(g.start), time.Nanosecond)
	return unix.TimerfdSettime(g.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil)
}

func (g *generator) receive(c *conn) {
	n, err := unix.Read(c.fd, g.buffer[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if c.ending && err == nil && n == 0 {
		g.again(c)
		return
	}
	if err != nil || n == 0 {
		g.drop(c)
		return
	}
	for b := g.buffer[:n]; len(b) > 0; {
		if c.pending == 0 { // the last answer was longer than it said
			c.ending = true
			g.drop(c)
			return
		}
		used, done, err := c.answer.feed(b)
		if err != nil {
			g.drop(c)
			return
		}
		b = b[used:]
		if done {
			g.answered++
			c.pending--
		}
	}
	if c.pending == 0 && len(c.unsent) == 0 {
		g.done(c)
	}
}

// done takes note that all of a write is answered.
func (g *generator) done(c *conn) {
	c.freed = time.Since(g.start)
	if c.due >= g.warmUp {
		g.times.RecordValue(int64(min(c.freed-c.due, longest)))
	}
	if g.closing {
		c.ending = true // whoever closes first has to remember the connection: that is the server's part
		return
	}
	g.idle.push(c)
}

// again makes room for the next connection where one has ended as it should.
func (g *generator) again(c *conn) {
	unix.Close(c.fd)
	delete(g.conns, c.fd)
	c.fd, c.ending = -1, false
	g.waiting++
	g.idle.push(c)
}

// drop gives a connection up, with its requests.
func (g *generator) drop(c *conn) {
	g.errors += int64(c.pending)
	if c.ending {
		g.errors++ // it was answered, but not ended
		g.answered--
	}
	g.idle.remove(c)
	unix.Close(c.fd)
	delete(g.conns, c.fd)
}
