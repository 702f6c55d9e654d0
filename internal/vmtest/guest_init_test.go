package vmtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mark begins the lines in which init speaks for itself.
const mark = "[init] "

func TestMain(m *testing.M) {
	if os.Getpid() == 1 && os.Getenv("ZPROXY_VM") == "" {
		if _, err := os.Stat("/plan"); err == nil {
			runGuest()
		}
	}
	os.Exit(m.Run())
}

// runGuest is process 1 of a guest. It does not return: the guest powers off.
func runGuest() {
	out := os.Stdout
	if err := mountAll(); err != nil {
		fmt.Fprintln(out, err) // the kernel's console
	} else if line, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY, 0); err != nil {
		fmt.Fprintln(out, err)
	} else {
		out = line
		runPlan(out)
	}
	out.Sync()
	unix.Sync()
	// Until the serial line has sent what it was given.
	unix.IoctlSetInt(int(out.Fd()), unix.TCSBRK, 1)
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func mountAll() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	return nil
}

func runPlan(out *os.File) {
	p, err := readPlan()
	if err != nil {
		fmt.Fprintln(out, err)
		return
	}
	if err := bringUp("lo"); err != nil {
		fmt.Fprintln(out, err)
		return
	}
	if err := startCards(p); err != nil {
		fmt.Fprintln(out, err)
		return
	}
	// A test of the loop wants large socket buffers.
	if err := os.WriteFile("/proc/sys/net/core/rmem_max", []byte("4194304"), 0); err != nil {
		fmt.Fprintln(out, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(p.LimitSec)*time.Second)
	defer cancel()
	for _, program := range p.Programs {
		fmt.Fprintln(out, mark+"run "+program.Name)
		child := exec.CommandContext(ctx, program.Path, program.Args...)
		child.Stdout, child.Stderr = out, out
		child.Dir = "/tmp"
		child.Env = []string{"ZPROXY_VM=guest", "PATH=/", "HOME=/tmp", "TMPDIR=/tmp"}
		// What the program started and left behind must not keep the guest up.
		child.WaitDelay = time.Second
		outcome := "ok"
		if err := child.Run(); err != nil {
			outcome = err.Error()
		}
		fmt.Fprintln(out, mark+"ran "+outcome)
	}
	fmt.Fprintln(out, mark+"end")
}

// bringUp does what "ip link set NAME up" does.
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
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("%s up: %w", name, err)
	}
	return nil
}
