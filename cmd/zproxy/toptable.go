package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"zproxy/admin"
)

// What zproxy top shows: text, whatever draws it.

// topModel is what is shown, and how.
type topModel struct {
	shown, last *admin.Pulse // the same unless frozen
	frozen      bool
	trouble     string // "": there are figures
	view        int    // of topViews
	sortBy      int    // a column
	reverse     bool
	from        int // the first row that is seen
	typing      bool
	filter      string
}

type look int

const (
	lookPlain look = iota
	lookHead
	lookBad
	lookDim
	lookBold
)

// topLine is one line of the screen.
type topLine struct {
	text string
	look look
}

// topView is a table.
type topView struct {
	name    string
	columns []topColumn
	rows    func(*admin.Pulse) []topRow
}

// topColumn has a width; the last one of 0 takes what is left.
type topColumn struct {
	name  string
	width int // below 0: to the left
}

// topRow are cells, and by what they are sorted: the larger first; where there is no number, by the text.
type topRow struct {
	cells []string
	by    []float64
	bad   bool
}

var trafficColumns = []topColumn{{"REQ/S", 9}, {"4XX/S", 8}, {"5XX/S", 8}, {"P50 MS", 8}, {"P99 MS", 8}, {"OUT/S", 9}}

var topViews = []topView{
	{"routes", append([]topColumn{{"ROUTE", 0}}, trafficColumns...), func(p *admin.Pulse) []topRow { return trafficRows(p.Routes, false) }},
	{"upstreams", append(append([]topColumn{{"UPSTREAM", 0}}, trafficColumns...), topColumn{"WAIT", 6}), func(p *admin.Pulse) []topRow { return trafficRows(p.Upstream, true) }},
	{"endpoints", []topColumn{{"ENDPOINT", 0}, {"UPSTREAM", -12}, {"UP", -5}, {"WEIGHT", 7}, {"CONNS", 7}, {"ACTIVE", 7}, {"FAILED", 8}}, endpointRows},
	{"loops", []topColumn{{"LOOP", 0}, {"NODE", 5}, {"CPU", 5}, {"BY", -6}, {"REQ/S", 9}, {"CONNS", 8}, {"BUFFERS", 10}, {"LONGEST", 10}}, loopRows},
	{"failures", []topColumn{{"TIME", -9}, {"STATUS", 7}, {"REQUEST", -28}, {"REASON", 0}}, failureRows},
}

func trafficRows(list []admin.SeriesPulse, waiting bool) (rows []topRow) {
	for _, s := range list {
		t := s.Traffic
		r := topRow{
			cells: []string{s.Name, short(t.Requests), short(t.Classes[4]), short(t.Classes[5]), short(t.P50), short(t.P99), sizeOf(t.Out)},
			by:    []float64{0, t.Requests, t.Classes[4], t.Classes[5], t.P50, t.P99, t.Out}, bad: t.Classes[5] > 0,
		}
		if waiting {
			r.cells, r.by = append(r.cells, fmt.Sprint(s.Waiting)), append(r.by, float64(s.Waiting))
		}
		rows = append(rows, r)
	}
	return rows
}

func endpointRows(p *admin.Pulse) (rows []topRow) {
	for _, e := range p.Endpoint {
		rows = append(rows, topRow{
			cells: []string{e.Address, e.Upstream, yesNo(e.Up), fmt.Sprint(e.Weight), fmt.Sprint(e.Connections), fmt.Sprint(e.Active), fmt.Sprint(e.Failures)},
			by:    []float64{0, 0, 0, float64(e.Weight), float64(e.Connections), float64(e.Active), float64(e.Failures)}, bad: !e.Up,
		})
	}
	return rows
}

func loopRows(p *admin.Pulse) (rows []topRow) {
	for _, l := range p.Loops {
		rows = append(rows, topRow{
			cells: []string{fmt.Sprint(l.Index), fmt.Sprint(l.Node), fmt.Sprint(l.CPU), l.IO, short(l.Requests), fmt.Sprint(l.Connections),
				sizeOf(float64(l.InUse * l.BlockBytes)), (time.Duration(l.LongestUs) * time.Microsecond).String()},
			by: []float64{0, float64(l.Node), float64(l.CPU), 0, l.Requests, float64(l.Connections), float64(l.InUse), float64(l.LongestUs)},
		})
	}
	return rows
}

func failureRows(p *admin.Pulse) (rows []topRow) {
	for i, f := range p.Failures {
		reason := f.Reason
		if reason == "" {
			reason = "response of " + f.Endpoint
		}
		rows = append(rows, topRow{cells: []string{f.Time.Format("15:04:05"), fmt.Sprint(f.Status), f.Method + " " + f.Host + f.Target, reason}, by: []float64{float64(-i), float64(f.Status), 0, 0}})
	}
	return rows
}

