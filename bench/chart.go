package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// chart is groups of horizontal bars; each group has a scale of its own.
type chart struct {
	title  string
	unit   string
	groups []barGroup
}

type barGroup struct {
	name string
	bars []bar
}

type bar struct {
	name     string
	value    float64
	min, max float64
}

const (
	chartWidth  = 760
	labelWidth  = 130
	valueWidth  = 120
	barHeight   = 18
	barDistance = 22
	groupGap    = 34
)

// charts makes those there are numbers for.
func (r *Results) charts() map[string]*chart {
	cpu := &chart{title: "CPU time of the proxy per request", unit: "us"}
	rate := &chart{title: "Requests per second (load generator and origin share one CPU)", unit: "/s"}
	for _, s := range r.Scenarios {
		c, q := barGroup{name: s.Name + ": " + s.Title}, barGroup{name: s.Name + ": " + s.Title}
		for _, m := range s.Contenders {
			if m.Failed == "" {
				c.bars = append(c.bars, bar{m.Name, m.CPUMicros.Median, m.CPUMicros.Min, m.CPUMicros.Max})
				q.bars = append(q.bars, bar{m.Name, m.PerSecond.Median, m.PerSecond.Min, m.PerSecond.Max})
			}
		}
		cpu.groups, rate.groups = append(cpu.groups, c), append(rate.groups, q)
	}
	memory := &chart{title: "Memory"}
	for _, group := range r.memoryGroups() {
		per := barGroup{name: fmt.Sprintf("%s: bytes per %s", group[0].Scenario, group[0].What)}
		start := barGroup{name: "resident at start, KiB"}
		for _, m := range group {
			if m.Failed == "" {
				per.bars = append(per.bars, bar{m.Name, m.PerConnection.Median, m.PerConnection.Min, m.PerConnection.Max})
				start.bars = append(start.bars, bar{m.Name, m.StartRSS.Median / 1024, m.StartRSS.Min / 1024, m.StartRSS.Max / 1024})
			}
		}
		memory.groups = append(memory.groups, per)
		if group[0].Scenario == "idle" {
			memory.groups = append(memory.groups, start)
		}
	}
	out := map[string]*chart{}
	if len(cpu.groups) > 0 {
		out["cpu.svg"], out["throughput.svg"] = cpu, rate
	}
	if r.Latency != nil {
		out["latency.svg"] = r.Latency.chart()
	}
	if len(memory.groups) > 0 {
		out["memory.svg"] = memory
	}
	return out
}

func (l *LatencyResult) chart() *chart {
	c := &chart{title: "Time of an answer", unit: "us"}
	for _, r := range l.Rates {
		for _, q := range []struct {
			name string
			of   func(*LatencyContestant) Summary
		}{
			{"median", func(m *LatencyContestant) Summary { return m.P50 }},
			{"99th percentile", func(m *LatencyContestant) Summary { return m.P99 }},
			{"99.9th percentile", func(m *LatencyContestant) Summary { return m.P999 }},
		} {
			g := barGroup{name: fmt.Sprintf("%s at %.0f requests/s, %.0f %% of capacity", q.name, r.PerSecond, 100*r.Share)}
			for _, m := range r.Contenders {
				if v := q.of(m); m.Failed == "" {
					g.bars = append(g.bars, bar{m.Name, v.Median, v.Min, v.Max})
				}
			}
			c.groups = append(c.groups, g)
		}
	}
	return c
}

// SVG draws the chart, readable on light and dark pages.
func (c *chart) SVG() []byte {
	var body bytes.Buffer
	y := 50
	for _, g := range c.groups {
		fmt.Fprintf(&body, `<text x="10" y="%d" font-weight="bold">%s</text>`+"\n", y, html.EscapeString(g.name))
		y += 10
		most := 0.0
		for _, b := range g.bars {
			most = math.Max(most, math.Max(b.value, b.max))
		}
		for _, b := range g.bars {
			b.draw(&body, y, most, c.unit)
			y += barDistance
		}
		y += groupGap
	}
	var w bytes.Buffer
	fmt.Fprintf(&w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", chartWidth, y, chartWidth, y)
	fmt.Fprintf(&w, `<rect width="100%%" height="100%%" fill="#fff"/><text x="10" y="24" font-size="16">%s</text>`+"\n", html.EscapeString(c.title))
	body.WriteTo(&w)
	w.WriteString("</svg>\n")
	return w.Bytes()
}

func (b *bar) draw(w *bytes.Buffer, y int, most float64, unit string) {
	scale := 0.0
	if most > 0 {
		scale = float64(chartWidth-labelWidth-valueWidth) / most
	}
	color := "#9aa5b1"
	switch {
	case isZproxy(b.name):
		color = "#1f77b4"
	case len(b.name) >= 5 && b.name[:5] == "floor":
		color = "#d9dee4"
	}
	length := math.Max(0, b.value) * scale
	middle := float64(y) + barHeight/2.0
	fmt.Fprintf(w, `<text x="%d" y="%.1f" text-anchor="end" dominant-baseline="middle">%s</text>`, labelWidth-8, middle, html.EscapeString(b.name))
	fmt.Fprintf(w, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, labelWidth, y, length, barHeight, color)
	// The spread, as a line from least to most.
	fmt.Fprintf(w, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#222"/>`,
		labelWidth+math.Max(0, b.min)*scale, labelWidth+math.Max(0, b.max)*scale, middle, middle)
	fmt.Fprintf(w, `<text x="%.1f" y="%.1f" dominant-baseline="middle">%s</text>`+"\n",
		labelWidth+math.Max(length, b.max*scale)+6, middle, html.EscapeString(figure(b.value)+" "+unit))
}

// figure shows three digits or more.
func figure(v float64) string {
	switch {
	case math.Abs(v) < 10:
		return fmt.Sprintf("%.2f", v)
	case math.Abs(v) < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
