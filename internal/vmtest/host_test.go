package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// guestLimit and bootLimit are far above what a boot takes on a machine
	// with something else to do: a minute or two.
	guestLimit = 6 * time.Minute
	bootLimit  = 7 * time.Minute
)

// TestMachines boots one machine after the other: qemu takes as many of the
// host's CPUs as it gets.
func TestMachines(t *testing.T) {
	if os.Getenv("ZPROXY_VM") != "1" {
		t.Skip("boots virtual machines, for minutes: run it with make test-numa, or with ZPROXY_VM=1")
	}
	im := &images{dir: t.TempDir(), kernel: findKernel(t), built: map[string]bool{}}
	for i := range machines {
		m := &machines[i]
		t.Run(m.Name, func(t *testing.T) {
			r := boot(t, im.kernel, im.archive(t, m), m)
			r.judge(t, m)
		})
	}
}

func findKernel(t *testing.T) string {
	t.Helper()
	find := exec.Command("../../scripts/dev/vm")
	var why bytes.Buffer
	find.Stderr = &why
	out, err := find.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, why.String())
	}
	return strings.TrimSpace(string(out))
}

// result is what a guest reported.
type result struct {
	output    map[string][]string // lines, by program
	exit      map[string]string   // "ok" or what went wrong, by program
	end       bool                // it came to its end, and powered off by itself
	kernelLog string
}

// boot runs one machine until it powers off, or until its time is over.
func boot(t *testing.T, kernel, archive string, m *machine) *result {
	t.Helper()
	kernelLog := filepath.Join(t.TempDir(), "kernel.log")
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", append(m.qemuArgs(),
		"-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "file:"+kernelLog, "-serial", "stdio",
		"-kernel", kernel, "-initrd", archive,
		"-append", "console=ttyS0 panic=-1 rdinit=/init")...)
	var complaints bytes.Buffer
	qemu.Stderr = &complaints
	out, err := qemu.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	r := &result{output: map[string][]string{}, exit: map[string]string{}}
	readErr := r.read(out)
	err = qemu.Wait()
	log, _ := os.ReadFile(kernelLog)
	r.kernelLog = string(log)
	if ctx.Err() != nil {
		err = fmt.Errorf("it was still running after %v", bootLimit)
	}
	if err := errors.Join(err, readErr); err != nil {
		t.Fatalf("qemu: %v\n%s\n%s", err, complaints.String(), tail(r.kernelLog))
	}
	t.Logf("booted, tested and powered off in %.1f s", time.Since(begin).Seconds())
	return r
}

// read takes what init prints: lines that begin with mark are its own.
func (r *result) read(in io.Reader) error {
	now := ""
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		words, ours := strings.CutPrefix(line, mark)
		if !ours {
			r.output[now] = append(r.output[now], line)
			continue
		}
		what, rest, _ := strings.Cut(words, " ")
		switch what {
		case "run":
			now = rest
		case "ran":
			r.exit[now] = rest
		case "end":
			r.end = true
		}
	}
	return lines.Err()
}

var verdict = regexp.MustCompile(`^( *)--- (PASS|FAIL|SKIP): (\S+)`)

// judge turns what the guest reported into subtests of this one.
func (r *result) judge(t *testing.T, m *machine) {
	if !r.end {
		t.Errorf("the guest ended before its plan did; the last it said:\n%s\n%s",
			tail(strings.Join(r.output[""], "\n")), tail(r.kernelLog))
	}
	programs := slices.Sorted(maps.Keys(m.Tests))
	if programs == nil {
		programs = []string{"guest"}
	}
	for _, name := range programs {
		t.Run(name, func(t *testing.T) {
			passed := 0
			for _, line := range r.output[name] {
				v := verdict.FindStringSubmatch(line)
				switch {
				case v == nil:
				case v[2] == "PASS":
					passed++
				case v[2] == "SKIP" && (name == "guest" || !strings.Contains(v[3], "/")):
					t.Errorf("%s was skipped: this kernel has all it needs", v[3])
				case v[2] == "SKIP":
					t.Logf("skipped there: %s", v[3])
				case v[2] == "FAIL":
					t.Errorf("%s failed", v[3])
				}
			}
			if r.exit[name] != "ok" || passed == 0 || t.Failed() {
				t.Fatalf("%s: %d tests passed, it ended with %q:\n%s", name, passed, r.exit[name],
					strings.Join(r.output[name], "\n"))
			}
			t.Logf("%d tests passed", passed)
			if testing.Verbose() {
				t.Log(strings.Join(r.output[name], "\n"))
			}
		})
	}
}

// tail is the end of what was printed.
func tail(s string) string {
	if len(s) > 6000 {
		s = "..." + s[len(s)-6000:]
	}
	return s
}

// readPlan is the guest's side of images.archive.
func readPlan() (*plan, error) {
	text, err := os.ReadFile("/plan")
	if err != nil {
		return nil, err
	}
	p := &plan{}
	return p, json.Unmarshal(text, p)
}
