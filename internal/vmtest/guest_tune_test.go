package vmtest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const tuneState = "/var/lib/zproxy/tune.json"

// tuning is the machine before tune: what all of it was, and what is to change.
type tuning struct {
	config string // whose listener is in the range of ports
	before map[string]string
	all    []setting
}

// testTune holds "zproxy tune" to each promise of docs/tuning.md, on the
// kernel's own files. Each part begins and ends with the same values, and the
// last one leaves what the first has found.
func testTune(t *testing.T, m *machine) {
	found := snapshot(t)
	u := &tuning{config: filepath.Join(t.TempDir(), "zproxy.yaml"), all: settings(t, m)}
	text := "upstreams: {a: {endpoints: [{address: \"127.0.0.1:1\"}]}}\nroutes: [{path: \"/*\", upstream: a}]\nlisteners: [{address: \"127.0.0.1:20080\"}]\n"
	if err := os.WriteFile(u.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// Also when a part fails, since the subtests to come have a proxy to start.
	defer func() {
		for _, s := range u.all {
			write(t, s.file, found[s.file]+"\n")
		}
		checkSame(t, found)
	}()
	spoil(t, u.all)
	u.before = snapshot(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"check_changes_nothing", u.checkOnly},
		{"apply_and_revert", u.applyAndRevert},
		{"apply_twice", u.applyTwice},
		{"only", u.applySome},
		{"changed_by_others", u.changedByOthers},
		{"missing", u.missing},
		{"goes_missing", u.goesMissing},
		{"interrupted", u.interrupted},
		{"revert_interrupted", u.revertInterrupted},
		{"persist", u.persist},
	} {
		t.Run(part.name, func(t *testing.T) {
			// Huge pages are reserved and given back many times.
			write(t, "/proc/sys/vm/compact_memory", "1")
			part.run(t)
			checkSame(t, u.before)
			if _, err := os.Stat(tuneState); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%s: %v; the parts to come would not begin anew", tuneState, err)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// tune runs the command and gives its status and what it said.
func tune(t *testing.T, in string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command("/zproxy", append([]string{"tune"}, args...)...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// must is tune that ends with status 0.
func must(t *testing.T, args ...string) string {
	t.Helper()
	status, out := tune(t, "", args...)
	if status != 0 {
		t.Fatalf("tune %v: status %d:\n%s", args, status, out)
	}
	return out
}

func (u *tuning) apply(t *testing.T, more ...string) string {
	t.Helper()
	return must(t, append([]string{"apply", "--yes", "-c", u.config}, more...)...)
}

// Looking, and an answer that is not yes, change nothing and say what would be.
func (u *tuning) checkOnly(t *testing.T) {
	for _, run := range []struct{ in, verb, format string }{
		{"", "check", "WRONG %s %s %s "}, {"", "apply", "%s: %s -> %s ("}, {"n\n", "apply", "%s: %s -> %s ("},
	} {
		status, out := tune(t, run.in, run.verb, "-c", u.config)
		if status != 1 {
			t.Errorf("%+v: status %d, want 1:\n%s", run, status, out)
		}
		for _, s := range u.all {
			if would := fmt.Sprintf(run.format, s.name(), s.spoilt, s.want); !strings.Contains(strings.Join(strings.Fields(out), " "), would) {
				t.Errorf("%+v does not say %q:\n%s", run, would, out)
			}
		}
		checkSame(t, u.before)
	}
	if status, _ := tune(t, "", "revert", "--only", "memory"); status != 2 {
		t.Errorf("called wrongly: status %d, want 2", status)
	}
}

func (u *tuning) applyAndRevert(t *testing.T) {
	out := u.apply(t)
	checkApplied(t, u.before, u.all)
	if strings.Contains(out, "asked for") {
		t.Errorf("some values were not taken:\n%s", out)
	}
	if n := strings.Count(afterEmptyLine(out), " -> "); n != len(u.all) {
		t.Errorf("it tells of %d changes, want %d:\n%s", n, len(u.all), out)
	}
	info, err := os.Stat(tuneState)
	if err != nil || info.Mode().Perm()&0o022 != 0 {
		t.Errorf("%s: %v, %v, want a file that only its owner may write", tuneState, info, err)
	}
	// What is left is for those who start the shell: its limits.
	if _, out := tune(t, "", "check", "-c", u.config); strings.Contains(out, "WRONG") {
		t.Errorf("something is wrong still:\n%s", out)
	}
	if n := strings.Count(must(t, "revert"), " -> "); n != len(u.all) {
		t.Errorf("it tells of %d values put back, want %d", n, len(u.all))
	}
	checkSame(t, u.before)
	if out := must(t, "revert"); out != "nothing to revert\n" {
		t.Errorf("once more: %q", out)
	}
}

// afterEmptyLine is where apply tells what it does, after what it will do.
func afterEmptyLine(out string) string {
	_, rest, _ := strings.Cut(out, "\n\n")
	return rest
}

// Applying again changes nothing, and what is applied a second time goes back to
// what it was before the first.
func (u *tuning) applyTwice(t *testing.T) {
	u.apply(t)
	noted, applied := read(t, tuneState), snapshot(t)
	if out := u.apply(t); out != "nothing to change\n" {
		t.Errorf("applied again: %q", out)
	}
	checkSame(t, applied)
	if now := read(t, tuneState); now != noted {
		t.Errorf("the notes were\n%s\nand are\n%s", noted, now)
	}
	for _, s := range u.all[:3] {
		write(t, s.file, s.spoilt+"\n")
	}
	write(t, u.all[0].file, "77\n") // neither the old nor the new value
	u.apply(t)
	checkApplied(t, u.before, u.all)
	must(t, "revert")
}

func (u *tuning) applySome(t *testing.T) {
	u.apply(t, "--only", "net.core.somaxconn,limits")
	var some []setting
	for _, s := range u.all {
		if name := strings.TrimPrefix(s.file, sysctls); name == "net/core/somaxconn" || strings.HasPrefix(name, "fs/") || name == "kernel/io_uring_disabled" {
			some = append(some, s)
		}
	}
	checkApplied(t, u.before, some)
	u.apply(t) // the rest
	checkApplied(t, u.before, u.all)
	must(t, "revert")
}

// What somebody else has set since stays, and is said, until it is forced.
func (u *tuning) changedByOthers(t *testing.T) {
	u.apply(t)
	other := u.all[0]
	write(t, other.file, "5000\n")
	status, out := tune(t, "", "revert")
	if status != 1 || !strings.Contains(out, "net.core.somaxconn: was set to 65535, is 5000 by now") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if changed := differences(u.before, snapshot(t)); len(changed) != 1 || changed[other.file] != "100 -> 5000" {
		t.Errorf("changed: %v, want %s alone", changed, other.file)
	}
	must(t, "revert", "--force")
}

// hide puts an empty directory over one, as in a kernel without these settings.
func hide(t *testing.T, dir string) (show func()) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatalf("mount over %s: %v", dir, err)
	}
	return func() {
		t.Helper()
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatalf("unmount %s: %v", dir, err)
		}
	}
}

// A kernel that lacks some settings gets the others.
func (u *tuning) missing(t *testing.T) {
	show := hide(t, thp)
	var rest []setting
	hidden := map[string]string{}
	for name, now := range u.before {
		if !strings.HasPrefix(name, thp) {
			hidden[name] = now
		}
	}
	for _, s := range u.all {
		if !strings.HasPrefix(s.file, thp) {
			rest = append(rest, s)
		}
	}
	if _, out := tune(t, "", "check"); !strings.Contains(strings.Join(strings.Fields(out), " "), "absent transparent_hugepage/enabled - - ") {
		t.Errorf("what the kernel does not have is not said to be absent:\n%s", out)
	}
	u.apply(t)
	checkApplied(t, hidden, rest)
	must(t, "revert")
	checkSame(t, hidden)
	show()
}

// What has gone since apply stays noted, and the rest is put back.
func (u *tuning) goesMissing(t *testing.T) {
	u.apply(t)
	show := hide(t, thp)
	status, out := tune(t, "", "revert")
	if status != 1 || !strings.Contains(out, "transparent_hugepage/enabled") || !strings.Contains(out, "transparent_hugepage/defrag") {
		t.Errorf("status %d, want 1 and what could not be put back:\n%s", status, out)
	}
	show()
	if changed := differences(u.before, snapshot(t)); len(changed) != 2 || changed[thp+"/enabled"] == "" || changed[thp+"/defrag"] == "" {
		t.Errorf("changed: %v, want what was hidden alone", changed)
	}
	must(t, "revert")
}

// killed runs tune until it has told of n things it has done, and kills it while
// it is about to tell of one more.
func killed(t *testing.T, n int, args ...string) {
	t.Helper()
	// Room for one message: the next one waits until this one is read.
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_DIRECT); err != nil {
		t.Fatal(err)
	}
	in, out := os.NewFile(uintptr(ends[0]), "pipe"), os.NewFile(uintptr(ends[1]), "pipe")
	defer in.Close()
	if _, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/zproxy", append([]string{"tune"}, args...)...)
	cmd.Stdout = out
	err := cmd.Start()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, os.Getpagesize())
	begun := args[0] == "revert" // apply first says what it will do, then an empty line
	for told := 0; !begun || told < n; {
		k, err := in.Read(buffer)
		if err != nil {
			t.Fatalf("it ended before it could be killed: %v", errors.Join(err, cmd.Wait()))
		}
		switch message := string(buffer[:k]); {
		case begun:
			told++
		case message == "\n":
			begun = true
		}
	}
	waitUntilBlocked(t, cmd.Process.Pid)
	cmd.Process.Kill()
	cmd.Wait()
	io.Copy(io.Discard, in)
}

// waitUntilBlocked waits until a thread of pid waits for room in a pipe.
func waitUntilBlocked(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
		for _, name := range tasks {
			if text, _ := os.ReadFile(name); strings.HasSuffix(string(text), "pipe_write") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not wait to be read", pid)
		}
	}
}

