package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// ScenarioResult is what a load scenario found.
type ScenarioResult struct {
	Name       string        `json:"name"`
	Title      string        `json:"title"`
	Load       []string      `json:"load"` // the load generator's command line
	Contenders []*Contestant `json:"contenders"`
	Floor      []float64     `json:"floor_us,omitempty"` // beside the rounds: before the first, and after each
	Goals      []GoalResult  `json:"goals,omitempty"`
}

// Contestant is one contender's part of it.
type Contestant struct {
	Name      string             `json:"name"`
	Failed    string             `json:"failed,omitempty"` // why it has no result
	Rounds    []Round            `json:"rounds,omitempty"`
	CPUMicros Summary            `json:"cpu_us"` // per request
	PerSecond Summary            `json:"requests_per_second"`
	UserShare float64            `json:"user_share"`
	LoadShare float64            `json:"load_cpu"` // of a CPU: the load generator's
	Origin    float64            `json:"origin_cpu"`
	Ratios    map[string]Summary `json:"ratios,omitempty"` // own CPU time per request over another's, round by round
}

// GoalResult is a goal and what came of it.
type GoalResult struct {
	Subject string  `json:"subject"`
	Versus  string  `json:"versus"`
	Max     float64 `json:"max"`
	Ratio   float64 `json:"ratio"`
	Met     bool    `json:"met"`
}

// round is how long a contender is loaded at a time.
func (b *bench) round(s *scenario) time.Duration {
	if s.long {
		return 2 * b.set.duration
	}
	return b.set.duration
}

// warmUp lets pools fill and pages be touched; what happens in it does not count.
const warmUp = time.Second

// load runs one scenario: every contender up, then rounds in turn.
func (b *bench) load(s *scenario) (*ScenarioResult, error) {
	defer b.stopAll()
	origin, err := b.origin(s)
	if err != nil {
		return nil, err
	}
	res := &ScenarioResult{Name: s.name, Title: s.title, Load: b.loadCommand(s, "URL", b.round(s))}
	var field []*started
	for _, name := range s.contenders {
		if !b.takesPart(name) {
			continue
		}
		c := &Contestant{Name: name, Failed: b.programs.missing[name]}
		res.Contenders = append(res.Contenders, c)
		if c.Failed != "" {
			field = append(field, nil)
			continue
		}
		st, err := b.prepare(contenderNamed(name), s, origin)
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		if err != nil {
			b.fail(s, c, err)
			st = nil
		}
		field = append(field, st)
	}
	if err := b.takeTurns(s, res, field); err != nil {
		return nil, err
	}
	res.judge(s)
	return res, nil
}

// prepare starts a contender, sees it answer, and warms it up.
func (b *bench) prepare(c *contender, s *scenario, origin string) (*started, error) {
	st, err := b.start(c, s, origin)
	if err != nil {
		return nil, err
	}
	if err := st.answers(s); err != nil {
		return nil, st.process.complain(err)
	}
	st.members, b.origins = tree(st.process.pid()), tree(b.behind.pid())
	_, err = b.measure(st, s, min(warmUp, b.set.duration))
	return st, err
}

func (b *bench) fail(s *scenario, c *Contestant, err error) { c.Failed = b.out(s, c.Name, err) }

// takeTurns measures A B C A B C ... until everyone has the rounds asked for.
// Void rounds are repeated, for all so that rounds stay comparable, as often
// again at most.
func (b *bench) takeTurns(s *scenario, res *ScenarioResult, field []*started) error {
	if err := b.floorBeside(res); err != nil {
		return err
	}
	for round := 1; round <= 2*b.set.rounds && b.wanting(res) > 0; round++ {
		for i, st := range field {
			c := res.Contenders[i]
			if st == nil || c.Failed != "" {
				continue
			}
			r, err := b.measure(st, s, b.round(s))
			if b.ctx.Err() != nil {
				return b.ctx.Err()
			}
			if err != nil {
				b.fail(s, c, err)
				continue
			}
			c.Rounds = append(c.Rounds, r)
			if r.Void != "" {
				b.say("%-11s round %d  %-15s void: %s\n", s.name, round, c.Name, r.Void)
				continue
			}
			b.say("%-11s round %d/%d  %-15s %9.2f us/request  %7.0f requests/s%s\n",
				s.name, round, b.set.rounds, c.Name, r.CPUMicros, float64(r.Requests)/r.Seconds, inBrackets(r.Busy))
		}
		if err := b.floorBeside(res); err != nil {
			return err
		}
	}
	for _, c := range res.Contenders {
		if c.Failed == "" && c.valid() < b.set.rounds {
			b.fail(s, c, fmt.Errorf("only %d of %d rounds count: %s", c.valid(), len(c.Rounds), c.lastVoid()))
		}
	}
	return nil
}

