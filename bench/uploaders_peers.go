package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// acceptDeaf takes connections, greets, and reads no more.
func acceptDeaf(l net.Listener, greet func(net.Conn)) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.(*net.TCPConn).SetReadBuffer(16 << 10)
		conns = append(conns, c)
		go greet(c)
	}
}

func ignore(net.Conn) {}

// greetNarrow greets in HTTP/2 with the windows that RFC 9113 gives, greetWide with
// the widest there are.
func greetNarrow(c net.Conn) { greet(c, false) }
func greetWide(c net.Conn)   { greet(c, true) }

func greet(c net.Conn, wide bool) {
	f := http2.NewFramer(c, c)
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	if wide {
		f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		f.WriteWindowUpdate(0, 1<<31-1-65535)
	} else {
		f.WriteSettings()
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			f.WriteSettingsAck()
			return
		}
	}
}

// run is one connection of a holders; when it ends another one is opened. It
// leaves by a reset: behind what the proxy does not read it could not say that it is gone.
func (c *holders) run(ctx context.Context, proxy string) {
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", proxy)
		if err != nil {
			return
		}
		conn.(*net.TCPConn).SetLinger(0)
		conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
		if !c.uploads {
			conn.(*net.TCPConn).SetReadBuffer(16 << 10)
		}
		gone := context.AfterFunc(ctx, func() { conn.Close() })
		switch {
		case c.h2:
			c.talkHTTP2(ctx, conn)
		case c.uploads:
			c.upload(conn)
		default:
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", c.path)
			<-ctx.Done()
		}
		gone()
		conn.Close()
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var zeros = make([]byte, 64<<10)

func (c *holders) upload(conn net.Conn) {
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", c.path, int64(1)<<40)
	for {
		if _, err := conn.Write(zeros); err != nil {
			return
		}
	}
}

// h2Holders is a connection of HTTP/2 that keeps to the proxy's windows.
type h2Holders struct {
	mu      sync.Mutex
	more    sync.Cond
	framer  *http2.Framer
	block   []byte
	open    map[uint32]int64 // window of each stream
	window  int64            // of the connection
	initial int64
	next    uint32
	err     error
}

// talkHTTP2 keeps as many streams open as it should have. Downloads get windows
// that are closed.
func (c *holders) talkHTTP2(ctx context.Context, conn net.Conn) {
	h := &h2Holders{framer: http2.NewFramer(conn, conn), open: map[uint32]int64{}, window: 65535, initial: 65535, next: 1}
	h.more.L = &h.mu
	io.WriteString(conn, http2.ClientPreface)
	first := uint32(65535)
	if !c.uploads {
		first = 0
	}
	h.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: first}, http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	h.block = c.fields()
	go h.read(conn)
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.err == nil && ctx.Err() == nil {
		for len(h.open) < c.streams && h.err == nil {
			id := h.next
			h.next += 2
			h.open[id] = h.initial
			h.fail(h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.block, EndHeaders: true, EndStream: !c.uploads}))
		}
		if !c.uploads || !h.send() {
			h.more.Wait()
		}
	}
}

