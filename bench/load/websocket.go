package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// talks is the plan of a conversation on many WebSockets: each sends a message,
// waits for its echo, and sends the next.
type talks struct {
	addr     netip.AddrPort
	path     string
	sockets  int
	size     int // bytes of a message
	duration time.Duration
	patience time.Duration
}

// maxMessage is what the two-byte length of RFC 6455 section 5.2 tells.
const maxMessage = 65535

// handshakeKey and handshakeAccept belong together: RFC 6455 section 1.3.
const (
	handshakeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	handshakeAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// talk is one socket's part. It has one message under way.
type talk struct {
	echo []byte // what of it has come
	sent time.Duration
	busy bool
}

// talker is what talks over HTTP/1 and over HTTP/2 have in common.
type talker struct {
	*talks
	message []byte // a frame, masked as a client has to
	echo    []byte // the frame that answers it
	start   time.Time
	result  Result
	times   *hdrhistogram.Histogram // ns
	busy    int                     // sockets that wait for an echo
}

func newTalker(p *talks) *talker {
	payload := bytes.Repeat([]byte("WebSocket "), p.size/10+1)[:p.size]
	t := &talker{talks: p, times: hdrhistogram.New(100, int64(longest), 3)}
	const binaryFrame, mask = 0x82, 0x80
	if p.size <= 125 {
		t.message, t.echo = []byte{binaryFrame, mask | byte(p.size)}, []byte{binaryFrame, byte(p.size)}
	} else {
		length := binary.BigEndian.AppendUint16(nil, uint16(p.size))
		t.message, t.echo = append([]byte{binaryFrame, mask | 126}, length...), append([]byte{binaryFrame, 126}, length...)
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	t.message = append(t.message, key[:]...)
	for i, b := range payload {
		t.message = append(t.message, b^key[i&3])
	}
	t.echo = append(t.echo, payload...)
	return t
}

var errEcho = errors.New("the echo is not the message")

// receive takes bytes of a socket and says whether they complete the echo.
func (t *talker) receive(c *talk, b []byte, now time.Duration) (done bool, err error) {
	if !c.busy || len(c.echo)+len(b) > len(t.echo) {
		return false, errEcho
	}
	if c.echo = append(c.echo, b...); len(c.echo) < len(t.echo) {
		return false, nil
	}
	if !bytes.Equal(c.echo, t.echo) {
		return false, errEcho
	}
	c.echo, c.busy = c.echo[:0], false
	t.busy--
	t.result.Requests++
	t.times.RecordValue(int64(min(now-c.sent, longest)))
	return true, nil
}

// sends notes that a socket has sent its message.
func (t *talker) sends(c *talk, now time.Duration) {
	c.sent, c.busy = now, true
	t.busy++
}

// fails counts a socket out.
func (t *talker) fails(c *talk) {
	t.result.Errors++
	if c.busy {
		c.busy = false
		t.busy--
	}
}

func (t *talker) finish() *Result {
	r := &t.result
	r.Seconds = min(time.Since(t.start), t.duration+t.patience).Seconds()
	r.Unanswered = int64(t.busy)
	r.quantiles(t.times)
	return r
}

// talkSocket is a WebSocket on a connection of its own.
type talkSocket struct {
	talk
	raw int
}

// talkSockets are all those of a run, by descriptor, and what watches them.
type talkSockets struct {
	*talker
	epoll int
	open  map[int32]*talkSocket
}

func (s *talkSockets) drop(k *talkSocket) {
	s.fails(&k.talk)
	delete(s.open, int32(k.raw))
	unix.EpollCtl(s.epoll, unix.EPOLL_CTL_DEL, k.raw, nil)
}

func (s *talkSockets) send(k *talkSocket) {
	// A message is far smaller than an empty socket buffer.
	if n, err := unix.Write(k.raw, s.message); err != nil || n < len(s.message) {
		s.drop(k)
		return
	}
	s.sends(&k.talk, time.Since(s.start))
}

// read takes what has come for k. now is the time its events were waited for.
func (s *talkSockets) read(k *talkSocket, now time.Duration, buffer []byte) {
	got, err := unix.Read(k.raw, buffer)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	done := false
	if err == nil && got > 0 {
		done, err = s.receive(&k.talk, buffer[:got], time.Since(s.start))
	}
	switch {
	case err != nil || got <= 0:
		s.drop(k)
	case done && now < s.duration:
		s.send(k)
	}
}

// run talks over HTTP/1.1: a connection for each socket.
func (p *talks) run() (*Result, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	defer unix.Close(epoll)
	s := &talkSockets{talker: newTalker(p), epoll: epoll, open: map[int32]*talkSocket{}}
	for range p.sockets {
		raw, err := p.shakeHands()
		if err != nil {
			return nil, err
		}
		defer unix.Close(raw)
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, raw, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(raw)}); err != nil {
			return nil, fmt.Errorf("epoll: %w", err)
		}
		s.open[int32(raw)] = &talkSocket{raw: raw}
	}
	s.start = time.Now()
	for _, k := range s.open {
		s.send(k)
	}
	var events [256]unix.EpollEvent
	buffer := make([]byte, 64<<10)
	for s.busy > 0 {
		now := time.Since(s.start)
		if now > s.duration+s.patience {
			break
		}
		n, err := unix.EpollWait(epoll, events[:], 100)
		if err != nil && err != unix.EINTR {
			return nil, fmt.Errorf("epoll_wait: %w", err)
		}
		for i := range max(n, 0) {
			if k := s.open[events[i].Fd]; k != nil {
				s.read(k, now, buffer)
			}
		}
	}
	return s.finish(), nil
}

// shakeHands opens a WebSocket and gives its descriptor, which doesn't block.
func (p *talks) shakeHands() (int, error) {
	c, err := net.DialTimeout("tcp", p.addr.String(), p.patience)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(p.patience))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
		p.path, p.addr, handshakeKey); err != nil {
		return -1, fmt.Errorf("handshake: %w", err)
	}
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		return -1, fmt.Errorf("handshake: %w", err)
	}
	if r.StatusCode != http.StatusSwitchingProtocols || r.Header.Get("Sec-WebSocket-Accept") != handshakeAccept || in.Buffered() > 0 {
		return -1, fmt.Errorf("handshake answered with %s, accepting with %q, and %d bytes more", r.Status, r.Header.Get("Sec-WebSocket-Accept"), in.Buffered())
	}
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		return -1, err
	}
	defer file.Close()
	raw, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, err
	}
	return raw, unix.SetNonblock(raw, true)
}