// Killed after the first changes, in the middle, and before the last: what was
// there comes back, at once or after apply has been run again.
func (u *tuning) interrupted(t *testing.T) {
	for i, n := range []int{0, 1, len(u.all) / 2, len(u.all) - 3} {
		killed(t, n, "apply", "--yes", "-c", u.config)
		changed := differences(u.before, snapshot(t))
		for _, name := range sumsOf {
			delete(changed, name)
		}
		if len(changed) <= n || len(changed) >= len(u.all) {
			t.Fatalf("killed after %d changes, there are %d: %v", n, len(changed), changed)
		}
		if i%2 == 1 {
			u.apply(t)
			checkApplied(t, u.before, u.all)
		}
		must(t, "revert")
		checkSame(t, u.before)
	}
}

func (u *tuning) revertInterrupted(t *testing.T) {
	for _, n := range []int{0, len(u.all) / 2} {
		u.apply(t)
		killed(t, n, "revert")
		if changed := differences(u.before, snapshot(t)); len(changed) == 0 {
			t.Fatal("nothing was left to be put back")
		}
		must(t, "revert")
		checkSame(t, u.before)
	}
}

// The files for the next start hold what was changed, no more, and do it again.
// Revert removes them, or puts back what was there.
func (u *tuning) persist(t *testing.T) {
	etc := t.TempDir()
	sysctlFile, tmpFile := filepath.Join(etc, "sysctl.d/90-zproxy.conf"), filepath.Join(etc, "tmpfiles.d/zproxy.conf")
	if err := os.MkdirAll(filepath.Dir(tmpFile), 0o755); err != nil {
		t.Fatal(err)
	}
	const own = "# of the owner\n"
	if err := os.WriteFile(tmpFile, []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	u.apply(t, "--persist", etc)
	checkApplied(t, u.before, u.all)
	again := map[string]string{}
	for line := range strings.Lines(read(t, sysctlFile)) {
		if name, now, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			again[sysctls+strings.ReplaceAll(name, ".", "/")] = now
		}
	}
	for line := range strings.Lines(read(t, tmpFile)) {
		if words := strings.SplitN(strings.TrimSpace(line), " ", 7); len(words) == 7 && words[0] == "w" {
			again[words[1]] = words[6]
		}
	}
	// As a start does. The pools of huge pages stay: a machine that is running may not find as many again.
	files := 0
	for _, s := range u.all {
		if s.ofCard() {
			write(t, s.file, s.spoilt+"\n")
			continue
		}
		files++
		if !strings.HasPrefix(s.file, nodeDir) {
			write(t, s.file, s.spoilt+"\n")
			write(t, s.file, again[s.file]+"\n")
		} else if again[s.file] != s.want {
			t.Errorf("%s would be %q after a start, want %q", s.file, again[s.file], s.want)
		}
	}
	if len(again) != files {
		t.Errorf("%d settings persist in files, want %d: %v", len(again), files, again)
	}
	unit := filepath.Join(etc, "systemd/system/zproxy-tune.service")
	runUnit(t, unit)
	checkApplied(t, u.before, u.all)
	must(t, "revert")
	for _, file := range []string{sysctlFile, unit} {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want that it is gone", file, err)
		}
	}
	if text, err := os.ReadFile(tmpFile); err != nil || string(text) != own {
		t.Errorf("%s: %q %v, want what it was", tmpFile, text, err)
	}
}
