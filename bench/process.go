package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// launcher starts child processes from one thread that lives as long as this
// process: a child inherits that thread's CPU mask, and the kernel ends the
// child when the thread goes, however this process ends.
type launcher struct{ jobs chan func() }

// With prepare, which has to work, that thread is made ready first.
func newLauncher(prepare ...func() error) *launcher {
	l := &launcher{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for _, f := range prepare {
			if err := f(); err != nil {
				panic(fmt.Sprintf("bench: a thread to start programs from: %v", err))
			}
		}
		for job := range l.jobs {
			job()
		}
	}()
	return l
}

// start runs cmd on one CPU; on any if cpu is negative. The child gets a
// process group of its own, so a Ctrl-C in the terminal reaches only us, who
// then stop it.
func (l *launcher) start(cmd *exec.Cmd, cpu int) error {
	result := make(chan error)
	l.jobs <- func() { result <- startOn(cmd, cpu) }
	return <-result
}

func startOn(cmd *exec.Cmd, cpu int) error {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	if cpu >= 0 {
		one.Set(cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return fmt.Errorf("pinning to CPU %d: %w", cpu, err)
		}
		defer unix.SchedSetaffinity(0, &before)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	return cmd.Start()
}

// process is a server that was started for measuring.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // file with what it wrote to standard output and error
	done chan struct{}
}

func (b *bench) startProcess(name string, cpu int, argv ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(b.dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := b.launcher.start(p.cmd, cpu); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	b.running = append(b.running, p)
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks, waits, and then insists; also on the children it had.
func (p *process) stop() {
	family := tree(p.pid())
	if !p.ended() {
		p.cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(4 * time.Second):
		}
	}
	// Only what still is our descendant's: a PID is not reused within seconds,
	// and start times are compared.
	for _, m := range family {
		if m.alive() {
			unix.Kill(m.pid, unix.SIGKILL)
		}
	}
	<-p.done
}

// stopAll stops what was started, last first, except what stands for the whole run.
func (b *bench) stopAll() {
	for len(b.running) > b.standing {
		last := len(b.running) - 1
		b.running[last].stop()
		b.running = b.running[:last]
	}
}

// complain adds the end of the process's own words to an error.
func (p *process) complain(err error) error {
	text, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("%s: %w; it said:\n  %s", p.name, err, strings.Join(lines[max(0, len(lines)-8):], "\n  "))
}

// waitFor tries until it works, the process ends or time is up.
func (p *process) waitFor(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := try()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case p.ended():
			return p.complain(errors.New("ended while it was starting"))
		case time.Now().After(deadline):
			return p.complain(fmt.Errorf("not ready after 10 s: %w", err))
		}
		time.Sleep(20 * time.Millisecond)
	}
}
