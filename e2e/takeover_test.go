package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// takeoverConfig listens by TCP and by unix sockets; %s: io, address, folder,
// folder.
const takeoverConfig = `
io: %s
loops: 1
listeners: [{address: %q}, {address: "unix:%s/z.sock"}]
admin: {address: "unix:%s/admin.sock"}
routes: [{path: "/*", respond: {body: ok}}]
`

// Whoever starts right behind a process that was killed takes over its
// addresses, which an io_uring holds for a moment longer; and who ends in order
// takes the files of its unix sockets along.
func TestStartBehindAKilledProcess(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		dir, addr := t.TempDir(), freeAddr(t)
		config := writeFile(t, filepath.Join(dir, "z.yaml"), fmt.Sprintf(takeoverConfig, backend, addr, dir, dir))
		var p *process
		const restarts = 6
		for i := range restarts {
			p = spawn(t, zproxyBin, "run", "-c", config)
			for _, where := range [][2]string{{"tcp", addr}, {"unix", dir + "/z.sock"}, {"unix", dir + "/admin.sock"}} {
				if !p.listens(where[0], where[1]) {
					t.Fatalf("start %d: %s is not there:\n%s", i, where[1], tail(p.out.String()))
				}
			}
			if i < restarts-1 {
				p.signal(t, syscall.SIGKILL)
				<-p.exited
			}
		}
		p.signal(t, syscall.SIGTERM)
		if status := p.wait(t, stopLimit); status != 0 {
			t.Errorf("it ends with %d", status)
		}
		for _, name := range []string{"z.sock", "admin.sock"} {
			if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there (%v):\n%s", name, err, tail(p.out.String()))
			}
		}
	})
}

// The files of unix sockets stay when somebody else has taken their place, and
// nobody takes the place of one who listens.
func TestSocketFileOfASuccessor(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		dir := t.TempDir()
		config := writeFile(t, filepath.Join(dir, "z.yaml"), fmt.Sprintf(takeoverConfig, backend, freeAddr(t), dir, dir))
		p := spawn(t, zproxyBin, "run", "-c", config)
		if !p.listens("unix", dir+"/admin.sock") {
			t.Fatalf("it does not start:\n%s", tail(p.out.String()))
		}
		second := writeFile(t, filepath.Join(dir, "second.yaml"), fmt.Sprintf(takeoverConfig, backend, freeAddr(t), dir, dir))
		begun := time.Now()
		q := spawn(t, zproxyBin, "run", "-c", second)
		if status := q.wait(t, patience); status == 0 || !strings.Contains(q.out.String(), "in use") || time.Since(begun) < time.Second {
			t.Errorf("a second one ends with %d after %v:\n%s", status, time.Since(begun), tail(q.out.String()))
		}
		for _, name := range []string{"z.sock", "admin.sock"} {
			os.Remove(filepath.Join(dir, name))
			l, err := net.Listen("unix", filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		}
		p.signal(t, syscall.SIGTERM)
		p.wait(t, stopLimit)
		for _, name := range []string{"z.sock", "admin.sock"} {
			if c, err := net.Dial("unix", filepath.Join(dir, name)); err != nil {
				t.Errorf("the successor's %s: %v", name, err)
			} else {
				c.Close()
			}
		}
	})
}

// The files of unix sockets have the mode and the group they are to have, and
// without a mode the one that the umask has; the admin's is for owner and group.
func TestSocketFileAccess(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		dir, group := t.TempDir(), os.Getgid()
		if os.Getuid() == 0 { // others can give a file only to a group they are in
			group = 54321
		}
		p := spawn(t, zproxyBin, "run", "-c", writeFile(t, filepath.Join(dir, "z.yaml"), fmt.Sprintf(`
io: %s
loops: 1
listeners:
  - {address: "unix:%[2]s/plain.sock"}
  - {address: "unix:%[2]s/z.sock", socket: {mode: 0606, group: "%[3]d"}}
admin: {address: "unix:%[2]s/admin.sock"}
routes: [{path: "/*", respond: {body: ok}}]
`, backend, dir, group)))
		if !p.listens("unix", dir+"/admin.sock") {
			t.Fatalf("it does not start:\n%s", tail(p.out.String()))
		}
		umask := fs.FileMode(syscall.Umask(0o022))
		syscall.Umask(int(umask))
		for name, want := range map[string]fs.FileMode{"plain.sock": 0o777 &^ umask, "z.sock": 0o606, "admin.sock": 0o660} {
			info, err := os.Lstat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s has %v, want %v", name, info.Mode().Perm(), want)
			}
			if got := int(info.Sys().(*syscall.Stat_t).Gid); name == "z.sock" && got != group {
				t.Errorf("%s has group %d, want %d", name, got, group)
			}
		}
		p.signal(t, syscall.SIGTERM)
		p.wait(t, stopLimit)
	})
}
