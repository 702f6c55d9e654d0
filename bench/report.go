package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// resultsFormat changes when results.json can no longer be read as before.
const resultsFormat = 1

// Results is all that a run found; results.json holds it.
type Results struct {
	Format      int               `json:"format"`
	Started     time.Time         `json:"started"`
	Environment Environment       `json:"environment"`
	Settings    Settings          `json:"settings"`
	Memory      []*MemoryResult   `json:"memory,omitempty"`
	Scenarios   []*ScenarioResult `json:"scenarios,omitempty"`
	Latency     *LatencyResult    `json:"latency,omitempty"`
	Quiet       *Quiet            `json:"quiet,omitempty"`    // none in results of before there was one
	Failures    []string          `json:"failures,omitempty"` // who has no result where, and why
}

// write puts results, report, charts and configurations into dir.
func (r *Results) write(dir string, configs map[string][]byte) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"results.json": append(data, '\n'), "report.md": r.Markdown()}
	for name, c := range r.charts() {
		files[name] = c.SVG()
	}
	for name, text := range configs {
		files[filepath.Join("configs", name)] = text
	}
	if err := os.MkdirAll(filepath.Join(dir, "configs"), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Markdown is the report for people.
func (r *Results) Markdown() []byte {
	var w bytes.Buffer
	e := &r.Environment
	fmt.Fprintf(&w, "# zproxy compared, %s on %s\n\n", r.Started.Format("2006-01-02 15:04 UTC"), e.Host)
	fmt.Fprintf(&w, "CPU time of the proxy per answered request, as the scheduler accounts for it: median of %d rounds of %s (least to most). ", r.Settings.Rounds, r.Settings.Duration)
	fmt.Fprintf(&w, "Proxy pinned to CPU %d, load generator and origin to CPU %d, contenders in turn, a round with errors void. ", r.Settings.ProxyCPU, r.Settings.LoadCPU)
	fmt.Fprintf(&w, "Ratios are medians of the ratios round by round. The floor carries bytes and parses nothing. Configurations: configs/, one for all scenarios that have the same, named after the first.\n\n")
	fmt.Fprintf(&w, "Terms: %s. Peers: %s.\n\n", e.Terms, e.Peers)
	if r.Quiet != nil {
		r.Quiet.write(&w)
	}
	r.writeGoals(&w)
	for _, group := range r.memoryGroups() {
		writeMemory(&w, group)
	}
	for _, s := range r.Scenarios {
		s.writeTable(&w)
	}
	if r.Latency != nil {
		r.Latency.writeTable(&w)
	}
	for _, name := range slices.Sorted(maps.Keys(r.charts())) {
		fmt.Fprintf(&w, "![%s](%s)\n\n", strings.TrimSuffix(name, ".svg"), name)
	}
	r.writeEnvironment(&w)
	return w.Bytes()
}

func (r *Results) writeGoals(w *bytes.Buffer) {
	rows := r.memoryGoals()
	for _, s := range r.Scenarios {
		for _, g := range s.Goals {
			rows = append(rows, fmt.Sprintf("| %s | %s at most %.2f x %s | %.2f | %s |\n", s.Name, g.Subject, g.Max, g.Versus, g.Ratio, yes(g.Met)))
		}
	}
	if r.Latency != nil {
		rows = append(rows, r.Latency.goals()...)
	}
	if len(rows) > 0 {
		fmt.Fprintf(w, "## Goals\n\n| scenario | goal | measured | met |\n|---|---|---|---|\n%s\n", strings.Join(rows, ""))
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "**no**"
}

func (r *Results) memoryGoals() (rows []string) {
	for _, m := range r.Memory {
		most, ok := goalIdleBytes[m.Scenario]
		if !isZproxy(m.Name) || m.Failed != "" || !ok {
			continue
		}
		rows = append(rows,
			fmt.Sprintf("| %s | %s at most %.0f B for an idle connection | %.0f | %s |\n", m.Scenario, m.Name, most, m.PerConnection.Median, yes(m.PerConnection.Median <= most)),
			fmt.Sprintf("| %s | %s at most %s resident at start | %s | %s |\n", m.Scenario, m.Name, mib(goalStartBytes), mib(m.StartRSS.Median), yes(m.StartRSS.Median <= goalStartBytes)))
	}
	for _, group := range r.memoryGroups() {
		s := scenarioNamed(group[0].Scenario)
		if s == nil {
			continue
		}
		for _, g := range s.goals {
			var best, versus *MemoryResult
			for _, m := range group {
				switch {
				case m.Failed != "":
				case m.Name == g.versus:
					versus = m
				case isZproxy(m.Name) && (best == nil || m.PerConnection.Median < best.PerConnection.Median):
					best = m
				}
			}
			if best != nil && versus != nil {
				ratio := best.PerConnection.Median / versus.PerConnection.Median
				rows = append(rows, fmt.Sprintf("| %s | %s at most %.2f x %s for each %s | %.2f | %s |\n", s.name, g.subject, g.max, g.versus, best.What, ratio, yes(ratio <= g.max)))
			}
		}
	}
	return rows
}

// memoryGroups are the results of one scenario each, in the order they were taken.
func (r *Results) memoryGroups() (groups [][]*MemoryResult) {
	for i, m := range r.Memory {
		if i == 0 || m.Scenario != r.Memory[i-1].Scenario {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], m)
	}
	return groups
}

func mib(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }

func writeMemory(w *bytes.Buffer, group []*MemoryResult) {
	name, what, count := group[0].Scenario, group[0].What, group[0].Connections
	title := ""
	if s := scenarioNamed(name); s != nil {
		title = ": " + s.title
	}
	fmt.Fprintf(w, "## %s%s\n\n", name, title)
	fmt.Fprintf(w, "User memory (smaps_rollup: proportional set and huge pages) with %d %ss, less that after %d requests on one connection. "+
		"Medians of runs with fresh processes. Pages that nginx's two processes share count twice in the resident set, once in the proportional one.\n\n",
		count, what, warmRequests)
	fmt.Fprintf(w, "| | bytes per %s | resident at start | of it proportional | resident with %d %ss |\n|---|---|---|---|---|\n", what, count, what)
	for _, m := range group {
		if m.Failed != "" {
			fmt.Fprintf(w, "| %s | %s | | | |\n", m.Name, cell(m.Failed))
			continue
		}
		var idle, share []float64
		for _, run := range m.Runs {
			idle, share = append(idle, float64(run.IdleRSS)), append(share, float64(run.StartPSS))
		}
		fmt.Fprintf(w, "| %s | %.0f (%.0f to %.0f) | %s | %s | %s |\n", m.Name, m.PerConnection.Median, m.PerConnection.Min, m.PerConnection.Max,
			mib(m.StartRSS.Median), mib(summarise(share).Median), mib(summarise(idle).Median))
	}
	w.WriteByte('\n')
}

// cell makes text fit into a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}

func (s *ScenarioResult) writeTable(w *bytes.Buffer) {
	fmt.Fprintf(w, "## %s: %s\n\n`%s`\n\n", s.Name, s.Title, strings.Join(s.Load, " "))
	var others []string
	for _, c := range s.Contenders {
		if !isZproxy(c.Name) && c.Failed == "" {
			others = append(others, c.Name)
		}
	}
	fmt.Fprintf(w, "Load: of its CPU, what the generator and the origin used. Busy: rounds not to be quoted.\n\n")
	fmt.Fprintf(w, "| | us per request | of it user | requests/s | load | void | busy |")
	for _, o := range others {
		fmt.Fprintf(w, " x %s |", o)
	}
	fmt.Fprintf(w, "\n|---|---|---|---|---|---|---|%s\n", strings.Repeat("---|", len(others)))
	for _, c := range s.Contenders {
		if c.Failed != "" {
			fmt.Fprintf(w, "| %s | %s | | | | | |%s\n", c.Name, cell(c.Failed), strings.Repeat(" |", len(others)))
			continue
		}
		fmt.Fprintf(w, "| %s | %.2f (%.2f to %.2f) | %.0f %% | %.0f | %.0f + %.0f %% | %d | %d |", c.Name, c.CPUMicros.Median, c.CPUMicros.Min, c.CPUMicros.Max,
			100*c.UserShare, c.PerSecond.Median, 100*c.LoadShare, 100*c.Origin, len(c.Rounds)-c.valid(), c.busy())
		for _, o := range others {
			if q, ok := c.Ratios[o]; ok && q.N > 0 {
				fmt.Fprintf(w, " %.2f (%.2f to %.2f) |", q.Median, q.Min, q.Max)
			} else {
				fmt.Fprintf(w, " |")
			}
		}
		w.WriteByte('\n')
	}
	w.WriteByte('\n')
}

func (r *Results) writeEnvironment(w *bytes.Buffer) {
	e := &r.Environment
	fmt.Fprintf(w, "## Machine and versions\n\n| | |\n|---|---|\n")
	row := func(k, v string) { fmt.Fprintf(w, "| %s | %s |\n", k, cell(v)) }
	row("kernel", e.Kernel)
	row("CPU", fmt.Sprintf("%s, %d online, %d NUMA node(s)", e.CPU, e.CPUs, e.Nodes))
	row("memory", e.Memory)
	row("system", e.System)
	row("Go", e.Go)
	row("zproxy revision", e.Revision)
	for _, k := range slices.Sorted(maps.Keys(e.Versions)) {
		for line := range strings.Lines(e.Versions[k]) {
			row(k, strings.TrimSpace(line))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(e.Sysctls)) {
		row(k, e.Sysctls[k])
	}
	row("terms", e.Terms)
	row("peers", e.Peers)
}
