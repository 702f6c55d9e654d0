package server

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"

	"zproxy/admin"
	"zproxy/loop"
	"zproxy/proxy"
)

// What loops are asked for by people: they tell it in slices, one at a time.

// finished is told by loops that they have done what they were asked for; it has room for all of them.
type finished chan struct{}

func (f finished) Finished() { f <- struct{}{} }

// mailTo sends mail to a loop, and waits until it has told done.
func mailTo[M any](s *Server, index int, m M, ask func(*loop.Loop, M) bool, done finished) error {
	limit := time.NewTimer(reportTimeout)
	defer limit.Stop()
	for !ask(s.peers[index].Loop, m) {
		select {
		case <-limit.C:
			return fmt.Errorf("loop %d: its mailbox has been full for %v", index, reportTimeout)
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case <-done:
		return nil
	case <-limit.C:
		return fmt.Errorf("loop %d has not answered within %v", index, reportTimeout)
	}
}

// list gives see each entry of a part, and the cursor of the next part. see says whether it takes the entry.
func (src source) list(what proxy.Subject, p admin.Page, see func(loop int, in *proxy.Inspection, r *proxy.Inspected) bool) (cursor string, err error) {
	s := src.s
	at, from, err := parseCursor(p.Cursor, len(s.peers))
	if err != nil {
		return "", err
	}
	taken := 0
	for ; at < len(s.peers); at, from = at+1, 0 {
		for {
			done := make(finished, 1)
			in := &proxy.Inspection{Subject: what, From: from, Clients: !p.Both, Rows: make([]proxy.Inspected, 0, min(proxy.SliceRows, p.Limit-taken)), Finished: done}
			if err := mailTo(s, at, in, proxy.AskInspect, done); err != nil {
				return "", err
			}
			for i := range in.Rows {
				if isWanted(&p, in, &in.Rows[i]) && see(at, in, &in.Rows[i]) {
					taken++
				}
			}
			if from = in.Next; from == 0 {
				break
			}
			if taken >= p.Limit {
				return cursorOf(at, from), nil
			}
		}
		if taken >= p.Limit && at+1 < len(s.peers) {
			return cursorOf(at+1, 0), nil
		}
	}
	return "", nil
}

func cursorOf(loop int, from uint32) string {
	return strconv.Itoa(loop) + "." + strconv.FormatUint(uint64(from), 10)
}

func parseCursor(text string, loops int) (at int, from uint32, err error) {
	if text == "" {
		return 0, 0, nil
	}
	first, second, ok := strings.Cut(text, ".")
	at, err = strconv.Atoi(first)
	n, err2 := strconv.ParseUint(second, 10, 32)
	if !ok || err != nil || err2 != nil || at < 0 || at >= loops {
		return 0, 0, fmt.Errorf("cursor %q is none of this list", text)
	}
	return at, uint32(n), nil
}

func isWanted(p *admin.Page, in *proxy.Inspection, r *proxy.Inspected) bool {
	return (!p.Client.IsValid() || p.Client.Contains(r.Peer.Addr().Unmap())) &&
		(p.Upstream == "" || p.Upstream == r.Upstream) &&
		(p.Endpoint == "" || p.Endpoint == r.Endpoint) &&
		(p.Route == "" || p.Route == r.Route) &&
		(p.OlderMs == 0 || in.Now-r.StartNs >= p.OlderMs*1e6)
}

// Connections lists connections.
func (src source) Connections(p admin.Page) (l admin.ConnectionList, err error) {
	listeners := src.listenerNames()
	l.Items = []admin.Connection{}
	l.Cursor, err = src.list(proxy.Connections, p, func(loop int, in *proxy.Inspection, r *proxy.Inspected) bool {
		l.Items = append(l.Items, admin.Connection{
			ID: connectionID(loop, r.Conn), Loop: loop, With: with(r), Client: address(r.Peer), Listener: listeners[r.Listener], Upstream: r.Upstream, Endpoint: r.Endpoint,
			Route: r.Route, Protocol: protocolOf(r.HTTP2), TLS: r.Secure, State: r.State, Requests: r.Requests, Active: r.Open, Queued: r.Queued,
		})
		return true
	})
	return l, err
}

// Streams lists streams.
func (src source) Streams(p admin.Page) (l admin.StreamList, err error) {
	l.Items = []admin.Stream{}
	l.Cursor, err = src.list(proxy.Streams, p, func(loop int, in *proxy.Inspection, r *proxy.Inspected) bool {
		l.Items = append(l.Items, admin.Stream{
			Connection: connectionID(loop, r.Conn), Stream: r.Stream, Loop: loop, With: with(r), Client: address(r.Peer), Upstream: r.Upstream, Endpoint: r.Endpoint,
			Route: r.Route, State: r.State, Queued: r.Queued,
		})
		return true
	})
	return l, err
}

// Exchanges lists requests under way.
func (src source) Exchanges(p admin.Page) (l admin.ExchangeList, err error) {
	l.Items = []admin.Exchange{}
	l.Cursor, err = src.list(proxy.Exchanges, p, func(loop int, in *proxy.Inspection, r *proxy.Inspected) bool {
		method, target, host := asked(&r.Asked)
		l.Items = append(l.Items, admin.Exchange{
			ID: fmt.Sprintf("%d-%d-%x", loop, r.Index, r.StartNs), Loop: loop, Connection: connectionID(loop, r.Conn), Stream: r.Stream, Client: address(r.Peer),
			Method: cmp.Or(method, r.Method), Host: host, Target: target, Route: r.Route, Upstream: r.Upstream, Endpoint: r.Endpoint,
			WaitsFor: r.State, WaitsS: seconds(in.Now - r.SinceNs), AgeS: seconds(in.Now - r.StartNs),
			Status: int(r.Status), In: r.In, Out: r.Out, Queued: r.Queued,
		})
		return true
	})
	return l, err
}

func seconds(ns int64) float64 { return float64(max(0, ns)/1e6) / 1e3 }

// listenerNames are the addresses of listeners by their numbers, those that are gone not among them.
func (src source) listenerNames() map[int]string {
	serves := src.s.serves.Load()
	names := map[int]string{}
	for i := range serves.cfg.Listeners {
		names[serves.snap.Listener(i)] = serves.cfg.Listeners[i].Address
	}
	return names
}

func with(r *proxy.Inspected) string {
	if r.ToOrigin {
		return "endpoint"
	}
	return "client"
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func protocolOf(http2 bool) string {
	if http2 {
		return "h2"
	}
	return "http1"
}

func connectionID(loop int, conn loop.ConnID) string { return fmt.Sprintf("%d-%x", loop, uint64(conn)) }

// asked decodes what a request asked for.
func asked(a *proxy.Asked) (method, target, host string) {
	text := a.Bytes()
	switch a.Form {
	case proxy.AskedTexts:
		parts := append(bytes.SplitN(text, []byte{0}, 3), nil, nil, nil)
		return string(parts[0]), string(parts[1]), string(parts[2])
	case proxy.AskedLines:
		lines := strings.Split(string(text), "\r\n")
		method, rest, _ := strings.Cut(lines[0], " ")
		target, _, _ = strings.Cut(rest, " ")
		for _, line := range lines[1:] {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "host") {
				host = strings.TrimSpace(value)
			}
		}
		return method, target, host
	case proxy.AskedFields:
		d := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
			switch f.Name {
			case ":method":
				method = f.Value
			case ":path":
				target = f.Value
			case ":authority":
				host = f.Value
			}
		})
		_, _ = d.Write(text) // its end may have been cut off
	}
	return method, target, host
}

