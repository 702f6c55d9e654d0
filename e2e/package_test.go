package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"zproxy/internal/longtest"
)

// debianRoot is a fresh minimal Debian, a copy of one that is kept in the user's cache.
func debianRoot(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(cache, "zproxy-e2e", "debian-stable")
	if _, err := os.Stat(kept); err != nil {
		fresh := kept + ".new"
		if err := errors.Join(os.RemoveAll(fresh), os.MkdirAll(filepath.Dir(kept), 0o755)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("debootstrap", "--variant=minbase", "stable", fresh, "http://deb.debian.org/debian").CombinedOutput(); err != nil {
			t.Fatalf("debootstrap: %v; it said:\n%s", err, tail(string(out)))
		}
		if err := os.Rename(fresh, kept); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("cp", "-a", "--reflink=auto", kept, root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root
}

// debian is a root with a mount namespace of its own, in which programs run.
type debian struct {
	t      *testing.T
	root   string
	holder *process // whose namespace it is
}

func startDebian(t *testing.T) *debian {
	t.Helper()
	d := &debian{t: t, root: debianRoot(t)}
	d.holder = spawn(t, "unshare", "-m", "--propagation", "private", "sh", "-c",
		`mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && mount -t tmpfs tmpfs "$0/run" && mount --bind /dev "$0/dev" && echo ready && exec sleep infinity`, d.root)
	eventually(t, patience, "the root is ready", func() (bool, string) {
		out := d.holder.out.String()
		return strings.Contains(out, "ready"), out
	})
	return d
}

// command is one that runs within the root.
func (d *debian) command(options []string, args ...string) *exec.Cmd {
	all := append([]string{"-m", "-t", fmt.Sprint(d.holder.cmd.Process.Pid), "chroot"}, options...)
	cmd := exec.Command("nsenter", append(append(all, d.root), args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// try runs a command, and gives what it prints.
func (d *debian) try(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := d.command(nil, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// runs is try for what has to succeed.
func (d *debian) runs(args ...string) string {
	d.t.Helper()
	out, err := d.try(args...)
	if err != nil {
		d.t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

// install installs a package of a version.
func (d *debian) install(version string) string {
	d.t.Helper()
	if out, err := exec.Command("../scripts/package/deb", zproxyBin, version, filepath.Join(d.root, "tmp")).CombinedOutput(); err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
	files, _ := filepath.Glob(filepath.Join(d.root, "tmp", "zproxy_"+version+"_*.deb"))
	if len(files) != 1 {
		d.t.Fatalf("packages %q", files)
	}
	return d.runs("dpkg", "-i", "/tmp/"+filepath.Base(files[0]))
}

// The package is installed, replaced while clients are served, removed and purged, in a fresh Debian.
func TestLengthyPackage(t *testing.T) {
	longtest.Need(t)
	need(t, "dpkg-deb", "debootstrap", "unshare", "nsenter")
	if os.Getuid() != 0 {
		t.Skip("only root may make a root for a Debian: run the tests as root")
	}
	d := startDebian(t)
	d.install("1.0")
	d.installed()

	addr, admin := freeAddr(t), freeAddr(t)
	config := fmt.Sprintf("listeners: [{address: %q}]\nroutes: [{path: \"/*\", respond: {body: ok}}]\nadmin: {address: %q}\n", addr, admin)
	writeFile(t, filepath.Join(d.root, "etc/zproxy/zproxy.yaml"), config)
	server := spawnCmd(t, d.command([]string{"--userspec=zproxy:zproxy"}, "/usr/bin/zproxy", "run", "-c", "/etc/zproxy/zproxy.yaml"))
	server.awaitListener(t, addr)
	old := statusPID(t, admin)

	var served, failed atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		client := &http.Client{Timeout: patience}
		for {
			select {
			case <-stop:
				return
			default:
			}
			res, err := client.Get("http://" + addr + "/")
			if err != nil {
				failed.Add(1)
				t.Logf("while the package is replaced: %v", err)
				continue
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			served.Add(1)
		}
	}()
	said := d.install("1.1")
	before := served.Load()
	eventually(t, patience, "requests are served behind the upgrade", func() (bool, string) { return served.Load() > before, "" })
	close(stop)
	<-stopped
	now := statusPID(t, admin)
	if failed.Load() > 0 || now == old || !strings.Contains(said, fmt.Sprintf("process %d serves", now)) {
		t.Errorf("%d requests served and %d failed, process %d serves after %d; dpkg said\n%s", served.Load(), failed.Load(), now, old, said)
	}
	if text, err := os.ReadFile(filepath.Join(d.root, "etc/zproxy/zproxy.yaml")); err != nil || string(text) != config {
		t.Errorf("the configuration is %q, %v", text, err)
	}

	// A program that cannot take over leaves the old one in place, and the package installed.
	writeFile(t, filepath.Join(d.root, "etc/zproxy/zproxy.yaml"), config+"nonsense: true\n")
	said = d.install("1.2")
	if got := statusPID(t, admin); got != now || !strings.Contains(said, "still the old one") {
		t.Errorf("process %d serves after %d; dpkg said\n%s", got, now, said)
	}

	syscall.Kill(now, syscall.SIGTERM)
	server.wait(t, stopLimit)
	eventually(t, patience, "it has ended", func() (bool, string) { return gone(now), "" })
	d.purged()
}

// installed looks at what the package has brought.
func (d *debian) installed() {
	d.t.Helper()
	d.runs("zproxy", "check", "-c", "/etc/zproxy/zproxy.yaml")
	if out := d.runs("getent", "passwd", "zproxy"); !strings.Contains(out, "/nonexistent:/usr/sbin/nologin") {
		d.t.Errorf("the user: %s", out)
	}
	if out := d.runs("bash", "-c", `. /usr/share/bash-completion/completions/zproxy; COMP_WORDS=(zproxy ch) COMP_CWORD=1; _zproxy; echo "${COMPREPLY[*]}"`); out != "check\n" {
		d.t.Errorf("completion of \"zproxy ch\": %q", out)
	}
	if out, err := d.try("/usr/share/zproxy/scripts/tune/check"); !strings.Contains(out, "somaxconn") {
		d.t.Errorf("the tuning script: %v\n%s", err, out)
	}
	unit, err := os.ReadFile(filepath.Join(d.root, "usr/lib/systemd/system/zproxy.service"))
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/usr/bin/zproxy run") || strings.Contains(string(unit), "DynamicUser") || strings.Contains(string(unit), "/usr/local") {
		d.t.Errorf("the unit: %v\n%s", err, unit)
	}
	for _, file := range []string{"man/man8/zproxy.8.gz", "doc/zproxy/copyright", "doc/zproxy/changelog.gz", "doc/zproxy/examples/api-gateway.yaml", "zsh/vendor-completions/_zproxy", "fish/vendor_completions.d/zproxy.fish"} {
		// A minimal Debian may leave out manuals and documents; the package has them.
		if out := d.runs("dpkg", "-L", "zproxy"); !strings.Contains(out, "/usr/share/"+file+"\n") {
			d.t.Errorf("no %s in\n%s", file, out)
		}
	}
}

// purged removes the package, first without and then with its configuration.
func (d *debian) purged() {
	d.t.Helper()
	d.runs("dpkg", "-r", "zproxy")
	if _, err := os.Stat(filepath.Join(d.root, "etc/zproxy/zproxy.yaml")); err != nil {
		d.t.Errorf("the configuration is gone with the package: %v", err)
	}
	d.runs("sh", "-c", "mkdir -p /var/lib/zproxy /var/log/zproxy")
	d.runs("dpkg", "--purge", "zproxy")
	for _, file := range []string{"etc/zproxy", "usr/bin/zproxy", "usr/share/zproxy", "usr/share/doc/zproxy", "var/lib/zproxy", "var/log/zproxy", "usr/lib/systemd/system/zproxy.service"} {
		if _, err := os.Lstat(filepath.Join(d.root, file)); !os.IsNotExist(err) {
			d.t.Errorf("%s is still there: %v", file, err)
		}
	}
	if out, err := d.try("getent", "passwd", "zproxy"); err == nil {
		d.t.Errorf("the user is still there: %s", out)
	}
}

// statusPID is the process that serves at an admin address.
func statusPID(t *testing.T, admin string) (pid int) {
	t.Helper()
	eventually(t, patience, "a process says who it is", func() (bool, string) {
		var state struct {
			PID int `json:"pid"`
		}
		res, err := adminClient.Get("http://" + admin + "/status")
		if err != nil {
			return false, err.Error()
		}
		defer res.Body.Close()
		err = json.NewDecoder(res.Body).Decode(&state)
		pid = state.PID
		return err == nil && pid != 0, fmt.Sprint(err)
	})
	return pid
}
