package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// significant is how unlikely a difference has to be by chance alone to count
// as a change.
const significant = 0.05

// compare measures this tree against a commit, or prints what changed between
// two results.
func compare(args []string, out, errOut io.Writer) int {
	for _, a := range args {
		if strings.HasPrefix(strings.TrimLeft(a, "-"), "base") || strings.HasPrefix(a, "-h") || strings.HasPrefix(a, "--h") {
			return against(args, out, errOut)
		}
	}
	return compareResults(args, out, errOut)
}

// compareResults prints what changed between two results, each a directory or its
// results.json. Times of different days drift with the machine, so the ratios
// to nginx and to the floor are compared as well: they are what to look at.
func compareResults(args []string, out, errOut io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(errOut, "usage: bench compare OLD NEW    (directories of bench/results)\n"+
			"       bench compare -base COMMIT [flags]    (this tree against the commit; -help lists them)")
		return 2
	}
	var results [2]*Results
	for i, name := range args {
		r, err := readResults(name)
		if err != nil {
			fmt.Fprintln(errOut, "bench:", err)
			return 1
		}
		results[i] = r
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "scenario\tcontender\twhat\told\tnew\tchange\tp\n")
	for _, s := range results[1].Scenarios {
		if old := results[0].scenario(s.Name); old != nil {
			compareScenario(w, old, s)
		}
	}
	for _, m := range results[1].Memory {
		for _, o := range results[0].Memory {
			if o.Scenario == m.Scenario && o.Name == m.Name && o.Failed == "" && m.Failed == "" {
				change(w, m.Scenario, m.Name, "bytes/"+m.What, o.perConnection(), m.perConnection())
			}
		}
	}
	if results[0].Latency != nil && results[1].Latency != nil {
		compareLatency(w, results[0].Latency, results[1].Latency)
	}
	w.Flush()
	fmt.Fprintf(out, "\n~: the difference may be chance (two-sided Mann-Whitney test, p > %.2f)\n", significant)
	return 0
}

func readResults(name string) (*Results, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, "results.json")
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := new(Results)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.Format != resultsFormat {
		return nil, fmt.Errorf("%s has format %d, this program reads %d", name, r.Format, resultsFormat)
	}
	for _, m := range r.Memory {
		if m.Scenario == "" { // there was only one
			m.Scenario, m.What = "idle", keepAlive.what()
		}
	}
	return r, nil
}

func (r *Results) scenario(name string) *ScenarioResult {
	for _, s := range r.Scenarios {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func compareScenario(w io.Writer, before, after *ScenarioResult) {
	for _, c := range after.Contenders {
		o := before.find(c.Name)
		if o == nil || c.Failed != "" {
			continue
		}
		change(w, after.Name, c.Name, "us/request", valid(o.cpu()), valid(c.cpu()))
		if !isZproxy(c.Name) {
			continue
		}
		for _, versus := range []string{"nginx", "floor"} {
			x, y := before.find(versus), after.find(versus)
			if x != nil && y != nil {
				change(w, after.Name, c.Name, "x "+versus, roundRatios(o.cpu(), x.cpu()), roundRatios(c.cpu(), y.cpu()))
			}
		}
	}
}

// compareLatency compares ratios to nginx only: the rates are shares of what
// the slowest contender reached, which is another number each time.
func compareLatency(w io.Writer, before, after *LatencyResult) {
	for _, rate := range after.Rates {
		for _, old := range before.Rates {
			if old.Share != rate.Share {
				continue
			}
			for _, c := range rate.Contenders {
				o, x, y := old.find(c.Name), old.find("nginx"), rate.find("nginx")
				if isZproxy(c.Name) && c.Failed == "" && o != nil && x != nil && y != nil {
					change(w, after.Name, c.Name, fmt.Sprintf("p99 x nginx at %.0f %%", 100*rate.Share), roundRatios(o.p99(), x.p99()), roundRatios(c.p99(), y.p99()))
				}
			}
		}
	}
}

// find returns who has a result at this rate.
func (r *RateResult) find(name string) *LatencyContestant {
	for _, c := range r.Contenders {
		if c.Name == name && c.Failed == "" {
			return c
		}
	}
	return nil
}

func (m *MemoryResult) perConnection() []float64 {
	var v []float64
	for _, r := range m.Runs {
		v = append(v, r.PerConnection)
	}
	return v
}

// valid leaves void rounds out.
func valid(values []float64) []float64 {
	var v []float64
	for _, x := range values {
		if !math.IsNaN(x) {
			v = append(v, x)
		}
	}
	return v
}

// change prints one row.
func change(w io.Writer, scenario, contender, what string, before, after []float64) {
	o, n := summarise(before), summarise(after)
	if o.N == 0 || n.N == 0 {
		return
	}
	p := mannWhitney(before, after)
	verdict := "~"
	if p <= significant {
		verdict = fmt.Sprintf("%+.1f %%", 100*(n.Median/o.Median-1))
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.3f n=%d+%d\n", scenario, contender, what, figure(o.Median), figure(n.Median), verdict, p, o.N, n.N)
}