// floorBeside measures the floor between rounds.
func (b *bench) floorBeside(res *ScenarioResult) error {
	us, err := b.between()
	if err == nil {
		res.Floor = append(res.Floor, us)
	}
	return err
}

// inBrackets is how a remark stands behind a line.
func inBrackets(remark string) string {
	if remark == "" {
		return ""
	}
	return "  (busy: " + remark + ")"
}

// markRounds says of rounds beside which the floor cost something else than in
// most of the run that they are not to be quoted.
func (r *Results) markRounds() {
	for _, s := range r.Scenarios {
		for _, c := range s.Contenders {
			for i := range c.Rounds {
				if i+1 >= len(s.Floor) {
					break
				}
				if why := besideFloor(s.Floor[i], s.Floor[i+1], r.Quiet.Floor.Median); why != "" {
					c.Rounds[i].Busy = strings.TrimPrefix(c.Rounds[i].Busy+", "+why, ", ")
				}
			}
		}
	}
}

// wanting is how many rounds the one that is furthest behind still needs.
func (b *bench) wanting(res *ScenarioResult) int {
	n := 0
	for _, c := range res.Contenders {
		if c.Failed == "" {
			n = max(n, b.set.rounds-c.valid())
		}
	}
	return n
}

func (c *Contestant) valid() int {
	n := 0
	for _, r := range c.Rounds {
		if r.Void == "" {
			n++
		}
	}
	return n
}

// busy is how many rounds are not to be quoted.
func (c *Contestant) busy() (n int) {
	for _, r := range c.Rounds {
		if r.Busy != "" {
			n++
		}
	}
	return n
}

func (c *Contestant) lastVoid() string {
	for _, r := range slices.Backward(c.Rounds) {
		if r.Void != "" {
			return r.Void
		}
	}
	return ""
}

// cpu is CPU time per request round by round, NaN for void rounds.
func (c *Contestant) cpu() []float64 {
	v := make([]float64, len(c.Rounds))
	for i, r := range c.Rounds {
		v[i] = r.CPUMicros
		if r.Void != "" {
			v[i] = math.NaN()
		}
	}
	return v
}

// judge computes summaries, ratios and goals from the rounds.
func (res *ScenarioResult) judge(s *scenario) {
	for _, c := range res.Contenders {
		if c.Failed != "" {
			continue
		}
		var cpu, rate, user, load, origin []float64
		for _, r := range c.Rounds {
			if r.Void == "" {
				cpu = append(cpu, r.CPUMicros)
				rate = append(rate, float64(r.Requests)/r.Seconds)
				user = append(user, r.UserShare)
				load, origin = append(load, r.LoadShare), append(origin, r.Origin)
			}
		}
		c.CPUMicros, c.PerSecond, c.UserShare = summarise(cpu), summarise(rate), summarise(user).Median
		c.LoadShare, c.Origin = summarise(load).Median, summarise(origin).Median
	}
	for _, c := range res.Contenders {
		for _, other := range res.Contenders {
			if other == c || other.Failed != "" || c.Failed != "" || isZproxy(other.Name) && !isZproxy(c.Name) {
				continue
			}
			if c.Ratios == nil {
				c.Ratios = map[string]Summary{}
			}
			c.Ratios[other.Name] = ratios(c.cpu(), other.cpu())
		}
	}
	for _, g := range s.goals {
		subject, versus := res.find(g.subject), res.find(g.versus)
		if subject == nil || versus == nil || subject == versus {
			continue
		}
		r := subject.Ratios[versus.Name]
		res.Goals = append(res.Goals, GoalResult{Subject: g.subject, Versus: g.versus, Max: g.max, Ratio: r.Median, Met: r.N > 0 && r.Median <= g.max})
	}
}

func isZproxy(name string) bool { return strings.HasPrefix(name, "zproxy-") }

// atOnce ends the name of a zproxy that never waits for more (batch_wait: 0).
const atOnce = "-at-once"

// asItComes is whether a contender is a zproxy whose configuration sets nothing
// that could make it faster or slower.
func asItComes(name string) bool { return isZproxy(name) && !strings.HasSuffix(name, atOnce) }

// find returns a contender by the name a goal uses; nil if it has no result.
func (res *ScenarioResult) find(name string) *Contestant {
	var zproxies []*Contestant
	for _, c := range res.Contenders {
		if c.Failed != "" {
			continue
		}
		if c.Name == name {
			return c
		}
		if asItComes(c.Name) {
			zproxies = append(zproxies, c)
		}
	}
	slices.SortFunc(zproxies, func(x, y *Contestant) int { return cmp.Compare(x.CPUMicros.Median, y.CPUMicros.Median) })
	switch {
	case name == bestZproxy && len(zproxies) > 0:
		return zproxies[0]
	case name == otherZproxy && len(zproxies) > 1:
		return zproxies[1]
	}
	return nil
}
