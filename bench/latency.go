package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// LatencyResult is how long answers take at fixed rates.
type LatencyResult struct {
	Name        string        `json:"name"`
	Title       string        `json:"title"`
	Connections int           `json:"connections"`
	Capacity    float64       `json:"capacity"` // requests per second that all contenders reach
	Rates       []*RateResult `json:"rates"`
}

// RateResult is one rate.
type RateResult struct {
	Share      float64              `json:"share"` // of the capacity
	PerSecond  float64              `json:"requests_per_second"`
	Contenders []*LatencyContestant `json:"contenders"`
}

// LatencyContestant is one contender at one rate.
type LatencyContestant struct {
	Name   string             `json:"name"`
	Failed string             `json:"failed,omitempty"`
	Rounds []LatencyRound     `json:"rounds,omitempty"`
	P50    Summary            `json:"p50_us"`
	P99    Summary            `json:"p99_us"`
	P999   Summary            `json:"p999_us"`
	Ratios map[string]Summary `json:"p99_ratios,omitempty"` // own p99 over another's, round by round
}

// LatencyRound is the line that bench/load prints.
type LatencyRound struct {
	Requests   int64   `json:"requests"`
	Errors     int64   `json:"errors"`
	Unanswered int64   `json:"unanswered"`
	P50Micros  float64 `json:"p50_us"`
	P90Micros  float64 `json:"p90_us"`
	P99Micros  float64 `json:"p99_us"`
	P999Micros float64 `json:"p999_us"`
	MaxMicros  float64 `json:"max_us"`
}

// shares of the capacity at which times are taken.
var shares = []float64{0.1, 0.5, 0.8}

const (
	capacityRounds = 3

	goalShare = 0.5 // at which p99 is compared
	goalP99   = 1.0 // zproxy's over nginx's, at most
)

// latency runs the scenario: capacity first, then every rate in turns.
func (b *bench) latency(s *scenario) (*LatencyResult, error) {
	defer b.stopAll()
	origin, err := b.origin(s)
	if err != nil {
		return nil, err
	}
	field := map[string]*started{}
	failed := map[string]string{}
	var names []string
	res := &LatencyResult{Name: s.name, Title: s.title, Connections: s.connections}
	for _, name := range s.contenders {
		if !b.takesPart(name) {
			continue
		}
		names = append(names, name)
		if failed[name] = b.missing[name]; failed[name] != "" {
			continue
		}
		st, rate, err := b.capacity(name, s, origin)
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		if err != nil {
			failed[name] = b.out(s, name, err)
			continue
		}
		field[name] = st
		if res.Capacity == 0 || rate < res.Capacity {
			res.Capacity = rate
		}
	}
	for _, share := range shares {
		rate := &RateResult{Share: share, PerSecond: share * res.Capacity}
		for _, name := range names {
			rate.Contenders = append(rate.Contenders, &LatencyContestant{Name: name})
		}
		for round := 1; round <= b.set.rounds; round++ {
			for _, c := range rate.Contenders {
				if failed[c.Name] != "" {
					continue
				}
				r, err := b.openLoop(field[c.Name], s, rate.PerSecond)
				if b.ctx.Err() != nil {
					return nil, b.ctx.Err()
				}
				if err != nil {
					failed[c.Name] = b.out(s, c.Name, err)
					continue
				}
				c.Rounds = append(c.Rounds, r)
				b.say("%-11s round %d/%d  %-15s at %.0f/s: p50 %.0f us, p99 %.0f us\n", s.name, round, b.set.rounds, c.Name, rate.PerSecond, r.P50Micros, r.P99Micros)
			}
		}
		for _, c := range rate.Contenders {
			c.Failed = failed[c.Name]
		}
		rate.summarise()
		res.Rates = append(res.Rates, rate)
	}
	return res, nil
}

// capacity starts a contender and finds how many requests it answers in a
// second when the next one comes as soon as one is answered.
func (b *bench) capacity(name string, s *scenario, origin string) (*started, float64, error) {
	st, err := b.prepare(contenderNamed(name), s, origin)
	if err != nil {
		return nil, 0, err
	}
	var rates []float64
	for range min(capacityRounds, b.set.rounds) {
		r, err := b.measure(st, s, b.set.duration)
		if err != nil {
			return nil, 0, err
		}
		if r.Void != "" {
			return nil, 0, fmt.Errorf("finding the capacity: %s", r.Void)
		}
		rates = append(rates, float64(r.Requests)/r.Seconds)
	}
	rate := summarise(rates).Median
	b.say("%-11s capacity   %-15s %9.0f requests/s\n", s.name, name, rate)
	return st, rate, nil
}