func (c *holders) fields() []byte {
	var b strings.Builder
	e := hpack.NewEncoder(&b)
	method := "GET"
	if c.uploads {
		method = "POST"
	}
	for _, f := range [][2]string{{":method", method}, {":scheme", "http"}, {":authority", "h"}, {":path", c.path}} {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return []byte(b.String())
}

func (h *h2Holders) fail(err error) {
	if h.err == nil {
		h.err = err
	}
}

// send sends one frame on each stream that has a window. False: none has.
func (h *h2Holders) send() (sent bool) {
	for id, window := range h.open {
		n := min(window, h.window, 16384)
		if n <= 0 || h.err != nil {
			continue
		}
		h.open[id] -= n
		h.window -= n
		h.fail(h.framer.WriteData(id, false, zeros[:n]))
		sent = true
	}
	return sent
}

// read takes what the proxy says until the connection ends.
func (h *h2Holders) read(conn net.Conn) {
	for {
		frame, err := h.framer.ReadFrame()
		h.mu.Lock()
		if err == nil {
			err = h.take(frame)
		}
		h.fail(err)
		h.more.Signal()
		h.mu.Unlock()
		if err != nil {
			conn.Close()
			return
		}
	}
}

func (h *h2Holders) take(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
			for id := range h.open {
				h.open[id] += int64(v) - h.initial
			}
			h.initial = int64(v)
		}
		return h.framer.WriteSettingsAck()
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			h.window += int64(f.Increment)
		} else if _, ok := h.open[f.StreamID]; ok {
			h.open[f.StreamID] += int64(f.Increment)
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return h.framer.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		delete(h.open, f.StreamID)
	case *http2.GoAwayFrame:
		return errGone
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			delete(h.open, f.StreamID)
		}
	case *http2.DataFrame:
		if f.StreamEnded() {
			delete(h.open, f.StreamID)
		}
	}
	return nil
}

// asked is what clients of the upstream in question got.
type asked struct {
	mu   sync.Mutex
	took []time.Duration
	lost int
	why  string
}

// askers ask at once, each askEvery; every other one on a new connection each time.
const (
	askers   = 8
	askEvery = 10 * time.Millisecond
	askLimit = 5 * time.Second
)

// ask has clients ask for small answers for a while.
func ask(ctx context.Context, proxy string, length time.Duration) *asked {
	return askBy(ctx, func() (net.Conn, error) { return net.DialTimeout("tcp", proxy, askLimit) }, false, length)
}

// askBy is ask on connections that dial makes; kept: nobody has a new one each time.
func askBy(ctx context.Context, dial func() (net.Conn, error), kept bool, length time.Duration) *asked {
	a := &asked{}
	until := time.Now().Add(length)
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() { a.client(ctx, dial, until, kept || i%2 == 0) })
	}
	all.Wait()
	slices.Sort(a.took)
	return a
}

func (a *asked) client(ctx context.Context, dial func() (net.Conn, error), until time.Time, keeps bool) {
	var conn net.Conn
	var in *bufio.Reader
	for ctx.Err() == nil && time.Now().Before(until) {
		begun := time.Now()
		err := error(nil)
		if conn == nil {
			if conn, err = dial(); err == nil {
				in = bufio.NewReader(conn)
			}
		}
		if err == nil {
			conn.SetDeadline(begun.Add(askLimit))
			err = askOnce(conn, in)
		}
		a.note(time.Since(begun), err)
		if conn != nil && (err != nil || !keeps) {
			conn.Close()
			conn = nil
		}
		time.Sleep(askEvery)
	}
	if conn != nil {
		conn.Close()
	}
}

func askOnce(conn net.Conn, in *bufio.Reader) error {
	if _, err := io.WriteString(conn, "GET /other/small HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// percentile of what is sorted.
func percentile(took []time.Duration, p int) time.Duration {
	if len(took) == 0 {
		return 0
	}
	return took[(len(took)-1)*p/100]
}

func (a *asked) note(took time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took = append(a.took, took)
	if err != nil {
		a.lost++
		if a.why == "" {
			a.why = err.Error()
		}
	}
}

// poolState is what the pools of all loops come to.
type poolState struct{ inUse, most, ended int }

func poolOf(admin string) (p poolState, err error) {
	r, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return p, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, "{")
		labels, value, _ := strings.Cut(rest, "} ")
		n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
		switch name {
		case "zproxy_buffer_blocks_in_use":
			p.inUse += int(n)
		case "zproxy_buffer_blocks_posted":
			p.inUse -= int(n)
		case "zproxy_buffer_blocks":
			p.most += int(n)
		case "zproxy_refused_total":
			if strings.Contains(labels, `"memory_held"`) || strings.Contains(labels, `"out_of_memory"`) {
				p.ended += int(n)
			}
		}
	}
	return p, nil
}
