package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"zproxy/internal/child"
)

// startTries is how often a program is started on new ports when a port that
// was free a moment ago has been taken by somebody else.
const startTries = 4

func freePort(t *testing.T) int { return int(child.FreeAddr(t).Port()) }

func freeAddr(t *testing.T) string { return child.FreeAddr(t).String() }

// process is a program that was started and will end.
type process struct {
	cmd    *exec.Cmd
	out    child.Output  // stdout and stderr
	exited chan struct{} // closed when it has ended
	err    error         // of Wait, once exited is closed
}

// spawn starts a program that dies with the test at the latest.
func spawn(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return spawnCmd(t, exec.Command(name, args...))
}

// spawnCmd is spawn for a command whose stdin, stdout or directory are the caller's.
func spawnCmd(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, exited: make(chan struct{})}
	if cmd.Stderr = &p.out; cmd.Stdout == nil {
		cmd.Stdout = &p.out
	}
	// What is printed by programs that have taken over from the first one is read on, until all
	// have ended. A test binary that is killed takes the program with it.
	p.cmd.WaitDelay = 4 * patience
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		if p.running() {
			syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // its group: nginx has workers
			<-p.exited
		}
	})
	return p
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// files is how many descriptors the program has.
func (p *process) files() int {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(files)
}

// listens waits until the program takes connections at addr; false when it has
// ended instead.
func (p *process) listens(network, addr string) bool {
	for deadline := time.Now().Add(patience); p.running() && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial(network, addr); err == nil {
			c.Close()
			return p.running()
		}
	}
	return false
}

// awaitListener is listens for a program that has no second try.
func (p *process) awaitListener(t *testing.T, addr string) {
	t.Helper()
	if !p.listens("tcp", addr) {
		t.Fatalf("%s does not start:\n%s", p.cmd.Path, tail(p.out.String()))
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}

// wait returns the exit status, -1 for a death by signal.
func (p *process) wait(t *testing.T, limit time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		t.Fatalf("%s did not end within %v; it printed:\n%s", p.cmd.Path, limit, tail(p.out.String()))
		return 0
	}
}

// tail is the end of what was printed.
func tail(s string) string {
	if len(s) > 4000 {
		s = "..." + s[len(s)-4000:]
	}
	return s
}

// eventually polls until ok, and fails with what it returned last.
func eventually(t *testing.T, limit time.Duration, what string, ok func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %s", limit, what, state)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// run runs a program to its end and gives what it printed on stdout; anything
// but status 0 is fatal.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, tail(out.String()), tail(errOut.String()))
	}
	return out.String()
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
