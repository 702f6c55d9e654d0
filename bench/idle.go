package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MemoryResult is what idle connections cost one contender.
type MemoryResult struct {
	Name          string   `json:"name"`
	Failed        string   `json:"failed,omitempty"`
	Connections   int      `json:"connections"`
	Runs          []Memory `json:"runs,omitempty"`
	StartRSS      Summary  `json:"start_rss_bytes"`
	PerConnection Summary  `json:"bytes_per_connection"` // of user memory
}

// Memory is one run with a fresh process. What several processes share counts
// once, except in the resident sets.
type Memory struct {
	StartRSS      uint64  `json:"start_rss_bytes"` // before the first request
	StartPSS      uint64  `json:"start_pss_bytes"`
	WarmPSS       uint64  `json:"warm_pss_bytes"` // after warmRequests on one connection
	IdleRSS       uint64  `json:"idle_rss_bytes"` // with all connections idle
	IdlePSS       uint64  `json:"idle_pss_bytes"`
	PerConnection float64 `json:"bytes_per_connection"` // from warm to idle
}

const (
	warmRequests = 200 // touch code and pools that the first request of any connection would
	memoryRuns   = 3
	settle       = 1000 * time.Millisecond
)

// idle measures memory of everyone who takes part in s.
func (b *bench) idle(s *scenario) ([]*MemoryResult, error) {
	var out []*MemoryResult
	for _, name := range s.contenders {
		if !b.takesPart(name) {
			continue
		}
		m := &MemoryResult{Name: name, Connections: b.set.idle, Failed: b.missing[name]}
		out = append(out, m)
		for run := 1; run <= min(memoryRuns, b.set.rounds) && m.Failed == ""; run++ {
			r, err := b.idleRun(s, contenderNamed(name))
			if b.ctx.Err() != nil {
				return nil, b.ctx.Err()
			}
			if err != nil {
				m.Failed = err.Error()
				b.failures = append(b.failures, s.name+": "+name+": "+m.Failed)
				b.say("%-11s %-15s out: %v\n", s.name, name, err)
				break
			}
			m.Runs = append(m.Runs, r)
			b.say("%-11s run %d/%d    %-15s %9.0f bytes/connection  resident %5.1f MB at start, %5.1f MB with %d connections\n",
				s.name, run, min(memoryRuns, b.set.rounds), name, r.PerConnection, float64(r.StartRSS)/1e6, float64(r.IdleRSS)/1e6, b.set.idle)
		}
		var start, per []float64
		for _, r := range m.Runs {
			start, per = append(start, float64(r.StartRSS)), append(per, r.PerConnection)
		}
		m.StartRSS, m.PerConnection = summarise(start), summarise(per)
	}
	return out, nil
}

func (b *bench) idleRun(s *scenario, c *contender) (m Memory, err error) {
	defer b.stopAll()
	origin, err := b.origin(s)
	if err != nil {
		return m, err
	}
	st, err := b.start(c, s, origin)
	if err != nil {
		return m, err
	}
	b.sleep(settle)
	members := tree(st.process.pid())
	if m.StartRSS, m.StartPSS, err = memoryOf(members); err != nil {
		return m, st.process.complain(err)
	}
	addr := strings.TrimSuffix(strings.TrimPrefix(st.url, "http://"), "/")
	g := &guests{addr: addr, body: s.body}
	defer g.leave()
	for range warmRequests {
		if err := g.ask(0); err != nil {
			return m, st.process.complain(err)
		}
	}
	b.sleep(settle)
	if _, m.WarmPSS, err = memoryOf(members); err != nil {
		return m, st.process.complain(err)
	}
	for i := 1; i <= b.set.idle && b.ctx.Err() == nil; i++ {
		if err := g.ask(i); err != nil {
			return m, st.process.complain(fmt.Errorf("connection %d: %w", i, err))
		}
	}
	b.sleep(settle)
	if m.IdleRSS, m.IdlePSS, err = memoryOf(members); err != nil {
		return m, st.process.complain(err)
	}
	if err := g.allOpen(); err != nil {
		return m, st.process.complain(err)
	}
	m.PerConnection = (float64(m.IdlePSS) - float64(m.WarmPSS)) / float64(b.set.idle)
	return m, b.ctx.Err()
}

// sleep ends early when the run is cancelled.
func (b *bench) sleep(d time.Duration) {
	select {
	case <-b.ctx.Done():
	case <-time.After(d):
	}
}

// guests are clients that keep their connections.
type guests struct {
	addr   string
	body   int
	conns  []*net.TCPConn
	reader bufio.Reader
}

// ask sends a request on connection i, which is opened if it is the next.
func (g *guests) ask(i int) error {
	if i == len(g.conns) {
		c, err := net.DialTimeout("tcp", g.addr, 5*time.Second)
		if err != nil {
			return err
		}
		g.conns = append(g.conns, c.(*net.TCPConn))
	}
	c := g.conns[i]
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+g.addr+"\r\n\r\n"); err != nil {
		return err
	}
	g.reader.Reset(c)
	r, err := http.ReadResponse(&g.reader, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, r.Body)
	if err == nil && (r.StatusCode != 200 || n != int64(g.body) || r.Close) {
		err = fmt.Errorf("answered %s with %d bytes (closing: %v), want 200 with %d and the connection kept", r.Status, n, r.Close, g.body)
	}
	return err
}

// allOpen finds out whether the other side still holds every connection.
func (g *guests) allOpen() error {
	closed := 0
	for _, c := range g.conns {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var one [1]byte
		open := false
		raw.Control(func(fd uintptr) {
			_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			open = errors.Is(err, unix.EAGAIN)
		})
		if !open {
			closed++
		}
	}
	if closed > 0 {
		return fmt.Errorf("%d of %d idle connections are closed", closed, len(g.conns))
	}
	return nil
}

func (g *guests) leave() {
	for _, c := range g.conns {
		c.Close()
	}
}
