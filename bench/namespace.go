package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// All contenders, origins and generators are in one network namespace, which has
// settings of its own, so that everyone has the same congestion control at both
// ends of each connection: zproxy leaves bbr by itself on the loopback
// interface, where its pacing is dear, and nobody else does.
const fairControl = "reno"

// within says to the program that it was started in namespaces of its own; the
// value is which.
const within = "ZPROXY_BENCH_WITHIN"

// outsideFile is where such a program has the network namespace that it comes from.
const outsideFile = 3

// namespaces that the settings ask for; "" for none. Both need root.
func (set *settings) namespaces() string {
	var want []string
	if set.equal && os.Geteuid() == 0 {
		want = append(want, "net")
	}
	if set.peers == currentPeers {
		want = append(want, "mount")
	}
	return strings.Join(want, ",")
}

// moveIn runs this program once more, in namespaces of its own, unless it is
// there already or needs none: status is then -1. They go with the last process
// in them, however that ends.
func (set *settings) moveIn(args []string, out, errOut io.Writer) (status int) {
	want := set.namespaces()
	if want == "" || os.Getenv(within) != "" {
		return -1
	}
	if os.Geteuid() != 0 {
		fmt.Fprintf(errOut, "bench: -peers %s needs root, for chroot and mount\n", currentPeers)
		return 1
	}
	home, err := os.Open("/proc/self/ns/net")
	if err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	defer home.Close()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, errOut
	cmd.Env = append(os.Environ(), within+"="+want)
	cmd.ExtraFiles = []*os.File{home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM, Setpgid: true}
	for name, flag := range map[string]uintptr{"net": unix.CLONE_NEWNET, "mount": unix.CLONE_NEWNS} {
		if strings.Contains(want, name) {
			cmd.SysProcAttr.Unshareflags |= flag
		}
	}
	// The child ends with the thread that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(errOut, "bench: starting in namespaces of its own (%s): %v; -equal-terms=false does without\n", want, err)
		return 1
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 1
}

// furnish makes the network namespace usable where it is ours, and notes which
// terms contenders have.
func (b *bench) furnish() error {
	b.outside = b.launcher
	if !strings.Contains(os.Getenv(within), "net") {
		b.terms = "as the system has it; zproxy leaves bbr on the loopback interface by itself, others keep it"
		if b.set.equal {
			b.say("Not root, so no network namespace of its own: contenders have the system's congestion control, which is not on equal terms.\n")
		}
		return nil
	}
	b.outside = newLauncher(func() error { return unix.Setns(outsideFile, unix.CLONE_NEWNET) })
	unix.CloseOnExec(outsideFile)
	if err := bringUp("lo"); err != nil {
		return fmt.Errorf("the loopback interface of the network namespace: %w", err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(fairControl), 0); err != nil {
		return fmt.Errorf("congestion control %s for the network namespace: %w", fairControl, err)
	}
	b.terms = "one network namespace for all, congestion control " + fairControl
	return nil
}

// bringUp sets an interface up.
func bringUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return err
	}
	_, err = net.InterfaceByName(name)
	return err
}