// EndConnection ends a client's connection.
func (src source) EndConnection(id string) error {
	first, second, _ := strings.Cut(id, "-")
	at, err := strconv.Atoi(first)
	conn, err2 := strconv.ParseUint(second, 16, 64)
	if err != nil || err2 != nil || at < 0 || at >= len(src.s.peers) {
		return admin.ErrNotFound
	}
	return src.end(at, &proxy.Ending{Conn: loop.ConnID(conn)})
}

// EndExchange ends a request.
func (src source) EndExchange(id string) error {
	parts := append(strings.Split(id, "-"), "", "", "")
	at, err := strconv.Atoi(parts[0])
	index, err2 := strconv.ParseUint(parts[1], 10, 32)
	start, err3 := strconv.ParseInt(parts[2], 16, 64)
	if err != nil || err2 != nil || err3 != nil || at < 0 || at >= len(src.s.peers) {
		return admin.ErrNotFound
	}
	return src.end(at, &proxy.Ending{Index: uint32(index), StartNs: start})
}

// end has a loop end something, which may take several pieces of mail.
func (src source) end(at int, e *proxy.Ending) error {
	done := make(finished, 1)
	e.Finished = done
	for {
		if err := mailTo(src.s, at, e, proxy.AskEnd, done); err != nil {
			return err
		}
		if e.From = e.Next; e.From == 0 {
			break
		}
	}
	if e.Ended == 0 {
		return admin.ErrNotFound
	}
	return nil
}

// Failures are the last requests that failed, of all loops, the newest first.
func (src source) Failures() ([]admin.Outcome, error) {
	s := src.s
	list := []admin.Outcome{}
	for i := range s.peers {
		done := make(finished, 1)
		f := &proxy.Failures{Loop: i, Finished: done}
		if err := mailTo(s, i, f, proxy.AskFailures, done); err != nil {
			return nil, err
		}
		for j := range f.Rows {
			list = append(list, outcomeOfRequest(&f.Rows[j]))
		}
	}
	slices.SortStableFunc(list, func(a, b admin.Outcome) int { return b.Time.Compare(a.Time) })
	return list, nil
}

func outcomeOfRequest(r *proxy.Ended) admin.Outcome {
	method, target, host := asked(&r.Asked)
	ms := func(ns int64) float64 { return float64(ns/1e3) / 1e3 }
	return admin.Outcome{
		Time: time.UnixMilli(r.WallMs).UTC(), Client: address(r.Client), Protocol: protocolOf(r.HTTP2), Method: cmp.Or(method, r.Method), Host: host, Target: target,
		Route: r.Route, Upstream: r.Upstream, Endpoint: r.Endpoint, Status: int(r.Status), Reason: r.Reason, Reused: r.Reused,
		GivenMs: ms(r.GivenNs), ConnectMs: ms(r.ConnectNs), ResponseMs: ms(r.ResponseNs), TotalMs: ms(r.TotalNs), In: r.In, Out: r.Out,
	}
}