// lines are what the screen shows, from the top.
func (m *topModel) lines(width, height int) (lines []topLine) {
	add := func(look look, format string, args ...any) {
		lines = append(lines, topLine{fit(fmt.Sprintf(format, args...), width), look})
	}
	p := m.shown
	if p == nil {
		add(lookBold, "zproxy")
		add(lookDim, "%s", orElse(m.trouble, "waiting for figures"))
		return lines
	}
	frozen := ""
	if m.frozen {
		frozen = "  FROZEN"
	}
	add(lookBold, "zproxy %s  %s  up %s  pid %d%s", p.Process.Version, p.Process.State, (time.Duration(p.Process.UptimeS) * time.Second).String(), p.Process.PID, frozen)
	t := p.Traffic
	add(lookPlain, "requests/s %s   2xx %s  3xx %s  4xx %s  5xx %s   p50 %s  p90 %s  p99 %s ms", short(t.Requests), short(t.Classes[2]), short(t.Classes[3]), short(t.Classes[4]), short(t.Classes[5]), short(t.P50), short(t.P90), short(t.P99))
	add(lookPlain, "clients %d  streams %d  tunnels %d  under way %d   in %s/s  out %s/s", p.Clients, p.Streams, p.Tunnels, p.Active, sizeOf(t.In), sizeOf(t.Out))
	if m.trouble != "" {
		add(lookBad, "%s", m.trouble)
	} else {
		add(lookPlain, "")
	}
	var tabs strings.Builder
	for i, v := range topViews {
		name := v.name
		if i == m.view {
			name = "[" + name + "]"
		}
		fmt.Fprintf(&tabs, "%d %s  ", i+1, name)
	}
	add(lookDim, "%s", tabs.String())
	lines = append(lines, m.table(width, max(1, height-len(lines)-2))...)
	for len(lines) < height-1 {
		add(lookPlain, "")
	}
	switch {
	case m.typing:
		add(lookHead, "filter: %s_", m.filter)
	case m.filter != "":
		add(lookHead, "filter: %s   Esc: none   s sort  r reverse  f freeze  q quit", m.filter)
	default:
		add(lookHead, "1-%d Tab: table   s: sort  r: reverse   /: filter   f: freeze   q: quit", len(topViews))
	}
	return lines
}

// table is the chosen one, with so many rows at the most.
func (m *topModel) table(width, room int) (lines []topLine) {
	v := topViews[m.view]
	left := width
	for _, c := range v.columns {
		left -= max(c.width, -c.width) + 1
	}
	row := func(cells []string, look look) {
		var b strings.Builder
		for i, c := range v.columns {
			w := c.width
			if w == 0 {
				w = -max(8, left)
			}
			cell := fit(printable(cells[i]), max(w, -w))
			fmt.Fprintf(&b, "%*s ", w, cell)
		}
		lines = append(lines, topLine{fit(b.String(), width), look})
	}
	heads := make([]string, len(v.columns))
	for i, c := range v.columns {
		heads[i] = c.name
		if i == m.sortBy {
			heads[i] += map[bool]string{false: "v", true: "^"}[m.reverse]
		}
	}
	row(heads, lookHead)
	rows := m.sorted(v.rows(m.shown))
	m.from = min(m.from, max(0, len(rows)-room))
	for _, r := range rows[m.from:min(len(rows), m.from+room)] {
		look := lookPlain
		if r.bad {
			look = lookBad
		}
		row(r.cells, look)
	}
	return lines
}

// sorted are those that the filter lets through, in order.
func (m *topModel) sorted(rows []topRow) []topRow {
	rows = slices.DeleteFunc(rows, func(r topRow) bool {
		return m.filter != "" && !strings.Contains(strings.ToLower(strings.Join(r.cells, " ")), strings.ToLower(m.filter))
	})
	slices.SortStableFunc(rows, func(a, b topRow) int {
		n := 0
		switch x, y := a.by[m.sortBy], b.by[m.sortBy]; {
		case x > y:
			n = -1
		case x < y:
			n = 1
		case x == 0:
			n = strings.Compare(a.cells[m.sortBy], b.cells[m.sortBy])
		}
		if m.reverse {
			n = -n
		}
		return n
	})
	return rows
}

// fit cuts text to a width.
func fit(text string, width int) string {
	if r := []rune(text); len(r) > width {
		if width < 2 {
			return string(r[:max(0, width)])
		}
		return string(r[:width-1]) + "~"
	}
	return text
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// short is a number of at most 7 characters.
func short(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", n/1e6)
	case n >= 1e5:
		return fmt.Sprintf("%.0fk", n/1e3)
	case n >= 100 || n == 0:
		return fmt.Sprintf("%.0f", n)
	case n >= 1:
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.2f", n)
}

// sizeOf is a number of bytes.
func sizeOf(n float64) string {
	for _, unit := range []string{"B", "K", "M", "G"} {
		if n < 1024 {
			return short(n) + unit
		}
		n /= 1024
	}
	return short(n) + "T"
}
