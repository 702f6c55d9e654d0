package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os/exec"
	"slices"
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
	Capacities  []*Capacity   `json:"capacities,omitempty"`
	Rates       []*RateResult `json:"rates"`
	Busy        bool          `json:"busy,omitempty"` // rounds count that the machine has spoilt
}

// Capacity is what the CPU of one contender is enough for.
type Capacity struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"requests_per_second"` // answered when the next one comes as soon as one is answered
	CPUShare  float64 `json:"cpu_share"`           // of its CPU it used for that; the rest it waited for the load
}

// whole is what it would be if the load kept all of its CPU busy.
func (c *Capacity) whole() float64 { return c.PerSecond / c.CPUShare }

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
	Late   Summary            `json:"late_p99_us"`
	CPU    Summary            `json:"cpu_us"`
	Ratios map[string]Summary `json:"p99_ratios,omitempty"` // own p99 over another's, round by round
}

// LatencyRound is the line that bench/load prints, and what we add to it.
type LatencyRound struct {
	Requests      int64   `json:"requests"`
	Seconds       float64 `json:"seconds"`
	Errors        int64   `json:"errors"`
	Unanswered    int64   `json:"unanswered"`
	P50Micros     float64 `json:"p50_us"`
	P90Micros     float64 `json:"p90_us"`
	P99Micros     float64 `json:"p99_us"`
	P999Micros    float64 `json:"p999_us"`
	MaxMicros     float64 `json:"max_us"`
	LateP99Micros float64 `json:"late_p99_us"` // how late the generator sent
	LateMaxMicros float64 `json:"late_max_us"`
	CPUMicros     float64 `json:"cpu_us"`         // the contender's, for each request
	KeptShare     float64 `json:"kept_share"`     // of the time, it could have run but something else did
	Void          string  `json:"void,omitempty"` // why it does not count
}

// shares of the capacity at which times are taken, in hundredths.
const defaultShares = "10,50,80"

const (
	capacityRounds = 3

	// A generator that is later than this shows itself and not the proxy, and a
	// proxy that is kept from its CPU for more of the time shows what else runs.
	mostLateMicros = 1000
	mostKept       = 0.05

	goalShare  = 0.5 // at which p99 is compared
	goalP99    = 1.0 // zproxy's over nginx's, at most
	goalRounds = 7   // fewer are not enough for a verdict
)

// parseShares reads "10,50,80".
func parseShares(text string) (shares []float64, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > 100 {
			return nil, fmt.Errorf("-shares %s: %q is not a share of 1 to 100", text, part)
		}
		shares = append(shares, float64(n)/100)
	}
	return shares, nil
}

// latency runs the scenario: capacity first, then every rate in turns.
func (b *bench) latency(s *scenario) (*LatencyResult, error) {
	defer b.stopAll()
	origin, err := b.origin(s)
	if err != nil {
		return nil, err
	}
	// It sees contenders answer. The load brings its own, in its own thread, at the same address.
	standIn := b.running[len(b.running)-1]
	field := map[string]*started{}
	failed := map[string]string{}
	var names []string
	res := &LatencyResult{Name: s.name, Title: s.title, Connections: s.connections, Busy: b.set.busy}
	for _, name := range s.contenders {
		if !b.takesPart(name) {
			continue
		}
		names = append(names, name)
		if failed[name] = b.programs.missing[name]; failed[name] != "" {
			continue
		}
		st, err := b.prepare(contenderNamed(name), s, origin)
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		if err != nil {
			failed[name] = b.out(s, name, err)
			continue
		}
		field[name] = st
	}
	standIn.stop()
	for _, name := range names {
		if failed[name] != "" {
			continue
		}
		c, err := b.capacity(field[name], s, origin)
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		if err != nil {
			failed[name] = b.out(s, name, err)
			continue
		}
		res.Capacities = append(res.Capacities, c)
		if res.Capacity == 0 || c.whole() < res.Capacity {
			res.Capacity = c.whole()
		}
	}
	for _, share := range b.set.shares {
		rate := &RateResult{Share: share, PerSecond: share * res.Capacity}
		for _, name := range names {
			rate.Contenders = append(rate.Contenders, &LatencyContestant{Name: name, Failed: failed[name]})
		}
		if err := b.atRate(s, rate, field, origin); err != nil {
			return nil, err
		}
		for _, c := range rate.Contenders {
			failed[c.Name] = c.Failed
		}
		rate.summarise()
		res.Rates = append(res.Rates, rate)
	}
	return res, nil
}

// atRate measures A B C A B C ... until all have their rounds. Void ones are
// repeated, for all, up to three times as many.
func (b *bench) atRate(s *scenario, rate *RateResult, field map[string]*started, origin string) error {
	for round := 1; round <= 4*b.set.rounds && rate.wanting(b.set.rounds); round++ {
		for _, c := range rate.Contenders {
			if c.Failed != "" {
				continue
			}
			r, err := b.openLoop(field[c.Name], s, origin, rate.PerSecond)
			if b.ctx.Err() != nil {
				return b.ctx.Err()
			}
			if err != nil {
				c.Failed = b.out(s, c.Name, err)
				continue
			}
			c.Rounds = append(c.Rounds, r)
			if r.Void != "" {
				b.say("%-11s round %d  %-15s at %.0f/s: void: %s\n", s.name, round, c.Name, rate.PerSecond, r.Void)
				continue
			}
			b.say("%-11s round %d/%d  %-15s at %.0f/s: p50 %.0f us, p99 %.0f us, sent late by %.0f us (p99), kept from its CPU %.1f %%\n",
				s.name, round, b.set.rounds, c.Name, rate.PerSecond, r.P50Micros, r.P99Micros, r.LateP99Micros, 100*r.KeptShare)
		}
	}
	for _, c := range rate.Contenders {
		if n := len(valid(c.p99())); c.Failed == "" && n < b.set.rounds {
			c.Failed = b.out(s, c.Name, fmt.Errorf("only %d of %d rounds at %.0f/s count: %s", n, len(c.Rounds), rate.PerSecond, c.lastVoid()))
		}
	}
	return nil
}

// wanting says whether somebody has fewer rounds that count than asked for.
func (r *RateResult) wanting(rounds int) bool {
	return slices.ContainsFunc(r.Contenders, func(c *LatencyContestant) bool { return c.Failed == "" && len(valid(c.p99())) < rounds })
}

func (c *LatencyContestant) lastVoid() string {
	for _, r := range slices.Backward(c.Rounds) {
		if r.Void != "" {
			return r.Void
		}
	}
	return ""
}

// capacity finds how many requests a contender answers in a second when the
// next one comes as soon as one is answered.
func (b *bench) capacity(st *started, s *scenario, origin string) (*Capacity, error) {
	var rates, used []float64
	void := ""
	want := min(capacityRounds, b.set.rounds)
	for tries := 0; len(rates) < want; tries++ {
		if tries == 4*want {
			return nil, fmt.Errorf("finding the capacity: only %d of %d rounds count: %s", len(rates), tries, void)
		}
		r, err := b.openLoop(st, s, origin, 0)
		if err != nil {
			return nil, fmt.Errorf("finding the capacity: %w", err)
		}
		if r.Void != "" {
			void = r.Void
			b.say("%-11s capacity   %-15s void: %s\n", s.name, st.name, void)
			continue
		}
		rates = append(rates, float64(r.Requests)/r.Seconds)
		used = append(used, r.CPUMicros*float64(r.Requests)/1e6/r.Seconds)
	}
	c := &Capacity{Name: st.name, PerSecond: summarise(rates).Median, CPUShare: summarise(used).Median}
	b.say("%-11s capacity   %-15s %9.0f requests/s with %.0f %% of its CPU\n", s.name, c.Name, c.PerSecond, 100*c.CPUShare)
	return c, nil
}

// openLoop loads a contender at a rate, as fast as it can with a rate of 0. The
// load is the origin, too, unless that is "".
func (b *bench) openLoop(st *started, s *scenario, origin string, rate float64) (r LatencyRound, err error) {
	r, err = b.openLoopFor(b.set.duration, st, s, origin, rate)
	switch {
	case err != nil || b.set.busy:
	case r.LateP99Micros > mostLateMicros:
		r.Void = fmt.Sprintf("the generator was late itself, by %.0f us (p99)", r.LateP99Micros)
	case r.KeptShare > mostKept:
		r.Void = fmt.Sprintf("something else had the proxy's CPU %.0f %% of the time while it was wanted", 100*r.KeptShare)
	}
	return r, err
}

// openLoopFor does so for a time of its own, and does not judge what else ran.
func (b *bench) openLoopFor(d time.Duration, st *started, s *scenario, origin string, rate float64) (r LatencyRound, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, d+20*time.Second)
	defer cancel()
	args := []string{"-connect", address(st.url), "-rate", strconv.FormatFloat(rate, 'f', 1, 64),
		"-connections", strconv.Itoa(s.connections), "-duration", d.String(), "-warm-up", min(warmUp/2, d/2).String()}
	if origin != "" {
		args = append(args, "-origin", origin, "-size", strconv.Itoa(s.body))
	}
	before, threadsBefore, err := st.times()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, b.programs.paths["load"], args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := b.launcher.start(cmd, b.set.loadCPU); err != nil {
		return r, fmt.Errorf("starting load: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return r, fmt.Errorf("%w: %s", err, bytes.TrimSpace(errOut.Bytes()))
	}
	after, threadsAfter, err := st.times()
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("the result of load %q: %w", out.String(), err)
	}
	if r.Errors > 0 || r.Unanswered > 0 || r.Requests == 0 {
		return r, fmt.Errorf("%d answers, %d errors, %d requests without an answer at %.0f/s", r.Requests, r.Errors, r.Unanswered, rate)
	}
	r.CPUMicros = float64(after.total-before.total) / 1e3 / float64(r.Requests)
	r.KeptShare = float64(kept(threadsBefore, threadsAfter)) / 1e9 / r.Seconds
	return r, nil
}

// times are the CPU times of a contender so far, together and of each thread.
func (st *started) times() (cpuUse, map[string]scheduled, error) {
	use, err := cpuOf(st.members)
	threads := map[string]scheduled{}
	for _, m := range st.members {
		some, e := m.threads()
		err = errors.Join(err, e)
		maps.Copy(threads, some)
	}
	if err != nil {
		err = st.process.complain(err)
	}
	return use, threads, err
}

// p99 lists a value for each round, NaN for void ones.
func (c *LatencyContestant) p99() []float64 {
	return c.each(func(r *LatencyRound) float64 { return r.P99Micros })
}

// each lists what of says about each round, NaN for void ones.
func (c *LatencyContestant) each(of func(*LatencyRound) float64) []float64 {
	v := make([]float64, len(c.Rounds))
	for i := range c.Rounds {
		v[i] = of(&c.Rounds[i])
		if c.Rounds[i].Void != "" {
			v[i] = math.NaN()
		}
	}
	return v
}

func (r *RateResult) summarise() {
	for _, c := range r.Contenders {
		if c.Failed != "" {
			continue
		}
		over := func(of func(*LatencyRound) float64) Summary { return summarise(valid(c.each(of))) }
		c.P50 = over(func(r *LatencyRound) float64 { return r.P50Micros })
		c.P99 = summarise(valid(c.p99()))
		c.P999 = over(func(r *LatencyRound) float64 { return r.P999Micros })
		c.Late = over(func(r *LatencyRound) float64 { return r.LateP99Micros })
		c.CPU = over(func(r *LatencyRound) float64 { return r.CPUMicros })
		c.Ratios = map[string]Summary{}
		for _, other := range r.Contenders {
			if other != c && other.Failed == "" && !isZproxy(other.Name) {
				c.Ratios[other.Name] = ratios(c.p99(), other.p99())
			}
		}
	}
}

// best is the zproxy with the lower p99, as it comes; nil when none has a result.
func (r *RateResult) best() (best *LatencyContestant) {
	for _, c := range r.Contenders {
		if asItComes(c.Name) && c.Failed == "" && (best == nil || c.P99.Median < best.P99.Median) {
			best = c
		}
	}
	return best
}

// goals compares medians: a single round's p99 may be the machine's own doing.
func (l *LatencyResult) goals() (rows []string) {
	for _, r := range l.Rates {
		best, nginx := r.best(), r.find("nginx")
		if r.Share != goalShare || best == nil || nginx == nil {
			continue
		}
		verdict, ratio := fmt.Sprintf("needs %d rounds", goalRounds), best.P99.Median/nginx.P99.Median
		if min(best.P99.N, nginx.P99.N) >= goalRounds {
			verdict = yes(ratio <= goalP99)
		}
		rows = append(rows, fmt.Sprintf("| %s | p99 at %.0f %% of capacity at most %.2f x nginx | %.2f | %s |\n", l.Name, 100*r.Share, goalP99, ratio, verdict))
	}
	return rows
}

func (l *LatencyResult) writeTable(w *bytes.Buffer) {
	fmt.Fprintf(w, "## %s: %s\n\n", l.Name, l.Title)
	fmt.Fprintf(w, "Time of an answer in us, counted from when its request was due (bench/load, %d connections). Generator and origin are one thread, which "+
		"has a CPU to itself and never sleeps. How late it sent a request that was due and had a connection is in the table; a round is void where that is more than %d us "+
		"(p99), or where something else had the proxy's CPU while the proxy wanted it, more than %.0f %% of the time. All get the same rates: shares of %.0f requests/s, which is what the CPU of the slowest is enough for.\n\n", l.Connections, mostLateMicros, 100*mostKept, l.Capacity)
	if l.Busy {
		fmt.Fprintf(w, "**Such rounds count here all the same, by -busy: these times say nothing about the contenders.**\n\n")
	}
	if len(l.Capacities) > 0 {
		fmt.Fprintf(w, "| capacity | requests/s, the next as soon as there is an answer | of its CPU | with all of it |\n|---|---|---|---|\n")
		for _, c := range l.Capacities {
			fmt.Fprintf(w, "| %s | %.0f | %.0f %% | %.0f |\n", c.Name, c.PerSecond, 100*c.CPUShare, c.whole())
		}
		w.WriteByte('\n')
	}
	fmt.Fprintf(w, "| requests/s | | p50 | p99 (least to most) | p99.9 | p99 x nginx, round by round | CPU us | sent late (p99) | void |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range l.Rates {
		for _, c := range r.Contenders {
			if c.Failed != "" {
				fmt.Fprintf(w, "| %.0f | %s | %s | | | | | | |\n", r.PerSecond, c.Name, cell(c.Failed))
				continue
			}
			versus := ""
			if q := c.Ratios["nginx"]; q.N > 0 {
				versus = fmt.Sprintf(" %.2f (%.2f to %.2f)", q.Median, q.Min, q.Max)
			}
			fmt.Fprintf(w, "| %.0f | %s | %.0f | %.0f (%.0f to %.0f) | %.0f |%s | %.1f | %.0f | %d |\n", r.PerSecond, c.Name, c.P50.Median, c.P99.Median, c.P99.Min, c.P99.Max,
				c.P999.Median, versus, c.CPU.Median, c.Late.Median, len(c.Rounds)-c.P99.N)
		}
	}
	w.WriteByte('\n')
}
