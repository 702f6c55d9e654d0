package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// greedyClient opens as many requests as it may and does not go on with them. One that
// ends is followed by another.
type greedyClient struct {
	name    string
	h2      bool
	conns   int
	streams int // of each connection
	fields  [][2]string
}

var greedyClients = []greedyClient{
	{"h2 POSTs without content", true, 20, 100, nil},
	// Where either side may speak first, the proxy cannot wait for content.
	{"h2 gRPC streams without content", true, 20, 100, [][2]string{{"content-type", "application/grpc"}, {"te", "trailers"}}},
	{"h1 POSTs without content", false, 2000, 1, nil},
}

// greedyMixes are the greedyClients that are there at once.
func greedyMixes() (all [][]greedyClient) {
	for _, g := range greedyClients {
		all = append(all, []greedyClient{g})
	}
	return append(all, greedyClients)
}

func greedyName(mix []greedyClient) string {
	if len(mix) == 1 {
		return mix[0].name
	}
	return "all of them at once"
}

// greedyTally is what greedy clients have at a time.
type greedyTally struct {
	open atomic.Int64 // requests
	done chan struct{}
}

// startGreedy lets the clients of mix begin, until ctx ends. The proxy listens for
// HTTP/2 and for HTTP/1, at one place or two.
func startGreedy(ctx context.Context, h2, plain string, mix []greedyClient) *greedyTally {
	t := &greedyTally{done: make(chan struct{})}
	var all sync.WaitGroup
	for _, g := range mix {
		proxy := plain
		if g.h2 {
			proxy = h2
		}
		for range g.conns {
			all.Go(func() { g.run(ctx, proxy, t) })
		}
	}
	go func() { all.Wait(); close(t.done) }()
	return t
}

// run is one connection; when it ends another one is opened.
func (g *greedyClient) run(ctx context.Context, proxy string, t *greedyTally) {
	for ctx.Err() == nil {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", proxy)
		if err != nil {
			return
		}
		gone := context.AfterFunc(ctx, func() { c.Close() })
		if g.h2 {
			g.talkHTTP2(c, t)
		} else {
			g.post(c, t)
		}
		gone()
		c.Close()
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// post asks and waits for the end of the connection.
func (g *greedyClient) post(c net.Conn, t *greedyTally) {
	if _, err := fmt.Fprintf(c, "POST /greedy HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"); err != nil {
		return
	}
	t.open.Add(1)
	io.Copy(io.Discard, c)
	t.open.Add(-1)
}

// talkHTTP2 keeps as many streams open as it should have.
func (g *greedyClient) talkHTTP2(c net.Conn, t *greedyTally) {
	const endHeaders, endStream, ack = 4, 1, 1
	head := literals(append([][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/greedy"}, {":authority", "h"}}, g.fields...)...)
	open := map[uint32]bool{}
	next := uint32(1)
	defer func() { t.open.Add(-int64(len(open))) }()
	for b := greeting(65535); ; b = b[:0] {
		for len(open) < g.streams {
			b = appendFrame(b, frameHeadersType, endHeaders, next, head)
			open[next] = true
			next += 2
			t.open.Add(1)
		}
		if _, err := c.Write(b); err != nil {
			return
		}
		kind, flags, stream, err := readFrame(c)
		if err != nil || kind == frameGoAwayType {
			return
		}
		switch {
		case kind == frameSettingsType && flags&ack == 0:
			if _, err := c.Write(appendFrame(nil, frameSettingsType, ack, 0, nil)); err != nil {
				return
			}
		case open[stream] && (kind == frameResetType || (kind == frameHeadersType || kind == frameDataType) && flags&endStream != 0):
			delete(open, stream)
			t.open.Add(-1)
		}
	}
}

// addMissed adds the answers that would have been late too: a client that waits longer
// than askEvery for one would have asked for others meanwhile.
func (a *asked) addMissed() {
	for _, d := range a.took {
		for d -= askEvery; d > 0; d -= askEvery {
			a.took = append(a.took, d)
		}
	}
	slices.Sort(a.took)
}