// openLoop loads a contender at a rate.
func (b *bench) openLoop(st *started, s *scenario, rate float64) (r LatencyRound, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, b.set.duration+20*time.Second)
	defer cancel()
	addr := strings.TrimSuffix(strings.TrimPrefix(st.url, "http://"), "/")
	cmd := exec.CommandContext(ctx, b.programs["load"], "-connect", addr, "-rate", strconv.FormatFloat(rate, 'f', 1, 64),
		"-connections", strconv.Itoa(s.connections), "-duration", b.set.duration.String())
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := b.launcher.start(cmd, b.set.loadCPU); err != nil {
		return r, fmt.Errorf("starting load: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return r, fmt.Errorf("%w: %s", err, bytes.TrimSpace(errOut.Bytes()))
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("the result of load %q: %w", out.String(), err)
	}
	if r.Errors > 0 || r.Unanswered > 0 {
		return r, fmt.Errorf("%d errors, %d requests without an answer at %.0f/s", r.Errors, r.Unanswered, rate)
	}
	return r, nil
}

// p99 lists a value for each round.
func (c *LatencyContestant) p99() (v []float64) {
	for _, r := range c.Rounds {
		v = append(v, r.P99Micros)
	}
	return v
}

func (r *RateResult) summarise() {
	for _, c := range r.Contenders {
		if c.Failed != "" {
			continue
		}
		var p50, p999 []float64
		for _, x := range c.Rounds {
			p50, p999 = append(p50, x.P50Micros), append(p999, x.P999Micros)
		}
		c.P50, c.P99, c.P999 = summarise(p50), summarise(c.p99()), summarise(p999)
		c.Ratios = map[string]Summary{}
		for _, other := range r.Contenders {
			if other != c && other.Failed == "" && !isZproxy(other.Name) {
				c.Ratios[other.Name] = ratios(c.p99(), other.p99())
			}
		}
	}
}

// best is the zproxy with the lower p99; nil when none has a result.
func (r *RateResult) best() (best *LatencyContestant) {
	for _, c := range r.Contenders {
		if isZproxy(c.Name) && c.Failed == "" && (best == nil || c.P99.Median < best.P99.Median) {
			best = c
		}
	}
	return best
}

func (l *LatencyResult) goals() (rows []string) {
	for _, r := range l.Rates {
		if best := r.best(); r.Share == goalShare && best != nil {
			if q := best.Ratios["nginx"]; q.N > 0 {
				rows = append(rows, fmt.Sprintf("| %s | p99 at %.0f %% of capacity at most %.2f x nginx | %.2f | %s |\n", l.Name, 100*r.Share, goalP99, q.Median, yes(q.Median <= goalP99)))
			}
		}
	}
	return rows
}

func (l *LatencyResult) writeTable(w *bytes.Buffer) {
	fmt.Fprintf(w, "## %s: %s\n\n", l.Name, l.Title)
	fmt.Fprintf(w, "Time of an answer in us, counted from when its request was due (bench/load, %d connections). All get the same rates: shares of %.0f requests/s, "+
		"which the slowest of them answers in a closed loop (wrk). Generator and origin share a CPU; their part of the time is the same for all.\n\n", l.Connections, l.Capacity)
	fmt.Fprintf(w, "| requests/s | | p50 | p99 (least to most) | p99.9 | p99 x nginx |\n|---|---|---|---|---|---|\n")
	for _, r := range l.Rates {
		for _, c := range r.Contenders {
			if c.Failed != "" {
				fmt.Fprintf(w, "| %.0f | %s | %s | | | |\n", r.PerSecond, c.Name, cell(c.Failed))
				continue
			}
			versus := ""
			if q := c.Ratios["nginx"]; q.N > 0 {
				versus = fmt.Sprintf(" %.2f (%.2f to %.2f)", q.Median, q.Min, q.Max)
			}
			fmt.Fprintf(w, "| %.0f | %s | %.0f | %.0f (%.0f to %.0f) | %.0f |%s |\n", r.PerSecond, c.Name, c.P50.Median, c.P99.Median, c.P99.Min, c.P99.Max, c.P999.Median, versus)
		}
	}
	w.WriteByte('\n')
}
