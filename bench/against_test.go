package main

import (
	"bytes"
	"math"
	"os/exec"
	"strings"
	"testing"

	"zproxy/internal/longtest"
)

func TestComparisonJudges(t *testing.T) {
	for _, c := range []struct {
		row  comparedRow
		want string
	}{
		{comparedRow{ratio: Interval{Ratio: 0.95, Low: 0.94, High: 0.96}}, "better"},
		{comparedRow{ratio: Interval{Ratio: 1.03, Low: 1.001, High: 1.2}}, "worse"},
		{comparedRow{ratio: Interval{Ratio: 1, Low: 0.995, High: 1.005}}, "same"},
		{comparedRow{ratio: Interval{Ratio: 1, Low: 0.98, High: 1.02}}, "not clear"},
		{comparedRow{ratio: Interval{Ratio: math.NaN(), High: math.Inf(1)}}, "not clear"},
		{comparedRow{failed: "ended", ratio: Interval{Ratio: 0.95, Low: 0.94, High: 0.96}}, "failed"},
	} {
		if got := c.row.judge(0.02); got != c.want {
			t.Errorf("%+v: %s, want %s", c.row, got, c.want)
		}
	}
}

func TestComparisonUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-base", "flag needs an argument"},
		{"-base=", "-base COMMIT is missing"},
		{"-base HEAD -scenarios large", `no scenario "large"`},
		{"-base HEAD -scenarios latency", "not for comparing"},
		{"-base HEAD -io select", "-io select"},
		{"-base HEAD -duration 1ms", "-duration"},
		{"-base HEAD -pairs 5", "-pairs must be 6"},
		{"-base HEAD -idle 100000000", "ulimit -n"},
		{"-base HEAD extra", `"extra"`},
	} {
		var out, errOut bytes.Buffer
		if status := command(append([]string{"compare"}, strings.Fields(c.args)...), &out, &errOut); status != 2 || !strings.Contains(errOut.String(), c.want) {
			t.Errorf("%s: status %d, %q; want 2 and %q", c.args, status, errOut.String(), c.want)
		}
	}
}

// This tree against its own last commit: both are built, loaded in turns, and weighed.
func TestLengthySmokeCompare(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	if err := exec.Command("git", "rev-parse", "HEAD^{commit}").Run(); err != nil {
		t.Skip("this is no git repository with a commit to compare with")
	}
	t.Setenv("TMPDIR", t.TempDir())
	hastily(t)
	var out, errOut bytes.Buffer
	status := command(strings.Fields("compare -base HEAD -scenarios small,h2-waiting -io epoll -duration 100ms -pairs 6 -memory-runs 1 -idle 50 -busy -equal-terms=false"), &out, &errOut)
	if status != 0 {
		t.Fatalf("status %d:\n%s", status, errOut.String())
	}
	noneLeft(t)
	for _, row := range []string{"| small | epoll | us/request | ", "| h2-waiting | epoll | bytes/stream | "} {
		_, rest, ok := strings.Cut(out.String(), row)
		rest, _, _ = strings.Cut(rest, "\n")
		if cells := strings.Split(rest, " | "); !ok || len(cells) != 8 || cells[0] == "0.00" || cells[1] == "0.00" || cells[6] != "0" {
			t.Errorf("row %q: %q, want costs of both and no void round", row, rest)
		}
	}
	status = command(strings.Fields("compare -base no-such-commit -scenarios small -io epoll -equal-terms=false"), &out, &errOut)
	if status != 1 || !strings.Contains(errOut.String(), "-base no-such-commit") {
		t.Errorf("a commit that is not there: status %d, %s", status, errOut.String())
	}
}
