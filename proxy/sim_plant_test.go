package proxy

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// plantedWithin is how many requests the simulator may take to find a planted bug: ten
// seconds of a machine that has nothing else to do.
const plantedWithin = 50_000

// TestSimFindsPlantedBugs: with each of the known bugs let loose the simulator
// fails, TestSim soon and so that it can be seen again; with none it does not.
func TestSimFindsPlantedBugs(t *testing.T) {
	bin := buildPlanted(t)
	for _, bug := range plantedBugs {
		t.Run(bug.name, func(t *testing.T) {
			if bug.test == "" {
				findsPlanted(t, bin, bug.name)
				return
			}
			out, err := runPlanted(bin, bug.name, bug.test)
			if err == nil || !strings.Contains(out, bug.says) {
				t.Errorf("not found: %v\n%s", err, out)
			}
		})
	}
	if out, err := runPlanted(bin, "none", "TestSim", "-sim.requests=5000"); err != nil {
		t.Errorf("without a bug: %v\n%s", err, out)
	}
}

// findsPlanted: TestSim finds it, and says how to see it again.
func findsPlanted(t *testing.T, bin, bug string) {
	t.Helper()
	began := time.Now()
	out, err := runPlanted(bin, bug, "TestSim", "-sim.requests="+strconv.Itoa(plantedWithin))
	found := regexp.MustCompile(`seed (\d+):\n +(.*)`).FindStringSubmatch(out)
	if err == nil || found == nil || !strings.Contains(out, "replay: go test ./proxy") {
		t.Fatalf("not found within %v requests: %v\n%s", plantedWithin, err, out)
	}
	t.Logf("found after %.2f s in seed %s: %s", time.Since(began).Seconds(), found[1], found[2])
	again, err := runPlanted(bin, bug, "TestSim", "-sim.seed="+found[1])
	// It is looked at more often then, so numbers may differ.
	if err == nil || !strings.Contains(digits.ReplaceAllString(again, "N"), digits.ReplaceAllString(found[2], "N")) {
		t.Errorf("seed %s does not show it again: %v\n%s", found[1], err, again)
	}
}

var digits = regexp.MustCompile(`\d+`)

func runPlanted(bin, bug, test string, flags ...string) (string, error) {
	cmd := exec.Command(bin, append([]string{"-test.run=^" + test + "$", "-test.v"}, flags...)...)
	cmd.Env = append(os.Environ(), looseBug+"="+bug)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
