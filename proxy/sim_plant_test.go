package proxy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"zproxy/internal/plant"
)

// plantedWithin is how long the simulator may take to find a planted bug.
const plantedWithin = 10 * time.Second

// TestSimFindsPlantedBugs: with each of the known bugs let loose TestSim
// fails in time and says how to see it again; with none it does not.
func TestSimFindsPlantedBugs(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not in PATH: it builds the package with the planted bugs")
	}
	bin := filepath.Join(t.TempDir(), "planted.test")
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-tags", "plant", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("building with -tags plant: %v\n%s", err, out)
	}
	for _, bug := range plant.All {
		t.Run(bug, func(t *testing.T) {
			began := time.Now()
			out, err := runPlanted(bin, bug, "-sim.for="+plantedWithin.String())
			found := regexp.MustCompile(`seed (\d+):\n +(.*)`).FindStringSubmatch(out)
			if err == nil || found == nil || !strings.Contains(out, "replay: go test ./proxy") {
				t.Fatalf("not found within %v: %v\n%s", plantedWithin, err, out)
			}
			t.Logf("found after %.2f s in seed %s: %s", time.Since(began).Seconds(), found[1], found[2])
			again, err := runPlanted(bin, bug, "-sim.seed="+found[1])
			// It is looked at more often then, so numbers may differ.
			if err == nil || !strings.Contains(digits.ReplaceAllString(again, "N"), digits.ReplaceAllString(found[2], "N")) {
				t.Errorf("seed %s does not show it again: %v\n%s", found[1], err, again)
			}
		})
	}
	if out, err := runPlanted(bin, "none", "-sim.requests=5000"); err != nil {
		t.Errorf("without a bug: %v\n%s", err, out)
	}
}

// TestSimFindsHolders: where who holds memory keeps it, the simulator says that
// others are not served.
func TestSimFindsHolders(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not in PATH: it builds the package with the planted bugs")
	}
	cmd := exec.Command("go", "test", "-count=1", "-vet=off", "-tags", "plant", "-run", "TestSimHolders$", ".")
	cmd.Env = append(os.Environ(), "ZPROXY_PLANT="+plant.Held)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "a client of another upstream") {
		t.Errorf("not found: %v\n%s", err, out)
	}
}

var digits = regexp.MustCompile(`\d+`)

func runPlanted(bin, bug, flag string) (string, error) {
	cmd := exec.Command(bin, "-test.run=TestSim$", "-test.v", flag)
	cmd.Env = append(os.Environ(), "ZPROXY_PLANT="+bug)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
