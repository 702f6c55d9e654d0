package main

import (
	"fmt"
	"time"
)

// MemoryResult is what idle connections cost one contender.
type MemoryResult struct {
	Scenario      string   `json:"scenario"`
	Name          string   `json:"name"`
	Failed        string   `json:"failed,omitempty"`
	What          string   `json:"what"`        // of which there are many: connection, stream, socket
	Connections   int      `json:"connections"` // how many
	Runs          []Memory `json:"runs,omitempty"`
	StartRSS      Summary  `json:"start_rss_bytes"`
	PerConnection Summary  `json:"bytes_per_connection"` // of user memory, for each of What
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
	warmRequests   = 200 // touch code and pools that the first request of any connection would
	memoryRuns     = 3
	settle         = 1000 * time.Millisecond
	waitingStreams = 4000
)

// settleIdle is for what the rush of opening took to be given back. Tests wait
// for less.
var settleIdle = 4 * time.Second

// guestCount is how many connections, streams or sockets are left idle.
func (b *bench) guestCount(s *scenario) int {
	switch s.memory {
	case http2Waiting:
		return min(10*b.set.idle, waitingStreams)
	case webSockets: // the proxy has two files open for each
		return min(b.set.idle, max(1, (b.set.files-2048)/2))
	}
	return b.set.idle
}

// idle measures memory of everyone who takes part in s.
func (b *bench) idle(s *scenario) ([]*MemoryResult, error) {
	var out []*MemoryResult
	for _, name := range s.contenders {
		if !b.takesPart(name) {
			continue
		}
		m := &MemoryResult{Scenario: s.name, Name: name, What: s.memory.what(), Connections: b.guestCount(s), Failed: b.programs.missing[name]}
		out = append(out, m)
		for run := 1; run <= min(memoryRuns, b.set.rounds) && m.Failed == ""; run++ {
			r, err := b.idleRun(s, contenderNamed(name))
			if b.ctx.Err() != nil {
				return nil, b.ctx.Err()
			}
			if err != nil {
				m.Failed = b.out(s, name, err)
				break
			}
			m.Runs = append(m.Runs, r)
			b.say("%-11s run %d/%d    %-15s %9.0f bytes/%s  resident %5.1f MB at start, %5.1f MB with %d of them\n",
				s.name, run, min(memoryRuns, b.set.rounds), name, r.PerConnection, m.What, float64(r.StartRSS)/1e6, float64(r.IdleRSS)/1e6, m.Connections)
		}
		var start, per []float64
		for _, r := range m.Runs {
			start, per = append(start, float64(r.StartRSS)), append(per, r.PerConnection)
		}
		m.StartRSS, m.PerConnection = summarise(start), summarise(per)
	}
	return out, nil
}

func (b *bench) idleRun(s *scenario, c *contender) (Memory, error) {
	all, err := b.idleRuns(s, c)
	if err != nil {
		return Memory{}, err
	}
	return all[0], nil
}

// resident is one process whose memory is measured.
type resident struct {
	st      *started
	members []member
	guests  guests
	memory  Memory
}

// idleRuns measures several contenders at a time: they wait together, and
// memory does not mind who else is there.
func (b *bench) idleRuns(s *scenario, field ...*contender) ([]Memory, error) {
	defer b.stopAll()
	origin, err := b.origin(s)
	if err != nil {
		return nil, err
	}
	var all []*resident
	each := func(what func(r *resident) error) error {
		for _, r := range all {
			if err := what(r); err != nil {
				return r.st.process.complain(err)
			}
		}
		return b.ctx.Err()
	}
	for _, c := range field {
		st, err := b.start(c, s, origin)
		if err != nil {
			return nil, err
		}
		r := &resident{st: st, guests: newGuests(s, address(st.url))}
		defer r.guests.leave()
		all = append(all, r)
	}
	b.sleep(settle)
	err = each(func(r *resident) (err error) {
		r.members = tree(r.st.process.pid())
		if r.memory.StartRSS, r.memory.StartPSS, err = memoryOf(r.members); err != nil {
			return err
		}
		return r.guests.warm()
	})
	if err != nil {
		return nil, err
	}
	b.sleep(settle)
	count := b.guestCount(s)
	err = each(func(r *resident) (err error) {
		if _, r.memory.WarmPSS, err = memoryOf(r.members); err != nil {
			return err
		}
		for i := 1; i <= count && b.ctx.Err() == nil; i++ {
			if err := r.guests.add(); err != nil {
				return fmt.Errorf("%s %d: %w", s.memory.what(), i, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	b.sleep(settleIdle)
	var out []Memory
	err = each(func(r *resident) (err error) {
		m := &r.memory
		if m.IdleRSS, m.IdlePSS, err = memoryOf(r.members); err != nil {
			return err
		}
		m.PerConnection = (float64(m.IdlePSS) - float64(m.WarmPSS)) / float64(count)
		out = append(out, *m)
		return r.guests.allOpen()
	})
	return out, err
}

// sleep ends early when the run is cancelled.
func (b *bench) sleep(d time.Duration) {
	select {
	case <-b.ctx.Done():
	case <-time.After(d):
	}
}
