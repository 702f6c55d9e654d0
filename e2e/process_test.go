package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTries is how often a program is started on new ports when a port that
// was free a moment ago has been taken by somebody else.
const startTries = 4

// ports is the next port to try, see freePort.
var ports = struct {
	sync.Mutex
	next int
}{next: firstPort + os.Getpid()*64%(lastPort-firstPort)}

// The ports given out lie below those that the kernel gives to connections
// (net.ipv4.ip_local_port_range).
const (
	firstPort = 10000
	lastPort  = 32000
)

// freePort finds a port of 127.0.0.1 that nobody uses and that was not given
// out before: several may be wanted until the first is listened on.
func freePort(t *testing.T) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range lastPort - firstPort {
		port := ports.next
		if ports.next++; ports.next == lastPort {
			ports.next = firstPort
		}
		if l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatalf("no port of 127.0.0.1 from %d to %d is free", firstPort, lastPort)
	return 0
}

func freeAddr(t *testing.T) string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }

// output collects what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// process is a program that was started and will end.
type process struct {
	cmd    *exec.Cmd
	out    output        // stdout and stderr
	exited chan struct{} // closed when it has ended
	err    error         // of Wait, once exited is closed
}

// spawn starts a program that dies with the test at the latest.
func spawn(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	// Files a test closes stay open no longer than it thinks, also when the
	// program forks; a test binary that is killed takes the program with it.
	p.cmd.WaitDelay = time.Second
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
